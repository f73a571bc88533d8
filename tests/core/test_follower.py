"""The follower machine against the reference store, behind a feed that may do anything.

`World` holds the log, the feed's items on their way, and a driver that reads whenever the machine
asks for it. `Faults` loses, repeats, delays and reorders the items, interrupts the feed, lets reads
fail or take their time; and the stream is appended to, trimmed, taken over, restarted, deleted, and
loses its newest part. The laws are checked after each step, and once more when all is quiet.
"""

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from resumable_core import (
    ABSENT,
    TOP,
    Append,
    Appended,
    Changed,
    Claim,
    Delete,
    EventLog,
    Finish,
    Follower,
    FollowerLimits,
    Interrupted,
    Message,
    Observe,
    Outcome,
    Recover,
    Renew,
    Retention,
    State,
    Stop,
    Takeover,
)
from resumable_core._follower import LONGEST_RETRY, SLICES
from resumable_core._log import PAGE_EVENTS

LEASE = 12.0
LIMITS = FollowerLimits(window_count=4, window_bytes=12, pending=2, check_interval=5.0)
RETENTION = Retention(count=6, keep=1000.0)
WIDE = FollowerLimits(check_interval=5.0)


class World:
    """One stream, its feed, and a process that follows it."""

    def __init__(self, limits=LIMITS, retention=RETENTION):
        self.now = 0.0
        self.log = EventLog()
        self.retention = retention
        self.held = {}  # what ever stood under an id
        self.feed = []  # items on their way
        self.follower = Follower(limits, self.now)
        self.fetch = None
        self.page = None  # the answer to the fetch, on its way
        self.claims = 0
        self.past = [self.snapshot()]
        self.since = inf  # when the feed was confirmed, or interrupted last
        self.fetches = 0
        self.causes = 0  # of fetches, other than time

    # The stream

    @property
    def active(self):
        return self.log.sentinel.state is State.ACTIVE

    def apply(self, change):
        before = self.log.sentinel
        effect = self.log.apply(change, self.now)
        after = effect.sentinel
        self.past.append(self.snapshot())
        if effect.batch is not None:
            self.held |= {event.id: event for event in effect.batch.events}
            self.feed.append(Appended(effect.batch))
        if (before.state, before.epoch) != (after.state, after.epoch):
            self.feed.append(Changed(after))

    def claim(self, **options):
        self.claims += 1
        epoch = f"e{self.claims}"
        self.apply(Claim(epoch, LEASE, self.retention, **options))
        return epoch

    def append(self, *data):
        """Append `data`; what once stood under an id stands there again."""
        sentinel = self.log.sentinel
        messages = []
        for seq, each in enumerate(data, sentinel.last_seq + 1):
            before = self.held.get(sentinel.lineage.id_at(seq))
            messages.append(Message(each if before is None else before.data))
        characters = sum(message.characters for message in messages)
        first_seq = sentinel.last_seq + 1
        self.apply(Append(sentinel.epoch, first_seq, tuple(messages), characters))

    def skip(self, count):
        """Go on behind events that nobody has any more."""
        at = self.log.sentinel
        self.apply(
            Recover(
                at.epoch, at.lineage, at.last_seq + count, at.characters, LEASE, at.retention, {}
            )
        )

    def end(self, outcome=Outcome.DONE):
        self.apply(Finish(self.log.sentinel.epoch, outcome, self.log.sentinel.last_seq))

    def snapshot(self):
        log = self.log
        return log.sentinel, tuple(log.batches), log.count, log.size

    def roll_back(self, snapshot):
        self.log.sentinel, batches, self.log.count, self.log.size = snapshot
        self.log.batches = list(batches)
        self.past.append(snapshot)

    def wipe(self):
        self.roll_back((ABSENT, (), 0, 0))

    # The feed

    def subscribe(self):
        self.since = self.now
        self.causes += 1
        self.follower.subscribed(self.now)

    def deliver(self, *indices):
        """Deliver items by their place in the feed; they stay, to be repeated."""
        for index in indices:
            self.causes += 1
            self.follower.received(self.feed[index], self.now)

    def deliver_all(self):
        self.deliver(*range(len(self.feed)))
        self.feed.clear()

    def interrupt(self):
        self.feed.clear()
        self.since = self.now
        self.causes += 1
        self.follower.received(Interrupted(), self.now)

    # The driver

    def ask(self):
        assert self.fetch is None, "one fetch at a time"
        self.fetch = self.next_fetch()
        if self.fetch is not None:
            self.fetches += 1
            assert self.fetch.connected_for == self.now - self.since
        return self.fetch

    def next_fetch(self):
        """Ask the machine; it acts when its deadline says so, and at no other time."""
        due, given_up = self.follower.deadline <= self.now, self.follower.given_up
        fetch = self.follower.next_fetch(self.now)
        assert due == (fetch is not None or given_up != self.follower.given_up)
        assert self.follower.deadline > self.now, "a busy loop"
        return fetch

    def read(self, limit=PAGE_EVENTS):
        fetch = self.fetch
        before = self.log.sentinel
        self.page = self.log.read(
            fetch.after, self.now, limit=limit, connected_for=fetch.connected_for
        )
        if self.log.sentinel is not before:
            self.feed.append(Changed(self.log.sentinel))

    def answer(self):
        page, self.fetch, self.page = self.page, None, None
        if page.events and page.events[-1].id.seq < page.sentinel.last_seq:
            self.causes += 1
        self.follower.fetched(page, self.now)

    def fail(self, jitter=1.0):
        self.fetch = self.page = None
        self.causes += 1
        self.follower.fetch_failed(self.now, jitter)

    def doubt(self):
        self.causes += 1
        self.follower.doubted(self.now)

    def settle(self, limit=PAGE_EVENTS):
        """Carry out whatever the machine asks for now."""
        for _ in range(100):
            if self.fetch is None and self.ask() is None:
                return
            if self.page is None:
                self.read(limit)
            self.answer()
        pytest.fail("a hot loop")

    def run(self, seconds, limit=PAGE_EVENTS):
        """Drive as a real driver does: ask when the deadline says so, and at no other time."""
        until = self.now + seconds
        self.settle(limit)
        while self.follower.deadline <= until:
            self.now = max(self.now, self.follower.deadline)
            self.settle(limit)
        self.now = until

    def assert_same(self):
        """The window tells what the log does; a lease that was renewed is no news."""
        follower, log = self.follower, self.log
        mine, theirs = follower.sentinel, log.sentinel
        assert (mine.state, mine.epoch, mine.lineage) == (
            theirs.state,
            theirs.epoch,
            theirs.lineage,
        )
        assert (mine.last_seq, mine.error) == (theirs.last_seq, theirs.error)
        assert follower._top == theirs.last_seq
        for after in range(log.sentinel.last_seq + 3):
            page = follower.page(after)
            if page is not None:
                events = log.read(after, self.now, connected_for=0.0).events
                # The window may hold what the log has trimmed or lost, but nothing else.
                assert tuple(event for event in page.events if event in events) == events


