"""A wake-up call: wait until something may have changed, or until a deadline."""

from __future__ import annotations

import math

from anyio import CancelScope, Event


class Wakeup:
    """Let tasks wait for the next call of `wake`.

    Look at the state, then `wait` without awaiting anything between: no wake-up is missed.
    """

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event: Event | None = None

    def wake(self) -> None:
        """Wake every task that waits now."""
        if self._event is not None:
            self._event.set()
            self._event = None

    async def wait(self, until: float | None = None) -> None:
        """Return at the next `wake`, or at `until`, in seconds of the event loop's clock."""
        if self._event is None:
            self._event = Event()
        event = self._event
        if until is None or math.isinf(until):
            await event.wait()
        else:
            with CancelScope(deadline=until):
                await event.wait()
