"""The backend contract of `abc.py`, on Redis and in memory, with `EventLog` as the oracle."""

import dataclasses
import gc
import math
import re
from contextlib import suppress

import pytest
from anyio import create_task_group, fail_after, move_on_after
from anyio.lowlevel import checkpoint
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resumable_core import (
    ABSENT,
    TOP,
    Appended,
    Changed,
    Claim,
    Delete,
    EventLog,
    Fenced,
    Finish,
    Interrupted,
    Observe,
    Outcome,
    Recover,
    Renew,
    State,
    Stop,
    StreamError,
    StreamExists,
    StreamNotFound,
    Takeover,
)
from resumable_core.testing import plans
from resumable_io.memory import FEED_ITEMS
from tests.io.cancelling import at_each_await
from tests.redis.conftest import PAIRS
from tests.redis.steps import PATIENCE, claim, data, ended, hear, read, started, texts

pytestmark = pytest.mark.parametrize(
    "pair", [*PAIRS, "asyncio-memory", "trio-memory"], indirect=True
)


@pytest.fixture
async def two(pair, open_backend):
    """Two backends that share their streams, as two processes do."""
    async with open_backend(prefix="shared") as one:
        if pair[0] == "memory":
            yield one, one
        else:
            async with open_backend(prefix="shared") as other:
                yield one, other


@pytest.fixture
def reader(two):
    """The backend of somebody who reads what the first of `two` writes."""
    return two[1]


# The oracle


def lasting(plan):
    """Return the plan with times that no test reaches: here, no time passes."""
    match plan.change:
        case Claim(retention=retention) | Recover(retention=retention):
            age = retention.age and 1000.0
            kept = dataclasses.replace(retention, age=age, keep=1000.0)
            change = dataclasses.replace(plan.change, lease=1000.0, retention=kept)
            return dataclasses.replace(plan, change=change)
        case _:
            return plan


def timeless(thing):
    """Return a sentinel, a page or an item of a feed without the times in it."""
    match thing:
        case Appended(batch):
            return Appended(dataclasses.replace(batch, time=0.0))
        case Changed(sentinel):
            return Changed(timeless(sentinel))
        case Interrupted() | None:
            return thing
        case _ if hasattr(thing, "sentinel"):
            return dataclasses.replace(thing, sentinel=timeless(thing.sentinel))
        case _:
            return dataclasses.replace(thing, lease_until=0.0, expires_at=0.0)


ids = st.sampled_from(["x", "x", "y"])
changes = st.tuples(ids, plans().map(lasting))
reads = st.tuples(
    ids,
    st.tuples(
        st.integers(0, 8) | st.just(TOP), st.integers(1, 8), st.sampled_from([0.0, math.inf])
    ),
)


