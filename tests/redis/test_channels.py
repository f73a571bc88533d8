"""Channels in Redis: what they cost, what they leave behind, and what a restart changes."""

import pytest
from anyio import create_task_group

from resumable_core import BackendError, BackendFull, BackendUnavailable, Delete, EventId
from resumable_io.redis import _publishing
from resumable_io.redis._keys import keys_of
from resumable_io.redis._stored import COMMIT
from tests.redis.proxy import proxied
from tests.redis.steps import KEEP, data, publish, read, started
from tests.redis.traffic import QUIET

pytestmark = QUIET

APP = "app"
C = keys_of(APP, "c")
ALL = (C.sentinel, C.log, C.published)


@pytest.fixture
async def backend(open_backend):
    async with open_backend(prefix=APP) as backend:
        yield backend


def calls(server):
    return server.info("commandstats")["cmdstat_evalsha"]["calls"]


async def until_done(backend, change):
    """Publish as the library does: again while the store is away, each time with a new epoch."""
    while True:
        try:
            return await backend.publish("c", change())
        except BackendUnavailable:
            pass


# What it costs


async def test_who_publishes_alone_takes_one_round_trip(backend, redis_server):
    await backend.publish("c", publish("first"))
    before = calls(redis_server)
    for number in range(10):
        await backend.publish("c", publish(str(number)))
    assert calls(redis_server) - before == 10


async def test_who_repeats_takes_one_more(backend, redis_server):
    """What it remembers says nothing of keys."""
    await backend.publish("c", publish("one", "two"))
    before = calls(redis_server)
    assert [id.seq for id in await backend.publish("c", publish("three", "one"))] == [3, 1]
    assert calls(redis_server) - before == 2


async def test_who_comes_second_decides_anew(open_backend, redis_server):
    """With what the refusal says is there: no look is needed."""
    async with open_backend(prefix=APP) as one, open_backend(prefix=APP) as other:
        await one.publish("c", publish("one"))
        await other.publish("c", publish("two"))
        before = calls(redis_server)
        assert [id.seq for id in await one.publish("c", publish("two", "three"))] == [2, 3]
        assert calls(redis_server) - before == 2


async def test_who_is_fast_gives_way_to_who_was_refused(open_backend, redis_server):
    """Law 7: a process whose commit always comes first does not keep others from publishing."""
    async with open_backend(prefix=APP) as one, open_backend(prefix=APP) as other:
        await one.publish("c", publish("one"))
        await other.publish("c", publish("two"))
        await one.publish("c", publish("three"))  # refused first, as what it remembers is old
        before = calls(redis_server)
        await one.publish("c", publish("four"))
        assert calls(redis_server) - before == 2  # a look comes first
        await one.publish("c", publish("five"))
        assert calls(redis_server) - before == 3


async def test_no_process_is_kept_from_publishing(open_backend):
    """Law 7: several publish all the time, and nobody is given up as contended."""
    async with open_backend(prefix=APP) as one, open_backend(prefix=APP) as other:

        async def write(backend, name):
            for number in range(100):
                await backend.publish("c", publish(f"{name}{number}"))

        async with create_task_group() as tasks:
            tasks.start_soon(write, one, "a")
            tasks.start_soon(write, other, "b")
        assert len(await data(one, "c")) == 200


async def test_a_channel_that_is_contended_all_the_time_is_given_up(open_backend, monkeypatch):
    """The next attempt finds what it is like then."""
    monkeypatch.setattr(_publishing, "ATTEMPTS", 1)
    async with open_backend(prefix=APP) as one, open_backend(prefix=APP) as other:
        await one.publish("c", publish("one"))
        await other.publish("c", publish("two"))
        with pytest.raises(BackendUnavailable, match="contended"):
            await one.publish("c", publish("three"))
        assert await data(one, "c") == ["one", "two"]
        await one.publish("c", publish("three"))
        assert await data(other, "c") == ["one", "two", "three"]


