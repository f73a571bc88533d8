"""Drive redis-py, on asyncio."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, Self, cast

import redis.asyncio
from redis import exceptions
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from resumable_core import BackendError, BackendUnavailable

from ._errors import RefusesForNow, refusal, said
from ._packing import packed
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
)
from ._urls import ServersUrl

_BUSY = (
    exceptions.BusyLoadingError,
    exceptions.ClusterDownError,
    exceptions.ReadOnlyError,
    exceptions.TryAgainError,
)
_SILENT = (exceptions.ConnectionError, exceptions.TimeoutError, OSError)
_FINAL = (exceptions.AuthenticationError, exceptions.AuthorizationError)

_NOT_FOR_NODES: Final = {"max_connections", "redis_connect_func", "response_callbacks"}
"""Options of a cluster's client that no connection has."""

_OF_SENTINEL: Final = {"host", "port", "connection_class"}
"""Options of a connection that Sentinel is asked for."""


class RedisPyDriver(Driver):
    """Drive a `redis.asyncio` client; close those that are its own.

    Connections of one that `keeps` them go back to its pool when they break: to ask a pool takes
    longer than to send. Where they may have to log in anew, or to lead to another server some day,
    they go back after each use, since it is the pool that sees to that.
    """

    def __init__(self, client: Any, own: Sequence[Any] = (), *, keeps: bool = False) -> None:
        self._client = client
        self._own = own
        self._keeps = keeps
        self._kept: list[Any] = []  # those that nobody uses at the moment

    @classmethod
    def of_url(cls, url: str, timeout: float) -> Self:
        """Open a server."""
        client = redis.asyncio.from_url(url, **_options(timeout))
        _check_options(client)
        return cls(client, (client,), keeps=True)

    @classmethod
    def of_sentinel(cls, url: ServersUrl, timeout: float) -> Self:
        """Open the master that Sentinel names at the time of each connection."""
        of_server: dict[str, Any] = dict(parse_url(url.of(("", 0))))
        server = {name: of_server[name] for name in of_server.keys() - _OF_SENTINEL}
        options = {**_options(timeout), "ssl": url.is_tls}
        asked = {**options, "socket_timeout": timeout}  # then the next one is
        sentinel = cast("Any", Sentinel)(url.addresses, sentinel_kwargs=asked)
        client = sentinel.master_for(url.service, **options, **server)
        _check_options(client)
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
        # With a connection of the client's, and without its pipelines: those take three times as
        # long, most of it to pack arguments.
        pool = self._client.connection_pool
        with translated():
            connection = self._kept.pop() if self._kept else await pool.get_connection()
            try:
                await connection.send_packed_command(packed(commands))
                return [await _reply(connection) for _ in commands]
            finally:
                if self._keeps and connection.is_connected:
                    self._kept.append(connection)
                else:  # what has broken one has often broken all
                    broken, self._kept = [connection, *self._kept], []
                    for each in broken:
                        await pool.release(each)

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator[Listener, None]:
        # No pubsub of the client's, which would subscribe by itself when it connects again.
        pool = self._client.connection_pool
        with translated():
            connection = await pool.get_connection()
        try:
            with translated():
                await connection.send_packed_command(packed([("PING",)]))
                pong = await _reply(connection)
                if isinstance(pong, BackendError):
                    raise pong
            yield _RedisPyListener(connection)
        finally:
            await connection.disconnect(nowait=True)
            await pool.release(connection)

    async def scan(self, pattern: str, cursor: object) -> tuple[object, Sequence[str]]:
        with translated():
            following, keys = await self._client.scan(cursor or 0, match=pattern, count=SCAN_COUNT)
        return following or None, [key.decode() if isinstance(key, bytes) else key for key in keys]


class _RedisPyListener(Listener):
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def subscribe(self, channels: Sequence[str], *, sharded: bool = False) -> None:
        await self._say("SSUBSCRIBE" if sharded else "SUBSCRIBE", channels)

    async def unsubscribe(self, channels: Sequence[str], *, sharded: bool = False) -> None:
        await self._say("SUNSUBSCRIBE" if sharded else "UNSUBSCRIBE", channels)

    async def _say(self, command: str, channels: Sequence[str]) -> None:
        request = packed([(command, *channels)])
        with translated():
            # A check of its health would take what is published for its answer.
            await self._connection.send_packed_command(request, check_health=False)

    async def receive(self) -> Heard:
        with translated():
            heard = await self._connection.read_response(
                disable_decoding=True, timeout=math.inf, push_request=True
            )
        match heard:
            case [b"message" | b"smessage", bytes(channel), bytes(payload)]:
                return Published(channel.decode(), payload)
            case [b"subscribe" | b"ssubscribe", bytes(channel), _]:
                return Confirmed(channel.decode())
            case [b"unsubscribe" | b"sunsubscribe", bytes(channel), _]:
                return Ended(channel.decode())
            case _:
                return None


def _options(timeout: float) -> dict[str, Any]:
    return {
        "socket_connect_timeout": timeout,
        "socket_timeout": None,  # who asks waits no longer than it may
        "retry": Retry(NoBackoff(), 0),  # who asked repeats it
        "protocol": 2,  # of what is pushed with the newer one, redis-py makes text for its log
    }


def _check_options(client: Any) -> None:
    """Raise at once what making a connection raises for options that there are not."""
    with translated():
        client.connection_pool.make_connection()  # it does not connect


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
    except _BUSY as error:
        raise RefusesForNow(said(error)) from error
    except _SILENT as error:
        raise BackendUnavailable(f"Redis does not answer: {said(error)}") from error
    except exceptions.RedisError as error:
        raise refusal(error) from error


async def _reply(connection: Any) -> Any:
    """Return the next reply; an error of its command stands in its place.

    Whatever else goes wrong, the connection is closed, so that no reply is taken for another one.
    """
    try:
        # Never decoded, whatever the client is set to.
        return await connection.read_response(disable_decoding=True)
    except exceptions.ResponseError:
        try:
            with translated():
                raise
        except BackendError as error:
            return error
