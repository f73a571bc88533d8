"""The producer machine against the reference store, with all that can go wrong between them."""

from dataclasses import replace
from math import inf

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from resumable_core import (
    ABSENT,
    Append,
    BackendError,
    BackendFull,
    BackendUnavailable,
    Claim,
    Delete,
    EventLog,
    Fenced,
    InvalidInput,
    InvalidMessage,
    Message,
    Observe,
    Outcome,
    Phase,
    Producer,
    ProducerLimits,
    Recover,
    Renew,
    Retention,
    Sentinel,
    State,
    Stop,
    StreamExists,
    StreamNotFound,
    Takeover,
)
from resumable_core._lane import Lane
from resumable_core._producer import GATHER
from resumable_core._run import Run
from resumable_core._ticks import TICKS, on_tick
from resumable_core.testing.machines.producer import ProducerMachine, messages
from resumable_core.testing.worlds.producer import (
    CLAIM,
    KEEP,
    LEASE,
    LIMITS,
    RENEW,
    WRITE,
    ProducerWorld,
    lost_log,
    producing,
    text,
)

TestProducer = ProducerMachine.TestCase
TestProducer.settings = settings(max_examples=150, stateful_step_count=40)


# Without faults


@given(st.lists(messages, max_size=30), st.data())
def test_what_was_offered_is_in_the_log(offers, data):
    """Law 1: in order, once; and what gathers during an append goes as one batch."""
    world = producing()
    for message in offers:
        if not world.producer.has_room:
            world.settle()
        world.offer(message)
        if data.draw(st.booleans()):
            world.settle()
    world.finish()
    world.assert_whole()
    assert world.producer.flushed
    assert world.log.sentinel.characters == sum(message.characters for message in offers)


def test_what_gathers_during_an_append_goes_as_one_batch():
    world = producing()
    world.offer(*text(1))
    assert world.ask(WRITE) == Append("mine", 1, (Message("a"),), 1)
    world.offer(Message("b"), Message("c"))
    assert world.ask(RENEW) is None
    assert not world.producer.flushed
    world.now += GATHER
    world.carry_out(WRITE)
    assert world.ask(WRITE) == Append("mine", 2, (Message("b"), Message("c")), 2)


def test_what_follows_closely_on_an_append_is_gathered():
    """The first goes out at once, and so does the next after a pause."""
    world = producing(*text(1))
    world.offer(Message("b"))
    assert world.ask(WRITE) is None
    assert world.producer.write_deadline == GATHER
    world.offer(Message("c"))
    world.now = GATHER
    assert world.ask(WRITE) == Append("mine", 2, (Message("b"), Message("c")), 2)
    world.carry_out(WRITE)
    world.now = 3 * GATHER
    world.offer(Message("d"))
    assert world.ask(WRITE) == Append("mine", 4, (Message("d"),), 1)


def test_who_offers_is_told_when_to_ask():
    """For the first that waits, and for the one that fills the buffer."""
    producer = producing().producer
    assert [producer.offer(each) for each in text(LIMITS.buffer_count)] == [True, False, True]


@pytest.mark.parametrize("more", ["enough", "the end", "a flush"])
def test_nothing_is_gathered_when_nothing_is_to_be_waited_for(more):
    """The buffer is full, the source has ended, or somebody waits for the store's word."""
    world = producing(*text(1))
    world.offer(Message("b"))
    assert world.ask(WRITE) is None
    match more:
        case "enough":
            world.offer(*text(LIMITS.buffer_count - 1))
        case "the end":
            world.producer.end(Outcome.DONE)
        case "a flush":
            world.producer.hurry()
    assert isinstance(world.ask(WRITE), Append)


def test_takes_over_where_the_lost_producer_stopped():
    world = producing(*text(2), log=lost_log(5))
    world.finish()
    world.assert_whole()
    assert world.seqs == [1, 2, 3, 4, 5, 6, 7]


