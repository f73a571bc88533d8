"""One stream, its feed, and a process that follows it: a driver for one step at a time.

The feed's items are on their way until a test delivers them.
"""

# pyright: reportPrivateUsage=false
# That the window is the log's can only be seen inside.

from __future__ import annotations

from math import inf
from typing import Any, Final, TypeAlias

from resumable_core import (
    ABSENT,
    PAGE_EVENTS,
    Append,
    Appended,
    Batch,
    Change,
    Changed,
    Claim,
    Event,
    EventId,
    EventLog,
    FeedItem,
    Fetch,
    Finish,
    Follower,
    FollowerLimits,
    Interrupted,
    Message,
    Outcome,
    Page,
    Recover,
    Retention,
    Sentinel,
    State,
)

Snapshot: TypeAlias = tuple[Sentinel, tuple[Batch, ...], int, int]

LEASE: Final = 12.0
LIMITS: Final = FollowerLimits(window_count=4, window_bytes=12, pending=2, check_interval=5.0)
RETENTION: Final = Retention(count=6, keep=1000.0)
WIDE: Final = FollowerLimits(check_interval=5.0)


class FollowerWorld:
    """One stream, its feed, and a process that follows it."""

    def __init__(self, limits: FollowerLimits = LIMITS, retention: Retention = RETENTION) -> None:
        self.now: float = 0.0
        self.log: EventLog = EventLog()
        self.retention: Retention = retention
        self.held: dict[EventId, Event] = {}  # what ever stood under an id
        self.feed: list[FeedItem] = []  # items on their way
        self.follower: Follower = Follower(limits, self.now)
        self.fetch: Fetch | None = None
        self.page: Page | None = None  # the answer to the fetch, on its way
        self.claims: int = 0
        self.past: list[Snapshot] = [self.snapshot()]
        self.since: float = inf  # when the feed was confirmed, or interrupted last
        self.fetches: int = 0
        self.causes: int = 0  # of fetches, other than time

    # The stream

    @property
    def active(self) -> bool:
        return self.log.sentinel.state is State.ACTIVE

    def apply(self, change: Change) -> None:
        before = self.log.sentinel
        effect = self.log.apply(change, self.now)
        after = effect.sentinel
        self.past.append(self.snapshot())
        if effect.batch is not None:
            self.held |= {event.id: event for event in effect.batch.events}
            self.feed.append(Appended(effect.batch))
        if (before.state, before.epoch) != (after.state, after.epoch):
            self.feed.append(Changed(after))

    def claim(self, **options: Any) -> str:
        self.claims += 1
        epoch = f"e{self.claims}"
        self.apply(Claim(epoch, LEASE, self.retention, **options))
        return epoch

    def append(self, *data: str) -> None:
        """Append `data`; what once stood under an id stands there again."""
        sentinel = self.log.sentinel
        messages: list[Message] = []
        for seq, each in enumerate(data, sentinel.last_seq + 1):
            before = self.held.get(sentinel.lineage.id_at(seq))
            messages.append(Message(each if before is None else before.data))
        characters = sum(message.characters for message in messages)
        first_seq = sentinel.last_seq + 1
        self.apply(Append(sentinel.epoch, first_seq, tuple(messages), characters))

    def skip(self, count: int) -> None:
        """Go on behind events that nobody has any more."""
        at = self.log.sentinel
        self.apply(
            Recover(
                at.epoch, at.lineage, at.last_seq + count, at.characters, LEASE, at.retention, {}
            )
        )

    def end(self, outcome: Outcome = Outcome.DONE) -> None:
        self.apply(Finish(self.log.sentinel.epoch, outcome, self.log.sentinel.last_seq))

    def snapshot(self) -> Snapshot:
        log = self.log
        return log.sentinel, tuple(log.batches), log.count, log.size

    def roll_back(self, snapshot: Snapshot) -> None:
        self.log.sentinel, batches, self.log.count, self.log.size = snapshot
        self.log.batches = list(batches)
        self.past.append(snapshot)

    def wipe(self) -> None:
        self.roll_back((ABSENT, (), 0, 0))

    # The feed

    def subscribe(self) -> None:
        self.since = self.now
        self.causes += 1
        self.follower.subscribed(self.now)

    def deliver(self, *indices: int) -> None:
        """Deliver items by their place in the feed; they stay, to be repeated."""
        for index in indices:
            self.causes += 1
            self.follower.received(self.feed[index], self.now)

    def deliver_all(self) -> None:
        self.deliver(*range(len(self.feed)))
        self.feed.clear()

    def interrupt(self) -> None:
        self.feed.clear()
        self.since = self.now
        self.causes += 1
        self.follower.received(Interrupted(), self.now)

    # The driver

    def ask(self) -> Fetch | None:
        assert self.fetch is None, "one fetch at a time"
        self.fetch = self.next_fetch()
        if self.fetch is not None:
            self.fetches += 1
            assert self.fetch.connected_for == self.now - self.since
        return self.fetch

    def ask_when_due(self) -> None:
        """Wait for as long as the machine does, as after a failure, until it wants to read."""
        while self.ask() is None:
            self.now = self.follower.deadline

    def next_fetch(self) -> Fetch | None:
        """Ask the machine; it acts when its deadline says so, and at no other time."""
        due, given_up = self.follower.deadline <= self.now, self.follower.given_up
        fetch = self.follower.next_fetch(self.now)
        assert due == (fetch is not None or given_up != self.follower.given_up)
        assert self.follower.deadline > self.now, "a busy loop"
        return fetch

    def read(self, limit: int = PAGE_EVENTS) -> None:
        fetch, before = self.fetch, self.log.sentinel
        assert fetch is not None
        self.page = self.log.read(
            fetch.after, self.now, limit=limit, connected_for=fetch.connected_for
        )
        if self.log.sentinel is not before:
            self.feed.append(Changed(self.log.sentinel))

    def answer(self) -> None:
        page, self.fetch, self.page = self.page, None, None
        assert page is not None
        if page.events and page.events[-1].id.seq < page.sentinel.last_seq:
            self.causes += 1
        self.follower.fetched(page, self.now)

    def fail(self, jitter: float = 1.0) -> None:
        self.fetch = self.page = None
        self.causes += 1
        self.follower.fetch_failed(self.now, jitter)

    def doubt(self) -> None:
        self.causes += 1
        self.follower.doubted(self.now)

    def wait_for(self, after: int) -> None:
        self.causes += 1
        self.follower.awaited(after, self.now)

    def settle(self, limit: int = PAGE_EVENTS) -> None:
        """Carry out whatever the machine asks for now."""
        for _ in range(100):
            if self.fetch is None and self.ask() is None:
                return
            if self.page is None:
                self.read(limit)
            self.answer()
        raise AssertionError("a hot loop")

    def run(self, seconds: float, limit: int = PAGE_EVENTS) -> None:
        """Drive as a real driver does: ask when the deadline says so, and at no other time."""
        until = self.now + seconds
        self.settle(limit)
        while self.follower.deadline <= until:
            self.now = max(self.now, self.follower.deadline)
            self.settle(limit)
        self.now = until

    def assert_same(self) -> None:
        """The window tells what the log does; a lease that was renewed is no news."""
        follower, log = self.follower, self.log
        mine, theirs = follower.sentinel, log.sentinel
        assert (mine.state, mine.epoch, mine.lineage) == (
            theirs.state,
            theirs.epoch,
            theirs.lineage,
        )
        assert (mine.last_seq, mine.error) == (theirs.last_seq, theirs.error)
        assert follower._window.top == theirs.last_seq
        for after in range(log.sentinel.last_seq + 3):
            page = follower.page(after)
            if page is not None:
                events = log.read(after, self.now, connected_for=0.0).events
                # The window may hold what the log has trimmed or lost, but nothing else.
                assert tuple(event for event in page.events if event in events) == events


def following(*data: str, limits: FollowerLimits = WIDE) -> FollowerWorld:
    """Return a world in which a stream is followed and `data` came over the feed."""
    world = FollowerWorld(limits)
    world.claim()
    world.subscribe()
    world.settle()
    world.deliver_all()
    for each in data:
        world.append(each)
    world.deliver_all()
    return world


def texts(page: Page | None) -> str:
    """Return the text of a page, which is there."""
    assert page is not None
    return "".join(str(event.data) for event in page.events)
