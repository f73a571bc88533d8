"""What Redis holds of a stream, for how long, and what it costs."""

import math

import pytest
from anyio import (
    Event,
    create_task_group,
    current_time,
    fail_after,
    move_on_after,
    sleep,
    wait_all_tasks_blocked,
)

from resumable_core import (
    ABSENT,
    PAGE_BYTES,
    BackendUnavailable,
    Changed,
    Delete,
    Fenced,
    Finish,
    InvalidInput,
    InvalidStreamId,
    Observe,
    Outcome,
    Renew,
    State,
    Stop,
    StreamExists,
    StreamNotFound,
    Takeover,
)
from resumable_io.redis import _stored
from resumable_io.redis._keys import keys_of
from resumable_io.redis._stored import PAGE_BATCHES
from resumable_io.testing import following
from tests.redis.steps import (
    KEEP,
    LEASE,
    claim,
    data,
    ended,
    hear,
    read,
    started,
    texts,
    wait_for,
)

APP = "app"


@pytest.fixture
async def backend(open_backend):
    """A backend whose keys can be told."""
    async with open_backend(prefix=APP) as backend:
        yield backend


@pytest.fixture
def keys():
    """The keys of the stream x."""
    return keys_of(APP, "x")


def seconds_left(server, key):
    return server.run("PTTL", key) / 1000


# Law 9: reads create nothing


async def test_asking_leaves_nothing_behind(backend, redis_server):
    for number in range(5):
        page = await read(backend, f"unknown-{number}", after=number)
        assert page.sentinel is ABSENT
        assert await backend.apply(f"unknown-{number}", Observe()) is ABSENT
        assert await backend.apply(f"unknown-{number}", Delete()) is ABSENT
        for change in (Stop(), Renew("a"), texts(1, "one"), Finish("a", Outcome.DONE, 0)):
            with pytest.raises(StreamNotFound):
                await backend.apply(f"unknown-{number}", change)
        async with following(backend, f"unknown-{number}"):
            pass
    assert [each async for each in backend.scan()] == []
    assert redis_server.run("DBSIZE") == 0


async def test_entering_leaves_nothing_behind(open_backend, redis_server):
    """Nor does it tell anybody anything: what it tries, it tries on a stream of its own."""
    async with open_backend(prefix=APP) as backend:
        assert redis_server.run("DBSIZE") == 0
        async with following(backend, "x") as feed, open_backend(prefix=APP):
            await started(backend, "x")
            assert [type(item) for item in await hear(feed)] == [Changed]
    assert redis_server.run("DBSIZE") == 1


@pytest.mark.parametrize("stream_id", ["", "a\nb", "x" * 256, "é" * 128, "\ud800"])
async def test_an_id_that_is_refused_reaches_no_store(open_streams, redis_server, stream_id):
    async with open_streams() as streams:
        before = redis_server.info("commandstats")["cmdstat_evalsha"]["calls"]
        for call in (
            streams.start(stream_id, ["text"]),
            streams.start_or_resume(stream_id, ["text"]),
            streams.resume(stream_id),
            streams.state(stream_id),
            streams.stop(stream_id),
            streams.delete(stream_id),
        ):
            with pytest.raises(InvalidStreamId):
                await call
        assert redis_server.info("commandstats")["cmdstat_evalsha"]["calls"] == before
    assert redis_server.run("DBSIZE") == 0


ODD_IDS = ["{x}", "}:log", "a:b", "%7B", " ", "😀", "x:sentinel", "*", "[x]", "é" * 127, "x" * 255]


async def test_odd_ids_are_streams_of_their_own(backend, redis_server):
    for stream_id in ODD_IDS:
        await started(backend, stream_id, stream_id)
    for stream_id in ODD_IDS:
        assert await data(backend, stream_id) == [stream_id]
    assert sorted([stream_id async for stream_id, _ in backend.scan()]) == sorted(ODD_IDS)
    assert redis_server.run("DBSIZE") == 2 * len(ODD_IDS)


@pytest.mark.parametrize("other", ["app2", "ap", "app:x", "a*", "app?", "APP", "äpp"])
async def test_applications_do_not_see_each_other(backend, open_backend, other):
    async with open_backend(prefix=other) as theirs:
        await started(backend, "x", "ours")
        await started(theirs, "x", "theirs")
        assert await data(backend, "x") == ["ours"]
        assert await data(theirs, "x") == ["theirs"]
        await theirs.apply("x", Delete())
        assert await data(backend, "x") == ["ours"]
        assert [stream_id async for stream_id, _ in backend.scan()] == ["x"]
        assert [stream_id async for stream_id, _ in theirs.scan()] == []