def test_a_producer_that_nobody_drives_any_more_is_closed():
    """It has recorded no end: that is for others to find out."""
    producer = producing(*text(1)).producer
    producer.left()
    assert (producer.phase, producer.outcome, producer.error) == (Phase.CLOSED, Outcome.LOST, None)
    assert not producer.source_wanted
    assert producer.next_write(inf) is None


def test_only_the_first_end_counts():
    world = producing(*text(1))
    world.producer.end(Outcome.FAILED, "first")
    world.producer.end(Outcome.DONE, "second")
    assert not world.producer.source_wanted
    world.settle()
    assert (world.log.sentinel.outcome, world.log.sentinel.error) == (Outcome.FAILED, "first")


def test_an_end_before_the_claim_is_recorded_after_it():
    world = ProducerWorld()
    world.producer.end(Outcome.LOST)
    world.settle()
    assert world.log.sentinel.outcome is Outcome.LOST


def state_of(machine):
    """Return all that a machine and its parts know, as text."""
    ours = (Producer, Run, Lane)
    return {
        name: state_of(value) if isinstance(value, ours) else repr(value)
        for name, value in vars(machine).items()
    }


def test_an_oversized_message_is_refused_and_changes_nothing():
    world = producing(*text(2))
    before = state_of(world.producer)
    with pytest.raises(InvalidMessage, match="at most 20 bytes, got 21"):
        world.producer.offer(Message("€" * 7))
    assert state_of(world.producer) == before
    assert world.producer.source_wanted


# The claim


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), max_size=6))
def test_a_claim_is_repeated_until_it_is_answered(failures):
    """Law 6: however often the claim arrived, it is one."""
    world = ProducerWorld()
    for arrives, jitter in failures:
        assert world.ask(WRITE) is CLAIM
        if arrives:
            world.arrive(WRITE)
        world.fail(WRITE, jitter)
        assert world.ask(WRITE) is None
        assert world.producer.phase is Phase.CLAIMING
        assert world.producer.renew_deadline is None
        world.sleep()
    world.settle()
    assert world.producer.phase is Phase.PRODUCING
    assert world.log.sentinel.lineage.epochs == (("mine", 1),)


def test_limits_of_the_source_count_from_when_it_is_started():
    world = ProducerWorld(limits=ProducerLimits(idle=1.0, total=3.0))
    world.ask(WRITE)
    world.now = 5.0
    assert world.producer.next_write(world.now) is None
    assert world.producer.source_wanted
    world.carry_out(WRITE)
    assert world.producer.write_deadline == 6.0


def test_what_is_offered_before_the_claim_follows_what_was_there():
    world = ProducerWorld(log=lost_log(2))
    world.offer(*text(1))
    world.finish()
    world.assert_whole()
    assert world.seqs == [1, 2, 3]


def test_a_refused_claim_closes_with_the_error():
    log = EventLog()
    log.apply(Claim("older", LEASE), 0.0)
    world = producing(log=log)
    assert world.producer.phase is Phase.CLOSED
    assert isinstance(world.producer.error, StreamExists)
    assert not world.producer.source_wanted


def test_a_stream_that_was_stopped_before_the_claim_was_answered():
    world = ProducerWorld()
    world.ask(WRITE)
    world.arrive(WRITE)
    world.fail(WRITE)
    world.apply(Stop())
    world.run()
    assert isinstance(world.producer.error, Fenced)
    assert "stopped: no reason" in str(world.producer.error)
    assert world.producer.sentinel.state is State.STOPPED


def test_a_claim_without_an_answer_is_given_up():
    world = ProducerWorld()
    for _ in world.steps():
        if world.ask(WRITE):
            world.fail(WRITE)
        if not world.sleep():
            break
    assert isinstance(world.producer.error, BackendUnavailable)
    assert world.now == LIMITS.outage
    assert world.calls < 20


# Limits of time


def test_a_silent_source_is_given_up():
    world = producing()
    world.now = 3.0
    world.offer(*text(1))
    world.run(until=3.0 + LIMITS.idle - 0.01)
    assert world.producer.source_wanted
    world.run()
    assert world.log.sentinel.outcome is Outcome.FAILED
    assert world.log.sentinel.error == "the source yielded nothing for 40 s"
    assert world.now == 3.0 + LIMITS.idle + LIMITS.linger


