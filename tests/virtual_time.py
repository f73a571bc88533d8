"""Virtual time: a test that waits for an hour takes no time, on asyncio and on trio.

A test marked `@pytest.mark.virtual_time` runs on a clock that starts at zero and stands still while
anything can run. When everything waits, it jumps to the next deadline. On trio that is the
`MockClock` with its autojump; on asyncio it is the `VirtualTimeLoop` here.

Worker threads: while `anyio.to_thread.run_sync` is at work the clock does not jump, else it would
overtake the thread by whole hours. It may jump while such a thread waits for the event loop itself,
in `anyio.from_thread.run`. Mind the limits:

- A deadline that is to pass while a thread is blocked never comes, since the thread holds the
  clock. Tests of just that say `@pytest.mark.virtual_time(wait_for_threads=False)`.
- Nothing else in the outside world holds the clock: threads that were started in other ways or
  abandoned, sockets, subprocesses, a thread that waits for a `BlockingPortal`. Test those in real
  time.
- Both functions have to be called through their modules: `to_thread.run_sync(…)`.
- On asyncio, `anyio.testing.wait_all_tasks_blocked` sleeps a tenth of a second at a time, so it
  moves this clock; on trio it does not. Sleep instead: that, too, waits for all tasks here.
"""

import asyncio
import math
import selectors
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import trio
from anyio import from_thread, to_thread


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is virtual; it `jumps` instead of sleeping."""

    def __init__(self) -> None:
        self.now = 0.0
        self.jumps = True
        super().__init__(_JumpingSelector(self))
        self.jump(0)

    def time(self) -> float:
        return self.now

    def jump(self, seconds: float) -> None:
        self.now += seconds
        # asyncio runs what is due before now + resolution. A nanosecond, as it has, would be
        # rounded away after half a year, and what is due now would never run.
        self._clock_resolution = math.ulp(self.now)


class _JumpingSelector(selectors.DefaultSelector):
    """Called with a timeout when the loop has nothing to run until then; with None, at all."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self.loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        if not self.loop.jumps:
            return super().select(None)  # the thread will wake the loop up
        ready = super().select(0)
        if not ready:
            self.loop.jump(timeout)
        return ready


@contextmanager
def threads_hold_the_clock() -> Iterator[None]:
    """Make the virtual clock wait for worker threads, on both event loops."""
    run_in_thread, run_in_loop = to_thread.run_sync, from_thread.run
    at_work = 0

    @contextmanager
    def threads(change: int) -> Iterator[None]:
        nonlocal at_work
        at_work += change
        _let_clock_jump(at_work == 0)
        try:
            yield
        finally:
            at_work -= change
            _let_clock_jump(at_work == 0)

    async def holding(*args: Any, **kwargs: Any) -> Any:
        with threads(+1):
            return await run_in_thread(*args, **kwargs)

    def letting_go(func: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        async def in_loop(*args: Any) -> Any:
            with threads(-1):
                return await func(*args)

        return run_in_loop(in_loop, *args, **kwargs)

    with (
        patch.object(to_thread, "run_sync", holding),
        patch.object(from_thread, "run", letting_go),
    ):
        yield


def _let_clock_jump(jumps: bool) -> None:
    if trio.lowlevel.in_trio_task():
        trio.lowlevel.current_clock().autojump_threshold = 0 if jumps else math.inf
    else:
        asyncio.get_running_loop().jumps = jumps
