"""Drive coredis, on asyncio and trio."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterable, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import Any, cast

import coredis
from coredis import exceptions
from coredis.retry import NoRetryPolicy

from resumable_core import BackendError, BackendFull, BackendUnavailable

from ._port import SCAN_COUNT, Call, Confirmed, Driver, Listener, Published, first_of, is_full

_RETRIED = (
    exceptions.ConnectionError,
    exceptions.BusyLoadingError,
    exceptions.NoScriptError,  # flushed again, right after it was loaded
    exceptions.ReadOnlyError,
    exceptions.TryAgainError,
    OSError,
    TimeoutError,
)

CONNECTIONS = 10_000
"""How often a connection may break before the pool has no place left; three are used at a time."""


class CoredisDriver(Driver):
    """Drive a `coredis` client."""

    def __init__(self, client: Any, timeout: float) -> None:
        self._own = isinstance(client, str)
        self._client: Any = client
        if self._own:
            self._client = coredis.Redis.from_url(
                client,
                decode_components=True,
                connect_timeout=timeout,
                stream_timeout=timeout,
                # Each connection that breaks in use takes a place in the pool away, for good.
                max_connections=CONNECTIONS,
                retry_policy=NoRetryPolicy(),  # who asked repeats it
            )

    @asynccontextmanager
    async def connected(self) -> AsyncGenerator[None, None]:
        async with self._client if self._own else nullcontext():
            yield

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
        return [_reply(reply, self._client.encoding) for reply in replies]

    async def _run(self, calls: Sequence[Call]) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False, raise_on_error=False)
        async with pipeline:
            for call in calls:
                command = pipeline.evalsha(call.script.sha, keys=call.keys, args=call.arguments)
                command.decode = False  # whatever the client is set to
        return list(pipeline.results or ())

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator[Listener, None]:
        # What breaks the tasks of a pubsub comes in a group.
        try:
            async with self._client.pubsub(retry_policy=NoRetryPolicy()) as pubsub:
                yield _CoredisListener(pubsub, self._client.encoding)
        except* (*_RETRIED, exceptions.RedisError) as errors:
            with translated():
                raise first_of(errors) from errors

    async def scan(self, pattern: str, cursor: object) -> tuple[object, Sequence[str]]:
        with translated():
            following, keys = await self._client.scan(cursor or 0, match=pattern, count=SCAN_COUNT)
        return following or None, [key.decode() if isinstance(key, bytes) else key for key in keys]


class _CoredisListener(Listener):
    def __init__(self, pubsub: Any, encoding: str) -> None:
        self._pubsub = pubsub
        self._encoding = encoding

    async def subscribe(self, channels: Sequence[str]) -> None:
        with translated():
            await self._pubsub.subscribe(*channels)

    async def unsubscribe(self, channels: Sequence[str]) -> None:
        with translated():
            await self._pubsub.unsubscribe(*channels)

    async def receive(self) -> Confirmed | Published | None:
        with translated():
            message = await self._pubsub.get_message()
        if message is None:
            return None
        channel, data = message["channel"], message["data"]
        name = channel.decode() if isinstance(channel, bytes) else channel
        match message["type"]:
            case "subscribe" | "ssubscribe":
                return Confirmed(name)
            case "message" | "smessage":
                payload = data if isinstance(data, bytes) else data.encode(self._encoding)
                return Published(name, payload)
            case _:
                return None


@contextmanager
def translated() -> Generator[None]:
    """Raise what coredis raises as ours."""
    try:
        yield
    except _RETRIED as error:
        raise BackendUnavailable(f"Redis does not answer: {error}") from error
    except exceptions.RedisError as error:
        kind = BackendFull if is_full(error) else BackendError
        raise kind(f"Redis: {error}") from error


def _reply(reply: Any, encoding: str) -> Any:
    match reply:
        case exceptions.RedisError() | TimeoutError():
            try:
                with translated():
                    raise reply
            except BackendError as error:
                return error
        case str():  # in older versions, a client that decodes decodes everything
            return reply.encode(encoding)
        case list():
            return [_reply(part, encoding) for part in cast("Iterable[Any]", reply)]
        case _:
            return reply