def test_a_source_that_goes_on_for_ever_is_given_up():
    world = producing()
    for _ in range(15):
        if world.producer.source_wanted:
            world.offer(*text(1))
        world.run(until=world.now + 7.0)
    assert world.log.sentinel.error == "the source ran for more than 100 s"
    world.run()
    world.assert_whole(Outcome.FAILED)


def test_the_total_limit_holds_while_an_append_hangs():
    limits = ProducerLimits(total=5.0, outage=30.0)
    world = producing(limits=limits)
    world.offer(*text(1))
    world.ask(WRITE)
    assert world.producer.write_deadline == 5.0
    world.now = 5.0
    assert world.producer.next_write(world.now) is None
    assert not world.producer.source_wanted
    world.run()
    assert world.log.sentinel.outcome is Outcome.FAILED


def test_a_source_that_has_to_wait_is_not_idle():
    world = producing(limits=ProducerLimits(buffer_count=2, idle=4.0, outage=100.0))
    world.offer(*text(2))
    assert not world.producer.has_room
    world.ask(WRITE)
    world.now = 50.0
    world.producer.next_write(world.now)
    assert world.producer.source_wanted
    world.carry_out(WRITE)
    assert world.producer.has_room
    assert world.producer.write_deadline == 54.0
    world.run()
    assert world.log.sentinel.error == "the source yielded nothing for 4 s"


def test_no_limits_no_deadline():
    world = producing(limits=ProducerLimits(idle=inf, total=inf, outage=inf))
    assert world.producer.write_deadline is None
    assert world.producer.renew_deadline is not None
    world.ask(WRITE)
    assert world.producer.write_deadline is None


@pytest.mark.parametrize("lane", [WRITE, RENEW])
def test_a_store_that_does_not_answer_is_given_up(lane):
    world = producing()
    world.run(until=1.0 if lane == WRITE else world.producer.renew_deadline)
    if lane == WRITE:
        world.offer(*text(1))
    world.ask(lane)
    asked = world.now
    for _ in world.steps():
        if not world.sleep():
            break
        world.ask(RENEW if lane == WRITE else WRITE)
        world.producer.next_write(world.now)
        world.lanes = {lane: world.lanes[lane]}  # neither does the other lane get an answer
    assert world.now == asked + LIMITS.outage
    assert isinstance(world.producer.error, BackendUnavailable)
    assert not world.producer.source_wanted


@pytest.mark.parametrize("lane", [WRITE, RENEW])
def test_an_answer_ends_the_outage(lane):
    world = producing()
    world.run(until=1.0 if lane == WRITE else world.producer.renew_deadline)
    for _ in range(3):
        if lane == WRITE:
            world.offer(*text(1))
        world.ask(lane)
        world.fail(lane, jitter=1.0)
        machine = world.producer
        deadline = machine.write_deadline if lane == WRITE else machine.renew_deadline
        assert deadline == world.now + 0.05, "the first pause again"
        world.run(until=world.now + 1.0)
        world.run(until=world.producer.renew_deadline)
    world.run(until=3 * LIMITS.outage)
    assert world.producer.source_wanted


def test_appends_that_fail_while_renewals_are_answered_are_an_outage():
    world = producing()
    world.offer(*text(1))
    asked, world.calls = world.now, 0
    for _ in world.steps():
        if world.ask(WRITE):
            world.fail(WRITE, jitter=1.0)
        if world.ask(RENEW):
            world.carry_out(RENEW)
        if not world.sleep():
            break
    assert world.now == asked + LIMITS.outage
    assert world.calls < 40, "pauses grow, whatever the other lane does"


def test_renewals_that_fail_while_appends_are_answered_are_no_outage():
    world = producing()
    world.run(until=world.producer.renew_deadline)
    world.ask(RENEW)
    for _ in range(30):
        world.offer(*text(1))
        world.ask(WRITE)
        world.carry_out(WRITE)
        world.now += 1.0
        if RENEW in world.lanes:
            world.fail(RENEW)
        world.ask(RENEW)
    assert world.producer.source_wanted
    world.now = world.answered_at + LIMITS.outage
    world.producer.next_write(world.now)
    assert isinstance(world.producer.error, BackendUnavailable)


