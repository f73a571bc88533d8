"""The producers of a process: streams are claimed, then produced in tasks of their own."""

from __future__ import annotations

import math

from anyio import CancelScope, CapacityLimiter
from anyio.abc import TaskGroup

from resumable_core import StreamError

from ._followers import LEFT, Followers, StreamsClosed
from ._producer import ProducerDriver
from ._shutdown import Shutdown
from ._sources import Source


class Producers:
    """Hold the producers that run, and those whose claim is under way.

    `threads` is for sources that may block; `shutdown` knows when there is hurry.
    """

    def __init__(
        self,
        followers: Followers,
        shutdown: Shutdown,
        tasks: TaskGroup,
        threads: CapacityLimiter,
    ) -> None:
        self._followers = followers
        self._shutdown = shutdown
        self._tasks = tasks
        self._threads = threads
        self._claiming: dict[ProducerDriver, CancelScope] = {}
        self._running: set[ProducerDriver] = set()
        self._produced = followers.reads.produced
        self._closed = False

    def __len__(self) -> int:
        """Return the number of producers that run."""
        return len(self._running)

    async def begin(self, driver: ProducerDriver, source: Source | None) -> None:
        """Claim a stream and have it produced; see `ProducerDriver.claim` for what that raises.

        Raises `StreamsClosed`, too. A claim that nobody waits for any more, also since this was
        cancelled, is taken back in the background.
        """
        try:
            with CancelScope() as self._claiming[driver]:
                await driver.claim()
            self._check_open()  # it may have been closed meanwhile
        except StreamError:
            raise
        except BaseException:
            if not self._closed:
                self._tasks.start_soon(driver.give_up)
            raise
        finally:
            del self._claiming[driver]
        self._running.add(driver)
        self._produced[driver.stream_id] += 1
        self._tasks.start_soon(self._run, driver, source)

    async def finished(self) -> None:
        """Wait until all that run now have ended."""
        for driver in tuple(self._running):
            await driver.finished()

    def close(self) -> None:
        """Claim nothing any more, and take back what is being claimed."""
        self._closed = True
        for driver, scope in self._claiming.items():
            scope.cancel()
            self._tasks.start_soon(driver.give_up)

    def left(self) -> None:
        """Let go of those whose task was cancelled before it began, as at a runner's end."""
        for driver in self._running:
            driver.left()

    def _check_open(self) -> None:
        if self._closed:
            raise StreamsClosed(LEFT)

    async def _run(self, driver: ProducerDriver, source: Source | None) -> None:
        try:
            with self._shutdown.grace(math.inf):
                await driver.run(source, self._threads)
        finally:
            self._running.discard(driver)
            self._produced[driver.stream_id] -= 1
            if not self._produced[driver.stream_id]:
                del self._produced[driver.stream_id]
            if driver.abandoned is not None:
                self._followers.abandoned(driver.stream_id, *driver.abandoned)
