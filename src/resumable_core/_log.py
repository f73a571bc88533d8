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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import Final, TypeVar

from ._changes import Append, Change, Claim, Observe, Publication, Publish, Recover
from ._frozen import all_made, frozen
from ._ids import MAX_SEQ, EventId
from ._records import Event, Message, character_count
from ._sentinel import ABSENT, Sentinel, begins_anew, transition, unexpired

T = TypeVar("T")

PAGE_EVENTS: Final = 1024
"""Events in one page at most: a reader far behind costs a page at a time, not the log."""

PAGE_BYTES: Final = 512 * 1024
"""Bytes of data in one page after which no further batch is added."""

VIEWS: Final = 64
"""Views of one page that are remembered: most recipients find nothing there for them alone."""

TOP: Final = MAX_SEQ
"""Read after this seq to get the sentinel and no events."""


@frozen
class Batch:
    """Hold what was appended in one step, of one epoch: as columns, since most is only kept.

    An event beyond its data takes the room of a reference, until somebody reads it.
    """

    epoch: str
    first_seq: int
    """The seq of the first event."""
    data: tuple[str | bytes, ...]
    """The data of each event; never empty."""
    size: int
    """Bytes of data, types, and names of recipients."""
    characters: int
    """Code points of data."""
    offset: int
    """Code points of everything before the first event."""
    time: float
    """When it was appended, in seconds of the store's clock."""
    types: Mapping[int, str] = field(default_factory=lambda: NO_TYPES)
    """The types of those events that have one, by their index in `data`."""
    to: Mapping[int, frozenset[str]] = field(default_factory=lambda: FOR_EVERYBODY)
    """The recipients of those that are not for everybody, by their index."""

    @property
    def count(self) -> int:
        """Return the number of events."""
        return len(self.data)

    @property
    def last_seq(self) -> int:
        """Return the seq of the last event."""
        return self.first_seq + len(self.data) - 1

    @property
    def events(self) -> tuple[Event, ...]:
        """Return its events, newly made."""
        return self.events_from(0)

    def events_from(self, index: int) -> tuple[Event, ...]:
        """Return its events without the first `index`, newly made.

        One by one, since live batches are small: by columns, as in `page_of`, would be slower.
        """
        epoch, types, to = self.epoch, self.types, self.to
        first_seq, data = self.first_seq + index, self.data[index:]
        if not (types or to):
            return tuple(
                [Event(EventId(epoch, seq), each) for seq, each in enumerate(data, first_seq)]
            )
        return tuple(
            [
                Event(EventId(epoch, self.first_seq + at), each, types.get(at), to.get(at))
                for at, each in enumerate(data, index)
            ]
        )


NO_TYPES: Final[Mapping[int, str]] = {}
FOR_EVERYBODY: Final[Mapping[int, frozenset[str]]] = {}


@frozen
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
    goes_on: bool = field(default=False, init=False, repr=False, compare=False)
    """Whether there is nothing to say but `events`: without a hole up to the top, and no end."""
    _views: _Views | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Look once at what many consumers are to be told."""
        events, sentinel = self.events, self.sentinel
        if events and events[-1].id.seq == sentinel.last_seq == self.after + len(events):
            object.__setattr__(self, "goes_on", sentinel.outcome is None)

    def seen_by(self, recipients: frozenset[str]) -> tuple[Event, ...]:
        """Return the events that `recipients` may see; the very tuple `events` when that is all.

        Who sees the same is given the same tuple, so that it is framed once for all of them.
        """
        views = self._views or self._look()
        return views.of(recipients) if views.targeted else self.events

    def _look(self) -> _Views:
        views = _Views(self.events)
        object.__setattr__(self, "_views", views)
        return views


def is_visible(event: Event, recipients: frozenset[str]) -> bool:
    """Say whether who may read as `recipients` may see `event`."""
    return event.to is None or not event.to.isdisjoint(recipients)


class _Views:
    """Hold a page's events as different recipients see them."""

    def __init__(self, events: tuple[Event, ...]) -> None:
        self._events = events
        targeted = [event.to for event in events if event.to is not None]
        self.targeted: bool = bool(targeted)
        self._named = frozenset[str]().union(*targeted)
        self._seen: dict[frozenset[str], tuple[Event, ...]] = {}

    def of(self, recipients: frozenset[str]) -> tuple[Event, ...]:
        mine = recipients & self._named
        seen = self._seen.get(mine)
        if seen is None:
            if len(self._seen) >= VIEWS:
                self._seen.clear()
            seen = tuple(each for each in self._events if is_visible(each, mine))
            self._seen[mine] = seen
        return seen


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
    """To be remembered as long as the log goes back to these seqs: under which keys they are."""


NOTHING: Final[Mapping[str, int]] = {}


def decide(
    sentinel: Sentinel, change: Change, now: float, published: Mapping[str, int] = NOTHING
) -> Effect:
    """Return what `change` does to a log with this sentinel at `now`, seconds of the store's clock.

    `published` is, for a `Publish`, which of its keys the log holds, and at which seqs. Raises what
    `transition` raises; then nothing is to be done.
    """
    # What has expired unseen leaves events behind, which no log is to go on with.
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
    """Of a channel: under which keys its events were published; oldest first."""

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


def page_of(batches: Iterable[Batch], after: int, limit: int) -> tuple[tuple[Event, ...], int]:
    """Return the events of a page, cut from `batches`, and the code points before the first.

    `batches` begin with the one that holds the first event after the seq `after`. The page ends
    with the batch that fills it to `PAGE_BYTES`, and after `limit` events.
    """
    epochs: list[str] = []
    seqs: list[int] = []
    data: list[str | bytes] = []
    types: dict[int, str] = {}
    to: dict[int, frozenset[str]] = {}
    offset = size = 0
    for batch in batches:
        skip = max(0, after + 1 - batch.first_seq)
        if not data:
            offset = batch.offset + sum(map(character_count, batch.data[:skip]))
        moved = len(data) - skip  # from places in the batch to places in the page
        data += batch.data[skip : limit - moved]
        epochs += [batch.epoch] * (len(data) - len(epochs))
        seqs += range(batch.first_seq + skip, batch.first_seq + len(data) - moved)
        for index, type_ in batch.types.items():
            types[index + moved] = type_
        for index, names in batch.to.items():
            to[index + moved] = names
        size += batch.size
        if size >= PAGE_BYTES or len(data) >= limit:
            break
    count = len(data)
    ids = all_made(EventId, count, epochs, seqs)
    events = all_made(Event, count, ids, data, _column(types, count), _column(to, count))
    return events, offset


def _column(sparse: Mapping[int, T], count: int) -> Iterable[T | None]:
    return map(sparse.get, range(count)) if sparse else repeat(None, count)


def _last_seq(batch: Batch) -> int:
    return batch.last_seq
