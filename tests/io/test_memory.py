"""The memory backend: `EventLog` in every moment, its feeds, its bounds and its books.

What holds for every backend is tested by the kit, in test_kit.py.
"""

import math

import pytest
from anyio import (
    current_time,
    fail_after,
    sleep,
)
from hypothesis import given
from hypothesis import strategies as st

from resumable_core import (
    ABSENT,
    TOP,
    Appended,
    BackendFull,
    Changed,
    Claim,
    Delete,
    EventLog,
    Fenced,
    Finish,
    Message,
    Observe,
    Outcome,
    Renew,
    Retention,
    State,
    Stop,
    StreamError,
    StreamExists,
    StreamNotFound,
)
from resumable_core.testing import append, pauses, plans
from resumable_io import InvalidInput, MemoryBackend
from resumable_io.memory import EVENT_OVERHEAD, STREAM_OVERHEAD
from resumable_io.testing import Inbox, following
from tests.io.cancelling import at_each_await

LEASE, KEEP = 10.0, 100.0


def claim(epoch="a", *, keep=KEEP, lease=LEASE, **kwargs):
    return Claim(epoch, lease, Retention(keep=keep), **kwargs)


def texts(*data):
    return [Message(text) for text in data]


async def started(backend, stream_id, *data, epoch="a", **kwargs):
    await backend.apply(stream_id, claim(epoch, **kwargs))
    if data:
        await backend.apply(stream_id, append(epoch, 1, texts(*data)))


async def ended(backend, stream_id, *data, **kwargs):
    await started(backend, stream_id, *data, **kwargs)
    await backend.apply(stream_id, Finish("a", Outcome.DONE, len(data)))


async def read(backend, stream_id, after=0, limit=100):
    return await backend.read(stream_id, after, limit, connected_for=math.inf)


async def data(backend, stream_id):
    return [event.data for event in (await read(backend, stream_id)).events]


async def hear(feed):
    with fail_after(10):
        return await feed.receive()


def is_empty(backend):
    """Say whether nothing is left of any stream."""
    kept = (backend._logs, backend._expiries, backend._scheduled, backend._feeds)
    return not any(kept) and backend._bytes == 0


def is_accounted_for(backend):
    """Say whether the bytes that are reckoned with are those that are there."""
    logs = backend._logs.values()
    there = sum(STREAM_OVERHEAD + log.size + EVENT_OVERHEAD * log.count for log in logs)
    return backend._bytes == there and backend._logs.keys() <= backend._scheduled


def news(items):
    """Return what a feed has to tell, without what it may tell or not: that a stream has expired,
    which is noticed when somebody looks, and that one begins again under the epoch it had.
    """
    told, state = [], None
    for item in items:
        if isinstance(item, Appended):
            told.append(item)
        elif item.sentinel.known and state != (item.sentinel.state, item.sentinel.epoch):
            state = (item.sentinel.state, item.sentinel.epoch)
            told.append(item)
    return told


# The contract


ids = st.sampled_from(["x", "x", "y"])
changes = st.tuples(st.just("apply"), ids, plans())
reads = st.tuples(
    st.just("read"),
    ids,
    st.tuples(
        st.integers(0, 8) | st.just(TOP), st.integers(1, 8), st.sampled_from([0.0, math.inf])
    ),
)