@pytest.mark.parametrize("first", ["the renewal is answered", "the append fails"])
def test_an_append_that_a_renewal_tells_of_owes_no_answer(first):
    """Law 7: the source may rest for longer than an outage, and then go on."""
    world = producing()
    world.run(until=world.producer.renew_deadline)
    world.offer(*text(1))
    world.ask(WRITE)
    world.arrive(WRITE)
    world.ask(RENEW)
    if first == "the append fails":
        world.fail(WRITE)
    world.carry_out(RENEW)
    if first == "the renewal is answered":
        world.fail(WRITE)
    assert world.producer.flushed
    world.run(until=world.now + 2 * LIMITS.outage)
    assert world.producer.source_wanted
    world.offer(*text(1))
    world.run(until=world.now + 1.0)
    world.finish()
    world.assert_whole()


# Renewals


def test_renewals_go_on_while_an_append_hangs():
    world = producing()
    world.offer(*text(1))
    world.ask(WRITE)
    for _ in world.steps():
        assert world.now < world.log.sentinel.lease_until
        if world.deadline >= LIMITS.outage:
            break
        world.sleep()
        if world.ask(RENEW):
            world.carry_out(RENEW)
    renew_at = world.producer.renew_deadline
    world.carry_out(WRITE)
    assert world.producer.flushed
    assert world.producer.renew_deadline == renew_at


def test_appends_are_renewals():
    world = producing()
    for _ in range(30):
        world.offer(*text(1))
        world.ask(WRITE)
        world.carry_out(WRITE)
        world.now += 1.0
        assert world.ask(RENEW) is None
        assert world.now < world.log.sentinel.lease_until


@given(st.lists(st.tuples(st.floats(0.01, 1.9), st.floats(0, 1.9), st.booleans()), max_size=40))
@example([(1.9, 1.9, False)] * 20)
@example([(1.9, 0.0, True)] * 20)
def test_the_lease_never_runs_out_while_the_store_answers(delays):
    """A command takes its time to the store and back, less than a third of a lease together."""
    world = producing()
    deliveries = []
    for delay, share, offers in delays:
        if offers and world.producer.has_room and world.producer.source_wanted:
            world.offer(*text(1))
        for lane in (WRITE, RENEW):
            if lane not in world.lanes and world.ask(lane):
                arrives = world.now + share / 2
                deliveries += [
                    (arrives, lane, world.arrive),
                    (arrives + delay / 2, lane, world.answer),
                ]
        deliveries.sort(key=lambda each: each[0])
        if deliveries and deliveries[0][0] <= world.deadline:
            world.now, lane, deliver = deliveries.pop(0)
            deliver(lane)
        else:
            world.sleep()
        assert world.now < world.log.sentinel.lease_until


def test_the_lease_is_reckoned_from_when_the_renewal_was_asked_for():
    world = producing()
    world.run(until=2.0)
    world.ask(RENEW)
    world.arrive(RENEW)
    world.now += 5.0
    world.answer(RENEW)
    assert world.producer.renew_deadline <= world.now


@example(24.2, 5.0)
@given(st.floats(0, 1e6), st.floats(1e-3, 1e6))
def test_what_many_do_regularly_falls_together(since, period):
    """As many moments in a period as it has ticks, however many there are; and none is late."""
    dues, many = set(), 5 * TICKS
    for number in range(many):
        latest = since + period * (1 + number / many)
        due, rounding = on_tick(latest, period), 1e-9 * latest
        assert latest - period / TICKS - rounding <= due <= latest
        dues.add(round(due / period, 6))
    assert len(dues) <= TICKS + 2


