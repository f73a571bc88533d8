"""A server that freezes, dies, comes back, or comes back without what it knew. No law is broken.

What the store has lost the producer restores, if it lives; under the same ids. Where it doesn't,
what is missing is reported, and its ids are never given to anything else.
"""

import pytest
from anyio import sleep

from resumable_core import Outcome, Reset
from tests.redis.proxy import proxied
from tests.redis.traffic import LEASE, QUIET, process, traffic, two_processes

pytestmark = QUIET


async def test_the_server_is_stopped_for_three_seconds(start_redis, pair):
    """SIGSTOP: nothing breaks, nothing answers, and the lease runs out meanwhile."""
    server = start_redis()
    async with (
        two_processes(pair, server.url, server.url) as processes,
        traffic(*processes) as running,
    ):
        with server.frozen():
            await sleep(3 * LEASE)
        await running.progress()
        assert not running.errors


@pytest.mark.parametrize("fsync", ["always", "everysec"])
async def test_the_server_is_killed_and_restarted(start_redis, pair, fsync):
    """Twice, by SIGKILL. (What the system has not written to disk yet, this does not lose.)"""
    server = start_redis(appendonly="yes", appendfsync=fsync)
    async with (
        two_processes(pair, server.url, server.url) as processes,
        traffic(*processes) as running,
    ):
        for _ in range(2):
            server.restart()
            await running.progress()
        assert not running.errors


async def test_the_server_is_restarted_empty(start_redis, pair):
    """The producers restore their streams, with as much as they have kept."""
    server = start_redis()
    async with (
        two_processes(pair, server.url, server.url) as processes,
        traffic(*processes) as running,
    ):
        await running.progress()
        server.restart()
        assert server.run("DBSIZE") == 0
        await running.progress()
        assert not running.errors


async def test_the_server_is_restarted_empty_after_much_was_sent(start_redis, pair):
    """What the producer has no more is a `Gap` to those who come later, and to nobody else."""
    server = start_redis()
    async with (
        two_processes(pair, server.url, server.url, buffer_count=8) as processes,
        traffic(*processes, count=1) as running,
    ):
        stays = running.history.stories[:2]
        await running.progress(events=20)
        server.restart()
        await running.progress()
        late = running.consume(processes[0], "stream 0", "comes after the restart")
        await running.until(lambda: late.events > 0, "who comes later receives something")
    assert [len(story.notices) for story in (*stays, late)] == [0, 0, 1]


def a_log(server) -> bytes:
    """Return the key of one of the logs."""
    return server.run("KEYS", "*:log")[0]


def replicating(start_redis):
    """Start a master and a replica."""
    master = start_redis(repl_diskless_sync_delay=0)
    return master, start_redis(replicaof=("127.0.0.1", master.port))


async def synchronized(master, replica, running):
    """Wait until a replica has got what its master has now."""
    offset = master.info("replication")["master_repl_offset"]

    def caught_up() -> bool:
        link = replica.info("replication")
        return link["master_link_status"] == "up" and link["slave_repl_offset"] >= offset

    await running.until(caught_up, "the replica has caught up")


async def test_a_failover_loses_what_was_acknowledged_last(start_redis, pair):
    """The replica's link is cut, then it is promoted: the producers restore the rest."""
    master, replica = replicating(start_redis)
    async with (
        proxied(master) as one,
        proxied(master) as other,
        two_processes(pair, one.url, other.url) as processes,
        traffic(*processes) as running,
    ):
        await synchronized(master, replica, running)
        await running.progress()
        replica.run("REPLICAOF", "NO", "ONE")  # and the master goes on without it
        await running.progress()
        assert replica.run("XLEN", a_log(replica)) < master.run("XLEN", a_log(replica))
        for proxy in (one, other):
            proxy.upstream = replica
        master.kill()
        await running.progress()
        assert not running.errors
        assert not any(story.notices for story in running.history.stories)


async def test_a_failover_after_the_end(start_redis, pair):
    """The producer stands by after the end, and restores what a failover takes away then."""
    master, replica = replicating(start_redis)
    async with (
        proxied(master) as one,
        proxied(master) as other,
        two_processes(pair, one.url, other.url) as processes,
        traffic(*processes, count=1) as running,
    ):
        await synchronized(master, replica, running)
        replica.run("REPLICAOF", "NO", "ONE")
        await running.progress()
        await running.finish()
        for proxy in (one, other):
            proxy.upstream = replica
        master.kill()
        late = running.consume_in_turn("stream 0", "comes after the failover")
        await running.until(lambda: late.finished, "who comes after the failover gets the end")
    assert late.outcome is Outcome.DONE


@pytest.mark.parametrize("takeover", ["continue", "restart"])
async def test_a_failover_loses_what_nobody_can_restore(start_redis, pair, takeover):
    """The producer is gone, too: ids of what was lost are not given to what is produced instead."""
    master, replica = replicating(start_redis)
    async with (
        proxied(master) as one,
        proxied(master) as other,
        process(pair, one.url, "x", outage=1.0) as producing,
        process(pair, other.url, "x") as consuming,
        traffic(consuming, count=0) as running,
    ):
        running.history.keeps = False
        running.history.ends_agree = False
        await running.produce(producing, "x", "anna")
        stays = running.consume(consuming, "x", "stays")
        comes_and_goes = running.consume_in_turn("x", "comes and goes")
        await synchronized(master, replica, running)
        replica.run("REPLICAOF", "NO", "ONE")
        await running.progress()
        await one.refuse()  # for everybody else, its process is dead
        seen = list(stays.records)
        other.upstream = replica
        master.kill()

        await running.until(running.all_finished, "the producer is found to be dead")
        assert (stays.outcome, comes_and_goes.outcome) == (Outcome.LOST, Outcome.LOST)
        assert isinstance(stays.notices[0], Reset)
        kept = (await consuming.state("x")).last_seq
        assert kept < len(seen)
        await running.produce(consuming, "x", "ben", on_lost=takeover)
        returns = running.consume(consuming, "x", "returns", before=seen)
        await running.progress()
    assert [type(notice) for notice in returns.notices] == [Reset]
    assert returns.outcome is Outcome.DONE