def following(*data, limits=WIDE):
    """Return a world in which a stream is followed and `data` came over the feed."""
    world = World(limits)
    world.claim()
    world.subscribe()
    world.settle()
    world.deliver_all()
    for each in data:
        world.append(each)
    world.deliver_all()
    return world


def texts(page):
    return "".join(event.data for event in page.events)


ACTIONS = (
    *(
        "nothing",
        "claim",
        "append",
        "append",
        "skip",
        "end",
        "renew",
        "delete",
        "wipe",
        "fail_over",
    ),
    *("keep_up", "keep_up", "keep_up", "subscribe", "deliver", "deliver", "deliver_all"),
    *("lose_items", "interrupt", "ask", "read", "read", "answer", "answer", "fail", "doubt"),
    *("settle", "settle", "wait", "wait"),
)
data_of_a_batch = st.lists(st.text("aé", max_size=4), min_size=1, max_size=5)


class Faults(RuleBasedStateMachine):
    """Anything may happen at any time, in any order."""

    @initialize(wide=st.booleans(), forgets=st.booleans(), ends=st.booleans())
    def start(self, wide, forgets, ends):
        self.world = World(FollowerLimits(pending=2, window_count=4) if wide else LIMITS)
        self.forgets = forgets
        self.ends = ends
        self.seen = (0, None)

    @rule(data=st.data(), action=st.sampled_from(ACTIONS))
    def step(self, data, action):
        """One rule for all: of many, Hypothesis would leave out half in each run."""
        getattr(self, action)(data.draw)

    def nothing(self, draw):
        pass

    @property
    def follower(self):
        return self.world.follower

    # What becomes of the stream

    def claim(self, draw):
        at = self.world.log.sentinel
        if at.state is State.LOST:
            self.world.claim(on_lost=draw(st.sampled_from([Takeover.CONTINUE, Takeover.RESTART])))
        elif not self.world.active:
            self.world.claim(replaces=at.epoch if at.known else None)

    def append(self, draw):
        if self.world.active:
            self.world.append(*draw(data_of_a_batch))

    def skip(self, draw):
        if self.world.active and self.forgets:
            self.world.skip(draw(st.integers(1, 3)))

    def end(self, draw):
        if self.world.active and self.ends:
            outcome = draw(st.sampled_from(Outcome))
            if outcome is Outcome.STOPPED:
                self.world.apply(Stop())
            else:
                self.world.end(outcome)

    def renew(self, draw):
        if self.world.active:
            self.world.apply(Renew(self.world.log.sentinel.epoch))

    def delete(self, draw):
        if self.ends:
            self.world.apply(Delete())

    def wipe(self, draw):
        if self.forgets:
            self.world.wipe()

    def fail_over(self, draw):
        if self.forgets:
            back = draw(st.integers(1, min(8, len(self.world.past))))
            self.world.roll_back(self.world.past[-back])

    def keep_up(self, draw):
        """Time without faults, so that something comes about."""
        self.claim(draw)
        self.subscribe(draw)
        self.append(draw)
        self.world.deliver_all()
        self.world.settle()

    # What becomes of the feed

    @property
    def subscribed(self):
        return self.world.since < inf

    def subscribe(self, draw):
        if not self.subscribed:
            self.world.subscribe()

    def deliver(self, draw):
        if self.world.feed and self.subscribed:
            index = draw(st.integers(0, len(self.world.feed) - 1))
            self.world.deliver(index)
            if draw(st.booleans()):
                del self.world.feed[index]

    def deliver_all(self, draw):
        if self.subscribed:
            self.world.deliver_all()

    def lose_items(self, draw):
        self.world.feed.clear()

    def interrupt(self, draw):
        if self.subscribed:
            self.world.interrupt()

    # What becomes of the reads

    def ask(self, draw):
        if self.world.fetch is None:
            self.world.ask()

    def read(self, draw):
        if self.world.fetch is not None and self.world.page is None:
            self.world.read(draw(st.integers(1, 3)))

    def answer(self, draw):
        if self.world.page is not None:
            self.world.answer()

    def fail(self, draw):
        if self.world.fetch is not None:
            self.world.fail(draw(st.floats(0, 1)))

    def doubt(self, draw):
        if self.subscribed:
            self.world.doubt()

    def settle(self, draw):
        self.world.settle(draw(st.integers(1, 3)))

    def wait(self, draw):
        self.world.now += draw(st.sampled_from([0.01, 0.2, 1.0, 5.0, LEASE, LIMITS.outage]))

    # The laws

    @invariant()
    def the_window_is_a_part_of_the_log(self):
        """Contiguous, up to the top, and what stood under those ids."""
        follower = self.follower
        window, top = follower._window, follower._top
        assert [event.id.seq for event in window] == list(range(top + 1 - len(window), top + 1))
        for event in window:
            assert event == self.world.held[event.id]
            assert follower.sentinel.lineage.id_at(event.id.seq) == event.id
        assert follower.sentinel.last_seq == top

    @invariant()
    def pages_are_parts_of_the_window(self):
        follower = self.follower
        first = follower._top + 1 - len(follower._window)
        for after in range(max(0, first - 3), follower._top + 3):
            page = follower.page(after)
            if not follower.ready or after < first - 1:
                assert page is None
            else:
                assert page is follower.page(after)
                assert page.events == tuple(follower._window[after + 1 - first :])
                assert page.after == after
                assert page.sentinel.last_seq == follower._top

    @invariant()
    def consumers_are_woken(self):
        """What a consumer might want to see has another version."""
        at = self.follower.sentinel
        view = (self.follower.ready, at.state, at.lineage, at.last_seq)
        version, before = self.seen
        assert version <= self.follower.version
        assert view == before or version < self.follower.version or before is None
        self.seen = (self.follower.version, view)

    @invariant()
    def memory_is_bounded(self):
        """Law 8."""
        follower, limits = self.follower, self.follower._limits
        size = sum(len(event.data.encode()) for event in follower._window)
        assert follower._bytes == size
        one_batch = len(follower._chunks) == 1
        assert len(follower._window) <= limits.window_count or one_batch
        assert size <= limits.window_bytes or one_batch
        assert len(follower._pending) <= limits.pending
        assert len(follower._slices) <= SLICES

    @invariant()
    def reads_are_few(self):
        """One for each cause, and one in a check interval; there is no hot loop."""
        world = self.world
        assert world.fetches <= world.causes + world.now / LIMITS.check_interval + 1

    def teardown(self):
        """Law 7: when all is quiet, the follower knows what there is after one check interval."""
        if not hasattr(self, "world"):
            return
        world = self.world
        if world.since == inf:
            world.subscribe()
        world.feed.clear()
        world.run(max(LIMITS.check_interval, LONGEST_RETRY), limit=3)
        self.reads_are_few()
        world.assert_same()
        assert world.follower.sentinel == world.log.sentinel
        assert not world.follower.unreachable
        assert not world.follower.given_up


