"""One connection that carries the live messages of all streams of a process.

The connection reconnects by itself, with backoff and jitter; after that, all who follow are told
`Interrupted`.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from anyio import Event, create_task_group, current_time, fail_after, sleep

from resumable_core import BackendError, BackendUnavailable, FeedItem, Interrupted
from resumable_io._feed import Feed
from resumable_io._wakeup import Wakeup
from resumable_io.abc import Tell, Unfollow

from ._outages import Outages
from ._port import Confirmed, Driver, Ended, Heard, Listener, Moved, Published, first_of

FIRST_RETRY: Final = 0.05
LONGEST_RETRY: Final = 2.0
"""Seconds before reconnecting, at first and at most; doubled each time, with jitter."""

UNANSWERED_CHECKS: Final = 2
"""Times that the connection is asked for a sign of life before it is given up."""

SILENT: Final = "the live feed from Redis is silent"
MOVED: Final = "a channel has moved to another node of the Redis Cluster"


class Subscriber(Feed):
    """Tell somebody what is published on some channels."""

    __slots__ = ("_entered", "_in_force", "_unconfirmed", "channels")

    def __init__(self, channels: Sequence[str], tell: Tell) -> None:
        super().__init__(tell)
        self.channels = channels
        self._unconfirmed = set(channels)
        self._in_force = False
        self._entered: Event | None = None

    async def in_force(self) -> None:
        """Wait until the subscription is confirmed for the first time."""
        if not self._in_force:
            self._entered = Event()
            await self._entered.wait()
            self._entered = None

    def confirmed(self, channel: str) -> None:
        """Take that the subscription to a channel is in force, for the first time or again."""
        again = self._in_force and channel not in self._unconfirmed
        self._unconfirmed.discard(channel)
        if again or (self._in_force and not self._unconfirmed):
            self.tell(Interrupted())
        elif not self._unconfirmed:
            self._in_force = True
            if self._entered is not None:
                self._entered.set()

    def disconnected(self) -> None:
        """Take that nothing is delivered until all channels are confirmed again."""
        self._unconfirmed = set(self.channels)


class LiveFeed:
    """Share one listening connection among all subscribers of a process.

    `home` is a channel of our own, on which nothing is published: it keeps the connection listening
    while there is no subscriber, and its confirmation tells that the connection stands. It is asked
    for anew every `timeout` seconds, and the connection given up when that is not answered twice.
    """

    def __init__(
        self, driver: Driver, home: str, read: Callable[[str, bytes], FeedItem], timeout: float
    ) -> None:
        self.connected_since = math.inf
        """When the connection was last made, in seconds of the event loop's clock."""
        self.error: BackendError | None = None
        """Why the connection was lost, or could not be made, the last time."""
        self._driver = driver
        self._listener: Listener | None = None
        self._home = home
        self._read = read
        self._timeout = timeout
        self._checks = 0  # that are not answered yet
        self._overdue: set[str] = set()  # channels that are to be confirmed before the check is
        self._moving = False  # whether the connection is made anew for no other reason
        self._whole = True  # whether all servers of a cluster were listened to at the last check
        self._subscribers: dict[str, set[Subscriber]] = {}
        self._asked: dict[str, bool] = {}  # channels to subscribe to (True) or to give up (False)
        self._confirmed: set[str] = set()
        self._leaving: Counter[str] = Counter()  # given up, and how often that is not answered yet
        self._outages = Outages()
        self._work = Wakeup()
        self._made = Wakeup()

    async def follow(self, channels: Sequence[str], tell: Tell) -> Unfollow:
        """Have `tell` called with what is published on some channels, until that is called off.

        Returns when the subscription is in force, however long it takes.
        """
        subscriber = Subscriber(channels, tell)
        for channel in channels:
            if channel in self._confirmed:
                subscriber.confirmed(channel)
            elif channel not in self._subscribers:
                self._asked[channel] = True
            self._subscribers.setdefault(channel, set()).add(subscriber)
        self._work.wake()
        try:
            await subscriber.in_force()
        except BaseException:
            self._unfollow(subscriber)
            raise
        return partial(self._unfollow, subscriber)

    def _unfollow(self, subscriber: Subscriber) -> None:
        subscriber.leave()
        for channel in subscriber.channels:
            subscribers = self._subscribers.get(channel, set())
            if subscriber in subscribers:
                subscribers.discard(subscriber)
                if not subscribers:
                    del self._subscribers[channel]
                    self._confirmed.discard(channel)
                    self._overdue.discard(channel)
                    self._asked[channel] = False
        self._work.wake()

    async def stands(self) -> None:
        """Wait until the connection stands. Raises why it could not be made."""
        while math.isinf(self.connected_since):
            if self.error is not None:
                raise self.error
            await self._made.wait()

    def listening_since(self, channel: str) -> float:
        """Return since when the server of a channel is listened to; inf while it is not."""
        reached = self._listener is not None and self._listener.reaches(channel)
        return self.connected_since if reached else math.inf

    async def run(self) -> None:
        """Stay connected until cancelled."""
        attempts = 0
        while True:
            try:
                with fail_after(self._timeout) as limit:
                    async with self._driver.listening() as listener:
                        self._listener = listener
                        self._asked.clear()
                        await listener.subscribe((self._home, *self._subscribers))
                        limit.deadline = math.inf
                        async with create_task_group() as tasks:
                            tasks.start_soon(self._ask, listener)
                            while True:
                                self._take(await listener.receive())
                                attempts = 0
            except* TimeoutError:
                self.error = BackendUnavailable(SILENT)
            except* BackendError as errors:
                self.error = first_of(errors)
            except* Exception as errors:  # noqa: BLE001
                # Whatever it is, the feed goes on: it serves all streams of the process.
                self.error = BackendError(f"the Redis client failed: {first_of(errors)!r}")
            self._lost()
            self._made.wake()
            pause = min(LONGEST_RETRY, FIRST_RETRY * 2 ** min(attempts, 10))
            await sleep(pause * (1 + random.random()) / 2)
            attempts += 1

    async def _ask(self, listener: Listener) -> None:
        check_at = current_time() + self._timeout
        while True:
            asked, self._asked = self._asked, {}
            wanted = [channel for channel, wants in asked.items() if wants]
            unwanted = [channel for channel, wants in asked.items() if not wants]
            self._leaving.update(unwanted)  # before any that comes back meanwhile is confirmed
            if current_time() >= check_at:
                if self._checks >= UNANSWERED_CHECKS:
                    raise BackendUnavailable(SILENT)
                if not self._checks:
                    self._whole = whole = listener.reaches(self._home)
                    unconfirmed = self._subscribers.keys() - self._confirmed
                    self._overdue = {c for c in unconfirmed if whole or listener.reaches(c)}
                wanted.append(self._home)
                self._checks += 1
                check_at = current_time() + self._timeout
            with fail_after(self._timeout):
                if wanted:
                    await listener.subscribe(wanted)
                if unwanted:
                    await listener.unsubscribe(unwanted)
            if not self._asked:
                await self._work.wait(check_at)

    def _take(self, item: Heard) -> None:
        match item:
            case Published(channel, payload):
                if subscribers := self._subscribers.get(channel):
                    news = self._read(channel, payload)
                    for subscriber in tuple(subscribers):  # who is told may leave
                        subscriber.tell(news)
            case Confirmed(channel):
                if channel == self._home:
                    self._at_home()
                elif channel in self._subscribers and not self._leaving[channel]:
                    self._confirmed.add(channel)
                    for subscriber in tuple(self._subscribers[channel]):
                        subscriber.confirmed(channel)
            case Ended(channel):
                if self._leaving[channel]:
                    self._leaving[channel] -= 1
                    if not self._leaving[channel]:
                        del self._leaving[channel]
                elif channel in self._confirmed:
                    # Nobody here has given it up: it has gone to another node of the cluster.
                    raise Moved(MOVED)
            case None:
                pass

    def _at_home(self) -> None:
        """Take that the connection stands, or the answer to a check."""
        if not self._checks or math.isinf(self.connected_since):
            self.connected_since = current_time()
            self._made.wake()
            return
        if self._overdue - self._confirmed:
            raise Moved(MOVED)
        self._overdue = set()
        self._checks -= 1
        if self._whole:
            self._outages.end(self.connected_since)

    def _lost(self) -> None:
        if self._moving or not math.isinf(self.connected_since):
            self._moving = isinstance(self.error, Moved)
            if not self._moving:
                self._outages.begin(self.error)
        self.connected_since = math.inf
        self._listener = None
        self._checks = 0
        self._overdue = set()
        self._confirmed.clear()
        self._leaving.clear()
        for subscribers in self._subscribers.values():
            for subscriber in subscribers:
                subscriber.disconnected()
