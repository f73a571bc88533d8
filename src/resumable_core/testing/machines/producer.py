"""A machine that lets anything go wrong between a producer and its store.

Commands and answers are lost, delayed and repeated; the store forgets, and others stop, delete and
take over. The laws are checked after each step, and once more when the faults have ended.
"""

# pyright: reportPrivateUsage=false
# That memory is bounded can only be seen inside.

from __future__ import annotations

from copy import copy
from typing import Final

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from resumable_core import (
    BackendFull,
    BackendUnavailable,
    Change,
    Claim,
    Command,
    Delete,
    Fenced,
    Message,
    Observe,
    Outcome,
    Phase,
    Producer,
    State,
    Stop,
    StreamExists,
    Takeover,
)
from resumable_core.testing.strategies import sources
from resumable_core.testing.worlds.producer import (
    CLAIM,
    LEASE,
    LIMITS,
    RENEW,
    WRITE,
    ProducerWorld,
    Snapshot,
    lost_log,
    text,
)

DELAYS: Final = [0.01, 0.1, 0.5, 1.0, 3.0, LEASE + 0.1, LIMITS.outage, LIMITS.idle]

messages: Final = st.builds(Message, st.text("aé€", max_size=6), st.sampled_from([None, "t"]))
lanes: Final = st.sampled_from([WRITE, RENEW])
errors: Final = st.sampled_from([None, BackendUnavailable("gone"), BackendFull("full")])
big_messages: Final = st.builds(Message, st.just("x" * LIMITS.message_bytes))


def clone(machine: Producer) -> Producer:
    """Return a machine that can be asked for a command without changing the first."""
    clone = copy(machine)
    clone._writes, clone._renewals = copy(machine._writes), copy(machine._renewals)
    return clone


def acts(machine: Producer, at: float) -> bool:
    """Say whether asking at that time does anything; and that nothing is overdue afterwards."""
    machine = clone(machine)
    before = (machine.phase, machine.outcome)
    command = machine.next_write(at)
    assert machine.write_deadline is None or machine.write_deadline > at, "a busy loop"
    return command is not None or before != (machine.phase, machine.outcome)


ACTIONS: Final = (
    *("nothing", "offer", "offer", "work", "work", "run_source", "end"),
    *("ask", "ask", "arrive", "arrive", "answer", "answer", "fail", "arrive_after_all"),
    *("wait", "wait", "fail_over", "wipe", "interfere", "replace", "learn"),
)


