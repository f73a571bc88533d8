"""A channel: many write to it, in all processes, and it has no end.

A writer hands in text after text, and the publisher machine of its process sends them. What could
not be published is handed in again, under the same key, as an application does it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import ClassVar, Final

from resumable_core import (
    BackendError,
    BackendUnavailable,
    End,
    Event,
    EventId,
    Message,
    Publication,
    Publisher,
    PublisherLimits,
    Reader,
    Record,
    Retention,
    StreamError,
    Ticket,
)

from ._channel_stories import ALL, draw_channel
from ._laws import require
from ._play import KEEP, SETTLE, Play
from ._process import Process
from ._script import ANN, JITTER, OUTAGE, Script
from ._stories import Story

AUDIENCES: Final = (None, frozenset({ANN, "bob"}), frozenset({"bob"}))
"""For whom messages are, in turn."""


class ChannelPlay(Play):
    """Play one script of a channel; `write` lets texts be published, beside what `Play` has."""

    reader: Reader | None = Reader(frozenset({ANN}))
    draw: ClassVar[Callable[[int, Sequence[Story]], Script]] = draw_channel

    def __init__(self, script: Script) -> None:
        super().__init__(script)
        self.epochs: int = 0
        """Attempts to publish; each has another."""
        self._publishers: dict[Process, _Publishing] = {}
        self._writers = 0

    def saw(self, record: Record) -> None:
        """Judge what a client is told: it may see it, and there is no end."""
        super().saw(record)
        ledger = self.store.ledger
        require(not isinstance(record, End), 5, f"{record} of a channel")
        to = ledger.events[record.id].to if isinstance(record, Event) else None
        require(to is None or ANN in to, 2, f"{record} is for others")

    def run(self) -> None:
        """Let the script happen, end all faults, and wait until everybody has what there is."""
        self.run_until(self._last_step + 1.0)
        self.run_until(max((process.paused_until for process in self.processes), default=0.0))
        self.calm_down()
        self.run_until(self.now + SETTLE)
        self._check_settled()
        for wire in ("records", "sse"):
            self.join(0, wire, "beginning")
        self.run_until(self.now + SETTLE)
        self._check_settled()

    def calm_down(self) -> None:
        """End all faults; nobody writes any more."""
        super().calm_down()
        for publisher in self._publishers.values():
            publisher.rest()

    def _check_settled(self) -> None:
        super()._check_settled()
        for process, publisher in self._publishers.items():
            require(publisher.idle or not process.alive, 7, "somebody still waits to publish")
        texts = [data for batch in self.store.held for data in batch.data]
        require(len({*texts}) == len(texts), 6, f"something stands there twice: {texts}")

    def write(self, process: int | str, count: int, pace: float) -> None:
        """Publish some texts, one every `pace` seconds."""
        at = self.process(process)
        publisher = self._publishers.get(at)
        if publisher is None:
            publisher = self._publishers[at] = _Publishing(at, self)
        self._writers += 1
        publisher.write(f"w{self._writers}", count, pace)


class _Publishing:
    """What a process publishes."""

    def __init__(self, process: Process, world: ChannelPlay) -> None:
        setup = world.setup
        limits = PublisherLimits(buffer_count=setup.buffer, outage=OUTAGE)
        self._process = process
        self._world = world
        self._machine = Publisher(Retention(count=setup.retention, keep=KEEP), limits, process.now)
        self._waiting = deque[str]()  # for room
        self._timer = math.inf
        self._offered = 0
        self._last: EventId | None = None
        # Whether nothing had to be handed in again. What is trimmed is known by its key no longer.
        self._orderly = setup.retention >= ALL

    @property
    def idle(self) -> bool:
        """Say whether nothing waits."""
        return self._machine.idle and not self._waiting

    def rest(self) -> None:
        """Hand nothing in any more."""
        self._waiting.clear()

    def write(self, writer: str, count: int, pace: float) -> None:
        """Hand a text in, and the others after it."""
        if self._world.calm or not count:
            return
        self._waiting.append(f"{writer}.{count}")
        self._process.after(pace, lambda: self.write(writer, count - 1, pace))
        self._process.runs(self._go_on)

    def _go_on(self) -> None:
        machine, now = self._machine, self._process.now
        while self._waiting and not machine.full:
            text = self._waiting.popleft()
            to = AUDIENCES[self._offered % len(AUDIENCES)]
            machine.offer(Publication(Message(text), text, to), now)
            self._offered += 1
        self._world.epochs += 1
        command = machine.next_command(now, f"c{self._world.epochs}")
        if command is None:
            self._wake_at(machine.deadline)
            return
        world, store = self._world, self._world.store

        def request() -> Sequence[EventId]:
            return store.publish(command, world.now)

        def answered(answer: Sequence[EventId] | StreamError) -> None:
            if isinstance(answer, StreamError):
                raise answer  # a channel takes whatever comes
            self._settle(machine.answered(answer))

        def failed(error: BackendError | None) -> None:
            error = error or BackendUnavailable("no answer")
            self._settle(machine.failed(error, self._process.now, JITTER))

        self._process.call("write", request, answered, failed)

    def _settle(self, tickets: Sequence[Ticket]) -> None:
        ledger = self._world.store.ledger
        for ticket in tickets:
            text, id = str(ticket.publication.message.data), ticket.id
            if id is None:
                self._waiting.append(text)
                self._orderly = False
                self._world.seen[type(ticket.error).__name__] += 1
                continue
            self._world.seen["Published"] += 1
            require(ledger.events[id].data == text, 6, f"{text} was told to be {id}, which is not")
            if self._orderly and self._last is not None and id.epoch == self._last.epoch:
                require(id.seq > self._last.seq, 1, f"{text} comes as {id}, after {self._last}")
            self._last = id
        self._go_on()

    def _wake_at(self, deadline: float) -> None:
        if deadline < self._timer:
            self._timer = deadline
            self._process.after(max(0.0, deadline - self._process.now), self._woken)

    def _woken(self) -> None:
        self._timer = math.inf
        self._go_on()
