"""What scenarios do with a backend, in few words."""

from __future__ import annotations

import math
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Final, TypeAlias, TypeVar, overload

from anyio import fail_after, move_on_after

from resumable_core import (
    ABSENT,
    Append,
    Appended,
    Batch,
    Changed,
    Claim,
    Event,
    EventId,
    FeedItem,
    Finish,
    Interrupted,
    Message,
    Outcome,
    Page,
    Publication,
    Publish,
    Retention,
    Sentinel,
    State,
    StreamError,
    Takeover,
    channel_log_id,
)
from resumable_core.testing import append
from resumable_io.abc import Backend

from ._inbox import Following

T = TypeVar("T")

OpenBackend: TypeAlias = Callable[[], AbstractAsyncContextManager[Backend]]
"""Opens a backend. All that it opens, at one time or one after the other, share their streams, as
the processes of an application do. Where streams live in one process alone, it returns the same
backend again and again."""

Outage: TypeAlias = Callable[[Backend], AbstractAsyncContextManager[None]]
"""Keeps a backend from its store for the length of a block: what it asks is refused, or gets no
answer, and its feeds hear nothing. Other backends may be kept from the store as well."""

LEASE: Final = 1000.0
KEEP: Final = 1000.0
"""Seconds that outlast every scenario that does not wait for just that."""

NEWS: Final = 20.0
"""Seconds within which a feed has to tell what has happened."""


def new_id(name: str = "x") -> str:
    """Return a stream id that nobody has used: what is in the store stays out of the way."""
    return f"{name}-{secrets.token_hex(8)}"


def new_channel() -> str:
    """Return the log id of a channel that nobody has used."""
    return channel_log_id(new_id("channel"))


@asynccontextmanager
async def two(open_backend: OpenBackend) -> AsyncGenerator[tuple[Backend, Backend], None]:
    """Open two backends, as two processes do."""
    async with open_backend() as one, open_backend() as other:
        yield one, other


def claim(
    epoch: str = "a",
    *,
    lease: float = LEASE,
    keep: float = KEEP,
    count: int = 100_000,
    on_lost: Takeover = Takeover.REFUSE,
    replaces: str | None = None,
) -> Claim:
    """Return a claim."""
    retention = Retention(count, keep=keep)
    return Claim(epoch, lease, retention, on_lost=on_lost, replaces=replaces)


def texts(first_seq: int, *data: str | bytes, epoch: str = "a") -> Append:
    """Return the append of some messages."""
    return append(epoch, first_seq, map(Message, data))


def publish(
    *data: str, to: Iterable[str] | None = None, count: int = 100_000, keep: float = KEEP
) -> Publish:
    """Return one attempt to publish some messages, each under itself as the key."""
    recipients = None if to is None else frozenset(to)
    publications = tuple(Publication(Message(each), each, recipients) for each in data)
    return Publish(secrets.token_hex(8), publications, Retention(count, keep=keep))


async def started(backend: Backend, stream_id: str, *data: str | bytes) -> None:
    """Claim a stream, and append some messages in one batch."""
    await backend.apply(stream_id, claim())
    if data:
        await backend.apply(stream_id, texts(1, *data))


async def ended(backend: Backend, stream_id: str, *data: str | bytes) -> None:
    """Make a stream that is done."""
    await started(backend, stream_id, *data)
    await backend.apply(stream_id, Finish("a", Outcome.DONE, len(data)))


async def read(backend: Backend, stream_id: str, after: int = 0, limit: int = 100) -> Page:
    """Return a page, observed by somebody who has watched for ever."""
    return await backend.read(stream_id, after, limit, connected_for=math.inf)


async def data(backend: Backend, stream_id: str) -> list[str | bytes]:
    """Return what a log holds, read page by page."""
    found: list[str | bytes] = []
    after = 0
    while (page := await read(backend, stream_id, after)).events:
        ensure(page.events[0].id.seq > after, f"a page after {after} begins behind it")
        found += [event.data for event in page.events]
        after = page.events[-1].id.seq
    return found


async def is_absent(backend: Backend, stream_id: str) -> bool:
    """Say whether nothing is there for a reader, and nothing is listed."""
    page = await read(backend, stream_id)
    listed = {found async for found, _ in backend.scan()}
    return not page.sentinel.known and not page.events and stream_id not in listed


# What is expected


def expect(found: object, expected: object, promise: str) -> None:
    """Raise `AssertionError` with a promise that was broken."""
    if found != expected:
        raise AssertionError(f"{promise}: expected {expected!r}, got {found!r}")


def ensure(holds: object, promise: str) -> None:
    """Raise `AssertionError` with a promise that was broken."""
    if not holds:
        raise AssertionError(promise)


async def expect_refusal(call: Awaitable[object], refusal: type[StreamError]) -> None:
    """Expect that the state of a stream does not allow what is called."""
    try:
        answer = await call
    except refusal:
        return
    raise AssertionError(f"expected {refusal.__name__}, got {answer!r}")


