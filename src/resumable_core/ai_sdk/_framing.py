"""How records become a UI message stream.

    record              what is sent                                  then
    ──────────────────  ────────────────────────────────────────────  ────────────
    Event               id, data: the chunk
    End(done)           id, data: [DONE]                              complete
    End(failed)         an error chunk; [DONE]                        complete
    End(stopped)        an abort chunk; [DONE]                        complete
    End(lost)           an error chunk                                complete
    Gap, Reset          an error chunk                                complete

To the SDK's clients a body that ends without an error chunk is a whole answer, `[DONE]` or not. So
one that ends early for any other reason, as when the process drains, has to be cut off. `[DONE]`
says that the stream has ended and nothing of it is missing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import assert_never

from resumable_core._framing import Framed, Then
from resumable_core._ids import After, EventId
from resumable_core._records import End, Event, Gap, Outcome, Record, Reset
from resumable_core._sse import encode_comment, encode_event, encode_id

from ._chunks import Abort, Failure

_DONE = "[DONE]"


class UIMessageFraming:
    """Frame records as a UI message stream of the AI SDK, version 1.

    Each event is one chunk, a JSON object; one that is none makes an error chunk. Chunks carry
    their event ids, which the SDK's own clients ignore and others resume after.
    """

    media_type: str = "text/event-stream; charset=utf-8"
    heartbeat: bytes = encode_comment("keep-alive")

    def frame(self, records: Sequence[Record]) -> Framed:
        """Return `records` as chunks, up to what the clients take for the end."""
        blocks: list[bytes] = []
        for record in records:
            if isinstance(record, Event) and (chunk := _chunk_of(record)) is not None:
                blocks.append(encode_event(chunk, id=str(record.id)))
            else:
                blocks.append(_last_words(record))
                return Framed(b"".join(blocks), Then.COMPLETE)
        return Framed(b"".join(blocks))

    def place(self, id: EventId) -> bytes:
        """Return an id-only block."""
        return encode_id(str(id))


def _chunk_of(event: Event) -> str | None:
    """Return the chunk that an event is; None when it is no JSON object."""
    try:
        text = event.data if isinstance(event.data, str) else event.data.decode()
        chunk: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return text if isinstance(chunk, dict) else None


def _last_words(record: Record) -> bytes:
    """Return what is sent of a record behind which the clients read nothing."""
    match record:
        case Event(id):
            return _error(f"the answer cannot be shown: event {id} is no chunk")
        case Gap(reason=reason):
            return _error(f"a part of the answer is missing: {reason}")
        case Reset(reason=reason):
            return _error(f"what was received is no part of this answer: {reason}")
        case End(outcome=Outcome.LOST, error=error):
            return _error(error or "the answer breaks off: its producer was lost")
        case End(id, outcome, error):
            done = encode_event(_DONE, id=str(After(id, end=True)))
            match outcome:
                case Outcome.DONE:
                    return done
                case Outcome.STOPPED:
                    return _block(_abort(error)) + done
                case _:
                    return _error(error or "the answer could not be completed") + done
        case _:
            assert_never(record)


def _error(text: str) -> bytes:
    return _block({"type": "error", "errorText": text})


def _abort(reason: str | None) -> Abort:
    return {"type": "abort"} if reason is None else {"type": "abort", "reason": reason}


def _block(chunk: Failure | Abort) -> bytes:
    return encode_event(json.dumps(chunk, separators=(",", ":")))
