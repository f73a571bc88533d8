"""Streams in an SQLite file, for the processes of one host.

A change is decided in a transaction that holds the file's lock: load, `decide`, keep. One task
takes turns at writing, each in a worker thread, and what gathers during a turn is the next one: so
a commit, which waits for the disk, is shared by all who write meanwhile. What a turn has done is
told in this process at once. What other processes have done is looked for, by the same task, while
somebody follows anything here. Reads have connections of their own and wait for nobody.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, TypeAlias, TypeVar

from anyio import (
    CancelScope,
    CapacityLimiter,
    create_task_group,
    current_time,
    get_cancelled_exc_class,
    to_thread,
)

from resumable_core import (
    BackendError,
    BackendUnavailable,
    Change,
    Effect,
    EventId,
    Observe,
    Page,
    Publish,
    Sentinel,
    transition,
)
from resumable_io._feed import Feed, Feeds
from resumable_io._wakeup import Wakeup
from resumable_io.abc import Backend, Tell, Unfollow

from ._clock import Clock
from ._file import errors_of, open_file, transaction
from ._rows import COLUMNS, Row, page_after, read_row
from ._writer import Follow, Job, Writer

logger: Final = logging.getLogger("resumable_io")

T = TypeVar("T")

POLL: Final = 0.02
"""Seconds between two looks at what other processes have written, while somebody follows."""

READERS: Final = 4
"""Pages that are read at once; as many connections are kept open."""

SCAN_PAGE: Final = 100


class SQLiteBackend(Backend):
    """Keep streams in an SQLite file: they survive the process, and a power cut.

    `path`      of the file, on a local disk; it is made when there is none
    `timeout`   seconds to wait for other processes that write (5)

    The processes of one host may share the file; those of different hosts must not. What has
    expired is removed while others write. Needs nothing but the standard library.
    """

    def __init__(self, path: str | os.PathLike[str], *, timeout: float = 5.0) -> None:
        self._path = os.fspath(path)
        self._timeout = timeout
        self._clock = Clock()
        self._jobs: deque[Job] = deque()
        self._feeds = Feeds()
        self._work = Wakeup()
        self._writing = CapacityLimiter(1)
        self._reading = CapacityLimiter(READERS)
        self._idle: list[sqlite3.Connection] = []
        self._is_open = False
        self._stack: AsyncExitStack
        self._writer: Writer

    async def __aenter__(self) -> Self:
        """Open the file.

        Raises `BackendError` when it cannot be written or is not ours, and `BackendUnavailable`
        when it stays locked by somebody else who makes it.
        """
        self._stack = AsyncExitStack()
        try:
            self._writer = await to_thread.run_sync(
                Writer, self._path, self._timeout, self._clock, limiter=self._writing
            )
            self._stack.push_async_callback(self._close)
            self._is_open = True
            tasks = await self._stack.enter_async_context(create_task_group())
            self._stack.callback(tasks.cancel_scope.cancel)
            tasks.start_soon(self._take_turns)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file. Streams stay as they are."""
        # An exception that is not the task group's own would come back in a group.
        if isinstance(exc, get_cancelled_exc_class()):
            await self._stack.__aexit__(exc_type, exc, traceback)
        else:
            await self._stack.aclose()

    async def _close(self) -> None:
        self._is_open = False
        while self._jobs:
            self._jobs.popleft().fail(None)
        with CancelScope(shield=True):
            await to_thread.run_sync(self._close_file, limiter=self._writing)

    def _check_open(self) -> None:
        if not self._is_open:
            raise BackendUnavailable(f"{self._path} is not open: its backend was left")

    def _close_file(self) -> None:
        self._writer.close()
        while self._idle:
            self._idle.pop().close()

    @property
    def may_forget(self) -> bool:
        """Return False: what was acknowledged is on the disk."""
        return False

    @property
    def connected_since(self) -> float:
        """Return when the clock jumped last, or the file was locked; see `Backend`."""
        return current_time() - self._clock.watching_for

    async def apply(self, stream_id: str, change: Change) -> Sentinel:
        """Carry out one change and return the sentinel after it; see `Backend.apply`.

        A call that is cancelled while its turn is under way may have been carried out.
        """
        return (await self._ask_for(Job(stream_id, change))).sentinel

    async def publish(self, log_id: str, change: Publish) -> Sequence[EventId]:
        """Append to a channel and return the ids; see `Backend.publish`.

        A call that is cancelled while its turn is under way may have been carried out.
        """
        return (await self._ask_for(Job(log_id, change))).ids

    async def read(self, stream_id: str, after: int, limit: int, *, connected_for: float) -> Page:
        """Return the sentinel and the events after `after`; see `Backend.read`."""
        while True:
            page = await self._ask(lambda db: page_after(db, stream_id, after, limit))
            now = self._clock.now()
            observe = Observe(min(connected_for, self._clock.watching_for))
            if transition(page.sentinel, observe, now) is page.sentinel:
                return page
            await self.apply(stream_id, observe)

    async def follow(self, stream_id: str, tell: Tell, *, events: bool) -> Unfollow:
        """Have what happens to a stream told; see `Backend.follow`.

        What other processes do is told a fiftieth of a second later at most.
        """
        feed = self._feeds.add(stream_id, tell, events=events)
        try:
            await self._ask_for(Job(stream_id, Follow.BEGIN))
        except BaseException:
            self._unfollow(stream_id, feed)
            raise
        return partial(self._unfollow, stream_id, feed)

    def _unfollow(self, stream_id: str, feed: Feed) -> None:
        followed = stream_id in self._feeds
        self._feeds.discard(stream_id, feed)
        if followed and stream_id not in self._feeds:
            self._jobs.append(Job(stream_id, Follow.END))

    def scan(self) -> AsyncIterator[tuple[str, Sentinel]]:
        """Yield the id and the sentinel of every known stream; see `Backend.scan`."""
        return _Scan(self._known_after)

    # Writing

    async def _ask_for(self, job: Job) -> Effect:
        self._check_open()
        self._jobs.append(job)
        self._work.wake()
        try:
            await job.done.wait()
        except BaseException:
            if job in self._jobs:
                self._jobs.remove(job)
            raise
        if isinstance(job.answer, Exception):
            raise job.answer
        return job.answer

    async def _take_turns(self) -> None:
        while True:
            if not self._jobs:
                await self._work.wait(current_time() + POLL if self._feeds else None)
            jobs = tuple(self._jobs)
            self._jobs.clear()
            try:
                news = await to_thread.run_sync(self._writer.turn, jobs, limiter=self._writing)
            except BaseException as error:
                for job in jobs:
                    job.fail(error)
                if not isinstance(error, Exception):
                    raise
            else:
                for stream_id, item in news:
                    self._feeds.tell(stream_id, item)
                for job in jobs:
                    job.done.set()

    # Reading

    async def _ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        self._check_open()
        return await to_thread.run_sync(self._answer, question, limiter=self._reading)

    def _answer(self, question: Callable[[sqlite3.Connection], T]) -> T:
        with errors_of(self._path):
            place = self._writer.place
            place.check()
            db = self._idle.pop() if self._idle else open_file(place.path, self._timeout)
            try:
                with transaction(db, "DEFERRED"):
                    answer = question(db)
            except BaseException:
                db.close()  # something may hold it at what it has read
                raise
            if self._is_open:
                self._idle.append(db)
            else:
                db.close()
            return answer

    async def _known_after(self, key: int) -> Sequence[tuple[int, Row | None]]:
        now = self._clock.now()
        query = (
            f"SELECT {COLUMNS} FROM stream WHERE key > ? AND expires_at > ? ORDER BY key LIMIT ?"  # noqa: S608
        )

        def rows(db: sqlite3.Connection) -> Sequence[tuple[int, Row | None]]:
            found = db.execute(query, (key, now, SCAN_PAGE)).fetchall()
            return [(each[1], _readable(each)) for each in found]

        return await self._ask(rows)


def _readable(found: tuple[Any, ...]) -> Row | None:
    try:
        return read_row(found)
    except BackendError as error:
        logger.warning("a scan passes over a stream: %s", error)
        return None


class _Scan:
    """Iterate over streams. No generator, since a scan that is left early is closed by nobody."""

    def __init__(self, page_after: _PageAfter) -> None:
        self._page_after = page_after
        self._found: deque[tuple[int, Row | None]] = deque()
        self._last = 0
        """Comes before all keys."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[str, Sentinel]:
        while True:
            while self._found:
                _, row = self._found.popleft()
                if row is not None and row.sentinel.known:
                    return row.stream_id, row.sentinel
            self._found.extend(await self._page_after(self._last))
            if not self._found:
                raise StopAsyncIteration
            self._last, _ = self._found[-1]


_PageAfter: TypeAlias = Callable[[int], Awaitable[Sequence[tuple[int, Row | None]]]]
