"""Channels: many writers, no end, and messages that are for some recipients alone."""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterable, Sequence
from typing import Final, cast

from anyio import Event as Signal
from anyio import current_time, sleep_until
from anyio.abc import TaskGroup

from resumable_core import (
    AtCharacter,
    Delete,
    EventId,
    InvalidInput,
    InvalidPosition,
    Message,
    Position,
    Publication,
    Publisher,
    PublisherLimits,
    Reader,
    Retention,
    Ticket,
    channel_log_id,
    check_name,
)

from ._followers import LEFT, Followers, StreamsClosed
from ._positions import PositionLike, to_position
from ._sources import Encoder, to_message
from ._subscription import Subscription
from ._wakeup import Wakeup
from .abc import Backend

CHANNEL_RETENTION: Final = Retention(count=10_000, bytes=16 * 2**20, keep=24 * 3600.0)
"""What a channel keeps unless told otherwise: 10,000 events, 16 MiB; a day after the last one."""


class Channel:
    """Publish to a channel, and subscribe to it; made by `Streams.channel`.

    A channel is there as soon as somebody publishes to it, and forgotten when nobody has for
    `retention.keep` seconds. Every process may publish, all at once: the store gives the ids.
    """

    def __init__(self, hub: Channels, name: str, retention: Retention) -> None:
        self.name: str = name
        self._hub = hub
        self._log_id = channel_log_id(name)
        self._retention = retention

    async def publish(
        self, item: object, *, to: str | Iterable[str] | None = None, key: str | None = None
    ) -> EventId:
        """Publish text, bytes, a `Message`, or what the encoder takes; return its event id.

        `to` names the recipients who alone may see it, live and later; None is everybody. Others
        see that an id was given, not to what or whom: where that is a secret, too, use a channel
        for each recipient. With a `key`, what was published before is not published again: the
        first event's id is returned, for as long as the channel holds that event.

        Waits while too much is waiting, and while the store does not answer. Raises `InvalidInput`
        (also for a recipient that nobody could read as) and, after an outage, `BackendError`: what
        became of it is then unknown, unless it is published again under the same key. Cancelled, it
        may have been published.
        """
        recipients = None if to is None else _recipients(to)
        key = secrets.token_hex(8) if key is None else key
        publication = Publication(self._hub.message(item), key, recipients)
        return await self._hub.publish(self._log_id, self._retention, publication)

    async def subscribe(
        self,
        position: PositionLike = None,
        *,
        recipient: str | Iterable[str] = (),
        replay: int | None = None,
    ) -> Subscription:
        """Return a subscription that goes on at `position`; None: with the oldest event kept.

        `recipient` is under which names targeted messages are seen, besides those for everybody.
        Who lies farther back than `replay` events is told of a `Gap`. The channel need not be
        there: then the subscription waits for the first event. It never ends by itself; when the
        channel is deleted and opened again, it tells of a `Reset`.

        Raises `InvalidPosition` for a number of characters, `InvalidInput` for names that nobody
        could have and a `replay` below 0, and `BackendError`.
        """
        place = to_position(position)
        if isinstance(place, AtCharacter):
            raise InvalidPosition("channels are not resumed by characters: use an event id")
        if replay is not None and replay < 0:
            raise InvalidInput(f"replay is a number of events, 0 or more, got {replay}")
        names = _recipients(recipient)
        for name in names:
            check_name("a recipient", name)
        reader = Reader(names, replay)
        return await self._hub.subscribe(self._log_id, place, reader)

    async def delete(self) -> None:
        """Forget everything; subscribers stay, and wait for whatever is published next.

        Raises `BackendError`, and `StreamsClosed` once the streams were left.
        """
        await self._hub.delete(self._log_id)

    @property
    def subscriptions(self) -> int:
        """Return how many subscriptions to the channel this process has."""
        return self._hub.subscriptions(self._log_id)


def _recipients(given: object) -> frozenset[str]:
    """Return the names that a caller gave, or the only one. They are checked elsewhere."""
    if isinstance(given, str):
        return frozenset([given])
    if isinstance(given, bytes) or not isinstance(given, Iterable):
        kind = type(given).__name__
        raise InvalidInput(f"a recipient is text, several are an iterable of it; got {kind}")
    return frozenset(cast("Iterable[str]", given))


