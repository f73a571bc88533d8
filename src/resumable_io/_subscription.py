"""Drive core's cursor machine: one consumer's view of a stream, as an async iterator.

The next page comes from the follower's window where it reaches, else from the store. A follower is
needed only to wait: a stream that has ended is read without one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from operator import length_hint
from types import TracebackType
from typing import Generic, Self, TypeVar

from anyio import current_time, get_cancelled_exc_class

from resumable_core import (
    BackendUnavailable,
    Cursor,
    End,
    Event,
    EventId,
    Gap,
    Interruption,
    Outcome,
    Page,
    Position,
    Reader,
    Record,
    Reset,
    StreamFailed,
    StreamGap,
    StreamLost,
    StreamReset,
    StreamStopped,
)

from ._followers import FollowerDriver, Followers, StreamsClosed

T = TypeVar("T")


class Subscription:
    """Receive a stream from a position on.

    Iterate over it for the events alone: whatever would make a part look like the whole is raised
    as an `Interruption`, and after a `StreamGap` or a `StreamReset` iterating again goes on. Or
    iterate over `records()`, where everything is told and nothing of it raised.

    One task at a time may iterate, any task, and any other may close. Cancelled while waiting, a
    subscription has lost nothing. Closing is optional but frees what it holds at once.
    """

    def __init__(
        self,
        followers: Followers,
        stream_id: str,
        position: Position,
        reader: Reader | None = None,
    ) -> None:
        self.stream_id = stream_id
        self._followers = followers
        self._reader = reader
        self._cursor = Cursor(position, reader)
        self._driver: FollowerDriver | None = None
        self._records: Sequence[Record] = ()
        self._rest: Iterator[Record] = iter(())  # those of them that were not handed out yet
        self._last: EventId | None = None
        self._closed = False
        self._exhausted: int | None = None  # the version of a window that has told all it holds

    async def open(self) -> None:
        """Find the place in the stream.

        Raises `StreamNotFound` when there is no such stream, and `BackendError`.
        """
        page = await self._followers.read(self.stream_id, self._cursor.after, self._cursor.limit)
        self._take(self._cursor.read(page, current_time()))
        if self._reader is not None:
            self._attach()  # whoever subscribes to a channel stays

    @property
    def id(self) -> EventId | None:
        """Return the id from which a later subscription would go on.

        It is the id of the last record that was handed out, or before the first one the place where
        the subscription began. None before `open`, and while a `Reset` is still to be handed out.
        On a channel it moves on behind what is not for this reader.
        """
        if self._reader is not None and not (self._closed or length_hint(self._rest)):
            return self._cursor.id
        return self._cursor.origin if self._last is None else self._last

    @property
    def finished(self) -> bool:
        """Say whether nothing more will come."""
        return self._closed or (self._cursor.finished and not length_hint(self._rest))

    @property
    def waiting(self) -> Sequence[Record]:
        """Return what can be received without waiting, without taking it."""
        return self._records[len(self._records) - length_hint(self._rest) :]

    async def receive(self) -> Sequence[Record]:
        """Wait for records and return all that came in one page; nothing once it is finished.

        Waits while the store does not answer. Raises `BackendError` when that takes longer than an
        outage may, or the store cannot be read at all, and `StreamsClosed` when the `Streams` it
        belongs to is left meanwhile. Cancelled, it has taken nothing.
        """
        while not (records := self.receive_nowait()) and not self.finished:
            await self.wait()
        return records

    def receive_nowait(self) -> Sequence[Record]:
        """Receive what is here; nothing when there is nothing yet, or it is finished."""
        records: Sequence[Record] = ()
        if self._records:
            records = self.waiting
            self._take(())
        if not records:
            records = self._follow()
        if records:
            self._last = records[-1].id
        return records

    def wait(self) -> Awaitable[None]:
        """Wait until there may be something to receive, while it is not `finished`.

        There may be nothing yet: then wait again. Raises what `receive` raises, which is a loop of
        these two. A transport that has a loop of its own is woken with less ado.
        """
        driver = self._driver
        if driver is None or driver.ended:
            return self._read()
        machine = driver.machine
        if machine.version != self._exhausted or machine.given_up:
            return self._read()
        return driver.changed.wait()

    def records(self) -> AsyncIterator[Record]:
        """Iterate over `Event`, `Gap`, `Reset` and `End`; the end is the last, once."""
        return RecordIterator(self._one)

    def __aiter__(self) -> Self:
        """Return itself: a subscription has one place."""
        return self

    async def __anext__(self) -> Event:
        """Return the next event.

        Raises `StreamGap` and `StreamReset`, after which it goes on, and in place of an end that
        was not a success `StreamFailed`, `StreamStopped` or `StreamLost`.
        """
        record = self._next_record() or await self._one()
        if isinstance(record, Event):
            return record
        match record:
            case None | End(outcome=Outcome.DONE):
                raise StopAsyncIteration
            case End() | Gap() | Reset():
                raise interruption(record)

    async def aclose(self) -> None:
        """Leave. The producer and all others do not notice. May be called again."""
        self._last = self.id
        self._closed = True
        self._take(())
        if self._driver is not None:
            self._driver.changed.wake()
        self._detach()

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        await self.aclose()

    async def _one(self) -> Record | None:
        while not self.finished:
            if (record := self._next_record()) is not None:
                return record
            self._take(self._follow())
            if not self._records:
                await self.wait()
        return None

    def _next_record(self) -> Record | None:
        """Return the next record if it is here already."""
        for record in self._rest:
            self._last = record.id
            return record
        return None

    def _follow(self) -> Sequence[Event]:
        """Return what simply goes on in the window, if there is anything."""
        driver = self._driver
        if driver is None or driver.ended:
            return ()
        machine = driver.machine
        version = machine.version
        if version == self._exhausted:
            return ()
        page = machine.page(self._cursor.after)
        if page is None or (events := self._cursor.follow(page)) is None:
            return ()
        self._exhausted = version
        return events

    async def _read(self) -> None:
        cursor, driver = self._cursor, self._driver
        if driver is not None and driver.ended:
            self._driver = driver = self._exhausted = None
        version, page = 0, None
        if driver is not None:
            machine = driver.machine
            version = machine.version
            if not cursor.from_log:
                page = machine.page(cursor.after)
            if page is None and (machine.unreachable or not (machine.ready or self._is_due)):
                driver.check()
                await driver.changed.wait(None if machine.unreachable else cursor.deadline)
                return
        windowed = page is not None
        if page is None:
            try:
                page = await self._followers.read(self.stream_id, cursor.after, cursor.limit)
            except BackendUnavailable:
                self._attach().doubt()
                return
            except get_cancelled_exc_class():
                # Somebody who never waits for long, as for heartbeats, learns of an outage, too.
                with suppress(StreamsClosed):
                    self._attach().doubt()
                raise
            if self._closed:
                return
        self._take(cursor.read(page, current_time()))
        if cursor.finished:
            self._detach()  # whatever else happens to the stream is not for this one
        elif self._records and windowed and cursor.deadline is None and not cursor.from_log:
            self._exhausted = version
        if self._records or cursor.finished or self._may_read_on(page):
            return
        if driver is None:
            self._attach()
        elif driver.machine.version == version and not (driver.ended or self._closed):
            driver.check()
            driver.awaited(cursor.after)
            await driver.changed.wait(cursor.deadline)

    @property
    def _is_due(self) -> bool:
        """Say whether the cursor waits no longer for news."""
        deadline = self._cursor.deadline
        return deadline is not None and current_time() >= deadline

    def _may_read_on(self, page: Page) -> bool:
        """Say whether the cursor has moved within the log without having anything to tell."""
        return page.after != self._cursor.after < page.sentinel.last_seq

    def _take(self, records: Sequence[Record]) -> None:
        self._records, self._rest = records, iter(records)

    def _attach(self) -> FollowerDriver:
        if self._driver is None:
            self._driver = self._followers.attach(self.stream_id, self)
        return self._driver

    def _detach(self) -> None:
        if self._driver is not None:
            self._followers.detach(self.stream_id, self._driver, self)
            self._driver = self._exhausted = None


class RecordIterator(Generic[T]):
    """Iterate over records. No generator, since one that is left early is closed by nobody."""

    def __init__(self, receive: Callable[[], Awaitable[T | None]]) -> None:
        self._receive = receive

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        record = await self._receive()
        if record is None:
            raise StopAsyncIteration
        return record


def interruption(record: End | Gap | Reset) -> Interruption:
    """Return what is raised in place of a record that interrupts."""
    match record:
        case Gap(id, reason):
            return StreamGap(f"events are missing before {id}: {reason}")
        case Reset(_, reason):
            return StreamReset(f"what was received is not part of this stream: {reason}")
        case End(outcome=outcome, error=error):
            kinds = {Outcome.STOPPED: StreamStopped, Outcome.LOST: StreamLost}
            kind = kinds.get(outcome, StreamFailed)
            return kind(error or f"the stream ended as {outcome}")
