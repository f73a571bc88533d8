"""The follower machine: merge the live feed and the log into one contiguous window (`_window.py`).

One follower serves all consumers of a stream in a process. The rules that make "subscribe, then
read, then merge" lose nothing:

1. The feed's subscription is confirmed before the first read, so that whatever the read does not
   hold is delivered later.
2. The merge is anchored at the top that was read. A live batch is accepted when it begins at or
   before top + 1 and is of the current epoch, dropped when it is old.
3. Whatever does not fit — a hole, an unknown epoch, an interrupted feed — means: read again. A live
   feed may lose anything at any time.
4. A read that is asked for after an item was heard knows of it. Only what is heard while a read is
   under way may be newer than its answer, and is held until then.
5. When nothing was heard for the check interval, read anyway. This also observes the lease.
6. While the store does not answer, the follower alone asks again and again, and its consumers wait
   for that; for the length of an outage, not for ever.

    window          [.. .. .. .. ..]          contiguous, bounded; ends at the top
    merge buffer                      [..]    what came during a read and lies ahead of the top

For consumers, what the window does not hold yet has not happened yet: the sentinel that they see
always ends at the top.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final, TypeAlias, assert_never

from ._errors import BackendError
from ._frozen import frozen
from ._ids import EventId
from ._lifecycle import State
from ._limits import FollowerLimits
from ._pages import TOP, Batch, Page
from ._records import Event
from ._sentinel import ABSENT, Sentinel
from ._ticks import on_tick
from ._window import Window, size_of

FIRST_RETRY: Final = 0.1
LONGEST_RETRY: Final = 5.0
"""Seconds before a failed read is repeated, at first and at most; doubled each, with jitter."""

SHARED_PAGES: Final = 64
"""Pages of the window that are remembered at most, since most consumers ask for the same one."""


@frozen
class Appended:
    """Say on the live feed that a batch was appended."""

    batch: Batch


@frozen
class Changed:
    """Say on the live feed that the state of the stream is another: claimed, ended, deleted."""

    sentinel: Sentinel


@frozen
class Interrupted:
    """Say on the live feed that anything may have been missed before this point."""


FeedItem: TypeAlias = Appended | Changed | Interrupted


@frozen
class Fetch:
    """Ask the driver to read the events after a seq."""

    after: int
    connected_for: float
    """Seconds for which this follower has been watching the store, for `Observe`."""


class Follower:
    """Decide what the window holds and when to read. Times are seconds of the caller's clock.

    Without news a read is asked for once in a check interval. Each item of the feed, each page that
    did not reach the top, each failure, and each consumer who waits at a place before the window
    cause one more at most.
    """

    def __init__(self, limits: FollowerLimits, now: float) -> None:
        self.sentinel: Sentinel = ABSENT
        """The newest known, as far as the window reaches."""
        self.ready: bool = False
        """Whether a read has anchored the window."""
        self.unreachable: bool = False
        """Whether the store has not answered lately: until it does, nobody else is to ask it."""
        self.given_up: bool = False
        """Whether it has not for the length of an outage: nobody is to wait for it any more."""
        self.version: int = 0
        """Grows with everything that a consumer might want to see."""

        self._limits = limits
        self._window = Window(limits)
        self._pages: dict[int, Page] = {}  # of the window, by the seqs they come after
        self._pending: list[Batch] = []  # the merge buffer
        self._connected_since = math.inf
        self._fetching = False
        self._told = False  # whether the feed was believed since the read under way was asked for
        self._stale = True  # whether only a read that is yet to begin can tell what is true
        self._awaited = False  # whether a consumer is to be woken by the next answer in any case
        self._fetch_at = now
        self._attempts = 0
        self._owed_since = now  # since when the store owes an answer; inf while it doesn't

    # What consumers ask

    def page(self, after: int) -> Page | None:
        """Return the events after the seq `after`, or None where the window does not hold them.

        Then they are to be read from the log or, while this is not `ready`, to be waited for. As
        long as nothing changes, consumers at one place get the very same page.
        """
        page = self._pages.get(after)
        if page is not None or not self.ready:
            return page
        page = self._window.page(after, self.sentinel)
        if page is not None:
            if len(self._pages) >= SHARED_PAGES:
                self._pages.clear()
            self._pages[after] = page
        return page

    # What the driver asks

    def next_fetch(self, now: float) -> Fetch | None:
        """Return the read to carry out, or None while there is none. One at a time."""
        if now >= self._outage_at:
            self.given_up = True
            self._changed()
        if self._fetching or self._disconnected or now < self._fetch_at:
            return None
        self._fetching = True
        self._owed_since = min(self._owed_since, now)
        self._told = False
        self._stale = False
        return Fetch(self._window.top if self.ready else TOP, now - self._connected_since)

    @property
    def deadline(self) -> float:
        """Return when to call `next_fetch` again although nothing happened."""
        if self._fetching:
            return math.inf
        return min(self._outage_at, math.inf if self._disconnected else self._fetch_at)

    # What the driver reports

    def subscribed(self, now: float) -> None:
        """Note that the live feed is confirmed: from now on, what is appended is delivered."""
        self._connected_since = now
        self._attempts = 0  # it is back: no need to go on with the pause
        self._suspect(now)

    def received(self, item: FeedItem, now: float) -> None:
        """Take an item of the live feed."""
        match item:
            case Appended(batch):
                self._merge(batch, now)
            case Changed(sentinel):
                self._change(sentinel, now)
            case Interrupted():
                self.subscribed(now)
            case _:
                assert_never(item)

    def fetched(self, page: Page, now: float) -> None:
        """Take the answer to a fetch."""
        self._fetching = False
        self._attempts = 0
        self._fetch_at = now if self._stale else self._next_check(now)
        self._owed_since = math.inf
        self.given_up = False
        before = (self.ready, self.sentinel.lineage, self.sentinel.state, self._window.top)
        self.ready = True
        self._take(page, now)
        after = (True, self.sentinel.lineage, self.sentinel.state, self._window.top)
        if self.unreachable or self._awaited or before != after:
            self.unreachable = self._awaited = False
            self._changed()
        pending, self._pending = self._pending, []
        for batch in sorted(pending, key=_first_seq):
            self._merge(batch, now)

    def fetch_failed(self, now: float, jitter: float) -> None:
        """Note that a fetch failed: it is repeated after a pause. `jitter` is from 0 to 1."""
        self._fetching = False
        self.unreachable = True
        self._stale = True
        self._pending.clear()
        pause = min(LONGEST_RETRY, FIRST_RETRY * 2 ** min(self._attempts, 10))
        self._fetch_at = now + pause * (1 + jitter) / 2
        self._attempts += 1

    def refused(self, error: BackendError) -> None:
        """Take an error of the store; if it would only come again, nobody is to wait any more."""
        if not error.may_pass:
            self.given_up = True
            self._changed()

    def doubted(self, now: float) -> None:
        """Note that the store did not answer somebody else."""
        self.unreachable = True
        self._owed_since = min(self._owed_since, now)
        self._suspect(now)

    def awaited(self, after: int, now: float) -> None:
        """Note that a consumer waits for what comes after a seq: the log holds no more.

        If the window begins only later, the store has lost something since the last read. It may
        have it back by the next one, which then is news to nobody but this consumer.
        """
        if self.ready and self.page(after) is None:
            self._awaited = True
            self._suspect(now)

    def abandoned(self, sentinel: Sentinel, kept: tuple[Event, ...]) -> None:
        """Note that the stream's producer, in this process, has given it up, as `sentinel` says.

        It did so because the store does not answer, so the log cannot tell. `kept` are the newest
        events that the log holds; when they leave a hole behind the window, the store has to be
        waited for all the same.
        """
        if not sentinel.lineage.epochs:
            return  # the store had forgotten the stream before: nobody knows what it holds now
        if not self.ready:
            self.ready = True
            self._anchor(replace(sentinel, last_seq=sentinel.last_seq - len(kept)))
        elif self.sentinel.state is not State.ACTIVE or self.sentinel.epoch != sentinel.epoch:
            return
        missing = tuple(event for event in kept if event.id.seq > self._window.top)
        if self._window.top + len(missing) >= sentinel.last_seq:
            self._extend(missing, size_of(missing))
            self.sentinel = replace(self.sentinel, state=sentinel.state, error=sentinel.error)
            self._told = True  # more than a read that is under way may know
            self._changed()

    # The rules

    @property
    def _disconnected(self) -> bool:
        return math.isinf(self._connected_since)

    @property
    def _outage_at(self) -> float:
        """Return when the store will have been silent for too long."""
        return math.inf if self.given_up else self._owed_since + self._limits.outage

    def _next_check(self, now: float) -> float:
        interval = self._limits.check_interval
        return on_tick(now + interval, interval)

    def _merge(self, batch: Batch, now: float) -> None:
        """Accept, drop or hold what was told of a batch, or ask the log about it."""
        top, mine = self._window.top, self.sentinel
        current = batch.epoch == mine.epoch
        if current and mine.growing and batch.first_seq <= top + 1 <= batch.last_seq:
            self._told = True
            known = top + 1 - batch.first_seq
            news = batch.events_from(known)
            self._extend(news, size_of(news) if known else batch.size)
            self._changed()
            if not self._stale:
                self._fetch_at = self._next_check(now)
        elif self._is_former(batch.epoch) or (current and batch.last_seq <= top):
            pass
        elif self._fetching and len(self._pending) < self._limits.pending:
            self._pending.append(batch)
        else:
            self._suspect(now)

    def _change(self, sentinel: Sentinel, now: float) -> None:
        """Believe what was told of an end that is due, or ask the log."""
        mine = self.sentinel
        if self._is_former(sentinel.epoch):
            return
        if (sentinel.epoch, sentinel.state) == (mine.epoch, mine.state):
            return
        if sentinel.epoch == mine.epoch and mine.growing and sentinel.last_seq == self._window.top:
            self._told = True
            self.sentinel = sentinel
            self._changed()
        else:
            self._suspect(now)

    def _take(self, page: Page, now: float) -> None:
        """Bring the window to what the log holds, unless the feed has told more since."""
        mine, theirs, window = self.sentinel, page.sentinel, self._window
        if not (mine.known and theirs.lineage.contains(self._top_id())):
            self._anchor(theirs)
            return
        older = theirs.last_seq < window.top or (theirs.last_seq == window.top and theirs.growing)
        if self._told and older and theirs.epoch == mine.epoch:
            return
        events = tuple(event for event in page.events if event.id.seq > window.top)
        reached = events[-1].id.seq if events else theirs.last_seq
        if reached != window.top + len(events):
            self._anchor(theirs)  # a hole, or the store has lost its newest part
            return
        window.extend(events, size_of(events))
        self.sentinel = theirs
        if window.top < theirs.last_seq:
            state = theirs.state if theirs.growing else State.ACTIVE
            self.sentinel = replace(theirs, state=state, last_seq=window.top, error=None)
            self._suspect(now)

    def _anchor(self, sentinel: Sentinel) -> None:
        """Let the window begin at the top, and leave what lies before to the log."""
        self.sentinel = sentinel
        self._window.anchor(sentinel.last_seq)

    def _extend(self, events: tuple[Event, ...], size: int) -> None:
        """Let the window grow, and the sentinel with it."""
        self._window.extend(events, size)
        mine, top = self.sentinel, self._window.top
        self.sentinel = mine.reaching(top, mine.characters, mine.lease_until, mine.expires_at)

    def _top_id(self) -> EventId:
        return self._window.newest or self.sentinel.lineage.id_at(self._window.top)

    def _is_former(self, epoch: str) -> bool:
        """Say whether the log has gone on without the claim `epoch`."""
        return any(epoch == former for former, _ in self.sentinel.lineage.epochs[:-1])

    def _changed(self) -> None:
        self.version += 1
        self._pages.clear()

    def _suspect(self, now: float) -> None:
        """Read as soon as possible: but a pause after a failure is not cut short."""
        self._stale = True
        if self._attempts == 0:
            self._fetch_at = now


def _first_seq(batch: Batch) -> int:
    return batch.first_seq
