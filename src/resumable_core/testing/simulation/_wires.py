"""Clients that are sent bytes.

sse    an event stream, cut anywhere, decoded, and resumed by its last event id
text   plain text, resumed by the number of its characters
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from resumable_core import (
    After,
    AtCharacter,
    Beginning,
    Decoder,
    End,
    Event,
    EventId,
    Framing,
    Gap,
    GapReason,
    Outcome,
    Position,
    Record,
    Reset,
    ResetReason,
    ServerSentEvent,
    SSEFraming,
    TextFraming,
    Then,
    parse_last_event_id,
)

from ._clients import Client
from ._laws import LawBroken, is_part_of, require

if TYPE_CHECKING:
    from ._process import Process
    from ._world import World


class WireClient(Client):
    """A client that is sent bytes, of which the last arrive late, or never."""

    framing: Framing

    def __init__(self, world: World, position: Position) -> None:
        super().__init__(world, position)
        self._under_way = b""

    def began(self, origin: EventId | None) -> None:
        """Take the place from the wire."""
        if origin is not None:
            self._send(self.framing.place(origin), flush=True)

    def told(self, records: Sequence[Record]) -> None:
        """Send what the framing makes of the records."""
        framed = self.framing.frame(records)
        self._send(framed.body, flush=framed.then is not Then.GO_ON)
        if framed.then is Then.CUT_OFF:
            self.finish(())

    def _send(self, body: bytes, *, flush: bool) -> None:
        body = self._under_way + body
        cut = len(body) if flush else max(0, len(body) - self.world.setup.held_back)
        self._under_way = body[cut:]
        self.receive(body[:cut])

    def lose_partial(self) -> None:
        """Forget what is under way."""
        self._under_way = b""

    def receive(self, body: bytes) -> None:
        """Take some bytes."""
        raise NotImplementedError


class SSEClient(WireClient):
    """A client that resumes by its last event id."""

    framing: Framing = SSEFraming()

    def connect(self, process: Process) -> None:
        """Connect, and decode anew."""
        last = str(self.last) if isinstance(self.last, After) else ""
        self._decoder = Decoder(last_event_id=last)
        super().connect(process)

    def receive(self, body: bytes) -> None:
        """Decode some bytes."""
        for event in self._decoder.feed(body):
            self.take(_record(event))
        last = self._decoder.last_event_id
        if last:
            position = parse_last_event_id(last)
            if not isinstance(position, After):
                raise LawBroken(11, f"the last event id is {last!r}")
            if self.at is None:
                self.at = position.id.seq
            self.last = position

    def same(self, event: Event, appended: Event) -> bool:
        """Compare as the wire does: it has no newline but LF."""
        data = appended.data if isinstance(appended.data, str) else appended.data.decode()
        data = data.replace("\r\n", "\n").replace("\r", "\n")
        return (event.data, event.type) == (data, appended.type or "message")


class TextClient(WireClient):
    """A client that resumes behind the characters that it has."""

    framing: Framing = TextFraming()

    def __init__(self, world: World, position: Position) -> None:
        super().__init__(world, Beginning())
        self.body: bytearray = bytearray()

    def receive(self, body: bytes) -> None:
        """Take some bytes of text."""
        self.body += body

    def lose_partial(self) -> None:
        """Forget the last character when a part of it is missing, and count the others."""
        super().lose_partial()
        start = max((i for i, byte in enumerate(self.body) if byte & 0xC0 != 0x80), default=0)
        try:
            self.body[start:].decode()
        except UnicodeDecodeError:
            del self.body[start:]
        characters = sum(byte & 0xC0 != 0x80 for byte in self.body)
        self.last = AtCharacter(characters) if characters else Beginning()

    def told(self, records: Sequence[Record]) -> None:
        """Note what the records are, which text does not tell; only the whole may look whole."""
        for record in records:
            self.world.saw(record)
        last = records[-1]
        self.end = last if isinstance(last, End) else None
        then = self.framing.frame(records).then
        whole = all(isinstance(record, Event) for record in records[:-1])
        done = whole and self.end is not None and self.end.outcome is Outcome.DONE
        require(done == (then is Then.COMPLETE), 5, f"text of which {last} was told: {then}")
        super().told(records)

    def finish(self, epochs: Sequence[tuple[str, int]]) -> None:
        """Compare the whole with what was appended."""
        super().finish(epochs)
        ledger, last_seq = self.world.store.ledger, self.end.id.seq if self.end else 0
        # A number of characters does not tell of which log they are, if there was more than one.
        if epochs and ledger.claims == 1:
            pieces = {
                id.seq: event.data.encode() if isinstance(event.data, str) else event.data
                for id, event in ledger.events.items()
                if id.seq <= last_seq and is_part_of(id, epochs)
            }
            whole, body = b"".join(pieces[seq] for seq in sorted(pieces)), bytes(self.body)
            require(body == whole, 3, f"the text is {body!r}, not {whole!r}")


def _record(event: ServerSentEvent) -> Record:
    """Return the record that was framed as this."""
    position = parse_last_event_id(event.last_event_id)
    if not isinstance(position, After):
        raise LawBroken(11, f"{event} has no id")
    if event.type not in {"gap", "reset", "end"}:
        return Event(position.id, event.data, event.type)
    notice = json.loads(event.data)
    match event.type:
        case "gap":
            return Gap(position.id, GapReason(notice["reason"]))
        case "reset":
            return Reset(position.id, ResetReason(notice["reason"]))
        case _:
            require(position.end, 11, f"{event} is an end without the id of one")
            return End(position.id, Outcome(notice["outcome"]), notice["error"])
