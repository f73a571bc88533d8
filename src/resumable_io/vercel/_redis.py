"""Publish and listen through Redis: redis-py on asyncio, coredis on asyncio and trio."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

from anyio import create_task_group, move_on_after

from resumable_core import BackendError, BackendUnavailable
from resumable_io.abc import Tell, Unfollow
from resumable_io.redis._drivers import driver_for
from resumable_io.redis._feed import LiveFeed
from resumable_io.redis._port import REPLY_TIMEOUT, Driver

from ._pubsub import Channels, Inbox, Mailbox


class RedisPublisher:
    """Publish through a driver; whatever is counted expires after `ttl` seconds."""

    def __init__(self, driver: Driver, ttl: int) -> None:
        self._driver = driver
        self._ttl = ttl

    async def connect(self) -> None:
        """Do nothing: connections are made when they are needed."""

    async def publish(self, channel: str, message: str) -> int:
        """Publish a message and return how many have received it."""
        receivers = await self._run("PUBLISH", channel, message)
        return int(receivers)

    async def set(self, key: str, value: str, *, ex: int | None = None) -> None:
        """Set a key."""
        await self._run("SET", key, value, *(() if ex is None else ("EX", ex)))

    async def get(self, key: str) -> bytes | None:
        """Return the value of a key."""
        return cast("bytes | None", await self._run("GET", key))

    async def incr(self, key: str) -> int:
        """Add 1 to a key, and see that it expires: who has added may die before it sets it."""
        counted, expires = await self._driver.pipeline([("INCR", key), ("EXPIRE", key, self._ttl)])
        for reply in (counted, expires):
            if isinstance(reply, Exception):
                raise reply
        return int(counted)

    async def _run(self, *command: str | int) -> Any:
        (reply,) = await self._driver.pipeline([command])
        if isinstance(reply, Exception):
            raise reply
        return reply


class RedisChannels(Channels):
    """Listen over one connection, which is made again when it breaks."""

    def __init__(self, driver: Driver, prefix: str, timeout: float) -> None:
        # The feed hands on what its reader makes of a message: here it is text.
        self.feed: LiveFeed = LiveFeed(driver, f"{prefix}:home", cast("Any", _text), timeout)
        self._timeout = timeout

    @asynccontextmanager
    async def subscribed(self, channel: str) -> AsyncGenerator[Inbox, None]:
        """Listen to a channel. Raises `BackendUnavailable` when Redis does not confirm that."""
        mailbox = Mailbox()
        unfollow: Unfollow | None = None
        with move_on_after(self._timeout):
            unfollow = await self.feed.follow([channel], cast("Tell", mailbox.put))
        if unfollow is None:
            raise self.feed.error or BackendUnavailable("Redis confirms no subscription")
        try:
            yield mailbox
        finally:
            unfollow()


def _text(_channel: str, payload: bytes) -> str:
    return payload.decode("utf-8", "replace")


@asynccontextmanager
async def connected(
    client: object, prefix: str, ttl: int
) -> AsyncGenerator[tuple[RedisPublisher, RedisChannels], None]:
    """Connect to Redis: a URL, or a client of redis-py or coredis, which stays open.

    Raises `BackendError` when that cannot be done.
    """
    driver = driver_for(client, REPLY_TIMEOUT)
    channels = RedisChannels(driver, prefix, REPLY_TIMEOUT)
    failure: BackendError | None = None
    async with driver.connected(), create_task_group() as tasks:
        tasks.start_soon(channels.feed.run)
        try:
            failure = await _failure(driver, channels.feed)
            if failure is None:
                yield RedisPublisher(driver, ttl), channels
        finally:
            tasks.cancel_scope.cancel()
    if failure is not None:  # raised in there, it would come in a group
        raise failure


async def _failure(driver: Driver, feed: LiveFeed) -> BackendError | None:
    """Wait until Redis can be talked to; return why it cannot."""
    try:
        with move_on_after(REPLY_TIMEOUT):
            await feed.stands()
            await driver.check()
            return None
    except BackendError as error:
        return error
    return BackendUnavailable(f"Redis did not answer within {REPLY_TIMEOUT:g} s")
