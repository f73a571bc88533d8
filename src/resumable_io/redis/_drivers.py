"""Choose the driver for a client or a URL."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from anyio import get_cancelled_exc_class

from resumable_core import InvalidInput

from ._cluster import ClusterDriver
from ._port import Driver
from ._urls import ServersUrl

if TYPE_CHECKING:
    from ._coredis import CoredisDriver
    from ._redis_py import RedisPyDriver


def driver_for(client: object, timeout: float) -> Driver:
    """Return the driver for a client, or for a URL the one that suits the running event loop.

    `timeout` is for how many seconds a client that is made here waits for connections and answers.
    Raises `InvalidInput` for anything else, and `ImportError` naming the extra that is missing.
    """
    kind = _kind_of(client)
    if isinstance(client, str):
        url = ServersUrl.parse(client)
        with _refused_options(client):
            if url is None:
                return kind.of_url(client, timeout)
            if url.kind == "sentinel":
                return kind.of_sentinel(url, timeout)
            kind.of_url(url.of(url.addresses[0]), timeout)  # to know now whether it can be made
        return ClusterDriver(
            url.addresses, lambda each: kind.of_url(url.of(each), timeout), timeout
        )
    if (nodes := kind.nodes_of(client)) is not None:
        return ClusterDriver(nodes, lambda address: kind.of_node(client, address), timeout)
    return kind(client)


def _kind_of(client: object) -> type[RedisPyDriver | CoredisDriver]:
    # The exception of a cancellation is what tells the event loops apart in public.
    on_asyncio = get_cancelled_exc_class().__module__.startswith("asyncio.")
    match _library_of(client) or ("redis" if on_asyncio else "coredis"):
        case "redis" if on_asyncio:
            with _extra("redis"):
                from ._redis_py import RedisPyDriver
            return RedisPyDriver
        case "coredis":
            with _extra("trio"):
                from ._coredis import CoredisDriver
            return CoredisDriver
        case _:
            raise InvalidInput("redis-py does not run on trio: hand in a coredis client, or a URL")


def _library_of(client: object) -> str | None:
    """Return the name of the library that a client belongs to; None for a URL."""
    if isinstance(client, str):
        return None
    for base in type(client).__mro__:
        for library, package in (("redis", "redis.asyncio"), ("coredis", "coredis")):
            if f"{base.__module__}.".startswith(f"{package}."):
                return library
    raise InvalidInput(
        f"expected a URL, a redis.asyncio or a coredis client, got {type(client).__name__}"
    )


@contextmanager
def _refused_options(url: str) -> Generator[None]:
    """Raise `InvalidInput` that names the options of a URL if a client cannot be made with them."""
    try:
        yield
    except InvalidInput:
        raise
    except (AttributeError, TypeError, ValueError) as error:
        names = ", ".join(parse_qs(urlsplit(url).query, keep_blank_values=True))
        raise InvalidInput(
            f"the Redis client does not take these options of the URL, or their values: {names} "
            "(a prefix of keys is named apart from the URL)"
        ) from error


@contextmanager
def _extra(name: str) -> Generator[None]:
    try:
        yield
    except ImportError as error:
        raise ImportError(f"{error}: pip install 'resumable-io[{name}]'") from error