async def test_memory_does_not_grow_with_the_channels_of_a_process(backend, monkeypatch):
    """Law 8: those that were published to last are remembered."""
    monkeypatch.setattr(_publishing, "REMEMBERED", 10)
    for number in range(100):
        await backend.publish(f"c-{number % 30}", publish(str(number)))
    assert len(backend._publishing._left) == 10
    assert keys_of(APP, "c-9").sentinel in backend._publishing._left


# What it leaves behind


@pytest.mark.parametrize(
    "retention", [{"count": 20}, {"bytes": 60}], ids=lambda drawn: next(iter(drawn))
)
async def test_keys_go_with_their_events(backend, redis_server, retention):
    """Law 8: the set of keys holds those of what is kept, and nothing else."""
    for number in range(100):
        items = [f"{number}-{each}" for each in range(1 + number % 3)]
        await backend.publish("c", publish(*items, **retention))
        kept = {event.data: event.id.seq for event in (await read(backend, "c")).events}
        assert len(kept) <= 22
        stored = redis_server.run("ZRANGE", C.published, 0, -1, "WITHSCORES")
        assert {key.decode(): seq for key, seq in _pairs(stored)} == kept


def _pairs(replies):
    """Return what ZRANGE says with scores, of whichever version of the protocol."""
    flat = [part for reply in replies for part in (reply if isinstance(reply, list) else [reply])]
    return [(key, int(float(seq))) for key, seq in zip(flat[::2], flat[1::2], strict=True)]


async def test_all_keys_of_a_channel_expire_together(backend, redis_server):
    for turn in range(3):
        await backend.publish("c", publish(str(turn)))
        ttls = [redis_server.run("PTTL", key) for key in ALL]
        assert 0 < min(ttls) <= max(ttls) <= 1000 * KEEP
        for key in ALL:
            redis_server.run("PEXPIRE", key, 60_000)


async def test_a_channel_that_was_deleted_leaves_a_tombstone_alone(backend, redis_server):
    await backend.publish("c", publish("one"))
    assert sorted(redis_server.run("KEYS", "*")) == sorted(each.encode() for each in ALL)
    await backend.apply("c", Delete())
    assert redis_server.run("KEYS", "*") == [C.sentinel.encode()]


async def test_a_stream_takes_no_key_more(backend, redis_server):
    """While a slot of a cluster moves, a key that is not there would hold up who names it."""
    await started(backend, "x", "one")
    redis_server.run("CONFIG", "SET", "slowlog-log-slower-than", 0)
    try:
        redis_server.run("SLOWLOG", "RESET")
        await read(backend, "x")
        commands = [entry[3] for entry in redis_server.run("SLOWLOG", "GET", 100)]
    finally:
        redis_server.run("CONFIG", "SET", "slowlog-log-slower-than", 10_000)
    assert {command[2] for command in commands if command[0] == b"EVALSHA"} == {b"2"}


# What goes wrong


async def test_a_lost_reply_publishes_nothing_twice(redis_server, open_backend):
    """Law 6: the script that is sent again finds what it has done."""
    async with proxied(redis_server) as proxy, open_backend(proxy.url, prefix=APP) as backend:
        await backend.publish("c", publish("one"))
        for number in range(2, 6):
            proxy.lose_replies(COMMIT.sha.encode())
            (id,) = await backend.publish("c", publish(str(number)))
            assert id.seq == number
        assert proxy.lost == 4
        assert await data(backend, "c") == ["one", "2", "3", "4", "5"]