def test_renewals_of_streams_that_began_at_about_the_same_time_are_due_together():
    due = set()
    for begun in (100.001, 100.002, 100.003):
        producer = Producer(Claim("mine", LEASE), LIMITS, begun)
        claim = producer.next_write(begun)
        producer.replied(claim, EventLog().apply(claim, begun).sentinel, begun)
        due.add(producer.renew_deadline)
    assert len(due) == 1


def test_a_renewal_that_finds_nothing_is_not_repeated_at_once():
    world = producing(*text(1))
    world.run(until=2.0)
    world.ask(RENEW)
    world.wipe()
    world.carry_out(RENEW)
    assert world.producer.renew_deadline > world.now
    assert world.producer.write_deadline <= world.now
    assert isinstance(world.ask(WRITE), Recover)


# What the feed tells


@pytest.mark.parametrize(
    ("change", "reason"),
    [(Stop("by the user"), "stopped: by the user"), (Stop(), "no reason"), (Observe(), "lost")],
)
def test_an_end_that_the_feed_tells_closes(change, reason):
    world = producing(*text(1))
    world.ask(RENEW)
    world.now += LEASE
    world.producer.learned(world.apply(change), world.now)
    assert world.producer.phase is Phase.CLOSED
    assert isinstance(world.producer.error, Fenced)
    assert reason in str(world.producer.error)


def test_of_others_the_store_is_asked_at_once():
    world = producing(*text(1))
    world.producer.learned(world.log.sentinel, world.now)
    assert world.ask(RENEW) is None
    world.producer.learned(Sentinel(State.ACTIVE, "other"), world.now)
    assert world.producer.source_wanted
    assert world.ask(RENEW) == Renew("mine")
    world.carry_out(RENEW)
    assert world.producer.source_wanted, "the feed was late"
    world.apply(Delete())
    world.producer.learned(world.log.sentinel, world.now)
    world.settle()
    assert isinstance(world.producer.error, Fenced)


@pytest.mark.parametrize("lane", [WRITE, RENEW])
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ([Delete()], "deleted"),
        ([Stop()], "stopped"),
        ([Stop(), Claim("other", LEASE, replaces="mine")], "not the current one"),
    ],
)
def test_whoever_is_fenced_never_writes_again(lane, changes, reason):
    """Law 4."""
    world = producing(*text(1))
    world.offer(*text(1))
    world.now = 3.0
    for change in changes:
        world.apply(change)
    before = world.log.sentinel
    world.ask(lane)
    world.carry_out(lane)
    assert isinstance(world.producer.error, Fenced)
    assert reason in str(world.producer.error)
    assert not world.producer.source_wanted
    world.run()
    assert world.log.sentinel == before


# What the store forgets


@given(st.integers(0, 8), st.integers(0, 8), st.booleans())
def test_what_is_kept_is_restored(count, lost, wiped):
    """Law 2: of the last `buffer_count` messages nobody misses one, and before them is a hole."""
    world = producing(*text(count))
    kept = min(count, LIMITS.buffer_count)
    if wiped:
        world.wipe()
        lost = count
    else:
        world.roll_back(world.past[-min(lost, count) - 1])
    world.finish()
    world.assert_whole()
    assert world.unrestorable == set(range(1, count - kept + 1)) - set(
        range(1, count - min(lost, count) + 1)
    )
    assert world.log.sentinel.metadata == {"owner": "me"}
    assert world.log.sentinel.characters == count


def test_what_nobody_has_any_more_is_a_hole():
    world = producing(*text(8))
    world.roll_back(world.past[-7])
    world.now += GATHER
    world.offer(*text(1))
    world.settle()
    assert world.seqs == [1, 2, 6, 7, 8, 9]


def test_a_renewal_finds_out_that_the_tail_is_lost():
    world = producing(*text(8))
    world.roll_back(world.past[-3])
    world.run(until=world.now + LEASE)
    assert world.seqs == list(range(1, 9))


def test_two_renewals_find_out_that_more_is_lost_than_is_kept():
    """The second counted from before the first message that is still held."""
    world = producing(*text(8))
    world.now += GATHER
    world.offer(*text(1))
    world.ask(WRITE)
    world.fail(WRITE, jitter=1.0)
    world.roll_back(world.past[1])
    for _ in range(2):
        world.now = world.producer.renew_deadline
        world.ask(RENEW)
        world.carry_out(RENEW)
    world.finish()
    world.assert_whole()


