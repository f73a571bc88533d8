"""A backend that fails as it is told to, around one that does not."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from enum import Enum, auto
from functools import partial
from types import TracebackType
from typing import Self, TypeAlias, TypeVar

from anyio import current_time, sleep
from anyio.lowlevel import checkpoint

from resumable_core import (
    BackendUnavailable,
    Change,
    EventId,
    FeedItem,
    Interrupted,
    Page,
    Publish,
    Sentinel,
)
from resumable_io._feed import Feed
from resumable_io.abc import Backend, Tell, Unfollow

from ._cut import Cut

T = TypeVar("T")


class Fault(Enum):
    """What may go wrong with one call, or with one item of a feed."""

    REFUSE = auto()
    """It is not carried out, and says `BackendUnavailable`."""
    FORGET = auto()
    """It is carried out, and says `BackendUnavailable`: the reply is lost."""
    CANCEL = auto()
    """It is cancelled on its way, carried out or not, and says `BackendUnavailable`."""
    DELAY = auto()
    """It is carried out, and answers late. An item is told behind the next one."""
    DROP = auto()
    """An item is lost, and nobody says so."""
    REPEAT = auto()
    """An item is told twice."""
    INTERRUPT = auto()
    """An item is lost, and the feed says so."""


Faults: TypeAlias = Callable[[str], Fault | None]


def _no_faults(_call: str) -> Fault | None:
    return None


class FaultyBackend(Backend):
    """Fail in what it is told to, and pass everything else on to `backend`.

    `faults` is asked before each call, with its name (`apply`, `publish`, `read`, `follow`), and
    before each item of a feed (`feed`): what it returns happens. A dictionary's `get` will do, or a
    lambda around a `random.Random`; it can be replaced at any time. `delay` is the length of a
    `DELAY`, in seconds; 0 lets other tasks run.
    """

    def __init__(self, backend: Backend, faults: Faults = _no_faults, *, delay: float = 0) -> None:
        self.backend: Backend = backend
        self.faults: Faults = faults
        self.delay: float = delay
        self.failures: int = 0
        """Calls that have said `BackendUnavailable` because they were told to."""
        self._connected_since = -math.inf
        self._feeds: set[_FaultyFeed] = set()

    async def __aenter__(self) -> Self:
        """Enter the backend."""
        await self.backend.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the backend."""
        await self.backend.__aexit__(exc_type, exc, traceback)

    def break_down(self) -> None:
        """Let nobody reach the store, nor any feed be heard."""
        refused = dict.fromkeys(("apply", "publish", "read", "follow"), Fault.REFUSE)
        self.faults = {**refused, "feed": Fault.DROP}.get

    def refuse(self, *calls: str) -> None:
        """Refuse these calls, and no others; none at all without any."""
        self.faults = dict.fromkeys(calls, Fault.REFUSE).get

    def recover(self) -> None:
        """Let it be reached again, which is what all feeds tell."""
        self.refuse()
        self._connected_since = current_time()
        for feed in tuple(self._feeds):
            feed.interrupt()

    @property
    def may_forget(self) -> bool:
        """Return what the backend says."""
        return self.backend.may_forget

    @property
    def connected_since(self) -> float:
        """Return what the backend says, or when it has recovered."""
        return max(self.backend.connected_since, self._connected_since)

    async def apply(self, stream_id: str, change: Change) -> Sentinel:
        """Carry out one change, or fail."""
        return await self._call("apply", lambda: self.backend.apply(stream_id, change))

    async def publish(self, log_id: str, change: Publish) -> Sequence[EventId]:
        """Append to a channel, or fail."""
        return await self._call("publish", lambda: self.backend.publish(log_id, change))

    async def read(self, stream_id: str, after: int, limit: int, *, connected_for: float) -> Page:
        """Read a page, or fail."""
        return await self._call(
            "read", lambda: self.backend.read(stream_id, after, limit, connected_for=connected_for)
        )

    async def follow(self, stream_id: str, tell: Tell, *, events: bool) -> Unfollow:
        """Follow a stream by a feed whose items may go wrong, or fail."""
        feed = _FaultyFeed(self, tell)

        async def begin() -> None:
            feed.unfollow = await self.backend.follow(stream_id, feed.tell, events=events)
            self._feeds.add(feed)

        try:
            await self._call("follow", begin)
        except BaseException:
            self._unfollow(feed)
            raise
        return partial(self._unfollow, feed)

    def _unfollow(self, feed: _FaultyFeed) -> None:
        self._feeds.discard(feed)
        feed.leave()
        if feed.unfollow is not None:
            feed.unfollow()

    def scan(self) -> AsyncIterator[tuple[str, Sentinel]]:
        """Scan the backend."""
        return self.backend.scan()

    async def _call(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        await checkpoint()
        match self.faults(name):
            case Fault.REFUSE:
                raise self._failed(name, "was refused")
            case Fault.FORGET:
                await call()
                raise self._failed(name, "was carried out, and its reply is lost")
            case Fault.CANCEL:

                async def cut_off() -> T:
                    return await call()

                await Cut(1)(cut_off())
                raise self._failed(name, "was cancelled on its way")
            case Fault.DELAY:
                answer = await call()
                await sleep(self.delay)
                return answer
            case _:
                return await call()

    def _failed(self, call: str, how: str) -> BackendUnavailable:
        self.failures += 1
        return BackendUnavailable(f"{call} {how}, as it was told to")


class _FaultyFeed(Feed):
    """Tell what a feed tells, as faulty as it is told to be."""

    __slots__ = ("_backend", "_late", "unfollow")

    def __init__(self, backend: FaultyBackend, tell: Tell) -> None:
        super().__init__(tell)
        self.unfollow: Unfollow | None = None
        self._backend = backend
        self._late: list[FeedItem] = []

    def tell(self, item: FeedItem) -> None:
        match self._backend.faults("feed"):
            case Fault.DELAY:
                self._late.append(item)
                return
            case Fault.DROP:
                return
            case Fault.REPEAT:
                items = [item, item]
            case Fault.INTERRUPT:
                items = [Interrupted()]
            case _:
                items = [item]
        items += self._late
        self._late.clear()
        for each in items:
            super().tell(each)

    def interrupt(self) -> None:
        super().tell(Interrupted())