@settings(
    max_examples=settings.default.max_examples * 3 // 10,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(changes | changes | reads, max_size=20))
async def test_it_does_what_the_log_does(open_backend, steps):
    """Whatever is done to streams, in any order: the answers and errors are those of `EventLog`,
    and the feed tells every batch and every change of state, in order, once.
    """
    logs = {"x": EventLog(), "y": EventLog()}
    expected = []

    def oracle(stream_id, act):
        log = logs[stream_id]
        before, newest = log.sentinel, log.batches[-1:]
        answer = act(log)
        if stream_id == "x":
            if log.batches[-1:] != newest and log.batches:
                expected.append(Appended(log.batches[-1]))
            if (before.state, before.epoch) != (log.sentinel.state, log.sentinel.epoch):
                expected.append(Changed(log.sentinel))
        return answer

    async with open_backend() as backend, backend.follow("x", events=True) as feed:
        for stream_id, step in steps:
            if isinstance(step, tuple):
                after, limit, seconds = step
                page = await backend.read(stream_id, after, limit, connected_for=seconds)
                assert timeless(page) == timeless(
                    oracle(
                        stream_id,
                        lambda log, after=after, limit=limit: log.read(after, 0.0, limit=limit),
                    )
                )
                continue
            change = step.aimed_at(logs[stream_id].sentinel)
            try:
                wanted = oracle(stream_id, lambda log, it=change: log.apply(it, 0.0)).sentinel
            except StreamError as error:
                with pytest.raises(type(error), match=f"^{re.escape(str(error))}$"):
                    await backend.apply(stream_id, change)
            else:
                assert timeless(await backend.apply(stream_id, change)) == timeless(wanted)
        heard = await hear(feed, len(expected))
        assert [*map(timeless, heard)] == [*map(timeless, expected)]
        for stream_id, log in logs.items():
            page = await read(backend, stream_id)
            assert timeless(page) == timeless(log.read(0, 0.0, limit=100))


async def test_a_change_that_is_repeated_returns_the_same(two):
    """Law 6: whoever repeats it, in whatever process, when its outcome was unknown."""
    one, other = two
    await one.apply("x", claim())
    for change in (
        claim(),
        texts(1, "one", "two"),
        texts(3, "three"),
        Renew("a"),
        Finish("a", Outcome.DONE, 3),
        Stop(),
    ):
        first = timeless(await one.apply("x", change))
        assert timeless(await one.apply("x", change)) == first
        assert timeless(await other.apply("x", change)) == first
    assert await data(one, "x") == await data(other, "x") == ["one", "two", "three"]


# One producer


async def test_of_many_claims_one_succeeds(two):
    """Law 4."""
    won, refused = [], []

    async def try_to(backend, epoch):
        try:
            won.append((await backend.apply("x", claim(epoch))).epoch)
        except StreamExists:
            refused.append(epoch)

    async with create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(try_to, two[number % 2], f"e{number}")
    assert (len(won), len(refused)) == (1, 19)
    assert (await read(two[0], "x")).sentinel.epoch == won[0]


async def test_of_many_restarts_one_succeeds(two):
    """Law 4: two clicks on "retry" make one."""
    await ended(two[0], "x", "one")
    won = []

    async def try_to(backend, epoch):
        with suppress(StreamExists):
            won.append((await backend.apply("x", claim(epoch, replaces="a"))).epoch)

    async with create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(try_to, two[number % 2], f"e{number}")
    page = await read(two[1], "x")
    assert [page.sentinel.epoch] == won
    assert (page.sentinel.last_seq, page.events) == (0, ())


async def test_of_many_like_appends_one_is_made(two):
    """Law 6: and all of them return the same."""
    await started(two[0], "x")
    replies = []

    async def try_to(backend, count):
        await backend.apply("x", texts(1, *"abcdef"[:count]))
        replies.append((await backend.apply("x", texts(1, *"abcdef"))).last_seq)

    async with create_task_group() as tasks:
        for number in range(12):
            tasks.start_soon(try_to, two[number % 2], 1 + number % 6)
    assert replies == [6] * 12
    assert await data(two[0], "x") == [*"abcdef"]


async def test_a_renewal_beside_an_append_disturbs_neither(two):
    await started(two[0], "x")
    for seq in range(1, 20):
        async with create_task_group() as tasks:
            tasks.start_soon(two[0].apply, "x", texts(seq, str(seq)))
            tasks.start_soon(two[0].apply, "x", Renew("a"))
            tasks.start_soon(read, two[1], "x")
    assert await data(two[1], "x") == [*map(str, range(1, 20))]


async def test_who_was_replaced_is_fenced(two):
    """Law 4: at most one epoch appends, whatever the other process remembers."""
    one, other = two
    await started(one, "x", "one")
    await other.apply("x", Finish("a", Outcome.LOST, 1))
    await other.apply("x", claim("b", on_lost=Takeover.CONTINUE))
    await other.apply("x", texts(2, "two", epoch="b"))
    for change in (texts(2, "mine"), texts(3, "mine"), Renew("a"), Finish("a", Outcome.DONE, 1)):
        with pytest.raises(Fenced):
            await one.apply("x", change)
    assert await data(one, "x") == ["one", "two"]


async def test_what_is_refused_changes_nothing(two):
    one, other = two
    await started(one, "x", "one")
    before = await read(other, "x")
    async with other.follow("x", events=True) as feed:
        for change in (claim("b"), texts(2, "two", epoch="b")):
            with pytest.raises(StreamError):
                await one.apply("x", change)
        for change in (Stop(), Renew("a"), texts(1, "one")):
            with pytest.raises(StreamNotFound):
                await one.apply("unknown", change)
        assert await one.apply("unknown", Delete()) is ABSENT
        assert await one.apply("unknown", Observe()) is ABSENT
        await one.apply("x", texts(2, "two"))
        assert [type(item) for item in await hear(feed)] == [Appended]
    after = await read(other, "x")
    assert (after.events[:1], after.sentinel.epoch) == (before.events, "a")


# Reading


async def test_pages_are_one_log(two, reader):
    """Laws 1 and 3: read page by page, from any place, a log is the same."""
    await started(two[0], "x")
    whole = [f"{number}é" for number in range(1, 101)]
    for start in range(0, 100, 7):
        await two[0].apply("x", texts(start + 1, *whole[start : start + 7]))
    for limit in (3, 7, 50):
        for start in (0, 6, 7, 8, 99, 100):
            found, after = [], start
            while page := (await read(reader, "x", after, limit)).events:
                assert len(page) <= limit
                assert [event.id.seq for event in page] == [
                    *range(after + 1, after + 1 + len(page))
                ]
                found += [event.data for event in page]
                after += len(page)
            assert found == whole[start:]


async def test_an_event_may_be_large(two, reader):
    large = "é" * 2**19
    await started(two[0], "x", large, "small", b"\xff" * 2**20)
    await two[0].apply("x", texts(4, "last"))
    page = await read(reader, "x")
    assert [event.data for event in page.events] == [large, "small", b"\xff" * 2**20]
    assert await data(reader, "x") == [large, "small", b"\xff" * 2**20, "last"]


async def test_the_top_is_read_without_events(two, reader):
    await started(two[0], "x", "one", "two")
    page = await read(reader, "x", TOP)
    assert (page.events, page.first_seq, page.sentinel.last_seq, page.offset) == ((), 1, 2, 6)


# Following


async def test_what_is_applied_after_following_is_heard(two, reader):
    """Entering returns when the subscription is confirmed, not before."""
    for number in range(20):
        await started(two[0], f"x-{number}")
        async with reader.follow(f"x-{number}", events=True) as feed:
            await two[0].apply(f"x-{number}", texts(1, "one"))
            (item,) = await hear(feed)
        assert item.batch.events[0].data == "one"


async def test_everything_is_told_in_order(two, reader):
    """The order in which batches are published is that of their seqs; the end comes last."""
    async with reader.follow("x", events=True) as feed, create_task_group() as tasks:

        async def produce():
            await started(two[0], "x")
            for seq in range(1, 200):
                await two[0].apply("x", texts(seq, str(seq)))
            await two[0].apply("x", Finish("a", Outcome.DONE, 199))

        tasks.start_soon(produce)
        begin, *batches, end = await hear(feed, 201)
    assert (begin.sentinel.state, end.sentinel.state) == (State.ACTIVE, State.DONE)
    assert [item.batch.events[0].data for item in batches] == [*map(str, range(1, 200))]


async def test_a_feed_without_events_tells_the_states(two, reader):
    async with reader.follow("x", events=False) as feed:
        await started(two[0], "x", "one", "two")
        await two[0].apply("x", Renew("a"))
        await two[0].apply("x", Stop("enough"))
        await two[0].apply("x", Stop("enough"))
        await two[0].apply("x", Delete())
        heard = await hear(feed, 3)
    states = [item.sentinel.state for item in heard]
    assert states == [State.ACTIVE, State.STOPPED, State.DELETED]
    assert heard[1].sentinel.error == "enough"


async def test_feeds_of_one_stream_and_of_others_are_apart(two, reader):
    async with (
        reader.follow("x", events=True) as one,
        reader.follow("x", events=True) as same,
        reader.follow("y", events=True) as other,
    ):
        await started(two[0], "x", "for x")
        await started(two[0], "y", "for y")
        for feed, text in ((one, "for x"), (same, "for x"), (other, "for y")):
            _, item = await hear(feed, 2)
            assert item.batch.events[0].data == text


async def test_a_feed_that_overflows_says_so(two, reader):
    """Laws 2 and 8: a feed is bounded, and reports what it had to drop before anything else."""
    await started(two[0], "x")
    last = FEED_ITEMS + 10
    async with (
        reader.follow("x", events=True) as slow,
        reader.follow("x", events=True) as quick,
    ):
        heard = 0
        for seq in range(1, last + 1):
            await two[0].apply("x", texts(seq, str(seq)))
            if seq % 50 == 0:
                heard += len(await hear(quick, 1))
        heard += len(await hear(quick, last - heard))
        assert heard == last  # a slow one costs only itself
        first, *others = await hear(slow, last - FEED_ITEMS)
        assert first == Interrupted()
        kept = [item.batch.first_seq for item in others]
        assert kept == [*range(last + 1 - len(kept), last + 1)]
        await two[0].apply("x", texts(last + 1, "next"))
        (item,) = await hear(slow)
        assert item.batch.events[0].data == "next"


async def test_who_comes_when_others_leave_hears_everything(two, reader):
    """Leaving, and entering anew while that is under way, never leaves a feed deaf."""
    await started(two[0], "x")
    seq = 0
    for turn in range(30):
        async with create_task_group() as tasks:

            async def visit(turns):
                with move_on_after(PATIENCE) as scope:
                    async with reader.follow("x", events=True):
                        for _ in range(turns):
                            await checkpoint()
                        scope.cancel()
                        await checkpoint()

            for turns in (0, turn % 5, turn):
                tasks.start_soon(visit, turns)
            for _ in range(turn % 7):
                await checkpoint()
            tasks.cancel_scope.cancel()
        async with reader.follow("x", events=True) as feed:
            items = [Interrupted()]
            while items[-1] == Interrupted():  # it may be, if it says so
                seq += 1
                await two[0].apply("x", texts(seq, str(seq)))
                items = await hear(feed)
                while not (Interrupted() in items or items[-1].batch.last_seq == seq):
                    items += await hear(feed)


async def test_a_cancelled_receive_loses_nothing(two, reader):
    async with reader.follow("x", events=True) as feed:
        with move_on_after(0):
            await feed.receive()
        await started(two[0], "x", "one")
        items = await hear(feed)
        with move_on_after(0):
            await checkpoint()
            items += await feed.receive()
        while len(items) < 2:
            items += await hear(feed)
    assert [type(item) for item in items] == [Changed, Appended]


# Scanning


async def test_a_scan_yields_what_is_there_once(two, reader):
    wanted = {f"stream {number} {{é}}" for number in range(120)}
    for stream_id in wanted:
        await started(two[0], stream_id, epoch="e")
    await started(two[0], "deleted")
    await two[0].apply("deleted", Delete())
    seen = [stream_id async for stream_id, _ in reader.scan()]
    assert sorted(seen) == sorted(wanted)
    async for stream_id, sentinel in reader.scan():
        assert (sentinel.epoch, sentinel.state) == ("e", State.ACTIVE)
        await two[0].apply(stream_id, Delete())
    assert [each async for each in reader.scan()] == []


async def test_a_scan_can_be_left_early(two):
    """No generator is left open, about which trio would warn."""
    for stream_id in "xyz":
        await started(two[0], stream_id)
    async for _ in two[0].scan():
        break
    gc.collect()
    await checkpoint()


# Cancellation


@at_each_await(at_least=2)
async def test_a_cancelled_change_is_made_or_not(cut, open_backend):
    """Law 10: never half, and its repeat is the same."""
    async with open_backend() as backend:
        await started(backend, "x", "one")
        change = texts(2, "two", "three")
        async with backend.follow("x", events=True) as feed:
            await cut(backend.apply("x", change))
            assert await data(backend, "x") in (["one"], ["one", "two", "three"])
            await backend.apply("x", change)
            assert await data(backend, "x") == ["one", "two", "three"]
            assert len(await hear(feed)) == 1


@at_each_await(at_least=2)
async def test_a_cancelled_claim_can_be_repeated(cut, open_backend):
    async with open_backend() as backend:
        await cut(backend.apply("x", claim()))
        assert (await backend.apply("x", claim())).epoch == "a"
        await backend.apply("x", texts(1, "one"))
        assert await data(backend, "x") == ["one"]


@at_each_await(at_least=1)
async def test_a_cancelled_read_changes_nothing(cut, open_backend):
    async with open_backend() as backend:
        await started(backend, "x", "one")
        page = await cut(read(backend, "x"))
        assert page is None or timeless(page) == timeless(await read(backend, "x"))
        await cut(read(backend, "y"))
        assert [stream_id async for stream_id, _ in backend.scan()] == ["x"]


@at_each_await(at_least=1)
async def test_a_cancelled_follow_leaves_nothing(cut, open_backend):
    async with open_backend() as backend:

        async def follow():
            async with backend.follow("x", events=True):
                await checkpoint()

        await cut(follow())
        async with backend.follow("x", events=True) as feed:
            await started(backend, "x")
            items = await hear(feed)
            assert isinstance(items[0], Changed) or Interrupted() in items


@at_each_await(at_least=3)
async def test_a_cancelled_scan_can_be_begun_again(cut, open_backend):
    async with open_backend() as backend:
        for number in range(3):
            await started(backend, f"x-{number}")

        async def scan():
            return sorted([stream_id async for stream_id, _ in backend.scan()])

        await cut(scan())
        assert await scan() == ["x-0", "x-1", "x-2"]


async def test_a_cancelled_step_of_a_scan_loses_nothing(two):
    for number in range(10):
        await started(two[0], f"x-{number}")
    scan, seen = two[0].scan(), []
    with fail_after(PATIENCE), suppress(StopAsyncIteration):
        while True:
            with move_on_after(0):  # cancelled where it waits first, if it waits
                seen.append((await anext(scan))[0])
            seen.append((await anext(scan))[0])
    assert sorted(seen) == [f"x-{number}" for number in range(10)]