def test_as_much_is_kept_as_may_wait():
    world = producing(*text(3, size=LIMITS.buffer_bytes // 3))
    world.wipe()
    world.finish()
    assert world.unrestorable == set()
    world.assert_whole()


def test_a_big_message_is_not_kept():
    world = producing(Message("x" * 20), limits=ProducerLimits(buffer_bytes=10))
    world.wipe()
    world.finish()
    assert world.unrestorable == {1}
    world.assert_whole()
    assert world.log.first_seq == 2


def test_a_full_buffer_makes_the_source_wait():
    """Law 8: by count and by bytes."""
    world = producing()
    world.offer(*text(2))
    assert world.producer.has_room
    world.offer(*text(1))
    assert not world.producer.has_room
    world.settle()
    assert world.producer.has_room
    world.offer(Message("x" * 12))
    assert not world.producer.has_room


# The end, and after it


@pytest.mark.parametrize("answered", [True, False])
def test_a_renewal_that_comes_after_the_end_is_no_error(answered):
    """The lanes are independent: a renewal may arrive when the end is recorded."""
    world = producing(*text(1))
    world.run(until=2.0)
    world.ask(RENEW)
    world.producer.end(Outcome.DONE)
    world.ask(WRITE)
    world.arrive(WRITE)
    world.arrive(RENEW)
    if answered:
        world.answer(WRITE)
    world.answer(RENEW)
    assert world.producer.renew_deadline != world.now
    world.run()
    world.assert_whole()


def test_a_renewal_answered_after_the_end_does_not_undo_it():
    world = producing(*text(1))
    world.run(until=2.0)
    world.ask(RENEW)
    world.arrive(RENEW)
    world.offer(*text(1))
    world.producer.end(Outcome.DONE)
    for _ in range(2):
        world.ask(WRITE)
        world.carry_out(WRITE)
    assert world.producer.phase is Phase.LINGERING
    world.answer(RENEW)
    assert world.producer.phase is Phase.LINGERING
    world.run()
    world.assert_whole()


@pytest.mark.parametrize("back", [1, 2, 3, 4, None])
@pytest.mark.parametrize("readers_wait", [True, False])
def test_an_end_that_a_failover_swallowed_is_restored(back, readers_wait):
    """Also when the lease ran out meanwhile: the producer does not take itself for dead."""
    world = producing(*text(3))
    world.now = LEASE / 2
    world.producer.end(Outcome.DONE)
    world.settle()
    assert world.producer.phase is Phase.LINGERING
    world.now += LIMITS.linger - 0.5 if readers_wait else 0.5
    if back is None:
        world.wipe()
    else:
        world.roll_back(world.past[-back])
    if readers_wait:
        assert world.now > world.log.sentinel.lease_until
        world.apply(Observe(connected_for=0.0))
    world.run()
    world.assert_whole()


@pytest.mark.parametrize(
    "changes",
    [
        [Delete()],
        [Claim("other", LEASE, replaces="mine")],
        [Claim("other", LEASE, replaces="mine"), Delete()],
    ],
)
def test_nobody_restores_what_was_deleted_or_replaced(changes):
    world = producing(*text(3))
    world.producer.end(Outcome.DONE)
    world.settle()
    for change in changes:
        world.apply(change)
    before = world.snapshot()
    world.run()
    assert world.snapshot() == before
    assert world.producer.error is None


def test_nobody_restores_what_has_expired():
    """The answer was under way for so long that the stream's time was over."""
    world = producing(*text(3))
    world.producer.end(Outcome.DONE)
    world.settle()
    world.run(until=world.now + 1.0)
    assert isinstance(world.ask(WRITE), Observe)
    world.now = KEEP + 1.0
    world.carry_out(WRITE)
    assert world.log.sentinel is ABSENT
    assert world.producer.phase is Phase.CLOSED
    world.run()
    assert world.log.sentinel is ABSENT


def test_lingering_is_shorter_than_the_stream_is_kept():
    claim = Claim("mine", LEASE, Retention(keep=4.0))
    world = producing(*text(1), claim=claim)
    world.producer.end(Outcome.DONE)
    world.run()
    assert world.now == 2.0


def test_without_lingering_the_end_is_the_end():
    world = producing(*text(1), limits=ProducerLimits(linger=0.0))
    world.producer.end(Outcome.DONE)
    world.settle()
    assert world.producer.phase is Phase.CLOSED
    assert world.now == 0.0


def test_the_first_reason_stays():
    """Whatever is answered or told after the machine has closed changes nothing."""
    world = producing(*text(1))
    world.run(until=2.0)
    world.ask(RENEW)
    world.producer.end(Outcome.DONE)
    world.run()
    assert world.producer.phase is Phase.CLOSED
    for error in (None, Fenced("late"), StreamNotFound("late")):
        if error:
            world.producer.refused(Renew("mine"), error)
            world.producer.refused(Observe(), error)
        world.producer.replied(Observe(), ABSENT, world.now)
        world.producer.learned(Sentinel(State.STOPPED, "mine"), world.now)
        world.producer.next_write(world.now + LIMITS.outage)
        assert world.producer.error is None
        assert world.producer.phase is Phase.CLOSED


# What a repeat cannot cure


@pytest.mark.parametrize("error", [BackendFull("full"), BackendError("no permission")])
def test_a_claim_that_the_store_refuses_is_not_repeated(error):
    """Law 7: nobody waits for what does not come; the store's own words say why."""
    world = ProducerWorld()
    world.ask(WRITE)
    world.fail(WRITE, error=error)
    assert (world.producer.phase, world.producer.error) == (Phase.CLOSED, error)


@pytest.mark.parametrize("lane", [WRITE, RENEW])
def test_what_no_repeat_cures_closes_the_producer(lane):
    """Law 7: the source is given up at once, with the store's own words."""
    world, error = producing(), BackendError("foreign data")
    world.run(until=2.0)
    world.offer(*text(1))
    world.ask(lane)
    world.fail(lane, error=error)
    assert (world.producer.phase, world.producer.error) == (Phase.CLOSED, error)
    assert not world.producer.source_wanted


def test_a_full_store_slows_the_source_down():
    """Law 8: an append is repeated until there is room, or for as long as an outage may last."""
    world, error = producing(), BackendFull("full")
    world.offer(*text(1))
    for _ in world.steps():
        if world.ask(WRITE):
            world.fail(WRITE, error=error)
        if world.ask(RENEW):
            world.carry_out(RENEW)
        if not world.sleep():
            break
        assert world.producer.source_wanted
    assert world.now == LIMITS.outage
    assert world.producer.error is error


def test_a_store_that_was_full_once_may_be_silent_later():
    world = producing()
    world.offer(*text(1))
    world.ask(WRITE)
    world.fail(WRITE, error=BackendFull("full"))
    world.run(until=1.0)
    assert world.producer.flushed
    world.offer(*text(1))
    world.ask(WRITE)
    world.now += LIMITS.outage
    world.producer.next_write(world.now)
    assert "did not answer for 10 s" in str(world.producer.error)


def test_pauses_are_shorter_than_the_time_between_renewals():
    """A store that is back hears of the producer before anybody may take it for dead."""
    world = producing(claim=Claim("mine", 0.6))
    world.offer(*text(1))
    for _ in range(9):
        world.ask(WRITE)
        world.fail(WRITE, jitter=1.0)
        assert world.producer.write_deadline <= world.now + 0.6 / 3
        world.now = world.producer.write_deadline


@given(st.integers(0, 6), st.integers(0, 2))
def test_what_is_kept_can_be_told(count, unacked):
    """As events, with the ids that they have in the log."""
    world = producing(*text(count), log=lost_log(2))
    world.offer(*text(unacked))
    kept = min(count, LIMITS.buffer_count)
    assert list(world.producer.kept) == world.events[len(world.events) - kept :]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (BackendFull("all 3 GB"), "the store is full"),
        (BackendUnavailable("10.0.0.7"), "the store did not answer"),
        (BackendError("no permission"), "the store failed"),
    ],
    ids=["full", "silent", "broken"],
)
def test_an_end_that_the_store_was_not_told_is_known_here(error, reason):
    """Law 7: the stream has failed; the store's own words are not for its consumers."""
    world = producing(*text(2))
    sentinel = world.log.sentinel
    assert world.producer.abandoned is None
    world.offer(*text(1))
    for _ in world.steps():
        for lane in (WRITE, RENEW):
            if world.ask(lane):
                world.fail(lane, error=error)
        if world.producer.phase is Phase.CLOSED or not world.sleep():
            break
    assert world.producer.abandoned == replace(sentinel, state=State.FAILED, error=reason)


