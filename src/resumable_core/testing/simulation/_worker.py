"""A producer in a process, and the source that it runs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from resumable_core import (
    BackendError,
    Claim,
    Command,
    Message,
    Outcome,
    Phase,
    Producer,
    ProducerLimits,
    Sentinel,
    StreamError,
)
from resumable_core.testing.strategies import NASTY_TEXTS

from ._laws import Source, require
from ._script import JITTER, LINGER, OUTAGE

if TYPE_CHECKING:
    from ._process import Process

EURO: Final = "€".encode()


class Worker:
    """A producer, and its source: `count` messages, one every `pace` seconds, then an end.

    `outcome` is empty for a source that never ends by itself.
    """

    def __init__(
        self, process: Process, claim: Claim, count: int, pace: float, outcome: str
    ) -> None:
        setup = process.world.setup
        limits = ProducerLimits(buffer_count=setup.buffer, outage=OUTAGE, linger=LINGER)
        self.process: Process = process
        self.epoch: str = claim.epoch
        self.machine: Producer = Producer(claim, limits, process.now)
        self.source: Source = Source()
        self._binary = setup.binary
        self._ledger = process.world.store.ledger
        self._ledger.sources[claim.epoch] = self.source
        self._left, self._pace, self._outcome = count, pace, outcome
        self._started = False
        self._waits = False
        self._closed = False
        self._timer = math.inf

    @property
    def over(self) -> bool:
        """Say whether the producer has nothing left to do."""
        return self.machine.phase is Phase.CLOSED or not self.process.alive

    def go_on(self) -> None:
        """Carry out what the machine asks for, and let the source go on."""
        machine, now = self.machine, self.process.now
        while (command := machine.next_write(now)) is not None:
            self._carry_out(command, "write")
        while (renewal := machine.next_renew(now)) is not None:
            self._carry_out(renewal, "renew")
        if machine.phase is Phase.PRODUCING and not self._started:
            self._started = True
            self.process.after(0.0, self._produce)
        elif self._waits and machine.has_room:
            self._waits = False
            self.process.after(0.0, self._produce)
        deadline = min(machine.write_deadline or math.inf, machine.renew_deadline or math.inf)
        if deadline < self._timer:
            self._timer = deadline
            self.process.after(max(0.0, deadline - now), self.woken)
        if machine.phase is Phase.CLOSED:
            self._check_error()

    def woken(self) -> None:
        """Look again: the deadline has come."""
        self._timer = math.inf
        self.go_on()

    def _check_error(self) -> None:
        error, ledger = self.machine.error, self._ledger
        if error is not None and not self._closed:
            self.process.world.seen[type(error).__name__] += 1
        self._closed = True
        if self._started and isinstance(error, StreamError):
            deserved = ledger.forgetful or self.epoch in ledger.ended
            require(deserved, 4, f"{self.epoch} was told for no reason: {error}")

    def _carry_out(self, command: Command, lane: str) -> None:
        process, machine = self.process, self.machine
        world, watched_for = process.world, process.connected_for

        def request() -> Sentinel:
            return world.store.apply(command, world.now, watched_for)

        def answered(answer: Sentinel | StreamError) -> None:
            if isinstance(answer, StreamError):
                machine.refused(command, answer)
            else:
                world.seen[type(command).__name__] += 1
                machine.replied(command, answer, process.now)
            self.go_on()

        def failed(error: BackendError | None) -> None:
            machine.failed(command, process.now, JITTER, error)
            self.go_on()

        process.call(lane, request, answered, failed)

    # The source

    def end(self, outcome: Outcome) -> None:
        """Let the source end."""
        self.machine.end(outcome)
        self.go_on()

    def _produce(self) -> None:
        machine = self.machine
        if machine.phase is not Phase.PRODUCING or not machine.source_wanted:
            return
        if self.process.world.calm:
            return  # nothing more is yielded
        if self._left == 0:
            if self._outcome:
                self.end(Outcome(self._outcome))
        elif not machine.has_room:
            self._waits = True
        else:
            self._left -= 1
            message = self._message()
            machine.offer(message)
            self.source.yielded(message)
            self.process.after(self._pace, self._produce)
            self.go_on()

    def _message(self) -> Message:
        """Return a message like no other; its first and last character may be cut."""
        number = len(self.source.indices)
        text = f"{self.epoch}.{number}{NASTY_TEXTS[number % len(NASTY_TEXTS)]}"
        type_ = "delta" if number % 3 == 1 else None
        if self._binary:
            return Message((EURO[1:] if number else b"") + text.encode() + EURO[:1], type_)
        return Message(text, type_)
