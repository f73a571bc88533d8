"""One producer, one store, and what lies between: a driver that carries out one step at a time.

It carries commands to an `EventLog` and answers back, each lane for itself.
"""

# pyright: reportPrivateUsage=false
# That memory is bounded can only be seen inside.

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import Any, Final, TypeAlias

from resumable_core import (
    ABSENT,
    Append,
    BackendError,
    Batch,
    Change,
    Claim,
    Command,
    Event,
    EventLog,
    Finish,
    Message,
    Outcome,
    Phase,
    Producer,
    ProducerLimits,
    Renew,
    Retention,
    Sentinel,
    State,
    StreamError,
    Takeover,
)
from resumable_core._producer import GATHER

Snapshot: TypeAlias = tuple[Sentinel, tuple[Batch, ...], int, int]

LEASE: Final = 6.0
KEEP: Final = 60.0
LIMITS: Final = ProducerLimits(
    buffer_count=3,
    buffer_bytes=12,
    message_bytes=20,
    idle=40.0,
    total=100.0,
    outage=10.0,
    linger=5.0,
)
CLAIM: Final = Claim(
    "mine", LEASE, Retention(keep=KEEP), {"owner": "me"}, on_lost=Takeover.CONTINUE
)
WRITE: Final = "write"
RENEW: Final = "renew"


@dataclass
class Flight:
    """A command under way: not at the store yet, or with its answer on the way back."""

    command: Command
    answer: Sentinel | StreamError | None = None
    seqs: frozenset[int] = frozenset()
    """What the store held then."""


class ProducerWorld:
    """One producer, one store, and what lies between."""

    def __init__(
        self, claim: Claim = CLAIM, limits: ProducerLimits = LIMITS, log: EventLog | None = None
    ) -> None:
        self.now: float = 0.0
        self.limits: ProducerLimits = limits
        self.log: EventLog = log or EventLog()
        self.producer: Producer = Producer(claim, limits, self.now)
        self.epoch: str = claim.epoch
        self.lanes: dict[str, Flight] = {}
        self.offered: list[Message] = []
        self.base: int = 0  # the last seq before the producer's own
        self.calls: int = 0
        self.answered_at: float = 0.0  # the last reply on the write lane
        self.past: list[Snapshot] = [self.snapshot()]
        self.unrestorable: set[int] = set()

    # The producer's side

    def offer(self, *messages: Message) -> None:
        for message in messages:
            self.producer.offer(message)
            self.offered.append(message)

    def ask(self, lane: str) -> Command | None:
        assert lane not in self.lanes, "one command under way at most"
        self.calls += 1
        machine = self.producer
        command = machine.next_write(self.now) if lane == WRITE else machine.next_renew(self.now)
        if command is not None:
            assert (lane == RENEW) == isinstance(command, Renew)
            self.lanes[lane] = Flight(command)
        return command

    def arrive(self, lane: str) -> None:
        flight = self.lanes[lane]
        flight.answer = self.apply(flight.command)
        flight.seqs = frozenset(self.seqs)

    def answer(self, lane: str) -> None:
        flight = self.lanes.pop(lane)
        claiming, before = self.producer.phase is Phase.CLAIMING, self.producer._run.before
        if isinstance(flight.answer, StreamError):
            self.producer.refused(flight.command, flight.answer)
        else:
            assert flight.answer is not None
            self.producer.replied(flight.command, flight.answer, self.now)
            if lane == WRITE:
                self.answered_at = self.now
            if claiming and self.producer.phase is Phase.PRODUCING:
                self.base = flight.answer.last_seq
                self.unrestorable.clear()
            # What the answer says is there is let go of, although it was lost since.
            let_go = flight.seqs & set(range(before + 1, self.producer._run.before + 1))
            self.unrestorable |= let_go - set(self.seqs)

    def fail(self, lane: str, jitter: float = 0.5, error: BackendError | None = None) -> Command:
        flight = self.lanes.pop(lane)
        self.producer.failed(flight.command, self.now, jitter, error)
        return flight.command

    def carry_out(self, lane: str) -> None:
        if self.lanes[lane].answer is None:
            self.arrive(lane)
        self.answer(lane)

    # The store's side

    def apply(self, change: Change) -> Sentinel | StreamError:
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

    def snapshot(self) -> Snapshot:
        log = self.log
        return log.sentinel, tuple(log.batches), log.count, log.size

    def roll_back(self, snapshot: Snapshot) -> None:
        before = self.seqs
        self.log.sentinel, batches, self.log.count, self.log.size = snapshot
        self.log.batches = list(batches)
        self.past.append(snapshot)
        self.note_losses(before)

    def note_losses(self, before: list[int]) -> None:
        """Note what is gone from the store and held by nobody."""
        first = self.producer._run.before + 1
        held = range(first, self.producer._run.last + 1)
        self.unrestorable = (self.unrestorable | set(before) - set(held)) - set(self.seqs)

    def wipe(self) -> None:
        self.roll_back((ABSENT, (), 0, 0))

    @property
    def events(self) -> list[Event]:
        return [event for batch in self.log.batches for event in batch.events]

    @property
    def seqs(self) -> list[int]:
        return [event.id.seq for event in self.events]

    # Without faults

    def settle(self) -> None:
        """Carry out what is to be done now."""
        for lane in list(self.lanes):
            self.carry_out(lane)
        for lane in (WRITE, RENEW) * 8:
            if self.ask(lane):
                self.carry_out(lane)

    @property
    def deadline(self) -> float:
        machine = self.producer
        deadlines = (machine.write_deadline, machine.renew_deadline)
        return min((each for each in deadlines if each is not None), default=inf)

    def steps(self) -> Iterator[int]:
        """Count the steps of a test's own driver; a machine that never rests fails it."""
        yield from range(1000)
        raise AssertionError("a busy loop")

    def sleep(self) -> bool:
        """Sleep until the machine wants to be asked; return whether it ever does."""
        if self.deadline < inf:
            self.now = max(self.now, self.deadline)
        return self.deadline < inf

    def run(self, until: float = inf) -> None:
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

    def finish(self) -> None:
        self.producer.end(Outcome.DONE)
        self.run()
        assert self.producer.phase is Phase.CLOSED

    def assert_whole(self, outcome: Outcome | None = Outcome.DONE) -> None:
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


def producing(*messages: Message, **options: Any) -> ProducerWorld:
    """Return a world in which the stream is claimed and `messages` are in the log, one by one."""
    world = ProducerWorld(**options)
    world.settle()
    for index, message in enumerate(messages):
        world.now += GATHER if index else 0.0
        world.offer(message)
        world.settle()
    return world


def text(count: int, size: int = 1) -> list[Message]:
    """Return messages of one letter each, `size` times."""
    return [Message(chr(ord("a") + index % 26) * size) for index in range(count)]


def lost_log(count: int, epoch: str = "older") -> EventLog:
    """Return a log whose producer was lost after `count` events."""
    log = EventLog()
    log.apply(Claim(epoch, LEASE, Retention(keep=KEEP)), 0.0)
    if count:
        log.apply(Append(epoch, 1, tuple(text(count)), count), 0.0)
    log.apply(Finish(epoch, Outcome.LOST, count), 0.0)
    return log
