"""Sentinel: who is the master is asked anew for each connection, so streams outlive a failover."""

from contextlib import AsyncExitStack

import pytest
import redis.asyncio.sentinel
from anyio import fail_after

from resumable_core import BackendError, BackendUnavailable
from resumable_io import Streams
from resumable_io.redis import RedisBackend
from tests.redis.server import SentinelServer
from tests.redis.steps import PATIENCE, wait_for
from tests.redis.traffic import QUIET, coredis_client, traffic, two_processes

pytestmark = QUIET


@pytest.fixture
async def sentinel(start_redis, tmp_path):
    """A Sentinel that watches over a master and its replica."""
    master = start_redis(repl_diskless_sync_delay=0)
    start_redis(replicaof=("127.0.0.1", master.port))
    server = SentinelServer(tmp_path, master, "main")
    server.start()
    try:
        await wait_for(lambda: server.run("SENTINEL", "REPLICAS", "main"))
        yield server
    finally:
        server.kill()


async def test_a_url_names_sentinels_and_their_service(sentinel, pair):
    with fail_after(PATIENCE):
        async with Streams(sentinel.url) as streams:
            subscription = await streams.start("x", ["one ", "two"])
            assert [event.data async for event in subscription] == ["one ", "two"]
    assert sentinel.master.run("DBSIZE") == 2


async def test_the_rest_of_a_url_is_for_the_master(sentinel, pair):
    sentinel.master.run("ACL", "SETUSER", "us:er", "on", ">s e", "~*", "&*", "+@all")
    url = sentinel.url.replace("://", "://us%3Aer:s%20e@") + "/3"
    with fail_after(PATIENCE):
        async with Streams(url) as streams:
            subscription = await streams.start("x", ["one"])
            assert [event.data async for event in subscription] == ["one"]
    assert sentinel.master.info("keyspace")["db3"]["keys"] == 2


async def test_a_client_of_sentinel_may_be_handed_in(sentinel, pair):
    async with AsyncExitStack() as stack:
        if pair[0] == "coredis":
            client = await coredis_client(sentinel.url, stack)
        else:
            of_sentinel = redis.asyncio.sentinel.Sentinel([("127.0.0.1", sentinel.port)])
            client = of_sentinel.master_for("main")
            for each in (client, *of_sentinel.sentinels):
                stack.push_async_callback(each.aclose)
        with fail_after(PATIENCE):
            async with Streams(RedisBackend(client)) as streams:
                subscription = await streams.start("x", ["one"])
                assert [event.data async for event in subscription] == ["one"]


async def test_the_master_dies(sentinel, pair):
    """SIGKILL: Sentinel makes the replica master, and streams go on."""
    async with (
        two_processes(pair, sentinel.url, sentinel.url) as processes,
        traffic(*processes) as running,
    ):
        sentinel.master.kill()
        await running.progress()
        assert not running.errors
        assert not any(story.notices for story in running.history.stories)


# What is not right


async def test_a_service_that_sentinel_does_not_know(sentinel, pair):
    with fail_after(PATIENCE), pytest.raises(BackendError, match="other"):
        async with RedisBackend(sentinel.url.replace("/main", "/other")):
            pass


async def test_no_sentinel_answers(sentinel, pair):
    sentinel.kill()
    with fail_after(PATIENCE), pytest.raises(BackendUnavailable, match="main"):
        async with RedisBackend(sentinel.url):
            pass
