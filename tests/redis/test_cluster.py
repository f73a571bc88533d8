"""A Redis Cluster: streams are spread over its masters, and stay together while those change."""

import secrets

import coredis
import pytest
import redis.asyncio
from anyio import create_task_group, fail_after, sleep
from hypothesis import given
from hypothesis import strategies as st

from resumable_core import BackendError, BackendUnavailable, Gap, State
from resumable_io import Streams
from resumable_io.redis import RedisBackend
from resumable_io.redis._keys import keys_of
from resumable_io.redis._slots import read_slots, slot_of
from resumable_io.testing import following
from tests.redis.channel_traffic import channel_traffic
from tests.redis.conftest import CLUSTER_PAIRS
from tests.redis.server import free_port
from tests.redis.steps import (
    PATIENCE,
    data,
    documented_permissions,
    hear,
    read,
    started,
    texts,
    wait_for,
)
from tests.redis.traffic import LEASE, QUIET, traffic, two_processes

pytestmark = QUIET

IN_CLUSTER = pytest.mark.parametrize("pair", CLUSTER_PAIRS, indirect=True)
IDS = [f"stream {number}" for number in range(12)]
"""Enough to have some of them on each master."""


# Where things are


@given(st.one_of(st.text(), st.from_regex(r"[a{}é:]{0,9}", fullmatch=True)))
def test_slots_are_those_of_the_server(shared_redis_cluster, key):
    (master, *_) = shared_redis_cluster.masters
    assert slot_of(key) == master.run("CLUSTER", "KEYSLOT", key.encode("utf-8", "replace"))


@pytest.mark.parametrize(
    "reply", [None, b"OK", [[0, 5]], [[0, 5, [b"host"]]], [["a", 5, [b"host", 1]]]]
)
def test_what_is_no_map_is_an_error(reply):
    with pytest.raises(BackendError, match=r"10\.0\.0\.1:7000 does not tell its slots"):
        read_slots(reply, ("10.0.0.1", 7000))


@pytest.mark.parametrize("name", [b"", None])
def test_a_node_that_does_not_know_its_name_is_where_it_was_asked(name):
    slots = read_slots(
        [[0, 5, [name, 7001, b"id"], [b"10.0.0.2", 7002, b"id"]]], ("10.0.0.1", 7000)
    )
    assert slots[:7] == [("10.0.0.1", 7001)] * 6 + [None]


# What it is like


@IN_CLUSTER
async def test_streams_are_on_all_masters(open_backend, redis_cluster):
    async with open_backend(prefix="app") as backend:
        for stream_id in IDS:
            await started(backend, stream_id, "one", "two")
        assert sorted([each async for each, _ in backend.scan()]) == sorted(IDS)
        assert [await data(backend, each) for each in IDS] == [["one", "two"]] * len(IDS)
    sizes = [master.run("DBSIZE") for master in redis_cluster.masters]
    assert min(sizes) > 0
    assert sum(sizes) == 2 * len(IDS)


@IN_CLUSTER
async def test_a_message_goes_to_its_master_alone(open_backend, redis_cluster):
    """Sharded publishing: what is said on one node is not carried to all others."""
    if not redis_cluster.is_sharded:
        pytest.skip("sharded publishing begins with Redis 7.0")
    async with open_backend(prefix="app") as backend, create_task_group() as tasks:
        for stream_id in IDS:
            await started(backend, stream_id)
            tasks.start_soon(hears_a_batch, backend, stream_id)
        await wait_for(lambda: len(listened_to(redis_cluster)) == 2 * len(IDS))
        for number, master in enumerate(redis_cluster.masters):
            assert master.run("PUBSUB", "CHANNELS") == [b"app:home"]
            for channel in master.run("PUBSUB", "SHARDCHANNELS"):
                assert redis_cluster.owner_of(channel.decode()) is master, number
        for stream_id in IDS:
            await backend.apply(stream_id, texts(1, "one"))


def listened_to(cluster):
    return [channel for node in cluster.masters for channel in node.run("PUBSUB", "SHARDCHANNELS")]


async def hears_a_batch(backend, stream_id):
    async with following(backend, stream_id) as feed:
        (heard,) = await hear(feed)
        assert [event.data for event in heard.batch.events] == ["one"]


@IN_CLUSTER
async def test_connections_do_not_depend_on_streams(open_streams, redis_cluster):
    """Law 8: at most 4 connections to each master."""
    async with open_streams() as streams, create_task_group() as tasks:
        for number in range(100):
            tasks.start_soon(consumes, streams, f"x-{number}")
        await wait_for(lambda: streams.statistics().subscriptions == 100)
        for master in redis_cluster.masters:
            assert 2 <= len(master.clients()) <= 4
        tasks.cancel_scope.cancel()


