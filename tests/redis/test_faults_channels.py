"""Channels while connections break, and servers die or forget. No law is broken.

What the store has lost nobody restores. But its ids are never given to anything else, and whoever
has seen it is told.
"""

import pytest

from resumable_core import Gap, Reset
from resumable_io.redis._stored import COMMIT, READ
from tests.redis.channel_traffic import channel_traffic
from tests.redis.proxy import proxied
from tests.redis.test_faults_server import replicating, synchronized
from tests.redis.traffic import QUIET, two_processes

pytestmark = QUIET

COMMITS, READS = COMMIT.sha.encode(), READ.sha.encode()


def notices(running):
    return [notice for story in running.history.stories for notice in story.notices]


@pytest.mark.parametrize("kind", ["normal", "pubsub"])
async def test_connections_are_killed_by_kind(redis_server, pair, kind):
    async with (
        two_processes(pair, redis_server.url, redis_server.url) as processes,
        channel_traffic(*processes) as running,
    ):
        for _ in range(4):
            redis_server.run("CLIENT", "KILL", "TYPE", kind)
            await running.progress()
        assert not notices(running)


@pytest.mark.parametrize("hang", [False, True], ids=["cut", "mute"])
async def test_replies_are_lost_though_the_command_was_applied(redis_server, pair, hang):
    """Law 6: nothing is published twice, and nothing is missing."""
    async with (
        proxied(redis_server) as one,
        proxied(redis_server) as other,
        two_processes(pair, one.url, other.url, timeout=0.5) as processes,
        channel_traffic(*processes) as running,
    ):
        for lost in range(1, 4):
            one.lose_replies(COMMITS, hang=hang)
            other.lose_replies(READS, hang=hang)
            await running.progress()
            await running.until(lambda n=lost: one.lost >= n, "a reply to a writer is lost")
        assert not notices(running)


@pytest.mark.parametrize("fsync", ["always", "everysec"])
async def test_the_server_is_killed_and_restarted(start_redis, pair, fsync):
    """SIGKILL. What the system has got, it writes to the disk: nothing is lost here."""
    server = start_redis(appendonly="yes", appendfsync=fsync)
    async with (
        two_processes(pair, server.url, server.url) as processes,
        channel_traffic(*processes) as running,
    ):
        running.history.keeps = fsync == "always"
        for _ in range(2):
            server.restart()
            await running.progress()


async def test_the_server_is_restarted_empty(start_redis, pair):
    """All that is known is void: each subscriber is told once for each time."""
    server = start_redis()
    async with (
        two_processes(pair, server.url, server.url) as processes,
        channel_traffic(*processes) as running,
    ):
        running.history.keeps = False
        for turn in range(1, 3):
            server.restart()
            await running.progress()
            for story in running.history.stories:
                assert [type(notice) for notice in story.notices] == [Reset] * turn


async def test_the_server_is_restarted_with_an_old_snapshot(start_redis, pair):
    """Law 3: it does not know what it has lost, and gives none of its ids to anything else."""
    server = start_redis()
    async with (
        two_processes(pair, server.url, server.url) as processes,
        channel_traffic(*processes) as running,
    ):
        running.history.keeps = False
        server.run("SAVE")
        await running.progress()
        seen = [len(story.records) for story in running.history.stories]
        server.restart()
        await running.progress()
        for story, before in zip(running.history.stories, seen, strict=True):
            assert any(isinstance(each, Reset | Gap) for each in story.records[before:])


async def test_a_failover_loses_what_was_acknowledged_last(start_redis, pair):
    """Law 3: whoever has seen what the replica lacks is told; what comes has ids of its own."""
    master, replica = replicating(start_redis)
    async with (
        proxied(master) as one,
        proxied(master) as other,
        two_processes(pair, one.url, other.url) as processes,
        channel_traffic(*processes) as running,
    ):
        running.history.keeps = False
        await synchronized(master, replica, running)
        await running.progress()
        replica.run("REPLICAOF", "NO", "ONE")  # and the master goes on without it
        await running.progress()
        log = replica.run("KEYS", "*:log")[0]
        assert replica.run("XLEN", log) < master.run("XLEN", log)
        seen = [len(story.records) for story in running.history.stories]
        for proxy in (one, other):
            proxy.upstream = replica
        master.kill()
        await running.progress()
        for story, before in zip(running.history.stories, seen, strict=True):
            assert any(isinstance(each, Reset | Gap) for each in story.records[before:])
