"""Redis has no memory left: it refuses, or throws away what it has. Nothing hangs or hides."""

import pytest
from anyio import current_time, fail_after

from resumable_core import BackendFull, Outcome
from resumable_io.redis import RedisBackend
from resumable_io.redis._port import eviction_policy
from tests.redis.traffic import PATIENCE, QUIET, SLOW, process, traffic, two_processes

pytestmark = QUIET


def full(server):
    server.run("CONFIG", "SET", "maxmemory", 1)


def roomy(server):
    server.run("CONFIG", "SET", "maxmemory", 0)


@pytest.mark.parametrize(
    ("policy", "limit", "warnings"),
    [("allkeys-lru", "1gb", 1), ("noeviction", "1gb", 0), ("allkeys-lru", 0, 0)],
)
async def test_who_connects_is_told_when_streams_may_be_thrown_away(
    start_redis, caplog, policy, limit, warnings
):
    """Before it happens; and not where it cannot happen."""
    server = start_redis(maxmemory_policy=policy, maxmemory=limit)
    async with RedisBackend(server.url):
        pass
    assert caplog.text.count(f"its maxmemory-policy is {policy}") == warnings
    assert len(caplog.records) == warnings


@pytest.mark.parametrize("info", [RuntimeError("ERR unknown command"), b"", b"# Memory\r\n"])
def test_a_policy_that_is_not_told_is_none(info):
    """As behind a proxy."""
    assert not eviction_policy(info)


async def test_memory_is_full_for_a_while(start_redis, pair):
    """Sources wait; leases are renewed, and everything can be read."""
    server = start_redis(maxmemory_policy="noeviction")
    async with (
        two_processes(pair, server.url, server.url) as processes,
        traffic(*processes) as running,
    ):
        full(server)
        await running.until(lambda: server.info("errorstats").get("errorstat_OOM"), "it refuses")
        late = running.consume_in_turn("stream 0", "comes while memory is full")
        await running.until(lambda: late.events > 0, "what is there can be read")
        roomy(server)
        await running.progress()
        assert not running.errors


async def test_memory_is_full_for_too_long(start_redis, pair):
    """Nobody waits for ever: the producer and the consumers in its process are told why.

    For others, it is as if the producer was dead.
    """
    server = start_redis(maxmemory_policy="noeviction")
    async with (
        two_processes(pair, server.url, server.url, outage=0.5) as processes,
        traffic(*processes, count=2) as running,
    ):
        full(server)
        running.history.ends_agree = False
        await running.until(running.all_finished, "everybody is told")
        await running.until(lambda: len(running.errors) == 2, "the producers are told")
        ends = {
            (each.name, each.outcome, each.records[-1].error) for each in running.history.stories
        }
        assert ("stays in 0", Outcome.FAILED, "the store is full") in ends
        assert {outcome for name, outcome, _ in ends if name == "stays in 1"} == {Outcome.LOST}
        assert all(isinstance(error, BackendFull) for error in running.errors)
        roomy(server)


async def test_a_stream_is_started_while_memory_is_full(start_redis, pair):
    server = start_redis(maxmemory_policy="noeviction")
    async with process(pair, server.url, "x") as streams:
        full(server)
        began = current_time()
        with fail_after(PATIENCE), pytest.raises(BackendFull):
            await streams.start("x", lambda: pytest.fail("the source was used"))
        assert current_time() - began < SLOW
        assert await streams.state("x") is None
        assert server.run("DBSIZE") == 0


async def test_keys_are_evicted(start_redis, pair):
    """Ours have an expiry and the others' none, so that `volatile-random` takes ours alone.

    A sentinel is restored by its producer; of a log, the rest is reported as a `Gap`.
    """
    server = start_redis(maxmemory_policy="volatile-random")
    async with (
        two_processes(pair, server.url, server.url) as processes,
        traffic(*processes) as running,
    ):
        for turn in range(5):
            others = 0
            evicted = server.info("stats")["evicted_keys"]
            server.run("CONFIG", "SET", "maxmemory", server.info("memory")["used_memory"] + 50_000)
            while server.info("stats")["evicted_keys"] == evicted:
                server.run("SET", f"other {turn} {others}", bytes(10_000))
                others += 1
            roomy(server)
            await running.progress()
        assert not running.errors
