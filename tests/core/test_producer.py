"""The producer machine against the reference store, with all that can go wrong between them.

`World` is the driver. It carries commands to an `EventLog` and answers back, each lane for itself.
`Faults` loses, delays and repeats them as it likes; the store forgets, and others stop, delete and
take over. The laws are checked after each step, and once more when the faults have ended.
"""

from copy import copy
from dataclasses import dataclass
from math import inf

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

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
    Finish,
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
    StreamError,
    StreamExists,
    StreamNotFound,
    Takeover,
)
from resumable_core._lane import Lane
from resumable_core._run import Run

LEASE = 6.0
KEEP = 60.0
LIMITS = ProducerLimits(
    buffer_count=3,
    buffer_bytes=12,
    message_bytes=20,
    idle=40.0,
    total=100.0,
    outage=10.0,
    linger=5.0,
)
CLAIM = Claim("mine", LEASE, Retention(keep=KEEP), {"owner": "me"}, on_lost=Takeover.CONTINUE)
WRITE, RENEW = "write", "renew"
DELAYS = [0.01, 0.1, 0.5, 1.0, 3.0, LEASE + 0.1, LIMITS.outage, LIMITS.idle]

messages = st.builds(Message, st.text("aé€", max_size=6), st.sampled_from([None, "t"]))
lanes = st.sampled_from([WRITE, RENEW])
errors = st.sampled_from([None, BackendUnavailable("gone"), BackendFull("full")])
big_messages = st.builds(Message, st.just("x" * LIMITS.message_bytes))


@dataclass
class Flight:
    """A command under way: not at the store yet, or with its answer on the way back."""

    command: object
    answer: Sentinel | StreamError | None = None
    seqs: frozenset[int] = frozenset()
    """What the store held then."""


