"""A wake-up call: wait until something may have changed, or until a deadline."""

from __future__ import annotations

import math
from collections.abc import Awaitable

from anyio import CancelScope, Event


class Wakeup:
    """Let tasks wait for the next call of `wake`.

    Look at the state, then `wait` without awaiting anything between: no wake-up is missed.
    """

    __slots__ = ("_event", "_until")

    def __init__(self) -> None:
        self._event: Event | None = None
        self._until = math.inf  # the latest deadline of those who wait

    def wake(self) -> None:
        """Wake every task that waits now."""
        if self._event is not None:
            self._event.set()
            self._event = None

    def wake_by(self, deadline: float | None) -> None:
        """Wake every task that waits now, if one of them would sleep beyond `deadline`."""
        if deadline is not None and deadline < self._until:
            self.wake()

    def wait(self, until: float | None = None) -> Awaitable[None]:
        """Wait for the next `wake`, or for `until`, in seconds of the event loop's clock."""
        if until is None:
            until = math.inf
        if self._event is None:
            self._event = Event()
            self._until = until
        elif until > self._until:
            self._until = until
        return self._event.wait() if until == math.inf else _wait_until(self._event, until)


async def _wait_until(event: Event, deadline: float) -> None:
    with CancelScope(deadline=deadline):
        await event.wait()