@overload
def timeless(thing: Sentinel) -> Sentinel: ...
@overload
def timeless(thing: Page) -> Page: ...
def timeless(thing: Sentinel | Page) -> Sentinel | Page:
    """Return a sentinel, or a page, without what each store has of its own: clock and memory."""
    if isinstance(thing, Page):
        return replace(thing, sentinel=timeless(thing.sentinel))
    return replace(thing, lease_until=0.0, expires_at=0.0, store="")


# What is heard


class Listener:
    """Listen to a feed, and hold it to what feeds promise while their store does not fail.

    Batches come in the order of their seqs, and an id names one event, however often it is told.
    States never go back; of several changes that follow each other at once, the last is enough.
    Whatever else is missing was reported as `Interrupted`: then it is read, and what comes later is
    to be told again.
    """

    def __init__(self, feed: Following, last_seq: int = 0) -> None:
        self._feed = feed
        self.last_seq = last_seq
        """Of what was told, or read after an interruption."""
        self.events: list[Event] = []
        """All new events that were told, in order."""
        self.sentinel: Sentinel = ABSENT
        """What was told last of the state, or read after an interruption."""
        self.interrupted = False
        """Whether anything was ever reported as missing."""
        self._told: dict[EventId, Event] = {}
        self._last: Sentinel = ABSENT  # told
        self._former: set[str] = set()  # epochs that were told before its own

    @property
    def heard(self) -> list[str | bytes]:
        """Return the data of all new events, in order."""
        return [event.data for event in self.events]

    async def hear(self) -> Sequence[FeedItem]:
        """Receive once, and read what is reported as missing."""
        items = await self._feed.receive()
        for item in items:
            if isinstance(item, Interrupted):
                self.interrupted = True
                self.sentinel = await self._feed.look()
                self.last_seq = max(self.last_seq, self.sentinel.last_seq)
            else:
                self._take(item)
        return items

    async def overhear(self) -> None:
        """Take what was told by now, but no report of a loss: nothing could be read as yet."""
        with move_on_after(0):
            for item in await self._feed.receive():
                if not isinstance(item, Interrupted):
                    self._take(item)

    async def hear_event(self, last_seq: int) -> None:
        """Receive until an event is told, or was read after an interruption."""
        await self._hear_until(lambda: self.last_seq >= last_seq, f"event {last_seq}")

    async def hear_state(self, state: str) -> None:
        """Receive until a state is told, or was read after an interruption."""
        await self._hear_until(lambda: self.sentinel.state == state, f"that it is {state}")

    async def _hear_until(self, told: Callable[[], bool], what: str) -> None:
        try:
            with fail_after(NEWS):
                while not told():
                    await self.hear()
        except TimeoutError:
            raise AssertionError(
                f"a feed tells what happens, but this one not {what} within {NEWS:g} s: it has got "
                f"to event {self.last_seq}, and to the state {self.sentinel.state}"
            ) from None

    def _take(self, item: Appended | Changed) -> None:
        match item:
            case Changed(sentinel):
                self._take_state(sentinel)
            case Appended(batch):
                self._take_batch(batch)

    def _take_state(self, sentinel: Sentinel) -> None:
        last, self._last = self._last, sentinel
        ensure(
            sentinel.epoch not in self._former and not _is_older(sentinel, last),
            f"states are told in order, but {sentinel.state} of {sentinel.epoch} is told after "
            f"{last.state} of {last.epoch}",
        )
        if sentinel.epoch != last.epoch:
            self._former.add(last.epoch)
        if not _is_older(sentinel, self.sentinel):  # which may have been read
            self.sentinel = sentinel

    def _take_batch(self, batch: Batch) -> None:
        ensure(
            batch.first_seq <= self.last_seq + 1,
            f"a feed reports what it loses: events {self.last_seq + 1} to "
            f"{batch.first_seq - 1} are missing",
        )
        new = [event for event in batch.events if event.id.seq > self.last_seq]
        if new and self.sentinel.outcome is not None and not self.interrupted:
            raise AssertionError("an end is told after the last batch")
        for event in batch.events:
            told = self._told.setdefault(event.id, event)
            expect(event, told, f"{event.id} names one event, but two are told")
        self.events += new
        self.last_seq = max(self.last_seq, batch.last_seq)


_AGES: Final = {
    **dict.fromkeys(State, 1),  # the four ends
    State.ACTIVE: 0,
    State.OPEN: 0,
    State.DELETED: 2,
    State.ABSENT: 3,
}
"""States of one epoch only ever get older."""


def _is_older(sentinel: Sentinel, other: Sentinel) -> bool:
    return sentinel.epoch == other.epoch and _AGES[sentinel.state] < _AGES[other.state]
