"""`min_replicas`: claims, ends and publications count when so many replicas have got them."""

import pytest
from anyio import create_task_group, fail_after

from resumable_core import BackendError, BackendUnavailable, Finish, InvalidInput, Outcome, State
from resumable_io import Streams
from resumable_io.redis import RedisBackend
from resumable_io.redis._keys import keys_of
from tests.redis.steps import (
    PATIENCE,
    claim,
    data,
    documented_permissions,
    publish,
    started,
    texts,
    wait_for,
)
from tests.redis.traffic import QUIET

pytestmark = QUIET


@pytest.fixture
def master(start_redis):
    return start_redis(repl_diskless_sync_delay=0)


@pytest.fixture
async def replica(start_redis, master):
    replica = start_redis(replicaof=("127.0.0.1", master.port))
    await wait_for(lambda: replica.info("replication")["master_link_status"] == "up")
    return replica


@pytest.fixture
async def backend(open_backend, master, replica):
    """A backend that waits for one replica."""
    async with open_backend(master.url, prefix="app", min_replicas=1) as backend:
        yield backend


def record(server, stream_id):
    return server.run("HGET", keys_of("app", stream_id).sentinel, "record")


def test_fewer_than_none_cannot_be_waited_for():
    with pytest.raises(InvalidInput, match="min_replicas"):
        RedisBackend("redis://localhost", min_replicas=-1)


async def test_a_replica_has_what_counts(backend, replica):
    """At once, since it was waited for."""
    for number in range(20):
        stream_id = f"x-{number}"
        await started(backend, stream_id, "one")
        before = record(replica, stream_id)
        assert before
        await backend.apply(stream_id, Finish("a", Outcome.DONE, 1))
        assert record(replica, stream_id) != before


async def test_without_its_replica_nothing_is_claimed(backend, replica):
    """Who asks is told, also who asks again; and is served when the replica is back."""
    with replica.frozen():
        for _ in range(2):  # the second time, there is nothing to write any more
            with fail_after(PATIENCE), pytest.raises(BackendUnavailable, match="0 of 1 replicas"):
                await backend.apply("x", claim())
    with fail_after(PATIENCE):
        assert (await backend.apply("x", claim())).state is State.ACTIVE
    assert record(replica, "x")


async def test_what_waits_for_replicas_holds_up_nobody_else(backend, replica):
    """While claims wait for a second each, there is time for many appends."""
    await started(backend, "y")
    refused = 0

    async def claim_in_vain():
        nonlocal refused
        while True:
            with pytest.raises(BackendUnavailable, match="0 of 1 replicas"):
                await backend.apply("x", claim())
            refused += 1

    async with create_task_group() as tasks:
        with replica.frozen():
            tasks.start_soon(claim_in_vain)
            await wait_for(lambda: refused)
            for seq in range(1, 101):
                await backend.apply("y", texts(seq, "one"))
            assert len(await data(backend, "y")) == 100
        tasks.cancel_scope.cancel()
    assert refused < 20


async def test_a_stream_that_waits_for_its_replica(make_backend, master, replica):
    """Its consumers notice no more than that it takes a while."""
    received = []

    async def consume():
        subscription = await streams.start("x", ["one ", "two"])
        received.append([event.data async for event in subscription])

    async with (
        make_backend(master.url, prefix="app", min_replicas=1) as backend,
        Streams(backend) as streams,
        create_task_group() as tasks,
    ):
        with replica.frozen():
            tasks.start_soon(consume)
            await wait_for(lambda: record(master, "x"))
        assert not received
    assert received == [["one ", "two"]]


async def test_a_publication_counts_when_a_replica_has_it(backend, replica):
    """And when it is published again, which finds it, no sooner."""
    (one,) = await backend.publish("c", publish("one"))
    assert record(replica, "c")
    with replica.frozen(), pytest.raises(BackendUnavailable, match="0 of 1"):
        await backend.publish("c", publish("two"))
    with replica.frozen(), pytest.raises(BackendUnavailable, match="0 of 1"):
        await backend.publish("c", publish("two"))
    (two,) = await backend.publish("c", publish("two"))
    assert (two.epoch, two.seq) == (one.epoch, 2)
    keys = keys_of("app", "c")
    assert replica.run("ZCARD", keys.published) == replica.run("XLEN", keys.log) == 2


async def test_the_commands_of_the_docs_suffice(open_backend, master, replica):
    rules = ("~app:*", "&app:*", *documented_permissions("`min_replicas`"))
    master.run("ACL", "SETUSER", "app", "on", ">secret", "resetchannels", *rules)
    url = master.url_for("app", "secret")
    async with open_backend(url, prefix="app", min_replicas=1) as backend:
        await started(backend, "x", "one")
        assert await data(backend, "x") == ["one"]


async def test_a_user_who_may_not_wait_is_told_on_entering(open_backend, master, replica):
    rules = ("~app:*", "&app:*", *documented_permissions())
    master.run("ACL", "SETUSER", "app", "on", ">secret", "resetchannels", *rules)
    with pytest.raises(BackendError, match=r"(?i)wait|permission"):
        async with open_backend(master.url_for("app", "secret"), prefix="app", min_replicas=1):
            pass