Faults.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
TestFaults = Faults.TestCase


# The first read


def test_nothing_is_read_before_the_feed_is_confirmed():
    world = World()
    assert world.ask() is None
    assert world.follower.page(0) is None
    world.now = 3.0
    world.subscribe()
    assert world.ask().after == TOP


def test_the_window_begins_at_the_top():
    world = World()
    world.claim()
    world.append("a", "b")
    world.subscribe()
    world.settle()
    assert world.follower.page(1) is None
    assert world.follower.page(2).events == ()
    world.assert_same()


def test_a_stream_that_is_claimed_after_the_first_read():
    """An unknown stream has no lineage to look into."""
    world = World(WIDE)
    world.subscribe()
    world.settle()
    assert world.follower.ready
    assert world.follower.page(0).sentinel is ABSENT
    world.claim()
    world.append("a")
    world.deliver_all()
    world.settle()
    world.assert_same()


# The merge


@given(st.lists(st.lists(st.text(max_size=3), min_size=1, max_size=4), max_size=20), st.data())
def test_whatever_the_feed_does_the_window_is_right(batches, data):
    """Law 2: late, twice, in any order, or not at all."""
    world = following(limits=LIMITS)
    for batch in batches:
        world.append(*batch)
    order = st.lists(st.sampled_from(range(len(world.feed))), max_size=30)
    world.deliver(*data.draw(order if world.feed else st.just([])))
    world.run(LIMITS.check_interval)
    world.assert_same()