@pytest.mark.virtual_time
@given(st.lists(st.tuples(pauses(), changes | changes | reads), max_size=20))
async def test_it_does_what_the_log_does(steps):
    """Whatever is done to streams, in any order: the answers and errors are those of `EventLog`,
    and the feeds tell every batch and every change of state, in order, once.
    """
    backend = MemoryBackend()
    logs = {"x": EventLog(), "y": EventLog()}
    expected = []
    async with backend, following(backend, "x") as feed:

        def oracle(stream_id, act, *args, **kwargs):
            """Let the oracle answer, and note what the feed has to tell about it."""
            log = logs[stream_id]
            before, newest = log.sentinel, log.batches[-1:]
            answer = act(log, *args, **kwargs)
            after = log.sentinel
            if stream_id == "x":
                if log.batches[-1:] != newest and log.batches:
                    expected.append(Appended(log.batches[-1]))
                if (before.state, before.epoch) != (after.state, after.epoch):
                    expected.append(Changed(after))
            return answer

        for pause, (kind, stream_id, what) in steps:
            if pause:
                await sleep(pause)
            now = current_time()
            if kind == "read":
                after, limit, connected_for = what
                options = {"limit": limit, "connected_for": connected_for}
                expected_answer = oracle(stream_id, EventLog.read, after, now, **options)
                answer = await backend.read(stream_id, after, **options)
            else:
                change = what.aimed_at(logs[stream_id].sentinel)
                try:
                    expected_answer = oracle(stream_id, EventLog.apply, change, now).sentinel
                except StreamError as error:
                    expected_answer = repr(error)
                try:
                    answer = await backend.apply(stream_id, change)
                except StreamError as error:
                    answer = repr(error)
            assert answer == expected_answer
            assert is_accounted_for(backend)

        heard = await hear(feed) if expected else ()
        assert news(heard) == news(expected)
        there = {stream_id: sentinel async for stream_id, sentinel in backend.scan()}
        now = current_time()
        for log in logs.values():
            log.read(0, now, connected_for=-math.inf)
        assert there == {id: log.sentinel for id, log in logs.items() if log.sentinel.known}


# Following


async def test_a_feed_that_was_left_hears_nothing_more():
    backend = MemoryBackend()
    async with following(backend, "x") as feed:
        pass
    await started(backend, "x")
    assert not feed.told
    assert not backend._feeds


# What is kept


async def test_asking_leaves_nothing_behind():
    """Law 9: reads, follows, scans, and changes of what is not there create nothing."""
    backend = MemoryBackend()
    assert await read(backend, "x") == await read(backend, "x")
    assert (await read(backend, "x", after=7)).sentinel is ABSENT
    assert (await read(backend, "x", after=TOP)).first_seq == 1
    async with following(backend, "x"):
        await read(backend, "x")
    assert [each async for each in backend.scan()] == []
    assert await backend.apply("x", Observe()) is ABSENT
    assert await backend.apply("x", Delete()) is ABSENT
    for change in (Stop(), Renew("a"), append("a", 1, texts("one"))):
        with pytest.raises(StreamNotFound):
            await backend.apply("x", change)
    assert is_empty(backend)


@pytest.mark.virtual_time
async def test_what_was_not_there_takes_no_room_away():
    """Law 8: asking for the removal of unknown streams, over and over, does not lift the limit."""
    backend = MemoryBackend(max_bytes=3 * STREAM_OVERHEAD)
    for number in range(1000):
        await backend.apply(f"unknown-{number}", Delete())
        await backend.apply(f"unknown-{number}", Observe())
    assert is_empty(backend)
    for number in range(4):
        await started(backend, f"x-{number}")
    with pytest.raises(BackendFull):
        await started(backend, "one too many")


@pytest.mark.virtual_time
@pytest.mark.parametrize("look", ["read", "claim another", "claim the same"])
async def test_what_has_expired_is_forgotten(look):
    """Law 8: an ended stream goes after its time, and leaves nothing in any of the books."""
    backend = MemoryBackend()
    for number in range(10):
        await ended(backend, f"x-{number}", "one")
        await backend.apply(f"y-{number}", claim())  # and nobody renews it
    await sleep(LEASE + KEEP)
    match look:
        case "read":
            for number in range(10):
                for kind in "xy":
                    assert (await read(backend, f"{kind}-{number}")).sentinel is ABSENT
            assert not backend._logs
            assert backend._bytes == 0
        case "claim another":
            await started(backend, "z")
            assert backend._logs.keys() == backend._scheduled == {"z"}
            assert len(backend._expiries) == 1
        case "claim the same":
            await started(backend, "x-0", epoch="b")
            assert (await read(backend, "x-0")).sentinel.last_seq == 0
            assert backend._logs.keys() == backend._scheduled == {"x-0"}
    assert is_accounted_for(backend)


@pytest.mark.virtual_time
async def test_what_is_renewed_stays():
    backend = MemoryBackend()
    await started(backend, "x", "one")
    for _ in range(50):
        await sleep(LEASE / 2)
        await backend.apply("x", Renew("a"))
        await backend.apply("other", claim())  # makes it look for what has expired
    assert await data(backend, "x") == ["one"]
    assert len(backend._expiries) == len(backend._scheduled) == 2