class World:
    """One producer, one store, and what lies between."""

    def __init__(self, claim=CLAIM, limits=LIMITS, log=None):
        self.now = 0.0
        self.limits = limits
        self.log = log or EventLog()
        self.producer = Producer(claim, limits, self.now)
        self.epoch = claim.epoch
        self.lanes: dict[str, Flight] = {}
        self.offered: list[Message] = []
        self.base = 0  # the last seq before the producer's own
        self.calls = 0
        self.answered_at = 0.0  # the last reply on the write lane
        self.past = [self.snapshot()]
        self.unrestorable: set[int] = set()

    # The producer's side

    def offer(self, *messages):
        for message in messages:
            self.producer.offer(message)
            self.offered.append(message)

    def ask(self, lane):
        assert lane not in self.lanes, "one command under way at most"
        self.calls += 1
        machine = self.producer
        command = machine.next_write(self.now) if lane == WRITE else machine.next_renew(self.now)
        if command is not None:
            assert (lane == RENEW) == isinstance(command, Renew)
            self.lanes[lane] = Flight(command)
        return command

    def arrive(self, lane):
        flight = self.lanes[lane]
        flight.answer = self.apply(flight.command)
        flight.seqs = frozenset(self.seqs)

    def answer(self, lane):
        flight = self.lanes.pop(lane)
        claiming, before = self.producer.phase is Phase.CLAIMING, self.producer._run.before
        if isinstance(flight.answer, StreamError):
            self.producer.refused(flight.command, flight.answer)
        else:
            self.producer.replied(flight.command, flight.answer, self.now)
            if lane == WRITE:
                self.answered_at = self.now
            if claiming and self.producer.phase is Phase.PRODUCING:
                self.base = flight.answer.last_seq
                self.unrestorable.clear()
            # What the answer says is there is let go of, although it was lost since.
            let_go = flight.seqs & set(range(before + 1, self.producer._run.before + 1))
            self.unrestorable |= let_go - set(self.seqs)

    def fail(self, lane, jitter=0.5, error=None):
        flight = self.lanes.pop(lane)
        self.producer.failed(flight.command, self.now, jitter, error)
        return flight.command

    def carry_out(self, lane):
        if self.lanes[lane].answer is None:
            self.arrive(lane)
        self.answer(lane)

    # The store's side

    def apply(self, change):
        """Apply a change and return the answer; law 5 is checked where it could be broken."""
        before = self.seqs
        try:
            sentinel = self.log.apply(change, self.now).sentinel
        except StreamError as error:
            return error
        self.note_losses(before)  # its time may have been over
        self.past.append(self.snapshot())
        if sentinel.state is State.DONE and sentinel.epoch == self.epoch:
            assert sentinel.last_seq == self.base + len(self.offered), (
                "an end before the last event"
            )
        return sentinel

    def snapshot(self):
        log = self.log
        return log.sentinel, tuple(log.batches), log.count, log.size

    def roll_back(self, snapshot):
        before = self.seqs
        self.log.sentinel, batches, self.log.count, self.log.size = snapshot
        self.log.batches = list(batches)
        self.past.append(snapshot)
        self.note_losses(before)

    def note_losses(self, before):
        """Note what is gone from the store and held by nobody."""
        first = self.producer._run.before + 1
        held = range(first, self.producer._run.last + 1)
        self.unrestorable = (self.unrestorable | set(before) - set(held)) - set(self.seqs)

    def wipe(self):
        self.roll_back((ABSENT, (), 0, 0))

    @property
    def events(self):
        return [event for batch in self.log.batches for event in batch.events]

    @property
    def seqs(self):
        return [event.id.seq for event in self.events]

    # Without faults

    def settle(self):
        """Carry out what is to be done now."""
        for lane in list(self.lanes):
            self.carry_out(lane)
        for lane in (WRITE, RENEW) * 8:
            if self.ask(lane):
                self.carry_out(lane)

    @property
    def deadline(self):
        machine = self.producer
        deadlines = (machine.write_deadline, machine.renew_deadline)
        return min((each for each in deadlines if each is not None), default=inf)

    def steps(self):
        """Count the steps of a test's own driver; a machine that never rests fails it."""
        yield from range(1000)
        pytest.fail("a busy loop")

    def sleep(self):
        """Sleep until the machine wants to be asked; return whether it ever does."""
        if self.deadline < inf:
            self.now = max(self.now, self.deadline)
        return self.deadline < inf

    def run(self, until=inf):
        """Drive as a real driver does: ask when the deadline says so, and at no other time.

        What is due at `until` is not asked for yet.
        """
        self.settle()
        for _ in self.steps():
            if self.deadline >= until or not self.sleep():
                break
            self.settle()
        if until < inf:
            self.now = until

    def finish(self):
        self.producer.end(Outcome.DONE)
        self.run()
        assert self.producer.phase is Phase.CLOSED

    def assert_whole(self, outcome=Outcome.DONE):
        """Everything that was offered is in the log: in order, once, under its own id."""
        assert self.producer.error is None
        assert self.log.sentinel.outcome is outcome
        assert self.log.sentinel.last_seq == self.base + len(self.offered)
        own = [event for event in self.events if event.id.epoch == self.epoch]
        assert [(event.id.seq, event.data, event.type) for event in own] == [
            (seq, message.data, message.type)
            for seq, message in enumerate(self.offered, self.base + 1)
            if seq not in self.unrestorable
        ]


def producing(*messages, **options):
    """Return a world in which the stream is claimed and `messages` are in the log."""
    world = World(**options)
    world.settle()
    for message in messages:
        world.offer(message)
        world.settle()
    return world


def text(count, size=1):
    return [Message(chr(ord("a") + index % 26) * size) for index in range(count)]


def lost_log(count, epoch="older"):
    """Return a log whose producer was lost after `count` events."""
    log = EventLog()
    log.apply(Claim(epoch, LEASE, Retention(keep=KEEP)), 0.0)
    if count:
        log.apply(Append(epoch, 1, tuple(text(count)), count), 0.0)
    log.apply(Finish(epoch, Outcome.LOST, count), 0.0)
    return log


def clone(machine):
    """Return a machine that can be asked for a command without changing the first."""
    clone = copy(machine)
    clone._writes, clone._renewals = copy(machine._writes), copy(machine._renewals)
    return clone


def acts(machine, at):
    """Say whether asking at that time does anything; and that nothing is overdue afterwards."""
    machine = clone(machine)
    before = (machine.phase, machine.outcome)
    command = machine.next_write(at)
    assert machine.write_deadline is None or machine.write_deadline > at, "a busy loop"
    return command is not None or before != (machine.phase, machine.outcome)


ACTIONS = (
    *("nothing", "offer", "offer", "work", "work", "work", "end"),
    *("ask", "ask", "arrive", "arrive", "answer", "answer", "fail", "arrive_after_all"),
    *("wait", "wait", "fail_over", "wipe", "interfere", "replace", "learn"),
)