def test_an_end_that_the_store_knows_of_is_not_told_here():
    world = producing(*text(1))
    world.producer.learned(replace(world.log.sentinel, state=State.STOPPED), world.now)
    assert isinstance(world.producer.error, Fenced)
    assert world.producer.abandoned is None


# A claim that nobody waits for any more


@pytest.mark.parametrize("on_lost", Takeover)
@pytest.mark.parametrize("applied", [True, False])
def test_a_claim_is_taken_back(on_lost, applied):
    """Law 7: whether it was applied or not, there is no producer afterwards; what was there stays
    only where it was to be continued.
    """
    log = lost_log(2)
    world = ProducerWorld(replace(CLAIM, on_lost=on_lost), LIMITS, log)
    world.ask(WRITE)
    if applied:
        world.arrive(WRITE)
    granted = applied and on_lost is not Takeover.REFUSE
    assert (log.sentinel.state is State.ACTIVE) == granted
    answer = world.apply(world.producer.withdrawal)
    if not granted:
        assert isinstance(answer, Fenced)
        assert (log.sentinel.state, log.sentinel.last_seq) == (State.LOST, 2)
    elif on_lost is Takeover.CONTINUE:
        assert (log.sentinel.state, log.sentinel.last_seq) == (State.LOST, 2)
    else:
        assert log.sentinel.state is State.DELETED


