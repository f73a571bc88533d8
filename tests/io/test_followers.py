"""The followers' driver: feeds that fail, lose, repeat and delay; the sharing of one follower."""

import gc
import logging
from itertools import pairwise

import pytest
from anyio import create_task_group, current_time, fail_after, move_on_after, sleep, sleep_forever
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from resumable_core import BackendError, Outcome
from resumable_io import BackendUnavailable, Live, MemoryBackend, Streams
from resumable_io.testing import Fault, FaultyBackend
from tests.io.scripted import Script, data_of, records_of, tasks

WHOLE = ["one", "two", "three"]
LEASE, CHECK, OUTAGE = 15.0, 5.0, 45.0

pytestmark = pytest.mark.virtual_time


# What a feed is allowed to do


FAULTS = [None, Fault.DROP, Fault.REPEAT, Fault.DELAY, Fault.INTERRUPT]


def bad_feeds(faults):
    """Return a backend whose feeds are unreliable, without that they say so."""
    coming = iter(faults)
    return FaultyBackend(
        MemoryBackend(), lambda call: next(coming, None) if call == "feed" else None
    )


@given(
    st.lists(st.sampled_from(FAULTS), max_size=40),
    st.lists(st.sampled_from([0, 0, 0.1, 1, 7]), min_size=1, max_size=20),
)
async def test_whatever_a_feed_loses_the_log_has(faults, pauses):
    """Laws 1, 2 and 7: a live feed may lose, repeat and delay anything, and consumers still get
    everything, in order, once; at the latest one check interval after it was there.
    """
    arrived = {}

    async def source():
        for number, pause in enumerate(pauses, 1):
            yield str(number)
            arrived[number] = current_time()
            await sleep(pause)

    async with Streams(bad_feeds(faults)) as streams:
        got = []

        async def consume(subscription):
            seq = subscription.id.seq
            async for record in subscription.records():
                if hasattr(record, "data"):
                    seq += 1
                    assert (record.id.seq, record.data) == (seq, str(seq))
                    assert current_time() <= arrived.get(seq, current_time()) + CHECK + 0.1
                else:
                    assert record.outcome is Outcome.DONE
            got.append(seq)

        async with create_task_group() as group:
            await streams.start("x", source)
            group.start_soon(consume, await streams.resume("x"))
            group.start_soon(consume, await streams.resume("x"))
            await sleep(1)
            group.start_soon(consume, await streams.resume("x", Live()))
    assert got == [len(pauses)] * 3


async def test_a_silent_feed_is_checked():
    """Law 7: the death of a producer makes no sound."""
    backend = FaultyBackend(MemoryBackend(), {"feed": Fault.DROP}.get)
    async with Streams(backend) as streams:
        script = Script()
        subscription = await streams.start("x", script)
        with move_on_after(1):
            await anext(subscription)
        start = current_time()
        script.put("one")
        assert (await anext(subscription)).data == "one"
        assert current_time() - start <= CHECK
        await streams.stop("x")
        start = current_time()
        (end,) = await records_of(subscription)
        assert end.outcome is Outcome.STOPPED
        assert current_time() - start <= CHECK


# Stores that fail


async def test_a_feed_that_is_not_to_be_had_is_asked_for_again():
    backend = FaultyBackend(MemoryBackend())
    async with Streams(backend) as streams, create_task_group() as group:
        script = Script("one")
        await streams.start("x", script)
        await sleep(1)
        backend.refuse("follow")

        async def recover():
            await sleep(10)
            backend.refuse()
            script.put("two")
            script.end()

        group.start_soon(recover)
        with fail_after(10 + CHECK):
            assert await data_of(await streams.resume("x")) == ["one", "two"]
        assert backend.failures > 3


@pytest.mark.parametrize("broken", [{"read"}, {"read", "follow"}, {"read", "follow", "apply"}])
async def test_consumers_wait_for_a_store_that_comes_back(broken):
    """An outage that is shorter than the limit costs them time alone; the store is not asked by
    each of them meanwhile, but by their follower.
    """
    backend = FaultyBackend(MemoryBackend())
    async with Streams(backend) as streams:
        script = Script("one")
        first = await streams.start("x", script)
        await anext(first)
        got = []

        async def consume():
            got.append(await data_of(await streams.resume("x")))

        async with create_task_group() as group:
            for _ in range(50):
                group.start_soon(consume)
            await sleep(1)
            backend.refuse(*broken)
            await sleep(LEASE / 2)
            script.put("two")
            backend.recover()
            script.put("three")
            script.end()
        assert got == [WHOLE] * 50
        assert backend.failures < 100


class Refusing(MemoryBackend):
    """Says that something is wrong which will not go away by itself, while it is told to."""

    refused = ()

    async def read(self, *args, **kwargs):
        self.check("read")
        return await super().read(*args, **kwargs)

    async def follow(self, *args, **kwargs):
        self.check("follow")
        return await super().follow(*args, **kwargs)

    def check(self, call):
        if call in self.refused:
            raise BackendError(f"no permission to {call}")


