"""What a script can let happen: the methods that a `Step` can name.

A process is named by its number, or by its part: `producer`, where the stream is produced at that
time, or `other`, any other one. So a step means something whatever was left out before it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar, Final

from resumable_core import (
    Beginning,
    Change,
    Claim,
    Delete,
    Live,
    Outcome,
    Position,
    Retention,
    Sentinel,
    Stop,
    Takeover,
)

from ._clients import Client
from ._laws import require
from ._process import Process
from ._script import CHECK, LEASE, TIMEOUT, Script, in_order
from ._stories import Story, draw_script
from ._wires import SSEClient, TextClient
from ._worker import Worker
from ._world import World

KEEP: Final = 10_000.0
SETTLE: Final = LEASE + CHECK + 5.0 + 2 * TIMEOUT
"""Seconds after the last fault in which everybody gets what there is: the longest pause, too."""

CLIENTS: Final[dict[str, type[Client]]] = {"records": Client, "sse": SSEClient, "text": TextClient}
POSITIONS: Final[dict[str, Position]] = {"beginning": Beginning(), "live": Live()}


class Play(World):
    """Play one script, and judge it by the laws.

    A subclass has faults of its own, which are methods that a `Step` names, and laws of its own,
    in `check`. A fault that lasts is over when `calm_down` was called.
    """

    draw: ClassVar[Callable[[int, Sequence[Story]], Script]] = draw_script
    """Draws what is played: by a seed, and with stories of one's own."""

    def __init__(self, script: Script) -> None:
        super().__init__(script.setup)
        steps = in_order(script.steps)
        self._last_step = steps[-1].at if steps else 0.0
        for step in steps:
            happen: Callable[..., None] = getattr(self, step.do)
            self.after(step.at, partial(happen, *step.arguments))

    def run(self) -> None:
        """Let the script happen, end all faults, and wait until everybody has finished.

        Raises `LawBroken`.
        """
        self.run_until(self._last_step + 1.0)
        self.run_until(max((process.paused_until for process in self.processes), default=0.0))
        self.calm_down()
        self.run_until(self.now + SETTLE)
        self._check_settled()
        self._end_sources()
        self.run_until_over()
        for wire in CLIENTS:
            self.join(0, wire, "beginning")
        self.run_until_over()

    def calm_down(self) -> None:
        """End all faults; the sources end, too, and slow clients read on."""
        self.calm = True
        self.be_away("")
        for process in list(self.processes):
            if not process.alive:
                self.restart(process)
            process.fates.clear()
            process.cut_off = False
            process.connect()
        for client in self.clients:
            client.stall(0.0)

    def _check_settled(self) -> None:
        """Everybody has got what there is, although nothing ends yet and the sources rest."""
        sentinel = self.store.log.sentinel
        for number, client in enumerate(self.clients):
            connection, top = client.connection, sentinel.last_seq
            if sentinel.known and not client.finished:
                at = connection and connection.cursor.after
                require(at == top, 7, f"client {number} is at {at}, but the log at {top}")
        for worker in self.workers:
            require(
                worker.over or worker.machine.flushed, 7, f"{worker.epoch} has not appended all"
            )

    def _end_sources(self) -> None:
        for worker in self.workers:
            worker.process.runs(partial(worker.end, Outcome.DONE))

    # Producers

    def start(
        self, process: int | str, on_lost: str, count: int, pace: float, outcome: str
    ) -> None:
        """Start to produce: `count` messages, one every `pace` seconds, and then an end, or none.

        `on_lost` is a `Takeover`, or `replace`: start anew, whatever the stream has ended with.
        """
        at = self.process(process)
        sentinel = self.store.log.sentinel
        replaces = sentinel.epoch if on_lost == "replace" and sentinel.known else None
        claim = Claim(
            f"e{len(self.workers)}",
            LEASE,
            Retention(count=self.setup.retention, keep=KEEP),
            on_lost=Takeover.REFUSE if on_lost == "replace" else Takeover(on_lost),
            replaces=replaces,
            connected_for=at.connected_for,
        )
        worker = Worker(at, claim, count, pace, outcome)
        self.workers.append(worker)
        at.producers.append(worker)
        at.runs(worker.go_on)

    def stop(self, process: int | str) -> None:
        """Stop the stream, from any process."""
        self._control(self.process(process), Stop())

    def delete(self, process: int | str) -> None:
        """Delete the stream, from any process."""
        self._control(self.process(process), Delete())

    def _control(self, process: Process, change: Change) -> None:
        def request() -> Sentinel:
            return self.store.apply(change, self.now, 0.0)

        process.call("control", request, lambda _: None, lambda _: self._control(process, change))

    # Clients

    def join(self, process: int | str, wire: str, position: str) -> None:
        """Let a client come: `records`, `sse` or `text`, from the `beginning` or `live`."""
        client = CLIENTS[wire](self, POSITIONS[position])
        self.clients.append(client)
        client.connect(self.process(process))

    def leave(self, client: int) -> None:
        """Let a client lose its connection, or come back although it has seen the end."""
        who = self.client(client)
        if who is not None and who.connection is not None:
            who.disconnected()
        elif who is not None and who.finished:
            who.connect(self.some_process(client))

    def stall(self, client: int, seconds: float) -> None:
        """Let a client read nothing for some seconds."""
        who = self.client(client)
        if who is not None:
            who.stall(seconds)

    # Processes

    def pause(self, process: int | str, seconds: float) -> None:
        """Let a process stand still, as in a garbage collection or a frozen machine."""
        at = self.process(process)
        at.paused_until = self.now + seconds
        at.troubled(seconds)

    def kill(self, process: int | str, seconds: float) -> None:
        """Kill a process; another one comes up in its place after some seconds."""
        victim = self.process(process)
        victim.alive = victim.listening = False
        for connection in list(victim.connections):
            connection.client.disconnected()

        def restart() -> None:
            self.restart(victim)

        self.after(seconds, restart)

    def shut_down(self, process: int | str) -> None:
        """Let the producers of a process give their leases up, and the process end."""
        at = self.process(process)
        for worker in at.producers:
            at.runs(partial(worker.end, Outcome.LOST))
        self.after(1.0, partial(self.kill, at.index, 1.0))

    def clock(self, process: int | str, seconds: float) -> None:
        """Let the clock of a process jump ahead."""
        at = self.process(process)
        at.troubled(0.0)
        at.jump(seconds)

    # The network

    def calls(self, process: int | str, lane: str, fate: str, number: int, seconds: float) -> None:
        """Let the next calls in a lane (write, renew, read, page) meet a fate.

        They are `lost`, `unanswered`, `full`, or arrive after some seconds more. In the lane `feed`
        it is the next messages: `lost`, `repeated`, or late.
        """
        fates = self.process(process).fates.setdefault(lane, deque())
        fates += [(fate, seconds)] * number

    def interrupt(self, process: int | str, seconds: float) -> None:
        """Break the feed of a process, which connects again after some seconds."""
        at = self.process(process)
        at.listening = False
        self.after(seconds, at.connect)

    def cut(self, process: int | str, seconds: float) -> None:
        """Cut a process off from the store for some seconds."""
        at = self.process(process)
        at.cut_off, at.listening = True, False
        at.troubled(seconds)

        def mend() -> None:
            at.cut_off = False
            at.connect()

        self.after(seconds, mend)

    # The store

    def outage(self, seconds: float, how: str) -> None:
        """Let the store refuse everything for some seconds, or accept it and answer nothing."""
        self.be_away(how)
        self.troubled(seconds + TIMEOUT)
        for process in self.processes:
            process.listening = False

        def back() -> None:
            self.be_away("")
            for process in self.processes:
                process.connect()

        self.after(seconds, back)

    def fail_over(self, changes: int, how: str) -> None:
        """Let the store lose its newest changes; the feeds are `noticed` or `silent`."""
        self.store.fail_over(changes)
        self.troubled(0.0)
        if how == "noticed":
            for process in self.processes:
                self.interrupt(process.index, 0.1)

    def wipe(self) -> None:
        """Let the store lose everything."""
        self.store.wipe()
        self.troubled(0.0)

    def store_clock(self, seconds: float) -> None:
        """Let the clock of the store jump ahead."""
        self.store.skew += seconds
        self.troubled(0.0)
