"""A stream as its provider sends it: for the providers' own clients, which know no ids of ours.

    record                     what is sent
    ─────────────────────────  ──────────────────────────────────────────────────────────
    Event                      event, data
    End, done                  nothing: the response is complete
    any other End, Gap, Reset  event: error, data: {"error": …}; then the response is cut off

The clients of OpenAI take every block for a chunk, also one that has an id or a retry time and no
data, and once they have seen an id, a heartbeat too: so no such block is sent. Those of OpenAI and
of Anthropic raise at such an error, and others when the connection breaks.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from resumable_core import (
    End,
    Event,
    EventId,
    Framed,
    Framing,
    Outcome,
    Record,
    SSEFraming,
    Then,
    encode_event,
)
from resumable_io import Subscription
from resumable_io.starlette import EventStreamResponse


class ProviderFraming:
    """Frame records as the provider's own event stream."""

    media_type: str = SSEFraming.media_type
    heartbeat: bytes = SSEFraming.heartbeat

    def frame(self, records: Sequence[Record]) -> Framed:
        """Return `records` as blocks up to what ends the response."""
        blocks: list[bytes] = []
        for record in records:
            match record:
                case Event(data=str(data), type=type):
                    blocks.append(encode_event(data, type=type))
                case End(outcome=Outcome.DONE):
                    return Framed(b"".join(blocks), Then.COMPLETE)
                case _:
                    blocks.append(_error(record))
                    return Framed(b"".join(blocks), Then.CUT_OFF)
        return Framed(b"".join(blocks))

    def place(self, id: EventId) -> bytes:
        """Return nothing: this wire has no ids."""
        return b""


class ProviderResponse(EventStreamResponse):
    """Answer with a stream from its start, as its provider would."""

    framing: Framing = ProviderFraming()

    def prelude(self, subscription: Subscription) -> bytes:
        """Return nothing."""
        return b""

    def farewell(self, after: float = 0.1) -> bytes | None:
        """Return None: an early end would look like the whole."""
        return None


def _error(record: Record) -> bytes:
    match record:
        case End(outcome=outcome, error=error):
            told = {"message": error or f"the stream is {outcome}", "type": outcome.value}
        case _:
            told = {"message": "a part of the answer is missing", "type": "gap"}
    return encode_event(json.dumps({"error": told}, ensure_ascii=False), type="error")
