"""A process: it drives the producers and the follower that it runs, over a bad network.

This is the driver that `resumable_io` is, played in virtual time: it carries out what the machines
ask for, and reports what became of it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from resumable_core import (
    ABSENT,
    Appended,
    BackendError,
    BackendFull,
    Changed,
    FeedItem,
    Fetch,
    Follower,
    FollowerLimits,
    Interrupted,
    Page,
    StreamError,
)

from ._script import JITTER, LEASE, OUTAGE, TIMEOUT

if TYPE_CHECKING:
    from ._connection import Connection
    from ._worker import Worker
    from ._world import World

T = TypeVar("T")

Fate: TypeAlias = tuple[str, float]
"""What becomes of one message on the network, and for how many seconds it is under way longer."""


class Process:
    """One process, from its start until it is killed."""

    def __init__(self, world: World, index: int) -> None:
        self.world: World = world
        self.index: int = index
        self.latency: float = world.setup.latencies[index]
        self.alive: bool = True
        self.skew: float = 0.0
        """Seconds by which its clock has jumped ahead of the world's."""
        self.cut_off: bool = False
        """Whether nothing gets through to the store, or back."""
        self.paused_until: float = 0.0
        self.trouble_until: float = 0.0
        """Until when its producers cannot be blamed for being silent."""
        self.fates: dict[str, deque[Fate]] = {}
        """What becomes of the next messages, by lane: write, renew, read, page, feed."""
        limits = FollowerLimits(
            window_count=world.setup.window,
            pending=2,
            check_interval=world.setup.check,
            outage=1.5 * OUTAGE,
        )
        self.follower: Follower = Follower(limits, self.now)
        self.producers: list[Worker] = []
        self.connections: list[Connection] = []
        self.listening: bool = False
        """Whether the feed is connected, at the store's end."""
        self.connected_since: float = math.inf
        self._version = 0
        self._timer = math.inf
        self.connect()

    @property
    def now(self) -> float:
        """Return the time by the clock of this process."""
        return self.world.now + self.skew

    @property
    def connected_for(self) -> float:
        """Return for how many seconds it has been watching the store; -inf while it doesn't."""
        return self.now - self.connected_since

    def runs(self, call: Callable[[], None]) -> None:
        """Call something in this process: later if it is paused, never if it is dead."""
        if not self.alive:
            return
        if self.paused_until > self.world.now:
            self.world.after(self.paused_until - self.world.now, lambda: self.runs(call))
        else:
            call()

    def after(self, delay: float, call: Callable[[], None]) -> None:
        """Call something in this process after a delay in seconds."""
        self.world.after(delay, lambda: self.runs(call))

    def troubled(self, seconds: float) -> None:
        """Excuse its producers for some seconds, and for a lease after them."""
        self.trouble_until = max(self.trouble_until, self.world.now + seconds + LEASE)

    def jump(self, seconds: float) -> None:
        """Let the clock jump ahead: whatever is due by then is due now."""
        self.skew += seconds
        self.runs(self._woken)
        for worker in self.producers:
            self.runs(worker.woken)
        for connection in list(self.connections):
            self.runs(connection.woken)

    # The network

    def fate(self, lane: str) -> Fate:
        """Take what is to become of the next message in a lane."""
        fates = self.fates.get(lane)
        return fates.popleft() if fates else ("arrives", 0.0)

    def call(
        self,
        lane: str,
        request: Callable[[], T],
        answered: Callable[[T | StreamError], None],
        failed: Callable[[BackendError | None], None],
    ) -> None:
        """Ask the store; one of the callbacks is called, once.

        What fails after `TIMEOUT` may arrive all the same, at any later time.
        """
        world, (fate, delay) = self.world, self.fate(lane)
        done = False
        if fate != "arrives":
            self.troubled(TIMEOUT + delay)

        def end(call: Callable[[], None]) -> None:
            nonlocal done
            if not done:
                done = True
                call()

        def arrive() -> None:
            if fate == "lost" or self.cut_off or world.hangs:
                return
            if world.refuses or fate == "full":
                error = BackendFull("the store is full") if fate == "full" else None
                self.after(self.latency, lambda: end(lambda: failed(error)))
                return
            answer: T | StreamError
            try:
                answer = request()
            except StreamError as refusal:
                answer = refusal
            if fate != "unanswered" and not self.cut_off:
                self.after(self.latency, lambda: end(lambda: answered(answer)))

        world.after(self.latency + delay, arrive)
        self.after(TIMEOUT, lambda: end(lambda: failed(None)))

    # The feed

    def connect(self) -> None:
        """Connect the feed: what happens from now on is delivered."""
        if (
            not self.alive
            or self.listening
            or self.cut_off
            or self.world.hangs
            or self.world.refuses
        ):
            return
        first = math.isinf(self.connected_since)
        self.listening = True
        self.after(self.latency, lambda: self._connected(first=first))

    def _connected(self, *, first: bool) -> None:
        self.connected_since = self.now
        if first:
            self.follower.subscribed(self.now)
        else:
            self.follower.received(Interrupted(), self.now)
        for worker in self.producers:
            worker.machine.learned(ABSENT, self.now)
        self.go_on()

    def publish(self, item: FeedItem) -> None:
        """Send an item of the feed on its way."""
        if not (self.alive and self.listening) or self.cut_off:
            return
        fate, delay = self.fate("feed")
        if fate != "lost":
            self.after(self.latency + delay, lambda: self._receive(item))
        if fate == "repeated":
            self.after(self.latency, lambda: self._receive(item))

    def _receive(self, item: FeedItem) -> None:
        match item:
            case Appended():
                self.follower.received(item, self.now)
            case Changed(sentinel):
                self.follower.received(item, self.now)
                for worker in self.producers:
                    worker.machine.learned(sentinel, self.now)
                    worker.go_on()
            case Interrupted():
                pass
        self.follow()

    # The follower

    def go_on(self) -> None:
        """Ask all machines what is to be done."""
        for worker in self.producers:
            worker.go_on()
        self.follow()

    def follow(self) -> None:
        """Carry out what the follower asks for, and wake the consumers when there is news."""
        machine = self.follower
        fetch = machine.next_fetch(self.now)
        if fetch is not None:
            self._fetch(fetch)
        self.wake_at(machine.deadline)
        if machine.version != self._version:
            self._version = machine.version
            for connection in list(self.connections):
                connection.go_on()

    def awaited(self, after: int) -> None:
        """Tell the follower that a consumer waits for what comes after a seq."""
        self.follower.awaited(after, self.now)
        self.wake_at(self.follower.deadline)

    def _fetch(self, fetch: Fetch) -> None:
        def answered(page: Page | StreamError) -> None:
            if isinstance(page, StreamError):
                raise page  # a read is never refused
            self.follower.fetched(page, self.now)
            self.follow()

        def failed(_: BackendError | None) -> None:
            self.follower.fetch_failed(self.now, JITTER)
            self.follow()

        world, watched_for = self.world, self.connected_for

        def request() -> Page:
            return world.store.read(fetch.after, world.now, fetch.connected_for, watched_for)

        self.call("read", request, answered, failed)

    def wake_at(self, deadline: float) -> None:
        """Ask the follower again at a time of this process' clock."""
        if deadline < self._timer:
            self._timer = deadline
            self.after(max(0.0, deadline - self.now), self._woken)

    def _woken(self) -> None:
        self._timer = math.inf
        self.follow()
