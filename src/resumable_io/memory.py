"""Streams in the memory of one process: `EventLog` behind wake-ups.

A log that has ended is sealed: then it takes little more than its text.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Final, Self

from anyio import current_time
from anyio.lowlevel import checkpoint

from resumable_core import (
    ABSENT,
    Append,
    Appended,
    BackendFull,
    Change,
    Changed,
    Claim,
    Effect,
    EventId,
    EventLog,
    Expire,
    Page,
    Publish,
    Sentinel,
    check_count,
    is_told,
)

from ._feed import Feeds
from ._sealed import SealedLog
from .abc import Backend, Tell, Unfollow

EVENT_OVERHEAD: Final = 256
STREAM_OVERHEAD: Final = 2048
"""Bytes that an event and a stream are reckoned to take beyond the data."""

KEPT_AFTER_EVICTION: Final = 0.9
"""Share of the limit down to which ended streams are evicted, so that one pass lasts a while."""


class MemoryBackend(Backend):
    """Keep streams in this process; nothing survives it.

    `max_bytes` bounds all logs together, data plus 256 bytes an event and 2 KiB a
    stream (256 MiB). When it is
    reached, ended streams go first, those that would expire soonest before the others. When only
    active ones are left, claims and appends raise `BackendFull`, so that sources wait. Raises
    `InvalidInput` for what is no number of bytes.
    """

    def __init__(self, *, max_bytes: int = 256 * 2**20) -> None:
        check_count("max_bytes", max_bytes)
        self._max_bytes = max_bytes
        self._bytes = 0
        self._logs: dict[str, EventLog | SealedLog] = {}
        self._expiries: list[tuple[float, str]] = []  # a heap; one entry a stream
        self._scheduled: set[str] = set()
        self._feeds = Feeds()

    @property
    def may_forget(self) -> bool:
        """Return False: what this process has acknowledged lives as long as its producers."""
        return False

    @property
    def connected_since(self) -> float:
        """Return -inf: the store is this process."""
        return -math.inf

    async def apply(self, stream_id: str, change: Change) -> Sentinel:
        """Carry out one change and return the sentinel after it; see `Backend.apply`.

        Cancelled, it has changed nothing.
        """
        await checkpoint()
        now = current_time()
        if isinstance(change, Claim | Append):
            self._make_room(now)
        return self._apply(stream_id, change, now).sentinel

    async def publish(self, log_id: str, change: Publish) -> Sequence[EventId]:
        """Append to a channel and return the ids; see `Backend.publish`.

        Cancelled, it has changed nothing.
        """
        await checkpoint()
        now = current_time()
        self._make_room(now)
        return self._apply(log_id, change, now).ids

    async def read(self, stream_id: str, after: int, limit: int, *, connected_for: float) -> Page:
        """Return the sentinel and the events after `after`; see `Backend.read`."""
        await checkpoint()
        now = current_time()
        kept = self._logs.get(stream_id)
        if isinstance(kept, SealedLog) and now < kept.expires_at:
            return kept.page(after, limit)
        log = self._opened(stream_id)
        if log is None:
            return Page(ABSENT, after, first_seq=1)
        before, size = log.sentinel, _size(log)
        page = log.read(after, now, limit=limit, connected_for=connected_for)
        self._keep(stream_id, log, size)
        self._publish(stream_id, before, Effect(page.sentinel))
        return page

    async def follow(self, stream_id: str, tell: Tell, *, events: bool) -> Unfollow:
        """Have what happens to a stream told; see `Backend.follow`."""
        await checkpoint()
        feed = self._feeds.add(stream_id, tell, events=events)
        return partial(self._feeds.discard, stream_id, feed)

    def scan(self) -> AsyncIterator[tuple[str, Sentinel]]:
        """Yield the id and the sentinel of every known stream; see `Backend.scan`."""
        return _Scan(self._logs)

    def _opened(self, stream_id: str) -> EventLog | None:
        log = self._logs.get(stream_id)
        return log.opened() if isinstance(log, SealedLog) else log

    def _apply(self, stream_id: str, change: Change, now: float) -> Effect:
        log = self._opened(stream_id) or EventLog()
        before, size = log.sentinel, _size(log)
        effect = log.apply(change, now)
        self._keep(stream_id, log, size)
        self._publish(stream_id, before, effect)
        return effect

    def _keep(self, stream_id: str, log: EventLog, size_before: int) -> None:
        if log.sentinel is ABSENT:
            if self._logs.pop(stream_id, None) is not None:
                self._bytes -= size_before
            return
        if stream_id not in self._logs:
            size_before = 0
            if stream_id not in self._scheduled:
                self._schedule(stream_id, log.sentinel.expires_at)
        self._logs[stream_id] = log if log.sentinel.outcome is None else SealedLog(log)
        self._bytes += _size(log) - size_before

    def _publish(self, stream_id: str, before: Sentinel, effect: Effect) -> None:
        if stream_id not in self._feeds:
            return
        after = effect.sentinel
        if effect.batch is not None:
            self._feeds.tell(stream_id, Appended(effect.batch))
        if is_told(before, after):
            self._feeds.tell(stream_id, Changed(after))

    def _schedule(self, stream_id: str, expires_at: float) -> None:
        self._scheduled.add(stream_id)
        heapq.heappush(self._expiries, (expires_at, stream_id))

    def _make_room(self, now: float) -> None:
        """Forget what has expired, and what has ended as far as its room is needed."""
        while self._expiries and self._expiries[0][0] <= now:
            _, stream_id = heapq.heappop(self._expiries)
            self._scheduled.discard(stream_id)
            if stream_id in self._logs and _expires_at(self._logs[stream_id]) <= now:
                self._apply(stream_id, Expire(), now)
            if stream_id in self._logs:
                self._schedule(stream_id, _expires_at(self._logs[stream_id]))
        if self._bytes > self._max_bytes:
            self._evict()

    def _evict(self) -> None:
        ended = (
            (_expires_at(log), stream_id)
            for stream_id, log in self._logs.items()
            if isinstance(log, SealedLog) or not log.sentinel.growing
        )
        for _, stream_id in sorted(ended):
            if self._bytes <= self._max_bytes * KEPT_AFTER_EVICTION:
                break
            log = self._logs.pop(stream_id)
            self._bytes -= _size(log)
            self._publish(stream_id, log.sentinel, Effect(ABSENT))
        self._scheduled &= self._logs.keys()
        self._expiries = [entry for entry in self._expiries if entry[1] in self._scheduled]
        heapq.heapify(self._expiries)
        if self._bytes > self._max_bytes:
            raise BackendFull(
                f"active streams hold more than {self._max_bytes} bytes: raise max_bytes, lower "
                "the retention, or use a backend that keeps streams outside of this process"
            )


class _Scan:
    """Iterate over streams. No generator, since a scan that is left early is closed by nobody."""

    def __init__(self, logs: Mapping[str, EventLog | SealedLog]) -> None:
        self._logs = logs
        self._ids = iter(tuple(logs))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[str, Sentinel]:
        await checkpoint()
        for stream_id in self._ids:
            log = self._logs.get(stream_id)
            if log is not None and log.sentinel.known and current_time() < log.sentinel.expires_at:
                return stream_id, log.sentinel
        raise StopAsyncIteration


def _expires_at(log: EventLog | SealedLog) -> float:
    return log.expires_at if isinstance(log, SealedLog) else log.sentinel.expires_at


def _size(log: EventLog | SealedLog) -> int:
    return STREAM_OVERHEAD + log.size + EVENT_OVERHEAD * log.count
