"""Drive redis-py, on asyncio."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, Self, cast

import redis.asyncio
from redis import exceptions
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.client import NEVER_DECODE

from resumable_core import BackendError, BackendFull, BackendUnavailable

from ._port import (
    SCAN_COUNT,
    Address,
    Command,
    Confirmed,
    Driver,
    Ended,
    Heard,
    Listener,
    Published,
    Redirected,
    UnknownScript,
    is_full,
)
from ._urls import ServersUrl

_RETRIED = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.BusyLoadingError,
    exceptions.ClusterDownError,
    exceptions.ReadOnlyError,
    exceptions.TryAgainError,
    UnicodeDecodeError,  # not ours, on the channel of a client that decodes
    OSError,
)
_FINAL = (exceptions.AuthenticationError, exceptions.AuthorizationError)

_NOT_FOR_NODES: Final = {"max_connections", "redis_connect_func", "response_callbacks"}
"""Options of a cluster's client that no connection has."""

_OF_SENTINEL: Final = {"host", "port", "connection_class"}
"""Options of a connection that Sentinel is asked for."""


class RedisPyDriver(Driver):
    """Drive a `redis.asyncio` client; close those that are its own."""

    def __init__(self, client: Any, own: Sequence[Any] = ()) -> None:
        self._client = client
        self._own = own

    @classmethod
    def of_url(cls, url: str, timeout: float) -> Self:
        """Open a server."""
        client = redis.asyncio.from_url(url, **_options(timeout))
        return cls(client, (client,))

    @classmethod
    def of_sentinel(cls, url: ServersUrl, timeout: float) -> Self:
        """Open the master that Sentinel names at the time of each connection."""
        of_server: dict[str, Any] = dict(parse_url(url.of(("", 0))))
        server = {name: of_server[name] for name in of_server.keys() - _OF_SENTINEL}
        options = {**_options(timeout), "ssl": url.is_tls}
        sentinel = cast("Any", Sentinel)(url.addresses, sentinel_kwargs=options)
        client = sentinel.master_for(url.service, **options, **server)
        return cls(client, (client, *sentinel.sentinels))

    @classmethod
    def of_node(cls, cluster: Any, address: Address) -> Self:
        """Open one node as a cluster's client would."""
        given = cluster.get_connection_kwargs()
        options = {name: given[name] for name in given.keys() - _NOT_FOR_NODES}
        options["host"], options["port"] = address
        options["retry"] = Retry(NoBackoff(), 0)
        client = redis.asyncio.Redis.from_pool(redis.asyncio.ConnectionPool(**options))
        return cls(client, (client,))

    @staticmethod
    def nodes_of(client: Any) -> Sequence[Address] | None:
        """Return some nodes of a cluster, if the client is one for a cluster."""
        if not isinstance(client, redis.asyncio.RedisCluster):
            return None
        nodes: Any = client.nodes_manager.startup_nodes.values()
        return [(node.host, int(node.port)) for node in nodes]

    @asynccontextmanager
    async def connected(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            for client in self._own:
                await client.aclose()

    async def pipeline(self, commands: Sequence[Command]) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            # Never decoded, whatever the client is set to.
            pipeline.execute_command(*command, **{NEVER_DECODE: True})
        with translated():
            replies = await pipeline.execute(raise_on_error=False)
        return [_reply(reply) for reply in replies]

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator[Listener, None]:
        pubsub = self._client.pubsub()
        try:
            with translated():
                await pubsub.connect()
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

    async def subscribe(self, channels: Sequence[str], *, sharded: bool = False) -> None:
        with translated():
            if sharded:  # of which older versions know no more than the command
                await self._pubsub.execute_command("SSUBSCRIBE", *channels)
            else:
                await self._pubsub.subscribe(*channels)

    async def unsubscribe(self, channels: Sequence[str], *, sharded: bool = False) -> None:
        with translated():
            if sharded:
                await self._pubsub.execute_command("SUNSUBSCRIBE", *channels)
            else:
                await self._pubsub.unsubscribe(*channels)

    async def receive(self) -> Heard:
        with translated():
            message = await self._pubsub.get_message(timeout=None)
        if message is None:
            return None
        channel, data = message["channel"], message["data"]
        name = channel.decode() if isinstance(channel, bytes) else channel
        match message["type"]:
            case "subscribe" | "ssubscribe":
                return Confirmed(name)
            case "unsubscribe" | "sunsubscribe":
                return Ended(name)
            case "message" | "smessage":
                return Published(name, self._pubsub.encoder.encode(data))
            case _:
                return None


def _options(timeout: float) -> dict[str, Any]:
    return {
        "socket_connect_timeout": timeout,
        "socket_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),  # who asked repeats it
    }


@contextmanager
def translated() -> Generator[None]:
    """Raise what redis-py raises as ours."""
    try:
        yield
    except _FINAL as error:
        raise BackendError(f"Redis refuses: {error}") from error
    except exceptions.NoScriptError as error:
        raise UnknownScript(f"Redis: {error}") from error
    except exceptions.AskError as error:
        host, port = cast("Any", error).node_addr
        moved = isinstance(error, exceptions.MovedError)
        raise Redirected(error.slot_id, (host, port), moved=moved) from error
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