@pytest.mark.virtual_time
async def test_readers_are_told_when_a_stream_expires():
    """Law 2: what goes away does not go silently."""
    backend = MemoryBackend()
    await ended(backend, "x")
    async with following(backend, "x") as feed:
        await sleep(LEASE + KEEP)
        await started(backend, "y")
        assert await hear(feed) == (Changed(ABSENT),)


@pytest.mark.virtual_time
async def test_a_lease_that_ran_out_is_recorded_by_who_looks():
    """Law 7: and those who follow are told."""
    backend = MemoryBackend()
    await started(backend, "x", "one")
    async with following(backend, "x", events=False) as feed:
        await sleep(LEASE)
        page = await backend.read("x", 0, 10, connected_for=LEASE / 2)
        assert page.sentinel.state is State.ACTIVE  # it has not been watching for a lease
        page = await backend.read("x", 0, 10, connected_for=LEASE)
        assert page.sentinel.state is State.LOST
        assert await hear(feed) == (Changed(page.sentinel),)
    with pytest.raises(Fenced):
        await backend.apply("x", Renew("a"))


async def test_what_is_refused_changes_nothing():
    """Check, then change: neither the log nor the books, and nobody is told."""
    backend = MemoryBackend()
    await started(backend, "x", "one")
    before = await read(backend, "x")
    async with following(backend, "x") as feed:
        with pytest.raises(StreamExists):
            await backend.apply("x", claim("b"))
        with pytest.raises(Fenced):
            await backend.apply("x", append("b", 2, texts("two")))
        assert not feed.told
    after = await read(backend, "x")
    assert (after.sentinel, after.events) == (before.sentinel, before.events)
    assert is_accounted_for(backend)


# Bounds


def room_for(*streams):
    """Return the bytes for some streams, each given as the lengths of its events."""
    return sum(
        STREAM_OVERHEAD + sum(EVENT_OVERHEAD + length for length in lengths) for lengths in streams
    )


@pytest.mark.virtual_time
async def test_what_would_expire_first_is_evicted_first():
    """Law 8: when the room is used up, ended streams go, in the order in which they would expire,
    and no more of them than needed.
    """
    size = room_for([1000])
    backend = MemoryBackend(max_bytes=10 * size)
    for number, keep in enumerate([50, 30, 70, 10, 90, 20, 60, 40, 80, 35]):
        await ended(backend, f"x-{number}", "." * 1000, keep=keep)
    assert len(backend._logs) == 10
    await started(backend, "y")
    assert len(backend._logs) == 11  # this one has passed the limit, for the next to find
    await started(backend, "z")
    # Without the two that would expire first, nine tenths are in use, or less.
    assert backend._logs.keys() == {*(f"x-{n}" for n in (0, 1, 2, 4, 6, 7, 8, 9)), "y", "z"}
    assert is_accounted_for(backend)


async def test_the_books_do_not_grow_with_what_was_evicted():
    """Law 8: a stream that was evicted leaves nothing behind until it would have expired."""
    backend = MemoryBackend(max_bytes=room_for([1000], [1000], [1000], [1000]))
    for number in range(500):
        await ended(backend, f"x-{number}", "." * 1000)
        assert len(backend._logs) <= 5
        assert len(backend._scheduled) == len(backend._expiries) <= 5
    assert is_accounted_for(backend)


async def test_readers_are_told_when_a_stream_is_evicted():
    backend = MemoryBackend(max_bytes=room_for([1000]))
    await ended(backend, "x", "." * 1001)
    async with following(backend, "x") as feed:
        await started(backend, "y")
        assert await hear(feed) == (Changed(ABSENT),)
    assert (await read(backend, "x")).sentinel is ABSENT