# How much of a log is kept


async def test_count_is_a_floor_of_one_batch(backend):
    await started(backend, "x", count=5)
    for first in range(1, 31, 3):
        await backend.apply("x", texts(first, "1", "2", "3"))
        page = await read(backend, "x")
        last = page.sentinel.last_seq
        kept = last + 1 - page.first_seq
        assert kept == len(page.events)
        assert min(5, last) <= kept <= 5 + 2
    assert page.first_seq == 25


async def test_bytes_are_a_floor_of_one_batch(backend):
    await started(backend, "x", size=100)
    for seq in range(1, 31):
        await backend.apply("x", texts(seq, "é" * 15))  # 30 bytes
        page = await read(backend, "x")
        assert len(page.events) == min(seq, 4)  # 3 are 90 bytes, which is less than asked for
    await backend.apply("x", texts(31, "x" * 1000))
    assert await data(backend, "x") == ["x" * 1000]
    await backend.apply("x", texts(32, "y"))
    assert await data(backend, "x") == ["x" * 1000, "y"]


async def test_age_is_a_floor(backend):
    """What is older goes when something is appended; the newest batch stays, whatever its age."""
    await started(backend, "x", "old", "old", age=1.0)
    await backend.apply("x", texts(3, "old"))
    assert await data(backend, "x") == ["old", "old", "old"]
    await sleep(1.1)  # which is longer, by the clock of the store
    assert await data(backend, "x") == ["old", "old", "old"]
    await backend.apply("x", texts(4, "new"))
    assert await data(backend, "x") == ["new"]
    assert (await read(backend, "x")).first_seq == 4


async def test_what_is_kept_does_not_depend_on_who_appends(open_backend):
    """Nothing about it is remembered in a process: the next one goes on where it was left."""
    async with open_backend(prefix=APP) as one, open_backend(prefix=APP) as other:
        await started(one, "x", size=100)
        for seq in range(1, 11):
            await (one, other)[seq % 2].apply("x", texts(seq, "x" * 40))
        assert (await read(one, "x")).first_seq == 8
        await one.apply("x", Finish("a", Outcome.LOST, 10))
        await other.apply("x", claim("b", on_lost=Takeover.CONTINUE, size=50))
        await other.apply("x", texts(11, "y" * 40, epoch="b"))
        assert (await read(one, "x")).first_seq == 10


async def test_a_log_that_begins_anew_owes_nothing_to_the_former(backend):
    await ended(backend, "x", "x" * 90, size=100)
    await backend.apply("x", claim("b", replaces="a", size=100))
    await backend.apply("x", texts(1, "1" * 50, epoch="b"))
    await backend.apply("x", texts(2, "2" * 40, epoch="b"))
    assert len(await data(backend, "x")) == 2


# How long it is kept


async def test_an_active_stream_stays_for_its_lease_and_then_some(backend, redis_server, keys):
    """Its keys go by themselves when its producer is dead and nobody asks."""
    await started(backend, "x", "one", lease=50.0, keep=100.0)
    for key in (keys.sentinel, keys.log):
        assert 140 < seconds_left(redis_server, key) <= 150
    redis_server.run("PEXPIRE", keys.sentinel, 10_000)
    redis_server.run("PEXPIRE", keys.log, 10_000)
    await backend.apply("x", Renew("a"))
    for key in (keys.sentinel, keys.log):
        assert 140 < seconds_left(redis_server, key) <= 150


@pytest.mark.parametrize("outcome", [Outcome.DONE, Outcome.FAILED, Outcome.LOST])
async def test_an_ended_stream_stays_as_long_as_it_is_kept(backend, redis_server, keys, outcome):
    await started(backend, "x", "one", lease=50.0, keep=100.0)
    await backend.apply("x", Finish("a", outcome, 1))
    for key in (keys.sentinel, keys.log):
        assert 90 < seconds_left(redis_server, key) <= 100


async def test_what_has_expired_is_gone(backend, redis_server):
    await ended(backend, "x", "one", lease=1.0, keep=0.1)
    await wait_for(lambda: redis_server.run("DBSIZE") == 0)
    assert (await read(backend, "x")).sentinel is ABSENT
    assert [each async for each in backend.scan()] == []
    await started(backend, "x", "two", epoch="b")
    assert await data(backend, "x") == ["two"]