@pytest.mark.parametrize("error", [StreamExists("no"), BackendFull("no")])
def test_a_claim_that_was_refused_need_not_be_taken_back(error):
    world = ProducerWorld()
    claim = world.ask(WRITE)
    if isinstance(error, StreamExists):
        world.producer.refused(claim, error)
    else:
        world.producer.failed(claim, world.now, 0.0, error)
    assert world.producer.withdrawal is None


@pytest.mark.parametrize("error", [BackendError("what?"), BackendUnavailable("no answer")])
def test_a_claim_of_which_nobody_knows_is_taken_back(error):
    world = ProducerWorld()
    world.producer.failed(world.ask(WRITE), world.now, 0.0, error)
    assert world.producer.withdrawal is not None


@pytest.mark.parametrize("said", [None, BackendUnavailable("it loads its data")])
def test_an_outage_is_told_with_what_the_store_has_said_last(said):
    world = ProducerWorld()
    while not world.producer.error:
        command = world.ask(WRITE)
        if command is not None:
            del world.lanes[WRITE]
            world.producer.failed(command, world.now, 0.0, said)
        world.now = world.producer.write_deadline
    expected = f"the store did not answer for {LIMITS.outage:g} s" + (f": {said}" if said else "")
    assert str(world.producer.error) == expected


@pytest.mark.parametrize(
    "limits",
    [
        {"buffer_count": 0},
        {"buffer_bytes": 1.5},
        {"message_bytes": -5},
        {"idle": 0},
        {"total": -1},
        {"outage": float("nan")},
        {"idle": "10"},
        {"linger": inf},
    ],
    ids=repr,
)
def test_limits_with_which_nothing_could_be_produced_are_refused(limits):
    (name,) = limits
    with pytest.raises(InvalidInput, match=f"^{name} is a"):
        ProducerLimits(**limits)
