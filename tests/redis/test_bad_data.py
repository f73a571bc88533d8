"""What is under our keys and not ours: an error that names the key, and other streams go on."""

import json
import logging

import pytest

from resumable_core import (
    ABSENT,
    Appended,
    BackendError,
    BackendUnavailable,
    Batch,
    Claim,
    Delete,
    Finish,
    GapReason,
    Interrupted,
    Observe,
    Outcome,
    Renew,
    Stop,
    encode_batch,
)
from resumable_io.redis import RedisBackend
from resumable_io.redis._keys import keys_of
from resumable_io.testing import following
from tests.redis.steps import claim, data, hear, read, started, texts

APP = "app"
KEYS = keys_of(APP, "x")

CHANGES = (
    Claim("b", 10.0, replaces="a"),
    texts(2, "two"),
    Renew("a"),
    Finish("a", Outcome.DONE, 1),
    Stop(),
    Observe(),
    Delete(),
)


@pytest.fixture
async def backend(open_backend):
    """A backend with a stream that is to be spoilt, and another that isn't."""
    async with open_backend(prefix=APP) as backend:
        await started(backend, "x", "one")
        await started(backend, "good", "one")
        yield backend


def set_field(server, field, value):
    """Spoil one field of the sentinel."""
    server.run("HSET", KEYS.sentinel, field, value)


def record_of(server):
    return json.loads(server.run("HGET", KEYS.sentinel, "record"))


def replace_key(server, key, command, *arguments):
    server.run("DEL", key)
    server.run(command, key, *arguments)


SPOILT_SENTINELS = {
    "a string": lambda server: replace_key(server, KEYS.sentinel, "SET", "text"),
    "a list": lambda server: replace_key(server, KEYS.sentinel, "RPUSH", "text"),
    "a stream": lambda server: replace_key(server, KEYS.sentinel, "XADD", "*", "a", "b"),
    "another hash": lambda server: replace_key(server, KEYS.sentinel, "HSET", "name", "value"),
    "no record": lambda server: server.run("HDEL", KEYS.sentinel, "record"),
    "no token": lambda server: server.run("HDEL", KEYS.sentinel, "token"),
    "no lease": lambda server: set_field(server, "lease", ""),
    "garbage as record": lambda server: set_field(server, "record", b"\xff\x00garbage"),
    "garbage as token": lambda server: set_field(server, "token", b"\xff\x00garbage"),
    "garbage as lease": lambda server: set_field(server, "lease", "soon"),
    "another version": lambda server: set_field(
        server, "record", json.dumps([99, *record_of(server)[1:]])
    ),
    "another form": lambda server: set_field(server, "record", json.dumps(record_of(server)[:3])),
}


async def goes_on(backend):
    """Say whether the other stream does."""
    last = (await read(backend, "good")).sentinel.last_seq
    await backend.apply("good", texts(last + 1, "more"))
    return (await data(backend, "good")) == ["one"] + ["more"] * last


@pytest.mark.parametrize("spoilt", SPOILT_SENTINELS)
async def test_a_sentinel_that_is_none_is_an_error_with_its_key(
    backend, open_backend, redis_server, spoilt
):
    """It is no absent stream, which somebody might claim, nor a store that is away."""
    SPOILT_SENTINELS[spoilt](redis_server)
    before = redis_server.run("DUMP", KEYS.sentinel)
    async with open_backend(prefix=APP) as other:
        for each in (backend, other):
            with pytest.raises(BackendError) as refused:
                await read(each, "x")
            assert KEYS.sentinel in str(refused.value)
            assert not isinstance(refused.value, BackendUnavailable)
            for change in (claim("c"), *CHANGES):
                with pytest.raises(BackendError) as refused:
                    await each.apply("x", change)
                assert KEYS.sentinel in str(refused.value)
                assert not isinstance(refused.value, BackendUnavailable)
            assert await goes_on(each)
    assert redis_server.run("DUMP", KEYS.sentinel) == before


def entry(server, record, first=2):
    """Append an entry to the log as if it was ours."""
    fields = ("first", first, "batch", record, "bytes", 6, "time", 0)
    server.run("XADD", KEYS.log, "2-0", *fields)


BATCH = json.loads(encode_batch(Batch("a", 2, ("two",), 3, 3, 3, 0.0)))
SPOILT_LOGS = {
    "a string": lambda server: replace_key(server, KEYS.log, "SET", "text"),
    "a hash": lambda server: replace_key(server, KEYS.log, "HSET", "a", "b"),
    "a garbage record": lambda server: entry(server, b"\xff\x00garbage"),
    "no record": lambda server: entry(server, b""),
    "another version": lambda server: entry(server, json.dumps([99, *BATCH[1:]])),
    "another entry": lambda server: server.run("XADD", KEYS.log, "2-0", "name", "value"),
    "another order": lambda server: replace_key(
        server, KEYS.log, "XADD", "2-0", "name", "value", "batch", json.dumps(BATCH)
    ),
}