async def test_what_is_deleted_leaves_a_tombstone(backend, redis_server, keys):
    """The log goes at once; what is left keeps the producer from writing it again, for a while."""
    await started(backend, "x", "one", lease=50.0, keep=20.0)
    assert (await backend.apply("x", Delete())).state is State.DELETED
    assert redis_server.run("KEYS", "*") == [keys.sentinel.encode()]
    assert 40 < seconds_left(redis_server, keys.sentinel) <= 50
    assert (await read(backend, "x")).sentinel.state is State.DELETED
    for change in (texts(2, "two"), Renew("a")):
        with pytest.raises(Fenced):
            await backend.apply("x", change)
    assert redis_server.run("EXISTS", keys.log) == 0
    await started(backend, "x", "new", epoch="b")
    assert await data(backend, "x") == ["new"]


async def test_a_lease_that_ran_out_is_recorded_by_who_looks(open_backend):
    """Law 7: by the store's clock, and everybody who follows is told, once."""
    async with open_backend(prefix=APP) as one, open_backend(prefix=APP) as other:
        await started(one, "x", "one", lease=0.3)
        async with following(one, "x", events=False) as feed:
            await sleep(0.4)  # which is longer than the lease, by the clock of the store
            page = await other.read("x", 0, 10, connected_for=0.2)
            assert page.sentinel.state is State.ACTIVE  # it has not been watching for a lease
            async with create_task_group() as tasks:
                for backend in (one, other) * 3:
                    tasks.start_soon(read, backend, "x")
            page = await read(other, "x")
            assert (page.sentinel.state, len(page.events)) == (State.LOST, 1)
            with pytest.raises(Fenced):
                await one.apply("x", texts(2, "late"))
            await one.apply("x", Delete())
            heard = [item.sentinel.state for item in await hear(feed, 2)]
        assert heard == [State.LOST, State.DELETED]


async def test_a_clock_that_jumps_kills_nobody(open_backend, monkeypatch):
    """Law 7: so it does when the host of Redis has slept, with all that runs on it."""
    async with open_backend() as backend:
        await started(backend, "x", "one", lease=20.0)
        backend._feed.connected_since = current_time() - 100  # who has watched for that long …
        assert (await backend.apply("x", Observe())).state is State.ACTIVE
        ahead = _stored.clock_ahead
        monkeypatch.setattr(_stored, "clock_ahead", lambda now: ahead(now) + 60)
        assert (await read(backend, "x")).sentinel.state is State.ACTIVE
        assert (await backend.apply("x", Observe())).state is State.ACTIVE
        with pytest.raises(StreamExists):
            await backend.apply("x", claim("b", on_lost=Takeover.RESTART))
        assert current_time() - backend.connected_since < 20.0
        assert (await backend.apply("x", Renew("a"))).state is State.ACTIVE


async def test_who_asks_for_what_is_not_there_keeps_nobody_alive(open_backend):
    """Law 7: whatever else a process reads, it notices dead producers in time."""
    async with open_backend(prefix=APP) as backend:
        await started(backend, "x", lease=0.3)
        await started(backend, "deleted")
        await backend.apply("deleted", Delete())
        for _ in range(40):
            await sleep(0.01)
            await read(backend, "unknown")
            await read(backend, "deleted")
        assert (await read(backend, "x")).sentinel.state is State.LOST


async def test_a_late_producer_that_nobody_missed_goes_on(backend):
    """Until `lost` is recorded it may renew its lease."""
    await started(backend, "x", lease=0.1)
    await sleep(0.2)
    await backend.apply("x", texts(1, "late"))
    assert (await read(backend, "x")).sentinel.state is State.ACTIVE


# What goes over the wire


async def test_an_append_is_one_round_trip(backend, redis_server):
    """And so is a read: the sentinel that was left behind last is remembered."""
    await started(backend, "x")

    def calls():
        return redis_server.info("commandstats")["cmdstat_evalsha"]["calls"]

    before = calls()
    for seq in range(1, 11):
        await backend.apply("x", texts(seq, "text"))
    assert calls() - before == 10
    await read(backend, "x")
    assert calls() - before == 11


async def test_a_page_ends_before_it_holds_too_many_batches(backend):
    """Law 8: Redis does nothing else while it reads one."""
    whole = [str(number) for number in range(PAGE_BATCHES + 3)]
    await started(backend, "x")
    for seq, each in enumerate(whole, 1):
        await backend.apply("x", texts(seq, each))
    page = await read(backend, "x", limit=2 * len(whole))
    rest = await read(backend, "x", PAGE_BATCHES, limit=2 * len(whole))
    assert len(page.events) == PAGE_BATCHES
    assert [event.data for event in (*page.events, *rest.events)] == whole


