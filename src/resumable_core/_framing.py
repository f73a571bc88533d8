"""How records become bytes for a client, and what a framing has no room for.

    record    SSE                                    plain text
    ────────  ─────────────────────────────────────  ──────────────────────────
    Event     id, event, data                        the data as it is
    Gap       event: gap, data: {"reason": …}        the response is cut off
    Reset     event: reset, data: {"reason": …}      the response is cut off
    End       event: end, data: {"outcome": …, …}    done: complete; else: cut off

"Cut off" means that the connection breaks without the mark of a complete body: a part must never
look like the whole.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import Enum, auto
from typing import Protocol, assert_never

from ._frozen import frozen
from ._ids import After, EventId
from ._records import End, Event, Gap, GapReason, Outcome, Record, Reset
from ._sse import data_lines, encode_comment, encode_id, one_line


class Then(Enum):
    """What is to become of the response after a piece of it."""

    GO_ON = auto()
    COMPLETE = auto()
    CUT_OFF = auto()


@frozen
class Framed:
    """Hold a piece of a response."""

    body: bytes
    then: Then = Then.GO_ON


class Framing(Protocol):
    """Turn records into the bytes of one wire format."""

    media_type: str
    """The content type of the response."""
    heartbeat: bytes
    """What a client ignores; empty where the format has nothing of the kind."""

    def frame(self, records: Sequence[Record]) -> Framed:
        """Return `records` as bytes. After an end or a cut nothing more is to be framed."""
        ...

    def place(self, id: EventId) -> bytes:
        """Return what moves the client's last event id and is no event."""
        ...


class SSEFraming:
    """Frame records as an event stream (WHATWG HTML, section 9.2).

    Data is text there: bytes that are not UTF-8 are reported as a gap. Every newline in data
    arrives as LF.
    """

    media_type: str = "text/event-stream; charset=utf-8"
    heartbeat: bytes = encode_comment()

    def frame(self, records: Sequence[Record]) -> Framed:
        """Return `records` as blocks, each with its id."""
        then = Then.COMPLETE if records and isinstance(records[-1], End) else Then.GO_ON
        return Framed("".join(map(_sse_block, records)).encode(), then)

    def place(self, id: EventId) -> bytes:
        """Return an id-only block."""
        return encode_id(str(id))


class TextFraming:
    """Frame records as plain text: the data, one after the other, and nothing else."""

    media_type: str = "text/plain; charset=utf-8"
    heartbeat: bytes = b""

    def frame(self, records: Sequence[Record]) -> Framed:
        """Return the data of `records` up to what plain text cannot say."""
        pieces: list[bytes] = []
        for record in records:
            match record:
                case Event(data=str(text)):
                    pieces.append(text.encode())
                case Event(data=bytes(data)):
                    pieces.append(data)
                case End(outcome=Outcome.DONE):
                    return Framed(b"".join(pieces), Then.COMPLETE)
                case _:
                    return Framed(b"".join(pieces), Then.CUT_OFF)
        return Framed(b"".join(pieces))

    def place(self, id: EventId) -> bytes:
        """Return nothing: text has no ids."""
        return b""


def encode_expired(id: EventId | None) -> bytes:
    """Encode the notice that the credentials of whoever reads an event stream have expired.

    It is followed by the end of the response, not of the stream: a client comes back with new
    credentials. `id` is where it goes on from then, None where it has no place yet.
    """
    place = None if id is None else str(id)
    return _notice_block("expired", place, reason="credentials").encode()


def _sse_block(record: Record) -> str:
    match record:
        case Event():
            return _event_block(record)
        case Gap(id, reason):
            return _notice_block("gap", str(id), reason=reason)
        case Reset(id, reason):
            return _notice_block("reset", str(id), reason=reason)
        case End(id, outcome, error):
            place = str(After(id, end=True))
            return _notice_block("end", place, outcome=outcome, error=error)
        case _:
            assert_never(record)


def _event_block(event: Event) -> str:
    id, data = event.id, event.data
    if isinstance(data, bytes):
        try:
            data = data.decode()
        except UnicodeDecodeError:
            return _sse_block(Gap(id, GapReason.BINARY))
    head = "" if event.type is None else f"event: {one_line('type', event.type)}\n"
    if not id.epoch.isalnum():  # the cheapest look at what could break out of the line
        one_line("id", id.epoch)
    return f"{head}id: {id.epoch}-{id.seq}\n{data_lines(data)}\n"


def _notice_block(type: str, id: str | None, **members: str | None) -> str:
    data = json.dumps(members, separators=(",", ":"))
    place = "" if id is None else f"id: {one_line('id', id)}\n"
    return f"event: {type}\n{place}{data_lines(data)}\n"
