"""One connection of a client to a process: a cursor, its driver, and a judge of what it is told.

What is told is judged by what the store held when the page was read.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from resumable_core import (
    After,
    AtCharacter,
    BackendError,
    Batch,
    Beginning,
    Cursor,
    End,
    Event,
    EventId,
    Gap,
    GapReason,
    Live,
    Outcome,
    Page,
    Position,
    Record,
    Reset,
    ResetReason,
    State,
    StreamError,
    StreamNotFound,
)
from resumable_core.testing.worlds.cursor import hand_in

from ._laws import LawBroken, is_part_of, require

if TYPE_CHECKING:
    from ._clients import Client
    from ._process import Process


class Connection:
    """Drive a cursor for a client, from a position on."""

    def __init__(self, client: Client, process: Process, position: Position) -> None:
        self.client: Client = client
        self.process: Process = process
        self.cursor: Cursor = Cursor(position, process.world.reader)
        self.open: bool = True
        self._position = position
        self._ledger = process.world.store.ledger
        self._reading = False
        self._timer = math.inf
        self._moved_at = process.now

    def close(self) -> None:
        """Leave; what is under way arrives at nobody."""
        self.open = False
        if self in self.process.connections:
            self.process.connections.remove(self)

    def go_on(self) -> None:
        """Read until there is nothing to do but wait."""
        for _ in range(1000):
            if not self.open or self._reading or self.client.stalls:
                return
            cursor, follower = self.cursor, self.process.follower
            page = None if cursor.from_log else follower.page(cursor.after)
            if page is None:
                self._wait_or_ask()
                return
            if not self._take(page, self.process.world.store.held, from_log=False):
                return
        raise LawBroken(7, "a cursor reads on and on, and is told nothing")

    def _wait_or_ask(self) -> None:
        """Wait for a follower that cannot tell yet, or read the page from the store."""
        follower, deadline = self.process.follower, self.cursor.deadline
        is_due = deadline is not None and self.process.now >= deadline
        if self.cursor.id is not None and follower.given_up:
            self.client.disconnected()
        elif self.cursor.id is None or (not follower.unreachable and (follower.ready or is_due)):
            self._ask()
        elif not follower.unreachable:
            self._wake_at(deadline)

    def _ask(self) -> None:
        store, world, process = self.process.world.store, self.process.world, self.process
        watched_for = process.connected_for
        held: tuple[Batch, ...] = ()
        self._reading = True

        def request() -> Page:
            nonlocal held
            held = store.held
            return store.read(self.cursor.after, world.now, watched_for, watched_for)

        def answered(page: Page | StreamError) -> None:
            if isinstance(page, StreamError):
                raise page  # a read is never refused
            self._reading = False
            if self.open and self._take(page, held, from_log=True):
                self.go_on()

        def failed(_: BackendError | None) -> None:
            self._reading = False
            if self.open and self.cursor.id is None:
                self.client.disconnected()
            elif self.open:
                process.follower.doubted(process.now)
                process.follow()

        process.call("page", request, answered, failed)

    def _take(self, page: Page, held: tuple[Batch, ...], *, from_log: bool) -> bool:
        """Tell the client what the cursor makes of a page; return whether to read on at once."""
        cursor, before = self.cursor, self.cursor.id
        try:
            records = hand_in(cursor, page, self.process.now)
        except StreamNotFound:
            require(not page.sentinel.known, 2, "a stream was not found that is there")
            self.client.not_found()
            return False
        if before is None:
            self._check_origin(page)
            if not cursor.finished or records:  # else there is nothing to be said at all
                self.client.began(cursor.origin)
        place = before or cursor.origin
        for record in records:
            self._check(record, place, page, held, from_log=from_log)
            place = record.id
        if records:
            self._moved_at = self.process.now
            self.client.told(records)
        if cursor.finished and self.open:
            self.client.finish(page.sentinel.lineage.epochs)
            return False
        deadline = cursor.deadline
        if records or (deadline is not None and deadline <= self.process.now):
            return True
        self._wake_at(deadline)
        self.process.awaited(cursor.after)
        return False

    def _wake_at(self, deadline: float | None) -> None:
        if deadline is not None and self.process.now < deadline < self._timer:
            self._timer = deadline
            self.process.after(deadline - self.process.now, self.woken)

    def woken(self) -> None:
        """Look again: the deadline has come, or the client reads on."""
        self._timer = math.inf
        self.go_on()

    # The judge

    def _check_origin(self, page: Page) -> None:
        origin = self.cursor.origin
        if self.process.world.reader is not None and not page.sentinel.known:
            self._position = Beginning()  # of a channel that is not there, all that comes is new
        if isinstance(self._position, Beginning) and origin is not None:
            require(origin.seq == 0, 2, "the beginning is somewhere else")
        if isinstance(self._position, Live) and origin is not None:
            require(origin.seq == page.sentinel.last_seq, 2, "live begins somewhere else")

    def _check(
        self,
        record: Record,
        place: EventId | None,
        page: Page,
        held: tuple[Batch, ...],
        *,
        from_log: bool,
    ) -> None:
        ledger, sentinel, epochs = self._ledger, page.sentinel, page.sentinel.lineage.epochs
        match record:
            case Event(id=id):
                require(is_part_of(id, epochs), 2, f"{id} is not of the log that it is told of")
            case Gap(id=id, reason=reason):
                start = 0 if place is None else place.seq
                lost = {event.id.seq for batch in held for event in batch.events}
                require(start < id.seq, 2, f"a gap before {id}, where nothing is missing")
                kept = lost & set(range(start + 1, id.seq + 1)) - ledger.hidden
                require(not kept, 2, f"a gap before {id}, but the log holds {sorted(kept)}")
                trimmed = not lost or id.seq < min(lost)
                require(
                    trimmed if reason is GapReason.TRIMMED else ledger.forgetful,
                    2,
                    f"the gap before {id} has another reason than {reason}",
                )
            case Reset(reason=reason):
                if place is None and isinstance(self._position, After):
                    place = self._position.id
                if reason is ResetReason.AHEAD:  # or of another log, which characters do not tell
                    waited = self.process.now - self._moved_at >= sentinel.lease
                    require(waited or sentinel.outcome is not None, 2, "a reset without patience")
                    deserved = ledger.forgetful or ledger.claims > 1
                else:
                    if not from_log and not ledger.forgetful:
                        epochs = self.process.world.store.log.sentinel.lineage.epochs
                    deserved = place is None or not is_part_of(place, epochs)
                require(deserved, 2, f"a reset of {place} for no reason: {reason}, {epochs}")
            case End(id=id, outcome=outcome):
                if not isinstance(self._position, AtCharacter):  # which may have passed over more
                    require(place is None or id.seq == place.seq, 5, f"the end of {id} at {place}")
                self._check_end(outcome, id, page)

    def _check_end(self, outcome: Outcome, id: EventId, page: Page) -> None:
        ledger, sentinel = self._ledger, page.sentinel
        if sentinel.known:
            known = (sentinel.epoch, outcome, id.seq) in ledger.ends
        elif sentinel.state is State.DELETED:
            known = outcome is Outcome.STOPPED and ledger.deleted
        else:
            known = outcome is Outcome.LOST and ledger.forgetful
        require(known, 5, f"an end that never was: {outcome} at {id}")
