"""The backend contract of `abc.py` on a Redis that cannot be reached, and in several processes."""

import secrets
from contextlib import asynccontextmanager
from functools import partial

import pytest

from resumable_io.redis import RedisBackend
from resumable_io.testing import OUTAGES, PROCESSES, check_outages, check_processes
from tests.redis.proxy import proxied
from tests.redis.traffic import QUIET

pytestmark = QUIET


@asynccontextmanager
async def refused(proxy):
    """Break all connections, and accept none."""
    await proxy.refuse()
    yield
    await proxy.accept()


@asynccontextmanager
async def stalled(proxy):
    """Let nothing through."""
    with proxy.stalled():
        yield


@pytest.mark.parametrize("how", [refused, stalled], ids=lambda how: how.__name__)
@pytest.mark.parametrize("scenario", OUTAGES, ids=lambda scenario: scenario.__name__)
async def test_it_passes(open_backend, redis_server, scenario, how):
    """Each backend is cut off by itself: the others reach the store."""
    prefix, proxies = f"test-{secrets.token_hex(4)}", {}

    @asynccontextmanager
    async def opened():
        async with proxied(redis_server) as proxy, open_backend(proxy.url, prefix=prefix) as it:
            proxies[it] = proxy
            yield it

    await check_outages(opened, lambda backend: how(proxies[backend]), [scenario])


@pytest.mark.parametrize("pair", ["asyncio-redis-py", "trio-coredis"], indirect=True)
@pytest.mark.parametrize("scenario", PROCESSES, ids=lambda scenario: scenario.__name__)
async def test_it_passes_in_several_processes(redis_server, scenario, pair):
    """A URL is all that they need; it picks the client."""
    open_backend = partial(RedisBackend, redis_server.url, prefix=f"test-{secrets.token_hex(4)}")
    await check_processes(open_backend, [scenario], event_loop=pair[1][0])
