"""One turn of a process: all that has gathered is written in one transaction, and told.

Turns are taken in a worker thread, one at a time. A turn holds the lock of the file, so nobody else
writes between what is read in it and what is written: load, `decide`, keep. What other processes
have written is told first, then what this turn does; so every feed hears things in their order.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from functools import partial
from typing import Any, Final, TypeAlias

from anyio import Event

from resumable_core import (
    ABSENT,
    Appended,
    BackendError,
    BackendUnavailable,
    Change,
    Changed,
    Claim,
    Effect,
    Expire,
    FeedItem,
    Interrupted,
    Observe,
    Sentinel,
    decide,
    is_told,
)

from ._clock import Clock
from ._file import Place, errors_of, open_file, transaction
from ._rows import COLUMNS, Row, batches_after, keep, load, published, read_row, remove

logger: Final = logging.getLogger("resumable_io")

SWEEP: Final = 4
"""Expired streams that a turn removes: more than it makes, and few enough to be quick."""

MOST_TOLD: Final = 256
"""Batches of other processes that are told of a stream in one turn: more are to be read."""

News: TypeAlias = tuple[str, FeedItem]
"""What is to be told, and of which stream."""


class Follow(Enum):
    """What else than a change may be asked of a turn."""

    BEGIN = auto()
    END = auto()


@dataclass(slots=True, eq=False)
class Job:
    """Hold what somebody asked for, and the answer."""

    stream_id: str
    task: Change | Follow
    done: Event = field(default_factory=Event)
    answer: Effect | Exception = Effect(ABSENT)  # noqa: RUF009 - nothing can change it

    def fail(self, error: BaseException | None) -> None:
        """Answer that its turn ended with `error`, or never came."""
        match error:
            case BackendError():
                self.answer = type(error)(str(error))
            case Exception():
                self.answer = BackendError(f"nothing could be written: {error!r}")
            case _:
                self.answer = BackendUnavailable("the file was closed before this change's turn")
        self.answer.__cause__ = error
        self.done.set()


class Writer:
    """Write to the file, and know what those who follow a stream here have been told of it."""

    def __init__(self, path: str, timeout: float, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._db = open_file(path, timeout)
        try:
            # What is not allowed shows now. A lock of somebody else does not: it may pass.
            with (
                suppress(BackendUnavailable),
                errors_of(path),
                transaction(self._db, "IMMEDIATE"),
            ):
                self._db.execute("DELETE FROM turn WHERE 0")
        except BaseException:
            self._db.close()
            raise
        self._turns = threading.Lock()
        self.place: Place = Place(self._db)
        self._told: dict[str, Sentinel | None] = {}
        """The streams that are followed; None where nobody knows what was told."""
        self._number = 0
        """Of the last turn of any process that is known here."""
        self._version = -1
        """What SQLite says until somebody else has written."""

    def close(self) -> None:
        """Close the file when the turn under way has ended.

        Whoever waited for that turn may have been cancelled, as all tasks are at a runner's end.
        """
        with self._turns, errors_of(self._path):
            self._db.close()

    def turn(self, jobs: Sequence[Job]) -> Sequence[News]:
        """Do the jobs, and return what is to be told, in this order.

        Without jobs it only looks for what others have done. What goes wrong in one job is its
        answer. Raises `BackendError`: all or nothing was done then, and whoever was to be told of
        it, or of what others have done, is interrupted in the next turn.
        """
        with self._turns:
            return self._turn(jobs)

    def _turn(self, jobs: Sequence[Job]) -> Sequence[News]:
        asked, known = time.monotonic(), self._number
        writes = any(not isinstance(job.task, Follow) for job in jobs)
        try:
            with errors_of(self._path):
                self.place.check()
                if not jobs and self._data_version() == self._version:
                    return ()
                with transaction(self._db, "IMMEDIATE" if writes else "DEFERRED"):
                    self._clock.waited(asked)
                    news = self._look()
                    number, changes = self._number + 1, self._db.total_changes
                    for job in jobs:
                        job.answer, told = self._do(
                            partial(self._answer, job.stream_id, job.task, number)
                        )
                        news += told
                    if writes:
                        news += self._sweep(number)
                    if self._db.total_changes != changes:
                        self._db.execute("UPDATE turn SET number = ?", (number,))
                        self._number = number
                return news
        except BaseException:
            self._clock.refused()
            self._number, self._version = known, -1  # to look again at what it has seen
            left = {job.stream_id for job in jobs if job.task is Follow.END}
            self._told = dict.fromkeys(self._told.keys() - left)
            raise

    def _do(
        self, task: Callable[[], tuple[Effect, list[News]]]
    ) -> tuple[Effect | Exception, list[News]]:
        """Return the answer to a task, and what is to be told; an error undoes this task alone."""
        answer: Effect | Exception
        self._db.execute("SAVEPOINT task")
        try:
            with errors_of(self._path):
                answer, news = task()
        except Exception as error:
            if not self._db.in_transaction:  # SQLite itself has undone the whole turn
                raise
            if isinstance(error, BackendError) and error.may_pass:
                self._clock.refused()
            self._db.execute("ROLLBACK TO task")
            answer, news = error, []
        self._db.execute("RELEASE task")
        return answer, news

    def _answer(
        self, stream_id: str, task: Change | Follow, number: int
    ) -> tuple[Effect, list[News]]:
        match task:
            case Follow.BEGIN:
                if stream_id not in self._told:
                    self._told[stream_id] = load(self._db, stream_id).sentinel
            case Follow.END:
                self._told.pop(stream_id, None)
            case change:
                return self._apply(stream_id, change, number)
        return Effect(ABSENT), []

    def _sweep(self, number: int) -> list[News]:
        """Forget some of what has expired."""
        news: list[News] = []
        expired = self._db.execute(
            "SELECT key, id FROM stream WHERE expires_at <= ? ORDER BY expires_at LIMIT ?",
            (self._clock.now(), SWEEP),
        )
        for key, stream_id in expired.fetchall():
            answer, told = self._do(partial(self._answer, stream_id, Expire(), number))
            if isinstance(answer, BackendError) and not answer.may_pass:
                # It must not keep others from being removed.
                logger.warning("a stream has expired and is removed, although: %s", answer)
                answer, told = self._do(partial(self._remove, stream_id, key))
            news += told
        return news

    def _remove(self, stream_id: str, key: int) -> tuple[Effect, list[News]]:
        remove(self._db, key)
        if stream_id not in self._told:
            return Effect(ABSENT), []
        self._told[stream_id] = None
        return Effect(ABSENT), [(stream_id, Interrupted())]

    def _apply(self, stream_id: str, change: Change, number: int) -> tuple[Effect, list[News]]:
        now = self._clock.now()
        if isinstance(change, Claim | Observe):
            watched = min(change.connected_for, self._clock.watching_for)
            change = replace(change, connected_for=watched)
        row = load(self._db, stream_id)
        held = published(self._db, row, change)
        before, effect = row.sentinel, decide(row.sentinel, change, now, held)
        after = effect.sentinel
        if after is before:
            return effect, []
        keep(self._db, row, effect, number, now)
        items: list[FeedItem] = []
        if stream_id in self._told:
            self._told[stream_id] = after
            if effect.batch is not None:
                items.append(Appended(effect.batch))
            if is_told(before, after):
                items.append(Changed(after))
        return effect, [(stream_id, item) for item in items]

    def _data_version(self) -> int:
        version: int = self._db.execute("PRAGMA data_version").fetchone()[0]
        return version

    def _look(self) -> list[News]:
        """Return what others have done since the last turn here."""
        version = self._data_version()
        if version == self._version:
            return []
        news: list[News] = []
        query = f"SELECT {COLUMNS} FROM stream WHERE changed > ? ORDER BY changed"  # noqa: S608
        with closing(self._db.execute(query, (self._number,))) as changed:
            for found in changed:
                if found[0] in self._told:
                    news += ((found[0], item) for item in self._since_told(found))
        self._number = self._last_turn()
        self._version = version
        return news

    def _last_turn(self) -> int:
        match self._db.execute("SELECT number FROM turn").fetchone():
            case (int(number),):
                return number
            case other:
                raise BackendError(
                    f"{self._path} has lost count of its turns: {other!r} in the table `turn`. "
                    "Somebody else has changed it: restore it, or use a new file"
                )

    def _since_told(self, found: tuple[Any, ...]) -> list[FeedItem]:
        """Return what has happened to a stream; where that can't be said, that it can't."""
        stream_id = found[0]
        try:
            row = read_row(found)
            told, self._told[stream_id] = self._told[stream_id], row.sentinel
            return self._between(told, row)
        except BackendError:  # it is told to those who read that stream
            return [Interrupted()]

    def _between(self, told: Sentinel | None, row: Row) -> list[FeedItem]:
        now, items = row.sentinel, list[FeedItem]()
        if told is None or now.epoch != told.epoch or now.last_seq < told.last_seq:
            return [Interrupted()]
        if now.last_seq > told.last_seq:
            batches = batches_after(self._db, row, told.last_seq, MOST_TOLD)
            if not batches or (batches[0].first_seq, batches[-1].last_seq) != (
                told.last_seq + 1,
                now.last_seq,
            ):
                return [Interrupted()]
            items += map(Appended, batches)
        if now.state is not told.state:
            items.append(Changed(now))
        return items