class ProducerMachine(RuleBasedStateMachine):
    """Anything may happen at any time, in any order."""

    world: ProducerWorld

    @initialize(older=st.none() | st.integers(0, 3), forgets=st.booleans(), others=st.booleans())
    def start(self, older: int | None, *, forgets: bool, others: bool) -> None:
        log = None if older is None else lost_log(older)
        self.world = ProducerWorld(log=log)
        self.forgets: bool = forgets
        self.others: bool = others
        self.taken: bool = False  # whether the producer may rightly be fenced
        self.zombies: list[Command] = []

    @rule(data=st.data(), action=st.sampled_from(ACTIONS))
    def step(self, data: st.DataObject, action: str) -> None:
        """One rule for all: of many, Hypothesis would leave out half in each run."""
        getattr(self, action)(data.draw)

    def nothing(self, draw: st.DrawFn) -> None:
        pass

    @property
    def machine(self) -> Producer:
        return self.world.producer

    # What a driver and its source do

    def offer(self, draw: st.DrawFn) -> None:
        message = draw(messages | big_messages)
        if self.machine.source_wanted and self.machine.has_room:
            self.world.offer(message)

    def work(self, draw: st.DrawFn) -> None:
        """Time without faults, so that something comes about."""
        self.world.settle()
        for message in text(draw(st.integers(0, 3)), 3):
            if self.machine.source_wanted and self.machine.has_room:
                self.world.offer(message)
            self.world.settle()

    def run_source(self, draw: st.DrawFn) -> None:
        """The same, with a source that goes on for some time."""
        for item in draw(sources()):
            if not isinstance(item, Message):
                self.world.run(until=self.world.now + item)
            elif self.machine.source_wanted and self.machine.has_room:
                self.world.offer(Message(item.data[: LIMITS.message_bytes // 4]))

    def end(self, draw: st.DrawFn) -> None:
        if draw(st.integers(0, 3)) == 3:
            self.machine.end(draw(st.sampled_from([Outcome.DONE, Outcome.FAILED])), "why")

    def ask(self, draw: st.DrawFn) -> None:
        lane = draw(lanes)
        if lane not in self.world.lanes:
            self.world.ask(lane)

    def wait(self, draw: st.DrawFn) -> None:
        self.world.now += draw(st.sampled_from(DELAYS))

    # What the network does

    def under_way(self, draw: st.DrawFn, *, answered: bool) -> str | None:
        lane = draw(lanes)
        flight = self.world.lanes.get(lane)
        return lane if flight and (flight.answer is not None) == answered else None

    def arrive(self, draw: st.DrawFn) -> None:
        if lane := self.under_way(draw, answered=False):
            self.world.arrive(lane)

    def answer(self, draw: st.DrawFn) -> None:
        if lane := self.under_way(draw, answered=True):
            self.world.answer(lane)

    def fail(self, draw: st.DrawFn) -> None:
        arrived = draw(st.booleans())
        if lane := self.under_way(draw, answered=arrived):
            claiming = self.machine.phase is Phase.CLAIMING
            error = None if claiming else draw(errors)
            command = self.world.fail(lane, draw(st.floats(0, 1)), error)
            if not arrived and not isinstance(command, Claim) and draw(st.booleans()):
                self.zombies.append(command)

    def arrive_after_all(self, draw: st.DrawFn) -> None:
        if self.zombies:
            self.world.apply(self.zombies.pop())

    # What the store and others do

    def some_of_the_past(self, draw: st.DrawFn) -> Snapshot:
        return self.world.past[-draw(st.integers(1, min(10, len(self.world.past))))]

    def fail_over(self, draw: st.DrawFn) -> None:
        if self.forgets:
            snapshot = self.some_of_the_past(draw)
            self.world.roll_back(snapshot)
            self.taken |= snapshot[0].known and snapshot[0].epoch != self.world.epoch

    def wipe(self, draw: st.DrawFn) -> None:
        if self.forgets:
            self.world.wipe()

    def interfere(self, draw: st.DrawFn) -> None:
        if self.others:
            self.taken = True
            changes: list[Change] = [Observe(), Stop("enough"), Delete()]
            self.world.apply(draw(st.sampled_from(changes)))

    def replace(self, draw: st.DrawFn) -> None:
        if self.others:
            self.taken = True
            at, epoch = self.world.log.sentinel, f"other{len(self.world.past)}"
            if draw(st.booleans()):
                self.world.apply(Claim(epoch, LEASE, on_lost=Takeover.CONTINUE))
            else:
                self.world.apply(Claim(epoch, LEASE, replaces=at.epoch or None))

    def learn(self, draw: st.DrawFn) -> None:
        """The feed may be late: anything that ever was."""
        self.machine.learned(self.some_of_the_past(draw)[0], self.world.now)

    # The laws

    @invariant()
    def nothing_else_stands_under_an_id(self) -> None:
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
    def memory_is_bounded(self) -> None:
        """Law 8."""
        run = self.machine._run
        kept = [message.size for message in run._kept]
        unacked = [message.size for message in run._unacked]
        assert len(kept) == max(0, run.acked - run.before)
        assert len(kept) + len(unacked) <= 2 * LIMITS.buffer_count
        assert sum(kept) + sum(unacked) <= 2 * LIMITS.buffer_bytes + LIMITS.message_bytes
        assert run._kept_bytes == sum(kept)
        assert run.unacked_bytes == sum(unacked)

    @invariant()
    def deadlines_are_right(self) -> None:
        """Law 7: who sleeps until the deadline misses nothing, and is not woken for nothing."""
        for delay in (0.0, *DELAYS):
            at = self.world.now + delay
            deadline = self.machine.write_deadline
            assert acts(self.machine, at) == (deadline is not None and deadline <= at)
            renewal = self.machine.renew_deadline
            renews = clone(self.machine).next_renew(at) is not None
            assert renews == (renewal is not None and renewal <= at)

    @invariant()
    def closed_is_closed(self) -> None:
        """Law 4: who is fenced never writes again, and wants nothing any more."""
        if self.machine.phase is Phase.CLOSED:
            assert not self.machine.source_wanted
            assert self.machine.write_deadline is None
            assert self.machine.renew_deadline is None
            assert clone(self.machine).next_write(self.world.now) is None
            assert clone(self.machine).next_renew(self.world.now) is None

    @invariant()
    def errors_are_deserved(self) -> None:
        match self.machine.error:
            case BackendUnavailable() | BackendFull():
                assert self.world.now - self.world.answered_at >= LIMITS.outage
            case Fenced() | StreamExists():
                past = [sentinel for sentinel, *_ in self.world.past]
                lost = any(at.state is State.LOST and at.epoch == CLAIM.epoch for at in past)
                assert self.taken or lost
            case other:
                assert other is None

    def teardown(self) -> None:
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