async def test_consumers_are_told_soon_of_what_does_not_go_away():
    """What the store has said, at the next check; and they may go on when it was put right."""
    backend = Refusing()
    async with Streams(backend, check_interval=CHECK) as streams:
        script = Script("one")
        subscription = await streams.start("x", script)
        await anext(subscription)
        backend.refused = {"read"}
        start = current_time()
        with pytest.raises(BackendError, match="no permission to read") as told:
            await anext(subscription)
        assert not isinstance(told.value, BackendUnavailable)
        assert current_time() - start <= CHECK
        backend.refused = ()
        script.put("two", "three")
        script.end()
        await sleep(CHECK)
        assert await data_of(subscription) == WHOLE[1:]


async def test_consumers_are_told_soon_of_a_feed_that_is_refused():
    backend = Refusing()
    async with Streams(backend) as streams, Streams(backend) as elsewhere:
        script = Script("one")
        await streams.start("x", script)
        await sleep(1)
        backend.refused = {"follow"}
        subscription = await elsewhere.resume("x")
        await anext(subscription)
        start = current_time()
        with pytest.raises(BackendError, match="no permission to follow"):
            await anext(subscription)
        assert current_time() == start
        backend.refused = ()
        script.put("two", "three")
        script.end()
        await sleep(CHECK)
        assert await data_of(subscription) == WHOLE[1:]


async def test_nobody_waits_for_ever_for_a_store():
    """Law 7: those who wait are told after the length of an outage; and may go on later."""
    backend = FaultyBackend(MemoryBackend())
    async with Streams(backend) as elsewhere, Streams(backend) as streams:
        script = Script("one")
        await elsewhere.start("x", script)
        subscription = await streams.resume("x")
        await sleep(0.1)
        assert (await anext(subscription)).data == "one"
        with move_on_after(1):
            await anext(subscription)
        backend.break_down()
        start = current_time()
        with pytest.raises(BackendUnavailable):
            await anext(subscription)
        assert OUTAGE <= current_time() - start <= OUTAGE + CHECK + 1
        backend.recover()
        await sleep(10)
        with fail_after(LEASE + CHECK):
            (end,) = await records_of(subscription)
        assert end.outcome is Outcome.LOST  # its producer gave up earlier


async def test_a_feed_with_a_bug_is_logged_and_asked_for_again(caplog):
    """What no feed may raise harms neither other streams nor, for long, its own."""
    bugs = []

    class Buggy(MemoryBackend):
        async def follow(self, stream_id, tell, *, events):
            if events and stream_id == "buggy" and len(bugs) < 3:
                bugs.append(current_time())
                raise ZeroDivisionError
            return await super().follow(stream_id, tell, events=events)

    async with Streams(Buggy()) as streams, create_task_group() as group:
        other, buggy = Script(), Script()
        others = await streams.start("other", other)
        subscription = await streams.start("buggy", buggy)

        async def produce():
            await sleep(10)
            for script in (other, buggy):
                script.put("one")
                script.end()

        group.start_soon(produce)
        with fail_after(20):
            assert await data_of(subscription) == ["one"]
        assert await data_of(others) == ["one"]
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == len(bugs) == 3
    assert all("'buggy'" in record.getMessage() and record.exc_info for record in errors)
    assert all(later - earlier >= 1 for earlier, later in pairwise(bugs))  # it does not spin


async def test_a_read_with_a_bug_is_logged_and_repeated(caplog):
    class Buggy(FaultyBackend):
        bug = False

        async def read(self, *args, **kwargs):
            if self.bug:
                self.bug = False
                raise ZeroDivisionError
            return await super().read(*args, **kwargs)

    backend, script = Buggy(MemoryBackend(), {"feed": Fault.DROP}.get), Script()
    async with Streams(backend) as streams, create_task_group() as group:
        subscription = await streams.start("x", script)
        got = []

        async def consume():
            got.extend(await data_of(subscription))

        group.start_soon(consume)
        await sleep(1)
        backend.bug = True  # met by the next check
        script.put(*WHOLE)
        await sleep(2 * CHECK)
        script.end()
        await sleep(CHECK + 1)
        assert got == WHOLE
    assert "'x'" in caplog.text
    assert not backend.bug


# Sharing


