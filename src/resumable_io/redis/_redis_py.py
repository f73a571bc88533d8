"""Drive redis-py, on asyncio."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import redis.asyncio
from redis import exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.client import NEVER_DECODE

from resumable_core import BackendError, BackendFull, BackendUnavailable

from ._port import SCAN_COUNT, Call, Confirmed, Driver, Listener, Published, is_full

_RETRIED = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.BusyLoadingError,
    exceptions.NoScriptError,  # flushed again, right after it was loaded
    exceptions.ReadOnlyError,
    exceptions.TryAgainError,
    UnicodeDecodeError,  # not ours, on the channel of a client that decodes
    OSError,
)
_FINAL = (exceptions.AuthenticationError, exceptions.AuthorizationError)


class RedisPyDriver(Driver):
    """Drive a `redis.asyncio` client."""

    def __init__(self, client: Any, timeout: float) -> None:
        self._own = isinstance(client, str)
        self._client: Any = client
        if self._own:
            self._client = redis.asyncio.from_url(
                client,
                socket_connect_timeout=timeout,
                socket_timeout=timeout,
                retry=Retry(NoBackoff(), 0),  # who asked repeats it
            )

    @asynccontextmanager
    async def connected(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            if self._own:
                await self._client.aclose()

    async def evaluate(self, calls: Sequence[Call]) -> Sequence[Any]:
        with translated():
            replies = await self._run(calls)
            unknown = [i for i, r in enumerate(replies) if isinstance(r, exceptions.NoScriptError)]
            if unknown:
                for script in {calls[index].script for index in unknown}:
                    await self._client.script_load(script.source)
                again = await self._run([calls[index] for index in unknown])
                for index, reply in zip(unknown, again, strict=True):
                    replies[index] = reply
        return [_reply(reply) for reply in replies]

    async def _run(self, calls: Sequence[Call]) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for call in calls:
            pipeline.execute_command(
                "EVALSHA",
                call.script.sha,
                len(call.keys),
                *call.keys,
                *call.arguments,
                **{NEVER_DECODE: True},  # whatever the client is set to
            )
        replies: list[Any] = await pipeline.execute(raise_on_error=False)
        return replies

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator[Listener, None]:
        pubsub = self._client.pubsub()
        try:
            yield _RedisPyListener(pubsub)
        finally:
            await pubsub.aclose()

    async def scan(self, pattern: str, cursor: object) -> tuple[object, Sequence[str]]:
        with translated():
            following, keys = await self._client.scan(cursor or 0, match=pattern, count=SCAN_COUNT)
        return following or None, [key.decode() if isinstance(key, bytes) else key for key in keys]


class _RedisPyListener(Listener):
    def __init__(self, pubsub: Any) -> None:
        self._pubsub = pubsub

    async def subscribe(self, channels: Sequence[str]) -> None:
        with translated():
            await self._pubsub.subscribe(*channels)

    async def unsubscribe(self, channels: Sequence[str]) -> None:
        with translated():
            await self._pubsub.unsubscribe(*channels)

    async def receive(self) -> Confirmed | Published | None:
        with translated():
            message = await self._pubsub.get_message(timeout=None)
        if message is None:
            return None
        channel, data = message["channel"], message["data"]
        name = channel.decode() if isinstance(channel, bytes) else channel
        match message["type"]:
            case "subscribe" | "ssubscribe":
                return Confirmed(name)
            case "message" | "smessage":
                return Published(name, self._pubsub.encoder.encode(data))
            case _:
                return None


@contextmanager
def translated() -> Generator[None]:
    """Raise what redis-py raises as ours."""
    try:
        yield
    except _FINAL as error:
        raise BackendError(f"Redis refuses: {error}") from error
    except _RETRIED as error:
        raise BackendUnavailable(f"Redis does not answer: {error}") from error
    except exceptions.RedisError as error:
        kind = BackendFull if is_full(error) else BackendError
        raise kind(f"Redis: {error}") from error


def _reply(reply: Any) -> Any:
    match reply:
        case exceptions.RedisError():
            try:
                with translated():
                    raise reply
            except BackendError as error:
                return error
        case _:
            return reply