@given(st.lists(st.text(min_size=1, max_size=3), min_size=1, max_size=20))
def test_what_comes_in_order_is_not_read(data):
    world = following(limits=WIDE)
    before = world.fetches
    for each in data:
        world.now += LIMITS.check_interval - 1.0
        assert world.ask() is None
        world.append(each)
        world.deliver_all()
    assert texts(world.follower.page(0)) == "".join(data)
    assert world.follower.deadline == world.now + LIMITS.check_interval
    assert world.fetches == before


def test_a_batch_that_overlaps_is_cut():
    world = following("a")
    world.append("b")
    world.log.batches[-1:] = ()
    world.log.sentinel = world.past[-2][0]
    world.append("b", "c")
    world.deliver(0, 1)
    assert texts(world.follower.page(0)) == "abc"


def test_an_old_batch_wakes_nobody_and_is_no_sign_of_life():
    world = following()
    world.append("a")
    world.deliver(0)
    version = world.follower.version
    world.now = 4.0
    world.deliver(0)
    assert world.follower.version == version
    assert world.follower.deadline == LIMITS.check_interval


def test_a_hole_is_read_at_once():
    world = following("a")
    world.append("b")
    world.append("c")
    world.deliver(1)
    assert texts(world.follower.page(0)) == "a"
    assert world.follower.deadline == world.now
    world.settle()
    assert texts(world.follower.page(0)) == "abc"


def test_what_comes_during_a_read_is_held():
    """The answer is older than what was told meanwhile; and that came in no order."""
    world = following("a")
    world.interrupt()
    world.ask()
    world.read()
    for each in "bcd":
        world.append(each)
    world.deliver(2, 1)
    world.answer()
    assert world.follower.page(1).events == ()
    world.deliver(0)
    assert texts(world.follower.page(0)) == "ab"
    world.settle()
    assert texts(world.follower.page(0)) == "abcd"


