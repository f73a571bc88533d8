"""Connections that break, hang, or lose what they carry, while streams run. No law is broken."""

import random

import pytest
from anyio import create_task_group

from resumable_core import Renew
from resumable_io.redis._stored import COMMIT, READ
from tests.redis.proxy import proxied
from tests.redis.steps import data, read, started, texts
from tests.redis.traffic import QUIET, traffic, two_processes

pytestmark = QUIET

COMMITS = COMMIT.sha.encode()
READS = READ.sha.encode()


async def test_connections_break_while_nobody_uses_them(open_backend, redis_server):
    """It costs nobody an error, who could do no better than to ask again at once."""
    async with open_backend() as backend:
        await started(backend, "x", "one")
        for seq in range(2, 6):
            # No time passes in which it could be found out before the next command is sent.
            redis_server.run("CLIENT", "KILL", "TYPE", "normal")
            await read(backend, "x")
            redis_server.run("CLIENT", "KILL", "TYPE", "normal")
            await backend.apply("x", texts(seq, "one"))
            redis_server.run("CLIENT", "KILL", "TYPE", "normal")
            assert [stream_id async for stream_id, _ in backend.scan()] == ["x"]
        assert await data(backend, "x") == ["one"] * 5


async def test_several_connections_break_while_nobody_uses_them(open_backend, redis_server):
    """Whoever comes next is not handed one of them after the other."""
    async with open_backend() as backend:
        await started(backend, "x", "one")
        for seq in range(2, 6):
            async with create_task_group() as tasks:  # each over a connection of its own
                tasks.start_soon(read, backend, "x")
                tasks.start_soon(backend.apply, "x", texts(seq, "one"))
                tasks.start_soon(backend.apply, "x", Renew("a"))
            redis_server.run("CLIENT", "KILL", "TYPE", "normal")
            await read(backend, "x")
        assert await data(backend, "x") == ["one"] * 5


@pytest.mark.parametrize("kind", ["normal", "pubsub"])
async def test_connections_are_killed_by_kind(redis_server, pair, kind):
    """All connections of a kind at once, again and again."""
    async with (
        two_processes(pair, redis_server.url, redis_server.url) as processes,
        traffic(*processes) as running,
    ):
        for _ in range(3):
            redis_server.run("CLIENT", "KILL", "TYPE", kind)
            await running.progress()


async def test_connections_are_killed_at_random(redis_server, pair):
    """One or two connections, of whichever kind, at whichever moment."""
    dice = random.Random(7)
    async with (
        two_processes(pair, redis_server.url, redis_server.url) as processes,
        traffic(*processes) as running,
    ):
        for _ in range(12):
            clients = redis_server.clients()
            for client in dice.sample(clients, k=min(len(clients), dice.randint(1, 2))):
                # One that has gone in the meantime is an error of no interest.
                redis_server.run("CLIENT", "KILL", "ID", client["id"], "SKIPME", "yes")
            await running.progress(events=2)


async def test_scripts_are_flushed(redis_server, pair):
    async with (
        two_processes(pair, redis_server.url, redis_server.url) as processes,
        traffic(*processes) as running,
    ):
        for _ in range(5):
            redis_server.run("SCRIPT", "FLUSH")
            await running.progress(events=3)


@pytest.mark.parametrize("mode", ["ALL", "WRITE"])
async def test_clients_are_paused(redis_server, pair, mode):
    """A pause that is longer than the lease: the producer could not renew it, but lives."""
    async with (
        two_processes(pair, redis_server.url, redis_server.url) as processes,
        traffic(*processes) as running,
    ):
        redis_server.run("CLIENT", "PAUSE", 1500, mode)
        await running.progress()
        assert not running.errors


async def test_connections_are_cut(redis_server, pair):
    """A cut hits whatever is under way: commands half sent, replies half received."""
    async with (
        proxied(redis_server) as one,
        proxied(redis_server) as other,
        two_processes(pair, one.url, other.url) as processes,
        traffic(*processes) as running,
    ):
        for _ in range(5):
            one.cut()
            await running.progress(events=2)
            other.cut()
            await running.progress(events=2)
        assert not running.errors


@pytest.mark.parametrize("hang", [False, True], ids=["cut", "mute"])
async def test_replies_are_lost_though_the_command_was_applied(redis_server, pair, hang):
    """Nothing is appended twice, and nothing is missing; cut off, or only found out by waiting."""
    async with (
        proxied(redis_server) as one,
        proxied(redis_server) as other,
        two_processes(pair, one.url, other.url, timeout=0.5) as processes,
        traffic(*processes) as running,
    ):
        for lost in range(1, 4):
            one.lose_replies(COMMITS, hang=hang)
            other.lose_replies(READS, hang=hang)
            await running.progress()
            await running.until(lambda n=lost: one.lost >= n, "a reply to the producer is lost")
        assert other.lost > 0
        assert not running.errors


async def test_a_connection_hangs(redis_server, pair):
    """Nothing says that a connection is dead; only that it does not answer in time."""
    async with (
        proxied(redis_server) as one,
        proxied(redis_server) as other,
        two_processes(pair, one.url, other.url, timeout=0.5) as processes,
        traffic(*processes) as running,
    ):
        for proxy in (one, other):
            with proxy.stalled():
                connections = proxy.accepted
                await running.until(lambda p=proxy, n=connections: p.accepted > n, "it reconnects")
            await running.progress()
        assert not running.errors