async def test_a_restart_begins_another_epoch(start_redis, open_backend):
    """Law 3: a server that has lost something cannot know it; so it gives no old epoch's ids."""
    server = start_redis(appendonly="yes", appendfsync="always")
    async with open_backend(server.url, prefix=APP) as backend:
        (one,) = await backend.publish("c", publish("one"))
        server.restart()
        (two,) = await until_done(backend, lambda: publish("two"))
        assert (one.seq, two.seq) == (1, 3)  # one is nobody's: whoever goes past it hears of a gap
        assert one.epoch != two.epoch
        page = await read(backend, "c")
        assert [event.id for event in page.events] == [one, two]
        assert page.sentinel.lineage.contains(one)
        server.restart()
        assert [*await until_done(backend, lambda: publish("one", "two"))] == [one, two]


async def test_what_was_under_way_when_the_server_died_uses_no_epoch_twice(
    start_redis, open_backend
):
    """Law 3: its reply is lost, with all it has written; and it may not be published as it was."""
    server = start_redis()
    async with proxied(server) as proxy, open_backend(proxy.url, prefix=APP) as backend:
        change = publish("one")
        proxy.lose_replies(COMMIT.sha.encode(), hang=True)
        async with create_task_group() as tasks:

            async def restart():
                while not proxy.lost:
                    await read(backend, "other")
                server.restart()
                proxy.cut()

            tasks.start_soon(restart)
            with pytest.raises(BackendUnavailable, match="restarted"):
                await backend.publish("c", change)
        (id,) = await until_done(backend, lambda: publish("two"))
        assert id.seq == 1
        assert id.epoch != change.epoch


async def test_a_channel_is_not_opened_while_memory_is_full(start_redis, open_backend):
    """Nothing is changed: neither where it is opened, nor where it was before."""
    server = start_redis(maxmemory_policy="noeviction")
    async with open_backend(server.url, prefix=APP) as backend:
        (old,) = await backend.publish("c", publish("one"))
        await backend.publish("gone", publish("one"))
        await backend.apply("gone", Delete())
        before = {key: server.run("DUMP", key) for key in server.run("KEYS", "*")}
        server.run("CONFIG", "SET", "maxmemory", 1)
        for channel in ("c", "gone", "new"):
            with pytest.raises(BackendFull):
                await backend.publish(channel, publish("two"))
        assert {key: server.run("DUMP", key) for key in server.run("KEYS", "*")} == before
        assert [*await backend.publish("c", publish("one"))] == [old]  # a repeat needs no room
        await backend.apply("c", Delete())
        assert server.run("EXISTS", C.log, C.published) == 0
        server.run("CONFIG", "SET", "maxmemory", 0)
        change = publish("two")
        assert [*await backend.publish("c", change)] == [EventId(change.epoch, 1)]


@pytest.mark.parametrize("key", [C.published, C.log], ids=["keys", "log"])
async def test_what_is_not_ours_is_left_alone(backend, redis_server, key):
    """It is named, and nothing is changed."""
    await backend.publish("c", publish("one"))
    redis_server.run("DEL", key)
    redis_server.run("SET", key, "text")
    before = {name: redis_server.run("DUMP", name) for name in ALL}
    with pytest.raises(BackendError, match=r"c}:keys.*of another type"):
        await backend.publish("c", publish("two"))
    assert {name: redis_server.run("DUMP", name) for name in ALL} == before


async def test_a_seq_that_is_none_is_foreign(backend, redis_server):
    await backend.publish("c", publish("one"))
    redis_server.run("ZADD", C.published, 1.5, "two")
    with pytest.raises(BackendError, match=r"foreign data in app:{c}:keys"):
        await backend.publish("c", publish("two"))
    await backend.publish("c", publish("three"))
    assert await data(backend, "c") == ["one", "three"]


@pytest.mark.parametrize("lost", [C.sentinel, C.log, C.published], ids=["sentinel", "log", "keys"])
async def test_a_key_that_was_evicted_gives_no_id_to_other_content(backend, redis_server, lost):
    """Law 3: whichever of the three is gone."""
    first = await backend.publish("c", publish("one", "two"))
    redis_server.run("DEL", lost)
    (id,) = await backend.publish("c", publish("three"))
    assert id not in first
    assert (await data(backend, "c"))[-1] == "three"
