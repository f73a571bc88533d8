"""Batches and pages: how events are kept in a log, and how they are read from it.

    batches      [1 2 3] [4] [5 6]     what was appended together is kept together
    after 3               4   5 6      a page: the events after a seq, up to a limit

Every store keeps batches and answers a read with a page; the window of a follower answers with
pages, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from itertools import repeat
from typing import Final, TypeVar

from ._frozen import all_made, frozen
from ._ids import MAX_SEQ, EventId
from ._records import Event, character_count
from ._sentinel import Sentinel

T = TypeVar("T")

PAGE_EVENTS: Final = 1024
"""Events in one page at most: a reader far behind costs a page at a time, not the log."""

PAGE_BYTES: Final = 512 * 1024
"""Bytes of data in one page after which no further batch is added."""

VIEWS: Final = 64
"""Views of one page that are remembered at most; few differ, since few readers are named in it."""

TOP: Final = MAX_SEQ
"""Read after this seq to get the sentinel and no events."""


@frozen
class Batch:
    """Hold the events that were appended in one step; all are of one epoch.

    They are kept as columns; each `Event` is made when somebody reads it, and until then takes the
    room of its data and of one reference.
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

        They are made one by one: for the few events of a live batch that is faster than to fill
        columns, as `page_of` does.
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
    """Whether `events` are all there is to say: they reach from `after` to the top without a hole,
    and the stream has not ended."""
    _views: _Views | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Find out once, for all consumers of this page, whether it simply goes on."""
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
