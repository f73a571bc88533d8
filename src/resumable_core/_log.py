"""The event log of one stream: the reference semantics of append, read and trim.

`decide` says what a change does to a log: the next sentinel, a batch to add, whether to start from
an empty log. `EventLog` is the plainest thing that does it. The memory backend is made of it, and
every other backend is measured against it.

    batches    [1 2 3] [4] [5 6]       what was appended together stays together
    read(3)             4   5 6        a page: the events after a seq, up to a limit
    first_seq                          the oldest seq still retained; before it is a gap
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from ._changes import Append, Change, Claim, Expire, Observe, Recover
from ._ids import MAX_SEQ, EventId
from ._records import Event, character_count
from ._sentinel import ABSENT, Sentinel, transition

PAGE_EVENTS: Final = 512
"""Events in one page at most: a reader far behind costs a page at a time, not the log."""

PAGE_BYTES: Final = 512 * 1024
"""Bytes of data in one page after which no further batch is added."""

TOP: Final = MAX_SEQ
"""Read after this seq to get the sentinel and no events."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Hold events that were appended in one step, in seq order and of one epoch."""

    events: tuple[Event, ...]
    size: int
    """Bytes of data and types."""
    characters: int
    """Code points of data."""
    offset: int
    """Code points of everything before the first event."""
    time: float
    """When it was appended, in seconds of the store's clock."""

    @property
    def count(self) -> int:
        """Return the number of events."""
        return len(self.events)

    @property
    def first_seq(self) -> int:
        """Return the seq of the first event."""
        return self.events[0].id.seq

    @property
    def last_seq(self) -> int:
        """Return the seq of the last event."""
        return self.events[-1].id.seq


@dataclass(frozen=True, slots=True)
class Page:
    """Answer a read in one atomic step: the sentinel, and the events after a seq up to a limit."""

    sentinel: Sentinel
    after: int
    """The seq that was asked for."""
    first_seq: int
    """The oldest seq that is retained; one above the sentinel's last when none is."""
    events: tuple[Event, ...] = ()
    offset: int = 0
    """Code points of everything before the first of `events`; only a read of the log knows it."""


@dataclass(frozen=True, slots=True)
class Effect:
    """Say what a change does to a log."""

    sentinel: Sentinel
    batch: Batch | None = None
    """To be added behind the last one."""
    clear: bool = False
    """Whether the log is emptied first: nothing of an earlier log may be left behind."""


def decide(sentinel: Sentinel, change: Change, now: float) -> Effect:
    """Return what `change` does to a log with this sentinel at `now`, seconds of the store's clock.

    Raises what `transition` raises; then nothing is to be done.
    """
    # What has expired unseen leaves events behind, which no log is to go on with.
    sentinel = transition(sentinel, Expire(), now)
    after = transition(sentinel, change, now)
    match change:
        case Append() if after.last_seq > sentinel.last_seq:
            return Effect(after, _batch(sentinel, after, change, now))
        case Claim() | Recover():
            return Effect(after, clear=not after.lineage.same_log(sentinel.lineage))
        case _:
            return Effect(after, clear=not after.known)


def _batch(before: Sentinel, after: Sentinel, append: Append, now: float) -> Batch:
    messages = append.messages[before.last_seq + 1 - append.first_seq :]
    epoch, first = after.epoch, before.last_seq + 1
    return Batch(
        events=tuple(
            Event(EventId(epoch, seq), message.data, message.type)
            for seq, message in enumerate(messages, first)
        ),
        size=sum(message.size for message in messages),
        characters=after.characters - before.characters,
        offset=before.characters,
        time=now,
    )


@dataclass(slots=True)
class EventLog:
    """Keep the log and the sentinel of one stream.

    Memory is bounded by the stream's `Retention` and one batch.
    """

    sentinel: Sentinel = ABSENT
    batches: list[Batch] = field(default_factory=list[Batch])
    count: int = 0
    """Events retained."""
    size: int = 0
    """Bytes of data retained."""

    def apply(self, change: Change, now: float) -> Effect:
        """Apply `change` at `now`, in seconds of the store's clock; return what it did.

        Raises `StreamNotFound`, `StreamExists` or `Fenced`, and then has changed nothing. Every
        change may be repeated: the repeat changes nothing and returns the sentinel as it is.
        """
        effect = decide(self.sentinel, change, now)
        self.sentinel = effect.sentinel
        if effect.clear:
            self._drop(len(self.batches))
        if effect.batch is not None:
            self.batches.append(effect.batch)
            self.count += effect.batch.count
            self.size += effect.batch.size
            retention = self.sentinel.retention
            self._drop(retention.excess(self.batches, self.count, self.size, now))
        return effect

    def read(
        self, after: int, now: float, *, limit: int = PAGE_EVENTS, connected_for: float = math.inf
    ) -> Page:
        """Return the sentinel and at most `limit` events after the seq `after`.

        Observes the lease, as `Observe` says. Reading an unknown stream creates nothing.
        """
        self.apply(Observe(connected_for), now)
        first_seq = self.first_seq
        start = bisect_right(self.batches, after, key=_last_seq)
        events, offset = page_of(self.batches[start : start + limit], after, limit)
        if not events:
            offset = self.sentinel.characters
        return Page(self.sentinel, after, first_seq, events, offset)

    @property
    def first_seq(self) -> int:
        """Return the oldest seq that is retained, or the next one when none is."""
        return self.batches[0].first_seq if self.batches else self.sentinel.last_seq + 1

    def _drop(self, oldest: int) -> None:
        for batch in self.batches[:oldest]:
            self.count -= batch.count
            self.size -= batch.size
        del self.batches[:oldest]


def page_of(batches: Sequence[Batch], after: int, limit: int) -> tuple[tuple[Event, ...], int]:
    """Return the events of a page, cut from `batches`, and the code points before the first.

    `batches` begin with the one that holds the first event after the seq `after`. The page ends
    with the batch that fills it to `PAGE_BYTES`, and after `limit` events.
    """
    if not batches:
        return (), 0
    skip = max(0, after + 1 - batches[0].first_seq)
    passed_over = batches[0].events[:skip]
    offset = batches[0].offset + sum(character_count(event.data) for event in passed_over)
    events: list[Event] = []
    size = 0
    for batch in batches:
        events.extend(batch.events[skip:])
        skip = 0
        size += batch.size
        if size >= PAGE_BYTES or len(events) >= limit:
            break
    return tuple(events[:limit]), offset


def _last_seq(batch: Batch) -> int:
    return batch.last_seq