async def test_one_follower_serves_all():
    """Laws 8 and 10: however many consumers wait, one follows; the last to leave ends it."""
    backend = MemoryBackend()
    async with Streams(backend) as streams:
        await streams.start("x", Script())
        subscriptions = [await streams.resume("x") for _ in range(20)]
        async with create_task_group() as group:
            for subscription in subscriptions:
                group.start_soon(records_of, subscription)
            await sleep(1)
            assert streams.statistics().subscriptions == 20
            assert streams.statistics().followers == 1
            (feed,) = [feed for feed in backend._feeds._feeds["x"] if feed.events]
            for subscription in subscriptions[1:]:
                await subscription.aclose()
            await sleep(1)
            assert streams.statistics().followers == 1
            assert feed in backend._feeds._feeds["x"]  # it goes on as if nothing had happened
            await subscriptions[0].aclose()
            await sleep(0.1)
            assert streams.statistics().followers == 0
            assert not [feed for feed in backend._feeds._feeds["x"] if feed.events]


async def test_a_stream_that_has_ended_needs_no_follower():
    class Unfollowed(MemoryBackend):
        def follow(self, stream_id, tell, *, events):
            assert not events, "nobody has to wait for anything"
            return super().follow(stream_id, tell, events=events)

    async with Streams(Unfollowed()) as streams:
        async with streams.produce("x") as out:
            for number in range(2000):
                await out.send(str(number))
        await sleep(1)
        assert len(await data_of(await streams.resume("x"))) == 2000
        assert len(await data_of(await streams.resume("x", Live()))) == 0


async def test_a_consumer_that_waits_alone_is_not_forgotten():
    """A subscription counts while somebody waits in it, even if nobody else holds it."""
    script = Script()
    got = []
    async with Streams() as streams, create_task_group() as group:
        await streams.start("x", script)

        async def consume():
            got.extend(await data_of(await streams.resume("x")))

        group.start_soon(consume)
        await sleep(1)
        gc.collect()
        await sleep(3 * CHECK)
        script.put(*WHOLE)
        script.end()
    assert got == WHOLE


async def test_the_clock_forgets_who_has_left():
    """Law 8: however many come and go before anything is due."""
    async with Streams(grace=0) as streams:
        await streams.start("x", Script())
        for _ in range(200):
            async with await streams.resume("x", Live()) as subscription:
                with move_on_after(0.001):
                    await anext(subscription)
        assert len(streams._followers._calls) <= 2 * len(streams._followers) + 65


async def test_a_follower_that_comes_while_the_last_one_leaves():
    """A new consumer never gets the follower of those who have just left."""
    script = Script()
    async with Streams() as streams:
        await streams.start("x", script)
        for number in range(20):
            subscription = await streams.resume("x")
            async with create_task_group() as group:

                async def receive(subscription=subscription):
                    with move_on_after(0.5):
                        async for _ in subscription:
                            pass

                group.start_soon(receive)
                for _ in range(number):
                    await checkpoint()
                await subscription.aclose()
        last = await streams.resume("x")
        script.put(*WHOLE)
        script.end()
        with fail_after(10):
            assert await data_of(last) == WHOLE
        await sleep(1)
        assert streams.statistics().followers == 0


class Stuck(MemoryBackend):
    """Neither confirms to consumers that they follow, nor refuses it."""

    async def follow(self, stream_id, tell, *, events):
        if events:
            await sleep_forever()
        return await super().follow(stream_id, tell, events=events)


async def test_nobody_waits_for_ever_for_a_feed():
    """Law 7: whoever waits is told after the length of an outage."""
    async with Streams(Stuck(), grace=0) as streams:
        subscription = await streams.start("x", Script())
        start = current_time()
        with fail_after(2 * OUTAGE), pytest.raises(BackendUnavailable):
            await anext(subscription)
        assert current_time() - start == pytest.approx(OUTAGE)


async def test_a_follow_that_never_returns_can_be_left():
    async with Streams(Stuck(), grace=0) as streams:
        subscription = await streams.start("x", Script())
        await sleep(0.1)
        before = tasks()
        with move_on_after(1):
            await anext(subscription)
        await subscription.aclose()
        await sleep(0.1)
        assert streams.statistics().followers == 0
        assert tasks() == before


@given(
    st.lists(st.sampled_from([None, *Fault]), max_size=30),
    st.lists(st.sampled_from([0, 0.05, 0.1, 1, 3]), min_size=1, max_size=6),
    st.sampled_from([0.05, 1, 4, 10]),
    st.booleans(),
)
async def test_no_feed_outlives_who_followed(faults, stays, lives, is_cancelled):
    """Law 8: whatever befell them when they began to follow, and however they went away."""
    memory, coming = MemoryBackend(), iter(faults)
    backend = FaultyBackend(
        memory, lambda call: next(coming, None) if call == "follow" else None, delay=0.1
    )
    with move_on_after(lives if is_cancelled else None):
        async with Streams(backend, grace=0) as streams, create_task_group() as group:
            await streams.start("x", Script("one"))

            async def visit(seconds):
                with move_on_after(seconds):
                    await records_of(await streams.resume("x"))

            for seconds in stays:
                group.start_soon(visit, seconds)
            await sleep(lives)
            group.cancel_scope.cancel()
    assert not memory._feeds
    assert not backend._feeds