class Faults(RuleBasedStateMachine):
    """Anything may happen at any time, in any order."""

    world: World

    @initialize(older=st.none() | st.integers(0, 3), forgets=st.booleans(), others=st.booleans())
    def start(self, older, forgets, others):
        log = None if older is None else lost_log(older)
        self.world = World(log=log)
        self.forgets = forgets
        self.others = others
        self.taken = False  # whether the producer may rightly be fenced
        self.zombies = []

    @rule(data=st.data(), action=st.sampled_from(ACTIONS))
    def step(self, data, action):
        """One rule for all: of many, Hypothesis would leave out half in each run."""
        getattr(self, action)(data.draw)

    def nothing(self, draw):
        pass

    @property
    def machine(self):
        return self.world.producer

    # What a driver and its source do

    def offer(self, draw):
        message = draw(messages | big_messages)
        if self.machine.source_wanted and self.machine.has_room:
            self.world.offer(message)

    def work(self, draw):
        """Time without faults, so that something comes about."""
        self.world.settle()
        for message in text(draw(st.integers(0, 3)), 3):
            if self.machine.source_wanted and self.machine.has_room:
                self.world.offer(message)
            self.world.settle()

    def end(self, draw):
        if draw(st.integers(0, 3)) == 3:
            self.machine.end(draw(st.sampled_from([Outcome.DONE, Outcome.FAILED])), "why")

    def ask(self, draw):
        lane = draw(lanes)
        if lane not in self.world.lanes:
            self.world.ask(lane)

    def wait(self, draw):
        self.world.now += draw(st.sampled_from(DELAYS))

    # What the network does

    def under_way(self, draw, *, answered):
        lane = draw(lanes)
        flight = self.world.lanes.get(lane)
        return lane if flight and (flight.answer is not None) == answered else None

    def arrive(self, draw):
        if lane := self.under_way(draw, answered=False):
            self.world.arrive(lane)

    def answer(self, draw):
        if lane := self.under_way(draw, answered=True):
            self.world.answer(lane)

    def fail(self, draw):
        arrived = draw(st.booleans())
        if lane := self.under_way(draw, answered=arrived):
            claiming = self.machine.phase is Phase.CLAIMING
            error = None if claiming else draw(errors)
            command = self.world.fail(lane, draw(st.floats(0, 1)), error)
            if not arrived and not isinstance(command, Claim) and draw(st.booleans()):
                self.zombies.append(command)

    def arrive_after_all(self, draw):
        if self.zombies:
            self.world.apply(self.zombies.pop())

    # What the store and others do

    def some_of_the_past(self, draw):
        return self.world.past[-draw(st.integers(1, min(10, len(self.world.past))))]

    def fail_over(self, draw):
        if self.forgets:
            snapshot = self.some_of_the_past(draw)
            self.world.roll_back(snapshot)
            self.taken |= snapshot[0].known and snapshot[0].epoch != self.world.epoch

    def wipe(self, draw):
        if self.forgets:
            self.world.wipe()

    def interfere(self, draw):
        if self.others:
            self.taken = True
            self.world.apply(draw(st.sampled_from([Observe(), Stop("enough"), Delete()])))

    def replace(self, draw):
        if self.others:
            self.taken = True
            at, epoch = self.world.log.sentinel, f"other{len(self.world.past)}"
            if draw(st.booleans()):
                self.world.apply(Claim(epoch, LEASE, on_lost=Takeover.CONTINUE))
            else:
                self.world.apply(Claim(epoch, LEASE, replaces=at.epoch or None))

    def learn(self, draw):
        """The feed may be late: anything that ever was."""
        self.machine.learned(self.some_of_the_past(draw)[0], self.world.now)

    # The laws

    @invariant()
    def nothing_else_stands_under_an_id(self):
        """Laws 1 and 6: in order, once, and under an id only ever the same message."""
        world = self.world
        assert all(
            before < after for before, after in zip(world.seqs, world.seqs[1:], strict=False)
        )
        for event in world.events:
            assert event.id == world.log.sentinel.lineage.id_at(event.id.seq)
            if event.id.epoch == world.epoch:
                message = world.offered[event.id.seq - world.base - 1]
                assert (event.data, event.type) == (message.data, message.type)

    @invariant()
    def memory_is_bounded(self):
        """Law 8."""
        held = [message.size for message in self.machine._run._messages]
        assert len(held) <= 2 * LIMITS.buffer_count
        assert sum(held) <= 2 * LIMITS.buffer_bytes + LIMITS.message_bytes
        kept = held[: max(0, self.machine._run.acked - self.machine._run.before)]
        assert self.machine._run._kept_bytes == sum(kept)
        assert self.machine._run.unacked_bytes == sum(held) - sum(kept)

    @invariant()
    def deadlines_are_right(self):
        """Law 7: who sleeps until the deadline misses nothing, and is not woken for nothing."""
        for delay in (0.0, *DELAYS):
            at = self.world.now + delay
            deadline = self.machine.write_deadline
            assert acts(self.machine, at) == (deadline is not None and deadline <= at)
            renewal = self.machine.renew_deadline
            renews = clone(self.machine).next_renew(at) is not None
            assert renews == (renewal is not None and renewal <= at)

    @invariant()
    def closed_is_closed(self):
        """Law 4: who is fenced never writes again, and wants nothing any more."""
        if self.machine.phase is Phase.CLOSED:
            assert not self.machine.source_wanted
            assert self.machine.write_deadline is None
            assert self.machine.renew_deadline is None
            assert clone(self.machine).next_write(self.world.now) is None
            assert clone(self.machine).next_renew(self.world.now) is None

    @invariant()
    def errors_are_deserved(self):
        match self.machine.error:
            case BackendUnavailable() | BackendFull():
                assert self.world.now - self.world.answered_at >= LIMITS.outage
            case Fenced() | StreamExists():
                past = [sentinel for sentinel, *_ in self.world.past]
                lost = any(at.state is State.LOST and at.epoch == CLAIM.epoch for at in past)
                assert self.taken or lost
            case other:
                assert other is None

    def teardown(self):
        """Laws 1, 2, 6: when the faults have ended, what was offered is in the log."""
        if not hasattr(self, "world"):
            return
        world = self.world
        in_time = self.machine.phase in {Phase.CLAIMING, Phase.PRODUCING}
        self.machine.end(Outcome.DONE)
        world.calls, started = 0, world.now
        world.run()
        assert self.machine.phase is Phase.CLOSED
        assert world.calls <= 32 * (4 + (world.now - started) / 1.0)
        self.errors_are_deserved()
        self.nothing_else_stands_under_an_id()
        if in_time and self.machine.error is None:
            world.assert_whole(self.machine.outcome)