def test_what_was_held_fits_the_answer():
    world = following("a")
    world.append("b")
    world.feed.clear()
    world.interrupt()
    world.ask()
    world.read()
    world.append("c")
    world.append("d")
    world.deliver(1, 0)
    world.answer()
    assert texts(world.follower.page(0)) == "abcd"
    assert world.follower.deadline > world.now
    assert world.follower._pending == []


def test_an_answer_that_knows_more_than_was_told_meanwhile():
    world = following("a")
    world.interrupt()
    world.ask()
    world.append("b")
    world.append("c")
    world.read()
    world.deliver(0)
    world.answer()
    assert texts(world.follower.page(0)) == "abc"
    world.assert_same()


def test_an_interruption_during_a_read_is_another_read():
    world = following("a")
    world.interrupt()
    world.ask()
    world.read()
    world.append("b")
    world.interrupt()
    world.answer()
    assert world.follower.deadline == world.now
    world.settle()
    world.assert_same()


def test_what_came_before_a_read_is_not_held():
    """A read that is asked for afterwards knows better."""
    world = following("a")
    world.interrupt()
    world.ask()
    world.append("b", "c")
    world.append("d")
    world.deliver(1)
    world.fail()
    world.roll_back(world.past[-3])
    world.feed.clear()
    world.run(1.0)
    assert world.fetches == 3
    world.assert_same()


def test_more_than_can_be_held_is_read():
    world = following("a")
    world.interrupt()
    world.follower._limits = LIMITS
    world.ask()
    world.read()
    for each in "bcdef":
        world.append(each)
    world.deliver(4, 3, 2, 1)
    assert len(world.follower._pending) == LIMITS.pending
    world.answer()
    world.settle()
    world.assert_same()


def test_a_failed_read_is_repeated_after_a_pause():
    """Pauses grow, and whatever the feed tells does not shorten them."""
    world = following("a")
    world.interrupt()
    pauses = []
    for _ in range(9):
        assert world.ask()
        world.append("b")
        world.append("c")
        world.deliver(-1)
        world.fail(jitter=1.0)
        world.append("d")
        world.deliver(-1)
        pauses.append(world.follower.deadline - world.now)
        world.now = world.follower.deadline
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0])
    world.settle()
    world.assert_same()
    assert world.follower.deadline == world.now + LIMITS.check_interval
    world.interrupt()
    assert world.ask()
    world.fail(jitter=1.0)
    assert world.follower.deadline == world.now + 0.1


def test_batches_of_another_stream_cost_a_read_each_at_most():
    """However busy the stream is: what the log does not know is forgotten."""
    world = following("a")
    other = World()
    other.claim()
    other.end()
    other.claim(replaces="e1")
    other.append("x")
    world.feed += other.feed[-1:]
    before = world.fetches
    world.deliver_all()
    for each in "bcdefgh":
        if world.ask():
            world.read()
        world.append(each)
        world.deliver_all()
        if world.fetch:
            world.answer()
    assert world.fetches == before + 1
    world.assert_same()


def test_nothing_to_tell_wakes_nobody():
    world = following("a")
    version, page = world.follower.version, world.follower.page(0)
    world.run(4 * LIMITS.check_interval)
    assert world.log.sentinel.state is State.LOST
    assert world.follower.version == version + 1
    version, page = world.follower.version, world.follower.page(0)
    world.run(20 * LIMITS.check_interval)
    assert world.follower.version == version
    assert world.follower.page(0) is page


def test_reads_go_on_once_in_a_check_interval():
    """Law 7, and no hot loop."""
    world = following("a")
    before = world.fetches
    world.run(100.0)
    assert world.fetches == before + 20


def test_a_silent_feed_is_found_out():
    world = following("a")
    world.append("b")
    world.feed.clear()
    world.run(LIMITS.check_interval)
    world.assert_same()


def test_a_death_is_observed_when_the_feed_was_watched_for_a_lease():
    world = following("a")
    world.now = LEASE - 1.0
    world.interrupt()
    world.run(LEASE - 0.1)
    assert world.follower.sentinel.state is State.ACTIVE
    world.run(LIMITS.check_interval)
    assert world.follower.sentinel.state is State.LOST
    world.assert_same()


