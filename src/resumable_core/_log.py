"""The event log of one stream: what a change does to it, and how it is read.

`decide` says what a change does to a log: the next sentinel, a batch to add, whether to start from
an empty log. `EventLog` is the plainest thing that does it. The memory backend is made of it, and
every other backend is measured against it.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from ._changes import Append, Change, Claim, Observe, Publication, Publish, Recover
from ._frozen import frozen
from ._ids import EventId
from ._pages import FOR_EVERYBODY, NO_TYPES, PAGE_EVENTS, Batch, Page, page_of
from ._records import Message
from ._sentinel import ABSENT, Sentinel, begins_anew, transition, unexpired


@frozen
class Effect:
    """Say what a change does to a log."""

    sentinel: Sentinel
    batch: Batch | None = None
    """To be added behind the last one."""
    clear: bool = False
    """Whether the log is emptied first: nothing of an earlier log may be left behind."""
    ids: tuple[EventId, ...] = ()
    """The ids of all that was to be published, whether now or by an earlier attempt."""
    keys: Mapping[str, int] = field(default_factory=lambda: NOTHING)
    """Publication keys to remember, with the seqs of their events, while the log holds these."""


NOTHING: Final[Mapping[str, int]] = {}


def decide(
    sentinel: Sentinel, change: Change, now: float, published: Mapping[str, int] = NOTHING
) -> Effect:
    """Return what `change` does to a log with this sentinel at `now`, seconds of the store's clock.

    For a `Publish`, `published` holds those of its keys that the log has already, each with the seq
    of its event. Raises what `transition` raises; then nothing is to be done.
    """
    # A log that has expired may still hold its events: what is appended must not go on after them.
    sentinel = unexpired(sentinel, now)
    if isinstance(change, Publish):
        return _publish(sentinel, change, now, published)
    after = transition(sentinel, change, now)
    match change:
        case Append() if after.last_seq > sentinel.last_seq:
            return Effect(after, _appended(sentinel, after, change, now))
        case Claim() | Recover():
            return Effect(after, clear=not after.lineage.same_log(sentinel.lineage))
        case _:
            return Effect(after, clear=not after.known)


def _appended(before: Sentinel, after: Sentinel, append: Append, now: float) -> Batch:
    messages = append.messages[before.last_seq + 1 - append.first_seq :]
    return _batch(before.characters, after, messages, now, sum(each.size for each in messages))


def _batch(
    offset: int, after: Sentinel, messages: Sequence[Message], now: float, size: int
) -> Batch:
    return Batch(
        after.epoch,
        after.last_seq + 1 - len(messages),
        data=tuple([message.data for message in messages]),
        size=size,
        characters=after.characters - offset,
        offset=offset,
        time=now,
        types={i: each.type for i, each in enumerate(messages) if each.type is not None}
        or NO_TYPES,
    )


def _publish(
    sentinel: Sentinel, publish: Publish, now: float, published: Mapping[str, int]
) -> Effect:
    """Append what the log does not hold under its key yet; the rest has its ids already."""
    clear = begins_anew(sentinel, publish)
    held = NOTHING if clear else published
    fresh: dict[str, Publication] = {}
    for each in publish.publications:
        if each.key not in held:
            fresh.setdefault(each.key, each)
    news = tuple(fresh.values())
    after = transition(sentinel, replace(publish, publications=news), now)
    keys = {key: seq for seq, key in enumerate(fresh, after.last_seq + 1 - len(news))}
    seqs = {**held, **keys}
    ids = tuple(after.lineage.id_at(seqs[each.key]) for each in publish.publications)
    if not news:
        return Effect(sentinel, ids=ids)
    offset = 0 if clear else sentinel.characters
    messages = [each.message for each in news]
    batch = replace(
        _batch(offset, after, messages, now, sum(each.size for each in news)),
        to={i: each.to for i, each in enumerate(news) if each.to is not None} or FOR_EVERYBODY,
    )
    return Effect(after, batch, clear, ids, keys)


@dataclass(slots=True)
class EventLog:
    """Keep the log and the sentinel of one stream, or one channel.

    Memory is bounded by the stream's `Retention` and one batch.
    """

    sentinel: Sentinel = ABSENT
    batches: list[Batch] = field(default_factory=list[Batch])
    count: int = 0
    """Events retained."""
    size: int = 0
    """Bytes of data retained."""
    keys: dict[str, int] = field(default_factory=dict[str, int])
    """Of a channel: the publication keys, each with the seq of its event; oldest first."""

    def apply(self, change: Change, now: float) -> Effect:
        """Apply `change` at `now`, in seconds of the store's clock; return what it did.

        Raises `StreamNotFound`, `StreamExists` or `Fenced`, and then has changed nothing. Every
        change may be repeated: the repeat changes nothing and returns the sentinel as it is.
        """
        published = NOTHING
        if isinstance(change, Publish):
            wanted = (each.key for each in change.publications)
            published = {key: self.keys[key] for key in wanted if key in self.keys}
        effect = decide(self.sentinel, change, now, published)
        self.sentinel = effect.sentinel
        if effect.clear:
            self._drop(len(self.batches))
            self.keys.clear()
        if effect.batch is not None:
            self.batches.append(effect.batch)
            self.count += effect.batch.count
            self.size += effect.batch.size
            retention = self.sentinel.retention
            self._drop(retention.excess(self.batches, self.count, self.size, now))
            self.keys.update(effect.keys)
            self._forget_keys()
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

    def _forget_keys(self) -> None:
        first_seq = self.first_seq
        while self.keys and self.keys[oldest := next(iter(self.keys))] < first_seq:
            del self.keys[oldest]


def _last_seq(batch: Batch) -> int:
    return batch.last_seq