async def test_active_streams_are_never_evicted():
    """Laws 2 and 8: when only active ones are left, claims and appends are refused, with nothing
    changed, until there is room again.
    """
    backend = MemoryBackend(max_bytes=room_for([1000], [1000]) - 1)
    await ended(backend, "old", "." * 1000)
    await started(backend, "x", "." * 1000)
    await started(backend, "y", "." * 1000)
    before = backend._bytes
    for _ in range(3):
        with pytest.raises(BackendFull, match="raise max_bytes"):
            await backend.apply("z", claim())
        with pytest.raises(BackendFull):
            await backend.apply("x", append("a", 2, texts("more")))
    assert backend._logs.keys() == {"x", "y"}
    assert backend._bytes == before
    assert await data(backend, "x") == ["." * 1000]
    # Everything else goes on.
    await backend.apply("x", Renew("a"))
    await backend.apply("x", Finish("a", Outcome.DONE, 1))
    # Ended ones make room.
    await backend.apply("y", append("a", 2, texts("more")))
    await backend.apply("z", claim())
    assert backend._logs.keys() == {"y", "z"}
    assert is_accounted_for(backend)


async def test_memory_is_bounded_by_the_limit_and_one_batch():
    """Law 8, for streams that are long."""
    limit, batch = room_for([1000] * 20), [1000] * 5
    backend = MemoryBackend(max_bytes=limit)
    for stream in range(5):
        await started(backend, f"x-{stream}")
        try:
            for number in range(10):
                first_seq = 1 + number * len(batch)
                await backend.apply(
                    f"x-{stream}", append("a", first_seq, texts(*("." * size for size in batch)))
                )
                assert backend._bytes <= limit + room_for(batch)
        except BackendFull:
            await backend.apply(f"x-{stream}", Finish("a", Outcome.DONE, 0))


# Scanning


async def test_a_scan_yields_what_is_there_once():
    """What is there during the whole scan is yielded once; what comes or goes may or may not be."""
    backend = MemoryBackend()
    for number in range(20):
        await started(backend, f"stays-{number}")
        await started(backend, f"goes-{number}")
    seen = []
    async for stream_id, sentinel in backend.scan():
        seen.append(stream_id)
        assert sentinel.epoch == "a"
        await started(backend, f"comes-{len(seen)}")
        for number in range(20):
            await backend.apply(f"goes-{number}", Delete())
    stayed = [stream_id for stream_id in seen if stream_id.startswith("stays")]
    assert sorted(stayed) == sorted({f"stays-{number}" for number in range(20)})
    assert len(seen) == len({*seen})


@pytest.mark.virtual_time
async def test_a_scan_passes_over_what_is_not_there_for_readers():
    backend = MemoryBackend()
    await ended(backend, "expired", keep=1)
    await ended(backend, "deleted")
    await backend.apply("deleted", Delete())
    await sleep(LEASE)
    await ended(backend, "kept")
    assert [stream_id async for stream_id, _ in backend.scan()] == ["kept"]


# Cancellation


@at_each_await(at_least=2)
async def test_a_cancelled_change_is_made_or_not(cut):
    """Law 10: never half, and its repeat is the same."""
    backend = MemoryBackend()
    await started(backend, "x", "one")
    change = append("a", 2, texts("two", "three"))
    async with following(backend, "x") as feed:
        await cut(backend.apply("x", change))
        assert await data(backend, "x") in (["one"], ["one", "two", "three"])
        await backend.apply("x", change)
        assert await data(backend, "x") == ["one", "two", "three"]
        assert len(await hear(feed)) == 1
    assert is_accounted_for(backend)


@at_each_await(at_least=2)
async def test_a_cancelled_read_changes_nothing(cut):
    backend = MemoryBackend()
    await started(backend, "x", "one")
    page = await cut(read(backend, "x"))
    assert page in (None, await read(backend, "x"))
    await cut(read(backend, "y"))
    assert backend._logs.keys() == {"x"}


@at_each_await(at_least=2)
async def test_a_cancelled_follow_leaves_nothing(cut):
    backend = MemoryBackend()

    unfollow = await cut(backend.follow("x", Inbox().tell, events=True))
    if unfollow is not None:
        unfollow()
    assert is_empty(backend)


@pytest.mark.parametrize("limit", [0, -1, 1.5, None])
def test_a_limit_that_is_none_is_refused(limit):
    with pytest.raises(InvalidInput, match="max_bytes is a whole number"):
        MemoryBackend(max_bytes=limit)