# Pages that do not reach the top


def test_what_the_window_does_not_hold_yet_has_not_happened_yet():
    """The end is not to be seen before the last event is."""
    world = following("a")
    world.append("b", "c")
    world.append("d")
    world.end()
    world.feed.clear()
    world.interrupt()
    world.ask()
    world.read(limit=1)
    world.answer()
    page = world.follower.page(0)
    assert texts(page) == "ab"
    assert (page.sentinel.state, page.sentinel.last_seq) == (State.ACTIVE, 2)
    world.settle(limit=1)
    assert texts(world.follower.page(0)) == "abcd"
    world.assert_same()


def test_a_hole_in_the_log_empties_the_window():
    world = following("a")
    world.skip(3)
    world.append("b")
    world.run(LIMITS.check_interval)
    assert world.follower.page(0) is None
    assert world.follower.page(4) is None
    assert world.follower.page(5).events == ()
    world.append("c")
    world.deliver(-1)
    assert texts(world.follower.page(5)) == "c"


def test_a_hole_at_the_end_empties_the_window():
    world = following("a")
    world.skip(3)
    world.run(LIMITS.check_interval)
    assert world.follower.page(1) is None
    world.assert_same()


# Changes of state


def test_an_end_that_is_told_is_believed():
    world = following("a")
    world.end()
    version = world.follower.version
    world.deliver_all()
    assert world.follower.version > version
    world.assert_same()
    assert world.follower.page(1).sentinel.outcome is Outcome.DONE


def test_an_end_that_comes_before_the_last_event_is_read():
    world = following("a")
    world.append("b")
    world.end()
    world.deliver(1)
    assert world.follower.page(1).sentinel.state is State.ACTIVE
    world.settle()
    world.assert_same()


def test_an_end_of_another_log_is_not_believed():
    world = following()
    world.end()
    late = world.log.sentinel
    world.claim(replaces="e1")
    world.deliver_all()
    world.settle()
    world.follower.received(Changed(late), world.now)
    assert world.follower.sentinel.state is State.ACTIVE


def test_an_end_that_is_told_late_does_not_replace_another():
    world = following("a")
    world.end()
    world.roll_back(world.past[-2])
    world.end(Outcome.LOST)
    done, lost = world.feed
    world.feed = [lost, done]
    world.deliver_all()
    assert world.follower.sentinel.outcome is Outcome.LOST
    world.settle()
    world.assert_same()


@pytest.mark.parametrize("told", ["end", "event"])
def test_an_answer_older_than_what_was_told_changes_nothing(told):
    world = following("a")
    world.interrupt()
    world.ask()
    world.read()
    if told == "event":
        world.append("b")
    else:
        world.end()
    world.deliver_all()
    world.answer()
    assert world.follower.deadline > world.now
    world.assert_same()


def test_an_answer_that_knows_of_the_end_is_believed():
    world = following("a")
    world.interrupt()
    world.ask()
    world.append("b")
    world.end()
    world.read()
    world.deliver(0)
    world.answer()
    world.assert_same()


def test_an_answer_that_knows_of_a_takeover_is_believed():
    world = following("a")
    world.interrupt()
    world.ask()
    world.append("b")
    world.end(Outcome.LOST)
    world.claim(on_lost=Takeover.CONTINUE)
    world.read()
    world.deliver(0)
    world.answer()
    world.assert_same()


@pytest.mark.parametrize("ended", [True, False])
def test_a_deletion_is_read(ended):
    world = following("a")
    if ended:
        world.end()
        world.deliver_all()
    world.feed.clear()
    world.apply(Delete())
    world.deliver_all()
    world.settle()
    assert world.follower.page(0).sentinel.state is State.DELETED
    assert world.follower.page(0).events == ()
    world.assert_same()


def test_what_is_known_is_not_read_again():
    world = following("a")
    world.end(Outcome.LOST)
    late = world.log.sentinel
    world.claim(on_lost=Takeover.CONTINUE)
    world.append("b")
    world.deliver_all()
    world.settle()
    fetches = world.fetches
    world.feed += [Changed(late), Changed(world.log.sentinel)]
    world.feed += [Appended(batch) for batch in world.log.batches]
    world.deliver_all()
    assert world.ask() is None
    assert world.fetches == fetches
    assert texts(world.follower.page(0)) == "ab"


