"""Drive coredis, on asyncio and trio."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterable, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from typing import Any, Final, Self, cast
from urllib.parse import parse_qs, urlsplit

import coredis
from coredis import exceptions
from coredis.connection import TCPLocation
from coredis.retry import NoRetryPolicy

from resumable_core import BackendError, BackendUnavailable, InvalidInput

from ._errors import RefusesForNow, refusal, said
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
    first_of,
)
from ._urls import ServersUrl

_BUSY = (
    exceptions.BusyLoadingError,
    exceptions.ClusterDownError,
    exceptions.ReadOnlyError,
    exceptions.TryAgainError,
)
_SILENT = (
    exceptions.ConnectionError,
    exceptions.SentinelError,  # there is no master, for the moment
    OSError,
    TimeoutError,
)

_OPTIONS: Final = {
    *("client_name", "connect_timeout", "db", "decode_responses", "encoding", "max_connections"),
    *("max_idle_time", "noevict", "noreply", "notouch", "stream_timeout", "timeout"),
}
_TLS_OPTIONS: Final = {
    *("ssl_ca_certs", "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname", "ssl_keyfile"),
}
"""What coredis reads from a URL, as text; it passes over everything else."""

CONNECTIONS = 10_000
"""How often a connection may break before the pool has no place left; three are used at a time."""


class CoredisDriver(Driver):
    """Drive a `coredis` client; open and close those that are its own."""

    def __init__(self, client: Any, own: Sequence[AbstractAsyncContextManager[Any]] = ()) -> None:
        self._client = client
        self._own = own

    @classmethod
    def of_url(cls, url: str, timeout: float) -> Self:
        """Open a server."""
        _check_options(url)
        client = cast("Any", coredis.Redis).from_url(
            url,
            decode_components=True,
            # Each connection that breaks in use takes a place in the pool away, for good.
            max_connections=CONNECTIONS,
            retry_policy=NoRetryPolicy(),  # who asked repeats it
            **_options(timeout),
        )
        return cls(client, (client,))

    @classmethod
    def of_sentinel(cls, url: ServersUrl, timeout: float) -> Self:
        """Open the master that Sentinel names at the time of each connection."""
        _check_options(url.of(("", 0)))
        example: Any = coredis.Redis.from_url(url.of(("", 0)), decode_components=True)
        server = _connections_of(example) | _options(timeout)
        sentinel: Any = coredis.Sentinel(
            [TCPLocation(*address) for address in url.addresses],
            sentinel_kwargs={
                "ssl": url.is_tls,
                "ssl_context": server.get("ssl_context"),
                **_options(timeout),
            },
        )
        client = sentinel.primary_for(url.service, max_connections=CONNECTIONS, **server)
        return cls(client, (sentinel, client))

    @classmethod
    def of_node(cls, cluster: Any, address: Address) -> Self:
        """Open one node as a cluster's client would."""
        pool: Any = coredis.ConnectionPool(
            location=TCPLocation(*address), max_connections=CONNECTIONS, **_connections_of(cluster)
        )
        client: Any = coredis.Redis(connection_pool=pool, retry_policy=NoRetryPolicy())
        return cls(client, (client,))

    @staticmethod
    def nodes_of(client: Any) -> Sequence[Address] | None:
        """Return some nodes of a cluster, if the client is one for a cluster."""
        if not isinstance(client, coredis.RedisCluster):
            return None
        return [(node.host, node.port) for node in client.connection_pool.startup_nodes]

    @asynccontextmanager
    async def connected(self) -> AsyncGenerator[None, None]:
        async with AsyncExitStack() as stack:
            for client in self._own:
                await stack.enter_async_context(client)
            yield

    async def pipeline(self, commands: Sequence[Command]) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False, raise_on_error=False)
        with translated():
            async with pipeline:
                for name, *arguments in commands:
                    command = pipeline.create_request(
                        str(name).encode(), *arguments, callback=_as_it_is
                    )
                    command.decode = False  # whatever the client is set to
        return [_reply(reply, self._client.encoding) for reply in pipeline.results or ()]

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator[Listener, None]:
        # What breaks the tasks of a pubsub comes in a group.
        try:
            async with self._client.pubsub(retry_policy=NoRetryPolicy()) as pubsub:
                try:
                    with translated():
                        await pubsub.connection.create_request(b"PING")
                    yield _CoredisListener(pubsub, self._client.encoding)
                finally:
                    # It may be deaf: the pool must not hand it out again.
                    pubsub.connection.invalidate()
        except* (*_SILENT, exceptions.RedisError) as errors:
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

    async def subscribe(self, channels: Sequence[str], *, sharded: bool = False) -> None:
        with translated():
            if sharded:
                self._pubsub.connection.send_command(b"SSUBSCRIBE", *channels)
            else:
                await self._pubsub.subscribe(*channels)

    async def unsubscribe(self, channels: Sequence[str], *, sharded: bool = False) -> None:
        with translated():
            if sharded:
                self._pubsub.connection.send_command(b"SUNSUBSCRIBE", *channels)
            else:
                await self._pubsub.unsubscribe(*channels)

    async def receive(self) -> Heard:
        with translated():
            message = await self._pubsub.get_message()
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
                payload = data if isinstance(data, bytes) else data.encode(self._encoding)
                return Published(name, payload)
            case _:
                return None


def _options(timeout: float) -> dict[str, Any]:
    return {"connect_timeout": timeout, "stream_timeout": timeout}


def _check_options(url: str) -> None:
    """Raise `InvalidInput` for options that coredis would pass over."""
    parts = urlsplit(url)
    known = _OPTIONS | _TLS_OPTIONS if parts.scheme == "rediss" else _OPTIONS
    unknown = parse_qs(parts.query, keep_blank_values=True).keys() - known
    if unknown:
        raise InvalidInput(
            f"the Redis client does not take these options of the URL: {', '.join(sorted(unknown))}"
            f" (expected some of {', '.join(sorted(known))}; a prefix of keys is named apart from "
            "the URL)"
        )


def _connections_of(client: Any) -> dict[str, Any]:
    """Return with which options a client makes its connections."""
    options = dict(client.connection_pool.connection_kwargs)
    options.pop("processing_budget", None)  # each pool has its own
    return options


@contextmanager
def translated() -> Generator[None]:
    """Raise what coredis raises as ours."""
    try:
        yield
    except exceptions.NoScriptError as error:
        raise UnknownScript(f"Redis: {error}") from error
    except exceptions.AskError as error:
        moved = isinstance(error, exceptions.MovedError)
        raise Redirected(error.slot_id, (error.host, error.port), moved=moved) from error
    except exceptions.AuthenticationError as error:
        raise BackendError(f"Redis refuses: {error}") from error
    except _BUSY as error:
        raise RefusesForNow(said(error)) from error
    except _SILENT as error:
        raise BackendUnavailable(f"Redis does not answer: {said(error)}") from error
    except exceptions.RedisError as error:
        raise refusal(error) from error


def _as_it_is(reply: Any, **_: object) -> Any:
    return reply


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
