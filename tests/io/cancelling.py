"""Cancel a call at each of its awaits: at the first, then, in a new world, at the second, …

An await is where a coroutine suspends, which is where it can be cancelled. `Cut` drives the call as
the event loop does, counts these moments, and cancels the scope around it while it is suspended at
the one it was told. That is the coroutine protocol alone, so it is the same on asyncio and trio.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

from anyio import CancelScope, fail_after

PATIENCE = 3600
"""Seconds of virtual time after which a call counts as hanging."""


class Cut:
    """Cancel one call at its suspension number `step`; 0 is before it begins."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.reached = False
        """Whether the call got that far."""
        self.cancelled = False
        """Whether it ended by that; it may as well have completed, since it was nearly through."""

    async def __call__(self, call: Coroutine[Any, Any, Any]) -> Any:
        """Return what the call returns, or None when it was cancelled."""
        result = None
        with fail_after(PATIENCE), CancelScope() as scope:
            if self.step == 0:
                self._cancel(scope)
            result = await _Stepped(call, self.step, lambda: self._cancel(scope))
        self.cancelled = scope.cancelled_caught
        return result

    def _cancel(self, scope: CancelScope) -> None:
        self.reached = True
        scope.cancel()


class _Stepped(Awaitable[Any]):
    def __init__(self, call: Coroutine[Any, Any, Any], step: int, at_step: Callable[[], None]):
        self._call = call
        self._step = step
        self._at_step = at_step

    def __await__(self) -> Generator[Any, Any, Any]:
        go_on, value, count = self._call.send, None, 0
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


def at_each_await(*, at_least: int):
    """Run an async test for each await of the call that it cuts: `async def test(cut)`.

    `at_least` is how many there are: with fewer the test would not test anything.
    """

    def decorate(test):
        @functools.wraps(test)
        async def at_each(**kwargs):
            step, cancelled = 0, 0
            while True:
                cut = Cut(step)
                try:
                    await test(cut=cut, **kwargs)
                except BaseException as error:
                    error.add_note(f"cut at await {step}")
                    raise
                if not cut.reached:
                    break
                cancelled += cut.cancelled
                step += 1
            assert cancelled >= at_least, f"it was cancelled at {cancelled} awaits only"

        parameters = inspect.signature(test).parameters.values()
        at_each.__signature__ = inspect.Signature(
            [each for each in parameters if each.name != "cut"]
        )
        return at_each

    return decorate