@pytest.mark.parametrize("data", ["c", "cde"])
def test_a_restart_begins_a_new_window(data):
    world = following("a", "b")
    world.end()
    world.claim(replaces="e1")
    world.append(*data)
    world.deliver_all()
    world.settle()
    world.assert_same()
    assert world.follower.page(0) is None
    assert world.follower._bytes == 0


# What the store forgets


def test_a_lost_tail_is_found_out_and_its_repair_followed():
    world = following("a", "b", "c")
    world.roll_back(world.past[-3])
    world.run(LIMITS.check_interval)
    world.assert_same()
    assert world.follower.page(3).sentinel.last_seq == 1
    world.append("b", "c")
    world.deliver_all()
    assert texts(world.follower.page(1)) == "bc"
    world.assert_same()


def test_whoever_waits_before_the_window_is_woken_when_a_lost_tail_is_back():
    """Law 7: the follower noticed neither the loss nor the repair, so nothing is news to it."""
    world = World()
    world.claim()
    world.append("a", "b", "c")
    world.feed.clear()
    world.subscribe()
    world.settle()
    version = world.follower.version
    world.follower.awaited(3, world.now)
    world.settle()
    assert world.follower.version == version, "there the window tells what comes"
    world.follower.awaited(1, world.now)  # the log has lost the rest, and then has it again
    world.settle()
    assert world.follower.version > version
    version = world.follower.version
    world.run(3 * LIMITS.check_interval)
    assert world.follower.version == version


def test_a_stream_that_was_stopped_with_its_tail_lost():
    """No window shows events behind an end."""
    world = following("a", "b", "c")
    world.roll_back(world.past[-3])
    world.apply(Stop())
    world.deliver_all()
    world.settle()
    world.assert_same()


def test_an_end_that_a_failover_swallowed_is_not_kept():
    """The producer has not heard of the stop, and goes on."""
    world = following("a")
    world.apply(Stop())
    world.deliver_all()
    world.roll_back(world.past[-2])
    world.append("b")
    world.feed.clear()
    world.run(LIMITS.check_interval)
    world.assert_same()
    world.append("c")
    world.deliver_all()
    world.assert_same()


def test_events_behind_an_end_are_read():
    world = following("a")
    world.apply(Stop())
    world.deliver_all()
    world.roll_back(world.past[-2])
    world.append("b")
    world.deliver_all()
    assert world.follower.page(1).events == ()
    world.settle()
    world.assert_same()


def test_a_stream_that_was_wiped_and_recovered():
    world = following("a", "b", "c")
    at = world.log.sentinel
    world.wipe()
    world.run(LIMITS.check_interval)
    assert world.follower.page(0).sentinel is ABSENT
    world.apply(Recover(at.epoch, at.lineage, 1, 1, LEASE, at.retention, {}))
    world.append("b", "c")
    world.deliver_all()
    world.settle()
    world.assert_same()


# A store that does not answer


def test_while_the_store_does_not_answer_it_alone_asks():
    world = following("a")
    world.interrupt()
    assert not world.follower.unreachable
    world.ask()
    world.fail()
    assert world.follower.unreachable
    version = world.follower.version
    world.run(1.0)
    assert not world.follower.unreachable
    assert world.follower.version > version, "who waits for it is woken"


def test_a_doubt_is_looked_into():
    world = following("a")
    version = world.follower.version
    world.doubt()
    assert world.follower.unreachable
    assert world.follower.deadline == world.now
    world.settle()
    assert not world.follower.unreachable
    assert world.follower.version > version


def test_an_outage_is_not_waited_out_for_ever():
    """Law 7."""
    world = following("a")
    world.now = 1.0
    world.interrupt()
    world.ask()
    for _ in range(100):
        if world.fetch:
            world.fail()
        if world.follower.given_up:
            break
        version = world.follower.version
        world.now = world.follower.deadline
        world.ask()
    assert world.now == 1.0 + LIMITS.outage
    assert world.follower.version > version
    world.run(LONGEST_RETRY)
    assert not world.follower.given_up
    world.assert_same()


def test_a_feed_that_is_never_confirmed_is_not_waited_for_for_ever():
    world = World()
    assert world.follower.deadline == LIMITS.outage
    world.now = LIMITS.outage
    assert world.ask() is None
    assert world.follower.given_up
    assert world.follower.deadline == inf


