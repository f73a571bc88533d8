"""Read pages from the store: a few at once, and once for all who wait for the same page.

Consumers who come back together, as after a deployment, ask for the same pages. A read serves
everybody who asked before it began, and nobody else: what was written before somebody asked is in
the answer. So while one read of a page is under way, one more is about to begin at most.
"""

from __future__ import annotations

from collections import Counter
from typing import Final, TypeAlias

from anyio import Semaphore, current_time

from resumable_core import Page

from ._wakeup import Wakeup
from .abc import Backend

CONCURRENT_READS: Final = 32
"""Pages read from the store at once: ten thousand returning consumers are served in turn."""

_Place: TypeAlias = tuple[str, int, int]


class Reads:
    """Do the reading of a process."""

    def __init__(self, backend: Backend) -> None:
        self.produced: Counter[str] = Counter()
        """The streams that this process produces: how many of its producers hold each."""
        self._backend = backend
        self._slots = Semaphore(CONCURRENT_READS, fast_acquire=True)
        self._newest: dict[_Place, _Read] = {}

    def watched_for(self, stream_id: str) -> float:
        """Return for how long the store has been watched by whoever judges a stream's producer.

        Nobody in a process judges its own: when they are late, an event loop that was blocked, or a
        process that was stopped, has kept them from renewing their leases.
        """
        if self.produced[stream_id]:
            return 0.0
        return current_time() - self._backend.connected_since

    async def read(self, stream_id: str, after: int, limit: int) -> Page:
        """Return the page of at most `limit` events after a seq; see `Backend.read`."""
        place = (stream_id, after, limit)
        while (read := self._newest.get(place)) is not None and not read.begun:
            await read.finished()
            if read.error is not None:
                raise read.error.with_traceback(None)
            if read.page is not None:
                return read.page
        before, read = read, _Read()
        self._newest[place] = read
        try:
            if before is not None:
                await before.finished()
            async with self._slots:
                read.begun = True
                page = await self._backend.read(
                    stream_id, after, limit, connected_for=self.watched_for(stream_id)
                )
        except Exception as error:
            read.error = error
            raise
        else:
            read.page = page
            return page
        finally:
            if self._newest.get(place) is read:
                del self._newest[place]
            read.end()

    async def read_alone(
        self, stream_id: str, after: int, limit: int, *, connected_for: float
    ) -> Page:
        """Return a page that nobody else gets, since `connected_for` is the caller's own."""
        async with self._slots:
            connected_for = min(connected_for, self.watched_for(stream_id))
            return await self._backend.read(stream_id, after, limit, connected_for=connected_for)


class _Read:
    """One read, and who waits for it. Without a page and an error, its reader was cancelled."""

    __slots__ = ("_ended", "_woken", "begun", "error", "page")

    def __init__(self) -> None:
        self.begun = False
        self.page: Page | None = None
        self.error: Exception | None = None
        self._ended = False
        self._woken = Wakeup()

    async def finished(self) -> None:
        while not self._ended:
            await self._woken.wait()

    def end(self) -> None:
        self._ended = True
        self._woken.wake()
