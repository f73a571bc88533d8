"""Drive core's follower machines: one for each stream that somebody in this process waits for.

A follower lives as long as it has subscriptions: the last that leaves ends it, and one that was
forgotten without being closed counts no more once it is garbage.
"""

from __future__ import annotations

import logging
import random
from typing import Final
from weakref import WeakSet

from anyio import CancelScope, CapacityLimiter, create_task_group, current_time, sleep
from anyio.abc import TaskGroup

from resumable_core import (
    PAGE_EVENTS,
    BackendError,
    BackendUnavailable,
    Event,
    Follower,
    FollowerLimits,
    Page,
    ResumableError,
    Sentinel,
)

from ._wakeup import Wakeup
from .abc import Backend, Feed

logger: Final = logging.getLogger("resumable_io")

RETRY: Final = 1.0
"""Seconds before a feed that could not be had is asked for again."""

CONCURRENT_READS: Final = 32
"""Pages read from the store at once: ten thousand returning consumers are served in turn."""


class StreamsClosed(ResumableError):
    """Say that this process shuts down: the stream lives on, resume it in another."""


class FollowerDriver:
    """Follow one stream, and wake those who wait for it."""

    def __init__(self, hub: Followers, stream_id: str, limits: FollowerLimits) -> None:
        self.machine: Follower = Follower(limits, current_time())
        self.changed: Wakeup = Wakeup()
        """Wakes consumers: there may be something to see."""
        self.subscriptions: WeakSet[object] = WeakSet()
        self.scope: CancelScope = CancelScope()
        self.ended: bool = False
        """Whether nobody will be woken by this follower any more."""
        self._hub = hub
        self._stream_id = stream_id
        self._work = Wakeup()
        self._error: BackendError | None = None

    def doubt(self) -> None:
        """Have the store asked until it answers, since it did not answer a consumer."""
        self.machine.doubted(current_time())
        self._work.wake()

    def awaited(self, after: int) -> None:
        """Say that a consumer waits for what comes after a seq."""
        self.machine.awaited(after, current_time())
        self._work.wake_by(self.machine.deadline)

    def check(self) -> None:
        """Raise `BackendUnavailable` when nothing is to be waited for any more."""
        if self.machine.given_up:
            raise BackendUnavailable("the store did not answer for too long") from self._error

    async def run(self) -> None:
        """Follow until there is no subscription left."""
        with self.scope:
            while self.subscriptions:
                try:
                    async with create_task_group() as tasks:
                        tasks.start_soon(self._listen)
                        await self._fetch()
                        tasks.cancel_scope.cancel()
                except Exception:
                    logger.exception("following stream %r broke down", self._stream_id)
                    await sleep(RETRY)
                else:
                    return

    async def _listen(self) -> None:
        while True:
            try:
                async with self._hub.backend.follow(self._stream_id, events=True) as feed:
                    self.machine.subscribed(current_time())
                    self._work.wake()
                    await self._receive(feed)
            except BackendError as error:
                self._error = error
                await sleep(RETRY)

    async def _receive(self, feed: Feed) -> None:
        while True:
            items = await feed.receive()
            version, now = self.machine.version, current_time()
            for item in items:
                self.machine.received(item, now)
            self._work.wake_by(self.machine.deadline)
            if self.machine.version != version:
                self.changed.wake()

    async def _fetch(self) -> None:
        machine = self.machine
        while self.subscriptions:
            version = machine.version
            fetch = machine.next_fetch(current_time())
            if machine.version != version:
                self.changed.wake()
            if fetch is None:
                await self._work.wait(machine.deadline)
                continue
            version = machine.version
            try:
                page = await self._hub.read(self._stream_id, fetch.after, fetch.connected_for)
            except StreamsClosed:
                return
            except BackendError as error:
                self._error = error
                machine.fetch_failed(current_time(), random.random())
            except BaseException:
                machine.fetch_failed(current_time(), random.random())
                raise
            else:
                machine.fetched(page, current_time())
            if machine.version != version:
                self.changed.wake()


class Followers:
    """Hold the followers of a process, and do its reading."""

    def __init__(self, backend: Backend, limits: FollowerLimits, tasks: TaskGroup) -> None:
        self.backend = backend
        self._limits = limits
        self._tasks = tasks
        self._drivers: dict[str, FollowerDriver] = {}
        self._readers = CapacityLimiter(CONCURRENT_READS)
        self._closed = False

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

    async def read(self, stream_id: str, after: int, connected_for: float | None = None) -> Page:
        """Read a page from the store, in turn; see `Backend.read`. Raises `StreamsClosed`."""
        self._check_open()
        if connected_for is None:
            connected_for = current_time() - self.backend.connected_since
        async with self._readers:
            return await self.backend.read(
                stream_id, after, PAGE_EVENTS, connected_for=connected_for
            )

    def attach(self, stream_id: str, subscription: object) -> FollowerDriver:
        """Return the follower of a stream for `subscription`; start it when it is the first.

        Raises `StreamsClosed`.
        """
        self._check_open()
        driver = self._drivers.get(stream_id)
        if driver is None:
            driver = self._drivers[stream_id] = FollowerDriver(self, stream_id, self._limits)
            self._tasks.start_soon(self._run, stream_id, driver)
        driver.subscriptions.add(subscription)
        return driver

    def detach(self, stream_id: str, driver: FollowerDriver, subscription: object) -> None:
        """Let `subscription` go; the last one ends the follower."""
        driver.subscriptions.discard(subscription)
        if not driver.subscriptions:
            driver.scope.cancel()
            self._forget(stream_id, driver)

    def abandoned(self, stream_id: str, sentinel: Sentinel, kept: tuple[Event, ...]) -> None:
        """Tell who follows a stream that its producer, in this process, has given it up."""
        driver = self._drivers.get(stream_id)
        if driver is not None:
            driver.machine.abandoned(sentinel, kept)
            driver.changed.wake()

    async def _run(self, stream_id: str, driver: FollowerDriver) -> None:
        try:
            await driver.run()
        finally:
            self._forget(stream_id, driver)
            driver.ended = True
            driver.changed.wake()

    def close(self) -> None:
        """Let nobody read any more; those who wait are told."""
        self._closed = True
        for driver in self._drivers.values():
            driver.ended = True
            driver.changed.wake()

    def _check_open(self) -> None:
        if self._closed:
            raise StreamsClosed("this process shuts down: resume the stream in another one")

    def _forget(self, stream_id: str, driver: FollowerDriver) -> None:
        if self._drivers.get(stream_id) is driver:
            del self._drivers[stream_id]