@pytest.mark.parametrize("spoilt", SPOILT_LOGS)
async def test_a_log_that_is_none_is_an_error_with_its_key(backend, redis_server, spoilt):
    SPOILT_LOGS[spoilt](redis_server)
    with pytest.raises(BackendError) as refused:
        await read(backend, "x")
    assert KEYS.log in str(refused.value)
    assert not isinstance(refused.value, BackendUnavailable)
    assert await goes_on(backend)
    # It can be got rid of.
    await backend.apply("x", Delete())
    await started(backend, "x", "new", epoch="b")
    assert await data(backend, "x") == ["new"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda server: replace_key(server, KEYS.log, "SET", "text"),
        lambda server: server.run("XADD", KEYS.log, "*", "name", "value"),
    ],
    ids=["another type", "an entry of a far seq"],
)
async def test_an_append_that_the_log_refuses_changes_nothing(backend, redis_server, spoil):
    """Law 2: the sentinel never counts an event that is not there."""
    spoil(redis_server)
    before = redis_server.run("DUMP", KEYS.sentinel)
    async with following(backend, "x") as feed:
        for _ in range(2):
            with pytest.raises(BackendError) as refused:
                await backend.apply("x", texts(2, "two"))
            assert KEYS.log in str(refused.value)
        assert redis_server.run("DUMP", KEYS.sentinel) == before
        await backend.apply("x", Delete())
        (item,) = await hear(feed)
        assert not isinstance(item, Appended)
    assert await goes_on(backend)


async def test_entries_without_a_size_go_when_room_is_needed(backend, redis_server):
    """Somebody else's entry in a log does not keep its producer from trimming it."""
    await started(backend, "y", size=50)
    keys = keys_of(APP, "y")
    redis_server.run("XADD", keys.log, "0-1", "name", "value")
    for seq in range(1, 4):
        await backend.apply("y", texts(seq, "x" * 40))
    assert await data(backend, "y") == ["x" * 40] * 2


async def test_a_scan_passes_over_what_is_not_ours(backend, redis_server, caplog):
    redis_server.run("SET", keys_of(APP, "spoilt").sentinel, "text")
    redis_server.run("HSET", keys_of(APP, "other").sentinel, "name", "value")
    redis_server.run("SET", f"{APP}:{{a%zz}}:sentinel", "text")
    redis_server.run("SET", f"{APP}:{{}}:sentinel", "text")
    with caplog.at_level(logging.WARNING, "resumable_io"):
        assert sorted([stream_id async for stream_id, _ in backend.scan()]) == ["good", "x"]
    for stream_id in ("spoilt", "other"):
        assert keys_of(APP, stream_id).sentinel in caplog.text


@pytest.mark.parametrize("payload", [b"", b"garbage", b"\xff\xfe", b"[99]", b"[]"])
async def test_what_others_publish_means_look_at_the_log(backend, redis_server, payload):
    """Law 2: a message that cannot be read may have been anything."""
    async with following(backend, "x") as feed:
        for channel in (KEYS.live, KEYS.state):
            redis_server.run("PUBLISH", channel, payload)
            assert await hear(feed) == [Interrupted()]
        await backend.apply("x", texts(2, "two"))
        (item,) = await hear(feed)
        assert item.batch.last_seq == 2


async def test_clients_that_decode_survive_what_is_no_text(open_client, redis_server):
    async with (
        open_client(decode_responses=True) as client,
        RedisBackend(client, prefix=APP) as backend,
    ):
        await started(backend, "x", "one")
        async with following(backend, "x") as feed:
            redis_server.run("PUBLISH", KEYS.live, b"\xff\xfe")
            assert await hear(feed) == [Interrupted()]
            await backend.apply("x", texts(2, "zwei é", b"\xff"))
            (item,) = await hear(feed)
            assert item.batch.events[0].data == "zwei é"
        set_field(redis_server, "record", b"\xff\xfe")
        with pytest.raises(BackendError, match="app:"):
            await read(backend, "x")


async def test_somebody_who_resumes_a_spoilt_stream_is_told(open_streams, redis_server):
    async with open_streams(prefix=APP) as streams:
        async for _ in await streams.start("good", ["one"]):
            pass
        redis_server.run("SET", KEYS.sentinel, "text")
        for call in (streams.resume, streams.state, streams.stop, streams.delete):
            with pytest.raises(BackendError, match="app:"):
                await call("x")
        assert [event.data async for event in await streams.resume("good")] == ["one"]


async def test_what_was_wiped_is_absent(backend, redis_server):
    """A store that lost everything holds no foreign data."""
    redis_server.run("FLUSHALL")
    assert (await read(backend, "x")).sentinel is ABSENT
    redis_server.run("DEL", KEYS.sentinel)


async def test_a_log_that_somebody_removed_is_no_trimmed_one(open_streams, redis_server):
    """Law 2: the gap says that the store has lost what is missing."""
    async with open_streams(prefix=APP) as streams:
        async for _ in await streams.start("x", ["one", "two"]):
            pass
        redis_server.run("DEL", KEYS.log)
        gap, end = [record async for record in (await streams.resume("x")).records()]
        assert (gap.id.seq, gap.reason) == (2, GapReason.LOST)
        assert end.outcome is Outcome.DONE
