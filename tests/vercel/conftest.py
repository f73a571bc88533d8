"""The servers and the clients of tests/redis, and contexts on them.

An async test here that asks for `redis_context` runs once for each pair of client and event loop.
"""

from contextlib import asynccontextmanager

import pytest

from resumable_io.vercel import create_resumable_stream_context
from tests.redis.conftest import (
    PAIRS,
    open_client,
    redis_server,
    shared_redis_server,
    start_redis,
)

__all__ = ["open_client", "redis_server", "shared_redis_server", "start_redis"]


@pytest.fixture(params=PAIRS)
def pair(request):
    """A client library and an event loop."""
    return PAIRS[request.param]


@pytest.fixture
def open_context(pair, redis_server, open_client):
    """Open a context on the shared server, as one process of several would."""

    @asynccontextmanager
    async def opened(**options):
        if pair == PAIRS["asyncio-coredis"]:
            async with (
                open_client() as client,
                create_resumable_stream_context(redis_url=client, **options) as context,
            ):
                yield context
        else:
            async with create_resumable_stream_context(
                redis_url=redis_server.url, **options
            ) as context:
                yield context

    return opened
