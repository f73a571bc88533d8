"""The Lua scripts: what each promises at its top, and that a server may forget them at any time."""

import re
from contextlib import suppress
from importlib import resources
from itertools import product

import pytest
from anyio import create_task_group, sleep

from resumable_core import BackendUnavailable, Finish, Outcome
from resumable_io.redis._port import Script
from resumable_io.testing import following
from tests.redis.steps import claim, data, ended, hear, publish, read, started, texts

SCRIPTS = {
    path.name: path.read_text("utf-8")
    for path in resources.files("resumable_io.redis").iterdir()
    if path.name.endswith(".lua")
}


def header(name):
    """Return the comment at the top of a script, by its parts: the first line, KEYS, …"""
    lines = []
    for line in SCRIPTS[name].splitlines():
        if not line.startswith("--"):
            break
        lines.append(line.removeprefix("--").removeprefix(" "))
    parts, current = {}, "does"
    for line in lines:
        word = line.split(" ")[0]
        if word in {"KEYS", "ARGV", "returns"}:
            current = word
        parts[current] = f"{parts.get(current, '')}\n{line.removeprefix(current).strip()}".strip()
    return parts


def body(name):
    """Return a script without its comments."""
    return re.sub(r"--.*", "", SCRIPTS[name])


def used(name, table):
    """Return which of KEYS or ARGV a script uses."""
    return {int(number) for number in re.findall(rf"{table}\[(\d+)\]", body(name))}


def test_there_are_scripts():
    assert {"commit.lua", "read.lua"} <= SCRIPTS.keys()


async def repeated(backend, stream_id, change):
    """Do as a producer does."""
    while True:
        with suppress(BackendUnavailable):
            return await backend.apply(stream_id, change)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_says_what_it_takes_and_returns(name):
    parts = header(name)
    assert parts.keys() == {"does", "KEYS", "ARGV", "returns"}
    assert re.match(r"[A-Z].*\.", parts["does"])
    for table in ("KEYS", "ARGV"):
        told = {int(number) for number in re.findall(r"(?<![-\w{])(\d+)(?= )", parts[table])}
        assert told == used(name, table) == {*range(1, len(told) + 1)}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_touches_the_keys_that_it_was_given(name):
    """A cluster runs it where these are. What is published goes under a name with their tag."""
    calls = re.findall(r"redis\.p?call\(\s*([^,)]+)(?:,\s*([^,)]+))?", body(name))
    assert calls
    for command, first in calls:
        keyless = {"'TIME'", "'INFO'", "ARGV[14]"}
        assert command in keyless or re.fullmatch(r"KEYS\[[123]\]|unpack\(KEYS", first), command


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_known_under_the_name_that_the_server_gives_it(name, redis_server):
    script = Script.load(name)
    assert redis_server.run("SCRIPT", "LOAD", script.source) == script.sha.encode()


async def test_scripts_are_called_with_as_much_as_they_take(open_backend, redis_server):
    redis_server.run("CONFIG", "SET", "slowlog-log-slower-than", 0)
    try:
        async with open_backend() as backend:
            redis_server.run("SLOWLOG", "RESET")
            await ended(backend, "x", "one")
            await read(backend, "x")
            await backend.publish("c", publish("one"))
            commands = [entry[3] for entry in redis_server.run("SLOWLOG", "GET", 1000)]
    finally:
        redis_server.run("CONFIG", "SET", "slowlog-log-slower-than", 10_000)
    names = {Script.load(name).sha: name for name in SCRIPTS}
    calls = [
        (names[command[1].decode()], int(command[2]), len(command) - 3)
        for command in commands
        if command[0] == b"EVALSHA"
    ]
    assert {call[:2] for call in calls} == set(product(names.values(), (2, 3)))
    for name, keys, arguments in calls:
        assert arguments - keys == max(used(name, "ARGV"))


async def test_a_server_may_forget_its_scripts_at_any_time(open_backend, redis_server):
    """As it does when it is restarted, or when somebody flushes them."""
    async with open_backend() as backend, following(backend, "x") as feed:
        await started(backend, "x")
        for seq in range(1, 31):
            if seq % 3:
                redis_server.run("SCRIPT", "FLUSH")
            await backend.apply("x", texts(seq, str(seq)))
            if seq % 2:
                redis_server.run("SCRIPT", "FLUSH")
                await read(backend, "x", seq)
        redis_server.run("SCRIPT", "FLUSH")
        await backend.apply("x", Finish("a", Outcome.DONE, 30))
        assert await data(backend, "x") == [*map(str, range(1, 31))]
        assert len(await hear(feed, 32)) == 32


async def test_scripts_are_forgotten_while_many_ask(open_backend, redis_server):
    """In one pipeline, some may be known and others not: each is carried out once, or repeated by
    who asked, as any change whose outcome is unknown.
    """
    async with open_backend() as backend:

        async def produce(stream_id):
            await repeated(backend, stream_id, claim())
            for seq in range(1, 11):
                await repeated(backend, stream_id, texts(seq, str(seq)))

        async def flush():
            for _ in range(50):
                redis_server.run("SCRIPT", "FLUSH")
                await sleep(0.001)

        async with create_task_group() as tasks:
            tasks.start_soon(flush)
            for number in range(10):
                tasks.start_soon(produce, f"x-{number}")
        for number in range(10):
            assert await data(backend, f"x-{number}") == [*map(str, range(1, 11))]