@pytest.mark.parametrize("known", [0, 1, 2, 3])
@pytest.mark.parametrize("kept", [0, 1, 2, 3])
def test_a_producer_that_gave_up_is_believed_by_who_then_has_all(known, kept):
    """What it holds of the log reaches down to the window, or there is nothing but to wait."""
    world = following(*"abc"[:known])
    if known < 3:
        world.append(*"abc"[known:])
    at, version = world.log.sentinel, world.follower.version
    events = tuple(world.held.values())
    given_up = replace(at, state=State.FAILED, error="the store did not answer")
    world.follower.abandoned(given_up, events[3 - kept :])
    sentinel = world.follower.sentinel
    if known + kept >= 3:
        assert texts(world.follower.page(0)) == "abc"
        assert (sentinel.outcome, sentinel.error) == (Outcome.FAILED, given_up.error)
        assert world.follower.version > version
        assert world.follower.page(3).sentinel is sentinel
    else:
        assert texts(world.follower.page(0)) == "abc"[:known]
        assert (sentinel.outcome, sentinel.error) == (None, None)
        assert world.follower.version == version


def test_a_producer_that_gave_up_is_believed_when_nothing_was_read_yet():
    world = World()
    world.claim()
    world.append(*"abc")
    at = world.log.sentinel
    world.follower.abandoned(ABSENT, ())
    assert not world.follower.ready
    events = tuple(world.held.values())
    world.follower.abandoned(replace(at, state=State.FAILED, error="gone"), events[1:])
    assert world.follower.page(0) is None
    page = world.follower.page(1)
    assert (texts(page), page.sentinel.outcome) == ("bc", Outcome.FAILED)
    world.subscribe()
    world.settle()
    world.assert_same()


def test_a_read_that_was_under_way_does_not_contradict_a_producer_that_gave_up():
    """A store may be read and still be full."""
    world = following(*"abc")
    world.now = world.follower.deadline
    world.ask()
    world.read()
    at = world.log.sentinel
    world.follower.abandoned(replace(at, state=State.FAILED, error="full"), ())
    world.answer()
    assert world.follower.page(3).sentinel.outcome is Outcome.FAILED


def test_a_feed_that_is_back_ends_the_pause():
    world = following("a")
    world.interrupt()
    for _ in range(5):
        world.now = world.follower.deadline
        world.ask()
        world.fail()
    assert world.follower.deadline > world.now + 1.0
    world.interrupt()
    assert world.follower.deadline == world.now


def test_a_producer_of_another_log_that_gave_up_is_not_believed():
    world = following()
    at = world.log.sentinel
    world.follower.abandoned(replace(at, state=State.FAILED, epoch="e9"), ())
    world.assert_same()
    world.end()
    world.deliver_all()
    world.follower.abandoned(replace(at, state=State.FAILED), ())
    world.assert_same()


# What consumers share


def test_consumers_at_one_place_share_the_page():
    world = following(*"abc")
    assert world.follower.page(1) is world.follower.page(1)
    assert world.follower.page(1) is not world.follower.page(2)
    pages = [world.follower.page(after) for after in range(1000, 1000 + 2 * SLICES)]
    assert len(world.follower._slices) <= SLICES
    assert pages[-1] is world.follower.page(pages[-1].after)


def test_a_page_of_the_window_is_limited():
    world = World(WIDE, Retention())
    world.claim()
    world.subscribe()
    world.settle()
    world.append(*"x" * (PAGE_EVENTS + 10))
    world.deliver_all()
    assert len(world.follower.page(0).events) == PAGE_EVENTS
    assert len(world.follower.page(PAGE_EVENTS).events) == 10


def test_a_big_event_is_kept_alone():
    world = following("a", "b", limits=LIMITS)
    world.append("x" * 50)
    world.deliver_all()
    assert world.follower.page(1) is None
    assert texts(world.follower.page(2)) == "x" * 50


def test_the_lease_shown_is_the_newest_read():
    world = following("a")
    world.now = 4.0
    world.apply(Renew("e1"))
    world.run(LIMITS.check_interval)
    assert world.follower.sentinel.lease_until == 4.0 + LEASE
    assert world.follower.sentinel == world.log.sentinel
    world.apply(Observe())
    assert world.feed == []
