"""Sources whose pace a test sets, and which tell what became of them."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator

from anyio import Event, fail_after, get_running_tasks
from anyio.lowlevel import checkpoint

from resumable_core import Record
from resumable_io import Subscription


class Script:
    """A source that yields what it is given, until it is told to end or to fail.

    As a callable: each call makes a new async generator, and `calls` counts them.
    """

    def __init__(self, *items: object, ended: bool = False) -> None:
        self.calls = 0
        """How often it was asked for a generator."""
        self.started = 0
        """How many of those have begun."""
        self.closed = 0
        """How many of those are over, however they ended."""
        self._items = deque(items)
        self._ended = ended
        self._error: BaseException | None = None
        self._news = Event()

    def put(self, *items: object) -> None:
        self._items.extend(items)
        self._news.set()

    def end(self) -> None:
        self._ended = True
        self._news.set()

    def fail(self, error: BaseException) -> None:
        self._error = error
        self._news.set()

    def __call__(self) -> AsyncGenerator[object, None]:
        self.calls += 1
        return self._run()

    async def _run(self) -> AsyncGenerator[object, None]:
        self.started += 1
        try:
            while True:
                while self._items:
                    yield self._items.popleft()
                if self._error is not None:
                    raise self._error
                if self._ended:
                    return
                self._news = Event()
                await self._news.wait()
        finally:
            self.closed += 1


async def until(condition) -> None:
    """Let other tasks run until `condition()` holds. Not in virtual time, which stands still."""
    with fail_after(10):
        while not condition():
            await checkpoint()


async def records_of(subscription: Subscription) -> list[Record]:
    """Return all records of a subscription, to the end."""
    async with subscription:
        return [record async for record in subscription.records()]


async def data_of(subscription: Subscription) -> list[str | bytes]:
    """Return the data of all events; raises what keeps them from being the whole."""
    async with subscription:
        return [event.data async for event in subscription]


def tasks() -> int:
    """Return the number of tasks that run in this event loop."""
    return len(get_running_tasks())
