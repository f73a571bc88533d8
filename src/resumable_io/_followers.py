"""Drive core's follower machines: one for each stream that somebody in this process waits for.

A follower lives as long as it has subscriptions: the last that leaves ends it, and one that was
forgotten without being closed counts no more once it is garbage. It has no task of its own: its
feed calls it, to follow and to read are tasks for as long as they last, and one clock for all says
when a read is due. So ten thousand that have nothing to do cost little.
"""

from __future__ import annotations

import logging
import math
import random
from heapq import heapify, heappop, heappush
from typing import Final
from weakref import ref

from anyio import CancelScope, current_time, sleep
from anyio.abc import TaskGroup

from resumable_core import (
    PAGE_EVENTS,
    BackendError,
    BackendUnavailable,
    Event,
    FeedItem,
    Fetch,
    Follower,
    FollowerLimits,
    Interrupted,
    Page,
    ResumableError,
    Sentinel,
)

from ._reads import Reads
from ._wakeup import Wakeup
from .abc import Backend, Unfollow

logger: Final = logging.getLogger("resumable_io")

RETRY: Final = 1.0
"""Seconds before a feed that could not be had is asked for again."""


LEFT: Final = "these Streams were left: their process shuts down"


class StreamsClosed(ResumableError):
    """Say that this process shuts down: the stream lives on, resume it in another."""


class FollowerDriver:
    """Follow one stream, and wake those who wait for it."""

    __slots__ = (
        "_error",
        "_following",
        "_hub",
        "_reading",
        "_stream_id",
        "_unfollow",
        "_woken_for",
        "called_at",
        "changed",
        "ended",
        "machine",
        "subscriptions",
    )

    def __init__(self, hub: Followers, stream_id: str, limits: FollowerLimits) -> None:
        self.machine: Follower = Follower(limits, current_time())
        self.changed: Wakeup = Wakeup()
        """Wakes consumers: there may be something to see."""
        self.subscriptions: set[ref[object]] = set()
        self.called_at: float = math.inf
        """When the hub's clock will call `go_on`."""
        self.ended: bool = False
        """Whether nobody will be woken by this follower any more."""
        self._hub = hub
        self._stream_id = stream_id
        self._following: CancelScope | None = None
        self._reading: CancelScope | None = None
        self._unfollow: Unfollow | None = None
        self._woken_for = 0  # the version that consumers were woken for
        self._error: BackendError | None = None

    def doubt(self) -> None:
        """Have the store asked until it answers, since it did not answer a consumer."""
        self.machine.doubted(current_time())
        self.go_on()

    def awaited(self, after: int) -> None:
        """Say that a consumer waits for what comes after a seq."""
        self.machine.awaited(after, current_time())
        self.go_on()

    def check(self) -> None:
        """Raise `BackendError` when nothing is to be waited for any more."""
        if not self.machine.given_up:
            return
        error = self._error
        if error is not None and not error.may_pass:
            raise BackendError(str(error)) from error
        why = "" if error is None else f": {error}"
        raise BackendUnavailable(f"the store did not answer for too long{why}") from error

    def go_on(self) -> None:
        """Do what the machine asks for, and wake those who wait when there is news."""
        if self.ended:
            return
        if not self.subscriptions:
            self._hub.end(self._stream_id, self)
            return
        machine = self.machine
        if machine.deadline < self.called_at:
            fetch = machine.next_fetch(current_time())
            if fetch is not None:
                self._hub.tasks.start_soon(self._fetch, fetch)
            elif machine.deadline < self.called_at:
                self.called_at = machine.deadline
                self._hub.call(self._stream_id, self.called_at)
        if machine.version != self._woken_for:
            self._woken_for = machine.version
            self.changed.wake()

    def end(self) -> None:
        """Follow no more."""
        self.ended = True
        self.changed.wake()
        for scope in (self._following, self._reading):
            if scope is not None:
                scope.cancel()
        if self._unfollow is not None:
            self._unfollow()

    async def follow(self) -> None:
        """Have the feed call this follower until it ends."""
        with CancelScope() as self._following:
            while not (self.ended or self._unfollow):
                try:
                    self._unfollow = await self._hub.backend.follow(
                        self._stream_id, self._tell, events=True
                    )
                except BackendError as error:
                    self._failed(error)
                    self.go_on()
                    await sleep(RETRY)
                except Exception:
                    logger.exception("following stream %r broke down", self._stream_id)
                    await sleep(RETRY)
        self._following = None
        if self.ended:
            self.end()
        else:
            self._tell(Interrupted())  # what happened before, only the store can tell

    def _tell(self, item: FeedItem) -> None:
        self.machine.received(item, current_time())
        self.go_on()

    def _failed(self, error: BackendError) -> None:
        self._error = error
        self.machine.refused(error)

    async def _fetch(self, fetch: Fetch) -> None:
        self._reading = CancelScope()
        with self._reading:
            try:
                page = await self._hub.reads.read_alone(
                    self._stream_id, fetch.after, PAGE_EVENTS, connected_for=fetch.connected_for
                )
            except Exception as error:
                self.machine.fetch_failed(current_time(), random.random())
                if isinstance(error, BackendError):
                    self._failed(error)
                else:
                    logger.exception("reading stream %r broke down", self._stream_id)
            else:
                self._error = None
                self.machine.fetched(page, current_time())
            self._reading = None
            self.go_on()