async def consumes(streams, stream_id):
    async with streams.produce(stream_id) as production:
        await production.send("one")
        async for _ in await streams.resume(stream_id):
            pass


async def test_a_client_for_a_cluster_may_be_handed_in(redis_cluster, pair):
    library, _ = pair
    host, port = redis_cluster.address
    kinds = {"redis-py": redis.asyncio.RedisCluster, "coredis": coredis.RedisCluster}
    client = kinds[library](host=host, port=port, decode_responses=True)
    with fail_after(PATIENCE):
        async with Streams(RedisBackend(client, prefix=secrets.token_hex(4))) as streams:
            for stream_id in IDS:
                subscription = await streams.start(stream_id, ["one", "zwei é"])
                assert [event.data async for event in subscription] == ["one", "zwei é"]
    if library == "redis-py":
        await client.aclose()


# What is not right


async def test_a_node_is_no_server_of_its_own(open_backend, redis_cluster):
    """With the URL of one server it would do for a third of all streams."""
    with pytest.raises(BackendError, match=r"redis\+cluster://"):
        async with open_backend(redis_cluster.masters[0].url):
            pass


async def test_a_server_of_its_own_is_no_cluster(redis_server, pair):
    with pytest.raises(BackendError, match="cluster support disabled"):
        async with RedisBackend(redis_server.url.replace("redis://", "redis+cluster://")):
            pass


async def test_a_node_that_is_away_is_passed_over_at_the_start(redis_cluster, pair):
    url = redis_cluster.url.replace("://", f"://127.0.0.1:{free_port()},")
    with fail_after(PATIENCE):
        async with RedisBackend(url, prefix="app") as backend:
            await started(backend, "x", "one")
            assert await data(backend, "x") == ["one"]


async def test_no_node_answers(pair):
    url = f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{free_port()}"
    with fail_after(PATIENCE), pytest.raises(BackendUnavailable, match=r"(?i)connect"):
        async with RedisBackend(url):
            pass


async def test_the_commands_of_the_docs_suffice(start_cluster, pair):
    cluster = start_cluster()
    rules = ("~app:*", "&app:*", *documented_permissions("a Cluster"))
    for node in cluster.nodes:
        node.run("ACL", "SETUSER", "app", "on", ">secret", "resetchannels", *rules)
    url = cluster.url.replace("://", "://app:secret@")
    async with RedisBackend(url, prefix="app") as backend, create_task_group() as tasks:
        for stream_id in IDS:
            await started(backend, stream_id)
        for stream_id in IDS:
            tasks.start_soon(hears_a_batch, backend, stream_id)
        await wait_for(lambda: len(listened_to(cluster)) == 2 * len(IDS))
        for stream_id in IDS:
            await backend.apply(stream_id, texts(1, "one"))


async def test_a_master_that_throws_streams_away_is_told_of(start_cluster, pair, caplog):
    cluster = start_cluster()
    cluster.nodes[-1].run("CONFIG", "SET", "maxmemory", "1gb", "maxmemory-policy", "volatile-lru")
    async with RedisBackend(cluster.url):
        pass
    assert [record.args for record in caplog.records] == [("volatile-lru",)]


# While it changes


async def test_slots_move_while_streams_run(start_cluster, pair, caplog):
    """Key by key, as resharding does it. For a moment a stream is half here and half there.

    The log calls that no outage.
    """
    cluster = start_cluster()
    async with (
        two_processes(pair, cluster.url, cluster.url) as processes,
        traffic(*processes) as running,
    ):
        for log in logs(cluster):
            await move(cluster, log, running)
        assert not running.errors
        assert not any(story.notices for story in running.history.stories)
    assert "Redis is" not in caplog.text


async def test_the_slot_of_a_channel_moves(start_cluster, pair):
    """Its new master has another memory: the channel goes on in another epoch, and is whole."""
    cluster = start_cluster()
    async with (
        two_processes(pair, cluster.url, cluster.url) as processes,
        channel_traffic(*processes) as running,
    ):
        (log,) = logs(cluster)
        for _ in range(2):
            await move(cluster, log, running, "log", "keys", "sentinel")
        notices = [each for story in running.history.stories for each in story.notices]
        assert all(isinstance(each, Gap) for each in notices)  # somebody may have missed something
    assert len({id.epoch for id in running.history.told.values()}) == 3


