"""Redis answers, and refuses: for the moment, or until somebody puts it right."""

import logging
import socket
from contextlib import contextmanager

import pytest
from anyio import current_time, fail_after, sleep
from redis.exceptions import ResponseError

from resumable_core import BackendError, BackendUnavailable, Outcome
from resumable_io.redis._keys import keys_of
from tests.redis.steps import wait_for
from tests.redis.traffic import (
    CHECK_INTERVAL,
    LEASE,
    PATIENCE,
    QUIET,
    SLOW,
    process,
    traffic,
    two_processes,
)

pytestmark = QUIET


# For the moment


@contextmanager
def configured(server, name, while_it_lasts, afterwards):
    server.run("CONFIG", "SET", name, while_it_lasts)
    yield
    server.run("CONFIG", "SET", name, afterwards)


@contextmanager
def busy(server):
    """A script of somebody else takes too long."""
    server.run("CONFIG", "SET", "lua-time-limit", 20)
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"EVAL 'while true do end' 0\r\n")
        with pytest.raises(ResponseError, match="BUSY"):
            while True:  # until the script runs
                server.run("PING")
        yield
        server.run("SCRIPT", "KILL")


@contextmanager
def without_a_disk(server):
    """Its snapshots fail, so that it takes nothing new."""
    obstacle = server.folder / "dump.rdb"
    obstacle.mkdir()
    (obstacle / "in the way").touch()
    server.run("BGSAVE")
    while server.info("persistence")["rdb_last_bgsave_status"] != "err":
        pass
    yield
    (obstacle / "in the way").unlink()
    obstacle.rmdir()
    server.run("BGSAVE")
    while server.info("persistence")["rdb_last_bgsave_status"] != "ok":
        pass


@contextmanager
def a_replica(server):
    """It was made the replica of another one that cannot be reached."""
    server.run("REPLICAOF", "127.0.0.1", 1)
    yield
    server.run("REPLICAOF", "NO", "ONE")


REFUSING = {
    "BUSY": busy,
    "MISCONF": without_a_disk,
    "NOREPLICAS": lambda server: configured(server, "min-replicas-to-write", 1, 0),
    "READONLY": a_replica,
}


@pytest.mark.parametrize("refusing", REFUSING)
async def test_what_redis_refuses_for_a_while_is_repeated(start_redis, pair, refusing):
    """Longer than a lease: sources wait, and no stream is lost whose producer lives (law 7)."""
    server = start_redis(save=("3600", "1"))
    async with (
        two_processes(pair, server.url, server.url) as processes,
        traffic(*processes) as running,
    ):
        await sleep(LEASE)  # who has watched for that long may judge
        with REFUSING[refusing](server):
            await sleep(1.5 * LEASE)
        await running.progress()
        assert not running.errors


@pytest.mark.parametrize("refusing", REFUSING)
async def test_what_redis_refuses_for_too_long_is_told(start_redis, pair, refusing):
    """To who starts something; nobody waits for longer than an outage may take."""
    server = start_redis(save=("3600", "1"))
    async with process(pair, server.url, "x", timeout=0.5, outage=0.5) as streams:
        with (
            REFUSING[refusing](server),
            fail_after(PATIENCE),
            pytest.raises(BackendUnavailable) as refused,
        ):
            await streams.start("x", lambda: pytest.fail("the source was used"))
    assert "@user_script" not in str(refused.value)


# Until somebody puts it right


def replaced(server, key, command, *arguments):
    server.run("DEL", key)
    server.run(command, key, *arguments)


def locked(server):
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "default", "resetpass", ">other")
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


SPOILING = {
    "another type of sentinel": lambda server, keys: replaced(server, keys.sentinel, "SET", "text"),
    "another type of log": lambda server, keys: replaced(server, keys.log, "SET", "text"),
    "another hash": lambda server, keys: replaced(server, keys.sentinel, "HSET", "a", "b"),
    "no permission to run scripts": lambda server, _: server.run(
        "ACL", "SETUSER", "default", "-evalsha"
    ),
    "no permission for the keys": lambda server, _: server.run(
        "ACL", "SETUSER", "default", "resetkeys", "~other:*"
    ),
    "another password": lambda server, _: locked(server),
}


@pytest.mark.parametrize("spoiling", SPOILING)
async def test_what_cannot_be_repaired_by_waiting_is_told_soon(start_redis, pair, spoiling, caplog):
    """To producers at once, to consumers in other processes at their next check: what happened,
    and no Lua.
    """
    server = start_redis()
    async with two_processes(pair, server.url, server.url) as processes:
        producing, consuming = processes
        prefix = producing._backend._prefix
        async with producing.produce("x") as out:
            await out.send("one")
            subscription = await consuming.resume("x")
            assert (await anext(subscription)).data == "one"
            with caplog.at_level(logging.ERROR, "resumable_io"):
                SPOILING[spoiling](server, keys_of(prefix, "x"))
                began = current_time()
                with fail_after(PATIENCE), pytest.raises(BackendError) as told:
                    await anext(subscription)
                assert current_time() - began < CHECK_INTERVAL + SLOW
                with pytest.raises(BackendError):
                    await out.send("two")
                    await out.flush()
                await wait_for(lambda: logged(caplog))
    (line,) = logged(caplog)
    for text in (str(told.value), line):
        assert keys_of(prefix, "x").sentinel in text
        assert "script" not in text
    assert not isinstance(told.value, BackendUnavailable)


def logged(caplog):
    """Return what this library has logged; clients of Redis log, too."""
    return [each.getMessage() for each in caplog.records if each.name == "resumable_io"]


async def test_what_was_put_right_can_be_followed_again(start_redis, pair):
    """One that has raised goes on where it was."""
    server = start_redis()
    async with two_processes(pair, server.url, server.url) as (producing, consuming):
        async with producing.produce("x") as out:
            await out.send("one")
            subscription = await consuming.resume("x")
            assert (await anext(subscription)).data == "one"
            server.run("ACL", "SETUSER", "default", "-evalsha")
            with fail_after(PATIENCE), pytest.raises(BackendError):
                await anext(subscription)
            server.run("ACL", "SETUSER", "default", "+evalsha")
        with fail_after(PATIENCE):
            *_, end = [record async for record in subscription.records()]
        assert end.outcome in {Outcome.LOST, Outcome.DONE}  # it may have ended before it was told