class Followers:
    """Hold the followers of a process."""

    def __init__(self, backend: Backend, limits: FollowerLimits, tasks: TaskGroup) -> None:
        self.backend = backend
        self.reads: Reads = Reads(backend)
        self.tasks = tasks
        self._limits = limits
        self._drivers: dict[str, FollowerDriver] = {}
        self._calls: list[tuple[float, str]] = []  # a heap; of one stream, the earliest counts
        self._earlier = Wakeup()
        self._closed = False
        tasks.start_soon(self._keep_time)

    def __len__(self) -> int:
        """Return the number of streams that are followed."""
        return len(self._drivers)

    @property
    def subscriptions(self) -> int:
        """Return the number of subscriptions that wait, or have waited, for something new."""
        return sum(len(driver.subscriptions) for driver in self._drivers.values())

    def subscriptions_of(self, stream_id: str) -> int:
        """Return how many of them one stream has."""
        driver = self._drivers.get(stream_id)
        return 0 if driver is None else len(driver.subscriptions)

    async def read(self, stream_id: str, after: int, limit: int = PAGE_EVENTS) -> Page:
        """Return a page of the store; see `Reads.read`. Raises `StreamsClosed`, too."""
        self._check_open()
        return await self.reads.read(stream_id, after, limit)

    def attach(self, stream_id: str, subscription: object) -> FollowerDriver:
        """Return the follower of a stream for `subscription`; start it when it is the first.

        Raises `StreamsClosed`.
        """
        self._check_open()
        driver = self._drivers.get(stream_id)
        if driver is None:
            driver = self._drivers[stream_id] = FollowerDriver(self, stream_id, self._limits)
            self.tasks.start_soon(driver.follow)
        driver.subscriptions.add(ref(subscription, driver.subscriptions.discard))
        driver.go_on()
        return driver

    def detach(self, stream_id: str, driver: FollowerDriver, subscription: object) -> None:
        """Let `subscription` go; the last one ends the follower."""
        driver.subscriptions.discard(ref(subscription))
        if not driver.subscriptions:
            self.end(stream_id, driver)

    def end(self, stream_id: str, driver: FollowerDriver) -> None:
        """Follow a stream no more."""
        driver.end()
        if self._drivers.get(stream_id) is driver:
            del self._drivers[stream_id]

    def abandoned(self, stream_id: str, sentinel: Sentinel, kept: tuple[Event, ...]) -> None:
        """Tell who follows a stream that its producer, in this process, has given it up."""
        driver = self._drivers.get(stream_id)
        if driver is not None:
            driver.machine.abandoned(sentinel, kept)
            driver.go_on()

    def call(self, stream_id: str, at: float) -> None:
        """Have the follower of a stream go on at a time."""
        if len(self._calls) > 2 * len(self._drivers) + 64:  # most are for those that have ended
            self._calls = [(each.called_at, name) for name, each in self._drivers.items()]
            heapify(self._calls)
        heappush(self._calls, (at, stream_id))
        self._earlier.wake_by(at)

    def close(self) -> None:
        """Let nobody read any more; those who wait are told."""
        self._closed = True
        for driver in self._drivers.values():
            driver.end()

    async def _keep_time(self) -> None:
        while True:
            while self._calls and self._calls[0][0] <= current_time():
                at, stream_id = heappop(self._calls)
                driver = self._drivers.get(stream_id)
                if driver is not None and driver.called_at == at:
                    driver.called_at = math.inf
                    driver.go_on()
            await self._earlier.wait(self._calls[0][0] if self._calls else None)

    def _check_open(self) -> None:
        if self._closed:
            raise StreamsClosed("this process shuts down: resume the stream in another one")
