"""Cancel a call at each of its awaits: at the first, then, in a new world, at the second, etc.

An await is where a coroutine suspends, which is where it can be cancelled. `Cut` drives the call as
the event loop does, counts these moments, and cancels the scope around it while it is suspended at
the one it was told. That is the coroutine protocol alone, so it is the same on asyncio and trio.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Final, TypeVar

from anyio import CancelScope

T = TypeVar("T")

MOST_AWAITS: Final = 1000
"""Awaits of one call that are tried, unless told otherwise."""


class Cut:
    """Cancel one call at its suspension number `step`; 0 is before it begins."""

    def __init__(self, step: int) -> None:
        self.step: int = step
        self.reached: bool = False
        """Whether the call got that far."""
        self.cancelled: bool = False
        """Whether a call ended by that; it may also have completed, since it was nearly through."""

    async def __call__(self, call: Coroutine[Any, Any, T]) -> T | None:
        """Return what the call returns, or None when it was cancelled."""
        result = None
        with CancelScope() as scope:
            if self.step == 0:
                self._cancel(scope)
            result = await _Stepped(call, self.step, lambda: self._cancel(scope))
        self.cancelled |= scope.cancelled_caught
        return result

    def _cancel(self, scope: CancelScope) -> None:
        self.reached = True
        scope.cancel()


class _Stepped(Awaitable[Any]):
    def __init__(
        self, call: Coroutine[Any, Any, Any], step: int, at_step: Callable[[], None]
    ) -> None:
        self._call = call
        self._step = step
        self._at_step = at_step

    def __await__(self) -> Generator[Any, Any, Any]:
        go_on: Callable[[Any], Any] = self._call.send
        value: Any = None
        count = 0
        while True:
            try:
                suspended = go_on(value)
            except StopIteration as stop:
                return stop.value
            count += 1
            if count == self._step:
                self._at_step()
            try:
                value = yield suspended
                go_on = self._call.send
            except BaseException as error:  # noqa: BLE001 - the call is to decide about it
                value = error
                go_on = self._call.throw


async def at_each_await(play: Callable[[Cut], Awaitable[None]], *, most: int = MOST_AWAITS) -> int:
    """Play a scene again and again, each time with a call in it cut at the next of its awaits.

    Those behind the first `most` are not tried. Returns how often the call was cancelled. What the
    scene raises bears a note that says where.
    """
    cancelled = 0
    for step in range(most):
        cut = Cut(step)
        try:
            await play(cut)
        except BaseException as error:
            error.add_note(f"cut at await {step}")
            raise
        if not cut.reached:
            break
        cancelled += cut.cancelled
    return cancelled
