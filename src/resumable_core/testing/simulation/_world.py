"""A world in virtual time: a store, the processes that share it, and their clients."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Final

from resumable_core import (
    End,
    FeedItem,
    Gap,
    Reader,
    Record,
    Reset,
)

from ._clients import Client
from ._laws import require
from ._process import Process
from ._script import CHECK, LEASE, LINGER, OUTAGE, Setup
from ._store import Store
from ._worker import Worker

CALLS: Final = 50_000
"""Calls in one world at most: more are a machine that spins."""

PATIENCE: Final = 3 * LEASE + CHECK + LINGER + 2 * OUTAGE
"""Seconds after the last fault in which everybody finishes: an observer that was interrupted last,
a claim behind that, a place ahead of the log, and pauses after failures."""


class World:
    """Keep the time, and everybody in it. Times are seconds from the beginning."""

    reader: Reader | None = None
    """Who the clients are, on a channel."""

    def __init__(self, setup: Setup) -> None:
        self.setup: Setup = setup
        self.now: float = 0.0
        self.trouble_until: float = 0.0
        """Until when no producer can be blamed for being silent."""
        self.calm: bool = False
        """Whether no fault happens any more."""
        self.refuses: bool = False
        """Whether the store refuses connections."""
        self.hangs: bool = False
        """Whether the store accepts everything and answers nothing."""
        self.seen: Counter[str] = Counter()
        """What clients were told, and how producers fared: how far a script reaches."""
        self.store: Store = Store(self.setup.page, self._publish, self._excused)
        self.workers: list[Worker] = []
        self.clients: list[Client] = []
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._calls = 0
        self.processes: list[Process] = [
            Process(self, index) for index in range(len(self.setup.latencies))
        ]

    def after(self, delay: float, call: Callable[[], None]) -> None:
        """Call something after a delay in seconds."""
        heappush(self._queue, (self.now + delay, next(self._numbers), call))

    def saw(self, record: Record) -> None:
        """Count what a client is told."""
        match record:
            case Gap(reason=reason) | Reset(reason=reason):
                self.seen[f"{type(record).__name__}({reason})"] += 1
            case End(outcome=outcome):
                self.seen[f"End({outcome})"] += 1
            case _:
                self.seen["Event"] += 1

    def be_away(self, how: str) -> None:
        """Let the store refuse everything, or accept it and answer nothing; "" is neither."""
        self.refuses, self.hangs = how == "refuses", how == "hangs"

    def troubled(self, seconds: float) -> None:
        """Excuse all producers for some seconds, and for a lease after them."""
        self.trouble_until = max(self.trouble_until, self.now + seconds + LEASE)

    # From the beginning to the end

    def run_until(self, until: float, *, or_over: bool = False) -> None:
        """Let everything happen that is due until a time, or until everybody has finished."""
        while self._queue and self._queue[0][0] <= until:
            if or_over and self._over:
                return
            self.now, _, call = heappop(self._queue)
            call()
            self.check()
            self._calls += 1
            require(self._calls < CALLS, 7, "a machine spins")
        self.now = max(self.now, until)

    def check(self) -> None:
        """Judge the world after whatever happens: here is place for laws of your own."""

    def run_until_over(self) -> None:
        """Let time pass until everybody has finished; law 7 says how long that takes at most."""
        self.run_until(self.now + PATIENCE, or_over=True)
        wait = [f"client {n}" for n, client in enumerate(self.clients) if not client.finished]
        wait += [f"producer {worker.epoch}" for worker in self.workers if not worker.over]
        require(self._over, 7, f"{PATIENCE:g} s after the last fault, these wait: {wait}")

    @property
    def _over(self) -> bool:
        return all(client.finished for client in self.clients) and all(
            worker.over for worker in self.workers
        )

    # Who is meant

    def some_process(self, number: int) -> Process:
        """Return a process that runs, a different one for different numbers."""
        running = [each for each in self.processes if each.alive and each.paused_until <= self.now]
        running = running or [each for each in self.processes if each.alive]
        if not running:
            return self.restart(self.processes[0])
        return running[number % len(running)]

    def process(self, which: int | str) -> Process:
        """Return the process of a number, or that which plays a part: see `Play`."""
        if isinstance(which, int):
            return self.some_process(which)
        epoch = self.store.log.sentinel.epoch
        producing = [worker.process for worker in self.workers if worker.epoch == epoch]
        producer = producing[-1] if producing and producing[-1].alive else self.some_process(0)
        if which == "producer":
            return producer
        return next(
            (each for each in self.processes if each.alive and each is not producer), producer
        )

    def client(self, number: int) -> Client | None:
        """Return a client, if there is one."""
        return self.clients[number % len(self.clients)] if self.clients else None

    def _excused(self, epoch: str) -> bool:
        (worker,) = (worker for worker in self.workers if worker.epoch == epoch)
        trouble_until = max(self.trouble_until, worker.process.trouble_until)
        return worker.over or self.now < trouble_until

    def _publish(self, item: FeedItem) -> None:
        for process in self.processes:
            process.publish(item)

    def restart(self, process: Process) -> Process:
        """Return the process in the place of one that is dead; start it, if there is none."""
        if self.processes[process.index] is process:
            self.processes[process.index] = Process(self, process.index)
        return self.processes[process.index]
