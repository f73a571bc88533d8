"""A wake-up call: wait until something may have changed, or until a deadline."""

from __future__ import annotations

import math
from collections.abc import Awaitable

from anyio import CancelScope, Semaphore


class Wakeup:
    """Let tasks wait for the next call of `wake`.

    Look at the state, then `wait` without awaiting anything between: no wake-up is missed.
    """

    __slots__ = ("_calls", "_permits", "_sleepers", "_until")

    def __init__(self) -> None:
        self._permits: Semaphore | None = None  # one for each sleeper that was called
        self._calls = 0
        self._sleepers = 0  # that were not called yet
        self._until = math.inf  # the latest deadline of those who wait

    def wake(self) -> None:
        """Wake every task that waits now."""
        if self._permits is not None and self._sleepers:
            sleepers, self._sleepers = self._sleepers, 0
            self._calls += 1
            for _ in range(sleepers):
                self._permits.release()

    def wake_by(self, deadline: float | None) -> None:
        """Wake every task that waits now, if one of them would sleep beyond `deadline`."""
        if deadline is not None and deadline < self._until:
            self.wake()

    def wait(self, until: float | None = None) -> Awaitable[None]:
        """Wait for the next `wake`, or for `until`, in seconds of the event loop's clock."""
        if until is None:
            until = math.inf
        if not self._sleepers or until > self._until:
            self._until = until
        return self._wait() if until == math.inf else self._wait_until(until)

    async def _wait(self) -> None:
        if self._permits is None:
            self._permits = Semaphore(0, fast_acquire=True)
        calls = self._calls
        self._sleepers += 1
        try:
            await self._permits.acquire()
        finally:
            if calls == self._calls:
                self._sleepers -= 1

    async def _wait_until(self, deadline: float) -> None:
        with CancelScope(deadline=deadline):
            await self._wait()
