"""Clients: they come, read, leave, and resume from where they are.

A client outlives its connections, and knows nothing but what came over them. What it has made of
that is judged by what the sources have yielded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from resumable_core import (
    After,
    Beginning,
    End,
    Event,
    EventId,
    Gap,
    GapReason,
    Outcome,
    Position,
    Record,
    Reset,
)

from ._connection import Connection
from ._laws import is_part_of, require

if TYPE_CHECKING:
    from ._process import Process
    from ._world import World

RECONNECT = 0.5
"""Seconds after which a client comes back."""


class Client:
    """A client that is handed records as they are, and what all clients have in common."""

    def __init__(self, world: World, position: Position) -> None:
        self.world: World = world
        self.finished: bool = False
        self.connection: Connection | None = None
        self.stalled_until: float = 0.0
        self.at: int | None = 0 if isinstance(position, Beginning) else None
        """The seq of the last event that it has, or knows to be missing."""
        self.events: dict[int, EventId] = {}
        """What it takes for the stream."""
        self.last: Position = position
        """Where it would resume."""
        self.end: End | None = None
        self.ends: list[End] = []
        """All that it has ever been told."""
        self.reconnects: int = 0

    # The connection

    @property
    def stalls(self) -> bool:
        """Say whether it doesn't read at the moment."""
        return self.stalled_until > self.world.now

    def connect(self, process: Process) -> None:
        """Connect to a process."""
        if self.finished:
            self.finished, self.end = False, None
            self.lose_partial()
        self.connection = Connection(self, process, self.last)
        process.connections.append(self.connection)
        process.runs(self.connection.go_on)

    def stall(self, seconds: float) -> None:
        """Read nothing for some seconds."""
        self.stalled_until = self.world.now + seconds
        self.world.after(seconds, self._read_on)

    def _read_on(self) -> None:
        if self.connection is not None:
            self.connection.process.runs(self.connection.go_on)

    def disconnected(self) -> None:
        """Notice that the connection is gone, and come back, perhaps to another process."""
        if self.connection is None:
            return
        self.connection.close()
        self.connection = None
        self.reconnects += 1
        self.lose_partial()
        self.world.after(RECONNECT, self._reconnect)

    def _reconnect(self) -> None:
        if self.connection is None and not self.finished:
            self.connect(self.world.some_process(self.reconnects))

    def not_found(self) -> None:
        """Take that there is no such stream; who has never seen it asks again."""
        if self.at or self.world.calm:
            self.finish(())
        else:
            self.disconnected()

    def finish(self, epochs: Sequence[tuple[str, int]]) -> None:
        """Take that nothing more will come, of a log with these epochs."""
        if self.connection is not None:
            self.connection.close()
        self.connection = None
        self.finished = True
        for id in self.events.values() if epochs else ():
            require(is_part_of(id, epochs), 2, f"{id} was never taken back, but is not of {epochs}")

    # What comes over it

    def lose_partial(self) -> None:
        """Forget what a broken connection has left incomplete."""

    def began(self, origin: EventId | None) -> None:
        """Take where the connection begins; None: with a reset."""
        if origin is not None and self.at is None:
            self.at, self.last = origin.seq, After(origin)

    def told(self, records: Sequence[Record]) -> None:
        """Take what a cursor has told."""
        for record in records:
            self.take(record)

    def take(self, record: Record) -> None:
        """Take a record, and judge it by those before."""
        ledger, id = self.world.store.ledger, record.id
        self.world.saw(record)
        require(self.end is None, 5, f"{record} after the end")
        match record:
            case Event():
                follows = self.at is not None and ledger.follows(id.seq, self.at)
                require(follows, 1, f"{id} after {self.at}")
                require(
                    self.same(record, ledger.events[id]), 3, f"{record} is not {ledger.events[id]}"
                )
                self.events[id.seq] = id
            case Gap(reason=GapReason.BINARY):
                require(self.at is not None and id.seq == self.at + 1, 1, f"{id} after {self.at}")
                require(not _is_text(ledger.events[id].data), 11, f"{id} is text")
            case Gap():
                require(self.at is not None and id.seq > self.at, 1, f"a gap to {id} at {self.at}")
            case Reset():
                require(id.seq == 0, 2, f"a reset to {id}")
                self.events.clear()
            case End():
                require(id.seq == self.at, 5, f"the end of {id} at {self.at}")
                # Of two producers in a row the second may be lost before its first event.
                lost_again = record.outcome is Outcome.LOST and ledger.claims > 1
                again = record in self.ends and not ledger.forgetful
                require(not again or lost_again, 5, f"{record} for the second time")
                self.ends.append(record)
                self.end = record
        self.at = id.seq
        self.last = After(id, end=isinstance(record, End))

    def same(self, event: Event, appended: Event) -> bool:
        """Say whether an event is the one that was appended under its id."""
        return event == appended


def _is_text(data: str | bytes) -> bool:
    if isinstance(data, bytes):
        try:
            data.decode()
        except UnicodeDecodeError:
            return False
    return True