async def test_no_more_is_read_than_a_page_holds(backend, keys):
    """Law 8: however large what follows is, and however small what was read before."""
    await started(backend, "x")
    await backend.apply("x", texts(1, "small"))
    for seq in range(2, 8):
        await backend.apply("x", texts(seq, "." * (PAGE_BYTES // 2)))
    *_, batches = await backend._others.ask(_stored.read_call(keys, 0, 1000))
    assert len(batches) == 3


async def test_what_many_ask_goes_together(backend, redis_server):
    """One writer per process gathers the appends of all its streams into pipelines."""
    for number in range(100):
        await started(backend, f"x-{number}")
    before = redis_server.info("stats")["total_reads_processed"]
    async with create_task_group() as tasks:
        for number in range(100):
            tasks.start_soon(backend.apply, f"x-{number}", texts(1, "text"))
    assert redis_server.info("stats")["total_reads_processed"] - before < 30


async def test_an_event_costs_little(backend, redis_server, keys):
    """Law 8: what the docs reckon with: a batch of its own costs under 250 bytes and its text."""
    await started(backend, "x")
    for seq in range(1, 1001):
        await backend.apply("x", texts(seq, "x" * 40))
    assert redis_server.run("MEMORY", "USAGE", keys.log, "SAMPLES", 0) < 1000 * (40 + 250)


async def test_memory_does_not_grow_with_streams_that_others_ended(open_backend):
    """Law 8: a producer that is fenced never comes back for what was remembered for it."""
    async with open_backend(prefix=APP) as backend, open_backend(prefix=APP) as other:
        for number in range(300):
            await started(backend, f"x-{number}", lease=0.001)
            await other.apply(f"x-{number}", Stop())
        assert len(backend._known) < 50


async def test_subscriptions_are_given_up(backend, redis_server):
    for number in range(50):
        async with following(backend, f"x-{number}"):
            pass
    await wait_for(lambda: redis_server.run("PUBSUB", "CHANNELS") == [b"app:home"])


# Odd moments


async def test_metadata_that_is_no_json_is_refused(backend, redis_server):
    with pytest.raises(InvalidInput, match="metadata"):
        await backend.apply("x", claim(metadata={"x": object()}))
    assert redis_server.run("DBSIZE") == 0


async def test_a_stream_of_another_clock_is_read_by_its_own(backend):
    """Deadlines are in the store's clock: those that come back are some seconds from its now."""
    sentinel = await backend.apply("x", claim())
    page = await read(backend, "x")
    assert page.sentinel.lease_until == pytest.approx(sentinel.lease_until, abs=0.1)
    assert page.sentinel.expires_at == pytest.approx(sentinel.expires_at, abs=0.1)
    assert sentinel.expires_at - sentinel.lease_until == KEEP
    assert page.sentinel.lease == LEASE


async def test_who_waits_when_a_backend_is_left_is_told(make_backend, start_redis):
    """Law 7: nothing waits for ever, not even for a Redis that is stopped."""
    server = start_redis()
    told = []

    async def ask(call):
        try:
            await call
        except BackendUnavailable as error:
            told.append(str(error))

    async with make_backend(server.url) as backend, create_task_group() as tasks:
        await backend.__aenter__()
        with server.frozen():
            for number in range(3):
                tasks.start_soon(ask, backend.apply(f"x-{number}", claim()))
                tasks.start_soon(ask, backend.read("x", 0, 1, connected_for=math.inf))
            await wait_all_tasks_blocked()
            for number in range(3):  # these wait for the round trip that is under way
                tasks.start_soon(ask, backend.apply(f"y-{number}", claim()))
            await wait_all_tasks_blocked()
            await backend.__aexit__(None, None, None)
            await wait_for(lambda: len(told) == 9)
        with fail_after(10):  # nor for one that was left
            await ask(backend.read("x", 0, 1, connected_for=math.inf))
        assert len(told) == 10


async def test_who_is_cancelled_before_its_turn_asks_nothing(backend):
    """Law 10: what still waits is not done behind the back of who gave it up."""
    evaluate, free, asked = backend._driver.evaluate, Event(), []

    async def held(calls, **options):
        asked.extend(call.keys[0] for call in calls)
        await free.wait()
        return await evaluate(calls, **options)

    backend._driver.evaluate = held
    async with create_task_group() as tasks:
        tasks.start_soon(read, backend, "x")
        await wait_all_tasks_blocked()
        with move_on_after(0.05):
            await read(backend, "y")
        free.set()
    await read(backend, "z")
    assert asked == [keys_of(APP, stream_id).sentinel for stream_id in "xz"]