async def move(cluster, log, running, *kinds):
    """Move the slot of a stream to the next node: some of its keys, then the last one."""
    (*first, last) = kinds or ("log", "sentinel")
    source = cluster.owner_of(log)
    target = cluster.masters[(cluster.masters.index(source) + 1) % len(cluster.masters)]
    cluster.begin_to_move(slot_of(log), source, target)
    await running.progress(events=1)
    for kind in first:
        cluster.move_key(log.replace(":log", f":{kind}"), source, target)
        await sleep(LEASE / 5)  # nothing can be done meanwhile but to ask again
    cluster.move_key(log.replace(":log", f":{last}"), source, target)
    await running.progress(events=1)  # by asking where the slot is going to be
    cluster.end_moving(slot_of(log), target)
    await running.progress(events=1)
    assert cluster.owner_of(log) is target


def logs(cluster):
    return [key.decode() for node in cluster.masters for key in node.run("KEYS", "*:log")]


async def test_a_master_hangs(start_cluster, pair):
    """Law 10: whoever has streams on other masters is not held up by that."""
    cluster = start_cluster(cluster_node_timeout=60_000)  # nobody does anything about it
    async with RedisBackend(cluster.url, prefix="app", timeout=PATIENCE) as backend:
        for stream_id in IDS:
            await started(backend, stream_id)
        victim = cluster.owner_of(keys_of("app", IDS[0]).log)
        others = [each for each in IDS if cluster.owner_of(keys_of("app", each).log) is not victim]
        appended = []

        async def append(stream_id):
            await backend.apply(stream_id, texts(1, "one"))
            appended.append(stream_id)

        async with create_task_group() as tasks:
            with victim.frozen():
                tasks.start_soon(append, IDS[0])
                for stream_id in others:
                    await append(stream_id)
                    assert await data(backend, stream_id) == ["one"]
                assert appended == others
        assert appended == [*others, IDS[0]]


@pytest.mark.parametrize("how", ["dead", "frozen"])
async def test_who_begins_to_follow_while_a_master_is_away(start_cluster, pair, caplog, how):
    """Law 10: whoever has streams on other masters is told of them; then all of them are again."""
    cluster = start_cluster(cluster_require_full_coverage="no")
    async with RedisBackend(cluster.url, prefix="app", timeout=1.0) as backend:
        victim = cluster.owner_of(keys_of("app", IDS[0]).log)
        other = next(each for each in IDS if cluster.owner_of(keys_of("app", each).log) != victim)
        if how == "dead":
            victim.kill()
        else:
            victim.freeze()
        await wait_for(lambda: "Redis is lost" in caplog.text)
        await is_followed(backend, other)
        assert "Redis is back" not in caplog.text
        if how == "dead":
            victim.restart()
        else:
            victim.thaw()
        await wait_for(lambda: "Redis is back" in caplog.text)
        await wait_for(cluster.is_ready)
        await is_followed(backend, IDS[0])


async def test_a_producer_dies_while_another_master_is_away(start_cluster, pair, caplog):
    """Law 7: who judges is whoever watches its own master, for as long as a lease."""
    cluster = start_cluster(cluster_require_full_coverage="no")
    async with RedisBackend(cluster.url, prefix="app", timeout=1.0) as backend:
        victim = cluster.owner_of(keys_of("app", IDS[0]).log)
        other = next(each for each in IDS if cluster.owner_of(keys_of("app", each).log) != victim)
        await started(backend, other, "one", lease=0.5)
        victim.kill()
        with pytest.raises(BackendUnavailable):
            await read(backend, IDS[0])
        with fail_after(PATIENCE):
            while (await read(backend, other)).sentinel.state is not State.LOST:
                await sleep(0.05)
        assert "Redis is back" not in caplog.text


async def is_followed(backend, stream_id):
    """Check that whoever begins to follow a stream is told what happens to it."""
    with fail_after(PATIENCE):
        async with following(backend, stream_id) as feed:
            await started(backend, stream_id, "one")
            *_, heard = await hear(feed, 2)
            assert [event.data for event in heard.batch.events] == ["one"]


async def test_the_master_of_a_channel_dies(start_cluster, pair):
    """What its replica has not got is lost; but its ids are, too."""
    cluster = start_cluster(replicas=True)
    async with (
        two_processes(pair, cluster.url, cluster.url) as processes,
        channel_traffic(*processes) as running,
    ):
        running.history.keeps = False
        cluster.owner_of(logs(cluster)[0]).kill()
        await running.until(cluster.is_ready, "the cluster is whole again")
        await running.progress()


async def test_a_master_dies(start_cluster, pair):
    """The others make its replica master; what that has not got, the producers restore."""
    cluster = start_cluster(replicas=True)
    async with (
        two_processes(pair, cluster.url, cluster.url) as processes,
        traffic(*processes) as running,
    ):
        victim = cluster.owner_of(logs(cluster)[0])
        victim.kill()
        await running.until(cluster.is_ready, "the cluster is whole again")
        await running.progress()
        assert not running.errors