class Channels:
    """Hold what the channels of a process share."""

    def __init__(self, followers: Followers, tasks: TaskGroup, encode: Encoder) -> None:
        self._followers = followers
        self._tasks = tasks
        self._encode = encode
        self._publishers: dict[tuple[str, Retention], PublisherDriver] = {}
        self._closed = False

    def message(self, item: object) -> Message:
        """Return what a caller gave as a message. Raises `InvalidMessage`."""
        return to_message(item, self._encode)

    async def publish(self, log_id: str, retention: Retention, publication: Publication) -> EventId:
        """Publish, together with whatever else is published to the channel at this time."""
        self._check_open()
        key = (log_id, retention)
        driver = self._publishers.get(key)
        if driver is None:
            driver = PublisherDriver(self._followers.backend, log_id, retention)
            self._publishers[key] = driver
        driver.writers += 1
        try:
            ticket = await driver.offer(publication)
            if not driver.running:
                driver.running = True
                self._tasks.start_soon(self._run, key, driver)
            return await driver.settled(ticket)
        finally:
            driver.writers -= 1
            self._forget(key, driver)

    async def _run(self, key: tuple[str, Retention], driver: PublisherDriver) -> None:
        try:
            await driver.run()
        finally:
            driver.running = False
            self._forget(key, driver)

    def _forget(self, key: tuple[str, Retention], driver: PublisherDriver) -> None:
        """Let go of a driver that nobody uses; what was cancelled may still be under way."""
        if not (driver.writers or driver.running):
            self._publishers.pop(key, None)

    async def subscribe(self, log_id: str, position: Position, reader: Reader) -> Subscription:
        """Return a subscription that has found its place, and is counted."""
        subscription = Subscription(self._followers, log_id, position, reader)
        await subscription.open()
        return subscription

    async def delete(self, log_id: str) -> None:
        """Forget a channel."""
        self._check_open()
        await self._followers.backend.apply(log_id, Delete())

    def subscriptions(self, log_id: str) -> int:
        """Return how many subscriptions to a channel there are."""
        return self._followers.subscriptions_of(log_id)

    def close(self) -> None:
        """Let nobody publish any more."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise StreamsClosed(LEFT)


class PublisherDriver:
    """Drive core's publisher machine, as long as something waits to be published."""

    def __init__(self, backend: Backend, log_id: str, retention: Retention) -> None:
        self.writers: int = 0
        """Calls of `publish` that are under way."""
        self.running: bool = False
        """Whether a task runs, or is about to."""
        self._backend = backend
        self._log_id = log_id
        self._machine = Publisher(retention, PublisherLimits(), current_time())
        self._settled: dict[Ticket, Signal] = {}
        self._room = Wakeup()

    async def offer(self, publication: Publication) -> Ticket:
        """Hand in a publication, as soon as there is room for it."""
        while self._machine.full:
            await self._room.wait()
        ticket = self._machine.offer(publication, current_time())
        self._settled[ticket] = Signal()
        return ticket

    async def settled(self, ticket: Ticket) -> EventId:
        """Wait until a publication is settled; return its id, or raise its error."""
        try:
            if ticket in self._settled:
                await self._settled[ticket].wait()
        finally:
            self._machine.withdraw(ticket)
            self._settled.pop(ticket, None)
        if ticket.error is not None:
            raise ticket.error
        assert ticket.id is not None  # noqa: S101 - it is settled
        return ticket.id

    async def run(self) -> None:
        """Publish until nothing waits any more."""
        machine = self._machine
        try:
            while not machine.idle:
                command = machine.next_command(current_time(), secrets.token_hex(8))
                if command is None:
                    await sleep_until(machine.deadline)
                    continue
                try:
                    ids = await self._backend.publish(self._log_id, command)
                except Exception as error:  # noqa: BLE001 - it is raised to those who wait
                    self._settle(machine.failed(error, current_time(), random.random()))
                else:
                    self._settle(machine.answered(ids))
        except BaseException:
            self._settle(machine.abandon(StreamsClosed(LEFT)))
            raise

    def _settle(self, tickets: Sequence[Ticket]) -> None:
        for ticket in tickets:
            if (settled := self._settled.pop(ticket, None)) is not None:
                settled.set()
        self._room.wake()
