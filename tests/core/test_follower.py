"""The follower machine against the reference store, behind a feed that may do anything."""

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resumable_core import (
    ABSENT,
    TOP,
    Appended,
    BackendError,
    BackendUnavailable,
    Changed,
    Delete,
    EventLog,
    Follower,
    Observe,
    Outcome,
    Recover,
    Renew,
    Retention,
    State,
    Stop,
    Takeover,
)
from resumable_core._follower import LONGEST_RETRY, SHARED_PAGES
from resumable_core._pages import PAGE_EVENTS
from resumable_core.testing.machines.follower import FollowerMachine
from resumable_core.testing.worlds.follower import (
    LEASE,
    LIMITS,
    WIDE,
    FollowerWorld,
    following,
    texts,
)

TestFollower = FollowerMachine.TestCase
TestFollower.settings = settings(max_examples=150, stateful_step_count=40)


# The first read


def test_nothing_is_read_before_the_feed_is_confirmed():
    world = FollowerWorld()
    assert world.ask() is None
    assert world.follower.page(0) is None
    world.now = 3.0
    world.subscribe()
    assert world.ask().after == TOP


def test_the_window_begins_at_the_top():
    world = FollowerWorld()
    world.claim()
    world.append("a", "b")
    world.subscribe()
    world.settle()
    assert world.follower.page(1) is None
    assert world.follower.page(2).events == ()
    world.assert_same()


def test_a_stream_that_is_claimed_after_the_first_read():
    """An unknown stream has no lineage to look into."""
    world = FollowerWorld(WIDE)
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
    other = FollowerWorld()
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


def test_checks_of_streams_that_are_quiet_are_due_together():
    due = set()
    for begun in (100.001, 100.002, 100.003):
        follower = Follower(LIMITS, begun)
        follower.subscribed(begun)
        fetch = follower.next_fetch(begun)
        follower.fetched(EventLog().read(fetch.after, begun, connected_for=0.0), begun)
        due.add(follower.deadline)
    assert len(due) == 1


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
    assert world.follower._window._bytes == 0


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
    world = FollowerWorld()
    world.claim()
    world.append("a", "b", "c")
    world.feed.clear()
    world.subscribe()
    world.settle()
    version = world.follower.version
    world.wait_for(3)
    world.settle()
    assert world.follower.version == version, "there the window tells what comes"
    world.wait_for(1)  # the log has lost the rest, and then has it again
    world.settle()
    assert world.follower.version > version
    version = world.follower.version
    world.run(LIMITS.check_interval)
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


def test_what_is_of_no_use_to_ask_is_not_waited_for():
    """Law 7: those who wait are told at once; it is asked again all the same."""
    world = following("a")
    world.interrupt()
    world.ask()
    version = world.follower.version
    world.fail()
    world.follower.refused(BackendUnavailable("later"))
    assert not world.follower.given_up
    world.follower.refused(BackendError("never"))
    assert world.follower.given_up
    assert world.follower.version > version
    world.run(LONGEST_RETRY)
    assert not world.follower.given_up
    world.assert_same()


def test_a_feed_that_is_never_confirmed_is_not_waited_for_for_ever():
    world = FollowerWorld()
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
    world = FollowerWorld()
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
    pages = [world.follower.page(after) for after in range(1000, 1000 + 2 * SHARED_PAGES)]
    assert len(world.follower._pages) <= SHARED_PAGES
    assert pages[-1] is world.follower.page(pages[-1].after)


def test_a_page_of_the_window_is_limited():
    world = FollowerWorld(WIDE, Retention())
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