Faults.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
TestFaults = Faults.TestCase


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
    world.carry_out(WRITE)
    assert world.ask(WRITE) == Append("mine", 2, (Message("b"), Message("c")), 2)


def test_takes_over_where_the_lost_producer_stopped():
    world = producing(*text(2), log=lost_log(5))
    world.finish()
    world.assert_whole()
    assert world.seqs == [1, 2, 3, 4, 5, 6, 7]


def test_only_the_first_end_counts():
    world = producing(*text(1))
    world.producer.end(Outcome.FAILED, "first")
    world.producer.end(Outcome.DONE, "second")
    assert not world.producer.source_wanted
    world.settle()
    assert (world.log.sentinel.outcome, world.log.sentinel.error) == (Outcome.FAILED, "first")


def test_an_end_before_the_claim_is_recorded_after_it():
    world = World()
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
    world = World()
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
    world = World(limits=ProducerLimits(idle=1.0, total=3.0))
    world.ask(WRITE)
    world.now = 5.0
    assert world.producer.next_write(world.now) is None
    assert world.producer.source_wanted
    world.carry_out(WRITE)
    assert world.producer.write_deadline == 6.0


def test_what_is_offered_before_the_claim_follows_what_was_there():
    world = World(log=lost_log(2))
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
    world = World()
    world.ask(WRITE)
    world.arrive(WRITE)
    world.fail(WRITE)
    world.apply(Stop())
    world.run()
    assert isinstance(world.producer.error, Fenced)
    assert "stopped: no reason" in str(world.producer.error)
    assert world.producer.sentinel.state is State.STOPPED


def test_a_claim_without_an_answer_is_given_up():
    world = World()
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
    world.run(until=1.0)
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
    world = World()
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
