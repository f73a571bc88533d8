"""A log that has ended, kept as other stores keep one: as bytes.

Nothing is added to it any more, so its batches are joined. An event takes little more than its
text, and is made anew when somebody reads it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import chain, islice
from typing import Final

from resumable_core import (
    PAGE_BYTES,
    Batch,
    EventLog,
    Page,
    Sentinel,
    decode_batch,
    decode_sentinel,
    encode_batch,
    encode_sentinel,
    page_of,
)

JOINED: Final = 128
"""Events of a joined batch at most: who reads a page has little decoded that is not in it."""


class SealedLog:
    """Hold what an `EventLog` holds."""

    __slots__ = (
        "_batches",
        "_last_seqs",
        "_lease_until",
        "_sentinel",
        "count",
        "expires_at",
        "first_seq",
        "size",
    )

    def __init__(self, log: EventLog) -> None:
        batches = joined(log.batches)
        self.count: int = log.count
        self.size: int = log.size
        self.first_seq: int = log.first_seq
        self.expires_at: float = log.sentinel.expires_at
        self._lease_until = log.sentinel.lease_until
        self._sentinel = encode_sentinel(log.sentinel)
        self._batches = tuple([encode_batch(batch) for batch in batches])
        self._last_seqs = tuple([batch.last_seq for batch in batches])

    @property
    def sentinel(self) -> Sentinel:
        """Return its sentinel."""
        return decode_sentinel(
            self._sentinel, lease_until=self._lease_until, expires_at=self.expires_at
        )

    def page(self, after: int, limit: int) -> Page:
        """Return what `EventLog.read` does until the log expires: there is nothing to observe."""
        sentinel = self.sentinel
        start = bisect_right(self._last_seqs, after)
        batches = map(decode_batch, islice(self._batches, start, None))
        events, offset = page_of(batches, after, limit)
        if not events:
            offset = sentinel.characters
        return Page(sentinel, after, self.first_seq, events, offset)

    def opened(self) -> EventLog:
        """Return the log, to which anything can be done again."""
        batches = [decode_batch(batch) for batch in self._batches]
        return EventLog(self.sentinel, batches, self.count, self.size)


def joined(batches: Sequence[Batch]) -> list[Batch]:
    """Return the same events in fewer batches."""
    runs: list[list[Batch]] = []
    count = size = 0
    for batch in batches:
        count += batch.count
        size += batch.size
        if (
            not runs
            or count > JOINED
            or size > PAGE_BYTES
            or runs[-1][-1].epoch != batch.epoch
            or runs[-1][-1].last_seq + 1 != batch.first_seq
        ):
            runs.append([])
            count, size = batch.count, batch.size
        runs[-1].append(batch)
    return [_join(run) for run in runs]


def _join(run: Sequence[Batch]) -> Batch:
    first = run[0]
    return Batch(
        first.epoch,
        first.first_seq,
        data=tuple(chain.from_iterable([batch.data for batch in run])),
        size=sum([batch.size for batch in run]),
        characters=sum([batch.characters for batch in run]),
        offset=first.offset,
        time=run[-1].time,
        types={
            batch.first_seq - first.first_seq + index: type_
            for batch in run
            for index, type_ in batch.types.items()
        },
    )
