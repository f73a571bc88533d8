"""The producer's driver: stores that are slow, full, out of reach, or keep their answers back."""

import logging
from itertools import chain

import pytest
from anyio import create_task_group, current_time, fail_after, sleep, sleep_forever
from hypothesis import given
from hypothesis import strategies as st

from resumable_core import Append, End, Fenced, Finish, Gap, Outcome, ProducerLimits, State
from resumable_io import (
    BackendError,
    BackendFull,
    BackendUnavailable,
    MemoryBackend,
    StreamExists,
    Streams,
)
from resumable_io.testing import Fault, FaultyBackend
from tests.io.scripted import Script, data_of, records_of

WHOLE = ["one", "two", "three"]
LEASE, CHECK, OUTAGE = 15.0, 5.0, 30.0

pytestmark = pytest.mark.virtual_time


def unreliable(faults):
    """Return a backend that fails as it is told for each change in turn."""
    left = iter(faults)
    backend = FaultyBackend(MemoryBackend(), delay=0.01)
    backend.faults = lambda call: next(left, Fault.DELAY) if call == "apply" else None
    return backend


FAULTS = [Fault.REFUSE, Fault.FORGET, Fault.CANCEL]

# Few enough to be ridden out within a lease: the pauses between repeats grow to two seconds.
faults = st.lists(
    st.sampled_from(
        [[fault] for fault in FAULTS] + [[Fault.DELAY] * 3 + [fault] for fault in FAULTS]
    ),
    max_size=8,
).map(lambda parts: [*chain.from_iterable(parts)])


@given(faults, st.lists(st.text(max_size=3), max_size=10))
async def test_changes_whose_outcome_is_unknown_are_made_once(faults, items):
    """Law 6: claim, append and finish are repeated as they are; consumers get everything once, in
    order, and one end.
    """
    calls = 0

    async def source():
        nonlocal calls
        calls += 1
        for item in items:
            yield item
            await sleep(0.05)

    async with Streams(unreliable(faults)) as streams:
        subscription = await streams.start("x", source)
        *events, end = await records_of(subscription)
        assert [event.data for event in events] == items
        assert [event.id.seq for event in events] == [*range(1, len(items) + 1)]
        assert end.outcome is Outcome.DONE
        assert await data_of(await streams.resume("x")) == items
    assert calls == 1


@given(faults)
async def test_concurrent_starts_stay_one_when_answers_are_lost(faults):
    """Law 4, on a store that keeps its answers to itself: repeated claims are recognised."""
    script = Script(*WHOLE, ended=True)
    got = []
    async with Streams(unreliable(faults)) as streams, create_task_group() as group:

        async def client():
            got.append(await data_of(await streams.start_or_resume("x", script)))

        for _ in range(4):
            group.start_soon(client)
    assert got == [WHOLE] * 4
    assert script.calls == 1


async def test_an_outage_is_ridden_out():
    """A source is slowed down while the store is away, and its stream is whole afterwards."""
    backend = FaultyBackend(MemoryBackend())
    taken = 0

    async def source():
        nonlocal taken
        for number in range(50):
            taken = number
            yield str(number)
            await sleep(1)

    limits = ProducerLimits(buffer_count=4)
    async with Streams(backend, limits=limits) as streams:
        subscription = await streams.start("x", source)
        await sleep(5)
        backend.break_down()
        await sleep(20)
        assert taken < 15  # full
        backend.recover()
        assert await data_of(subscription) == [str(number) for number in range(50)]


async def test_an_outage_that_is_too_long_ends_the_source(caplog):
    """What the store does not answer for the length of an outage is given up, and logged; consumers
    here are told, those elsewhere when the lease has run out.
    """
    backend, script = FaultyBackend(MemoryBackend()), Script("one")
    async with Streams(backend) as streams, Streams(backend) as elsewhere:
        here = await streams.start("x", script)
        await anext(here)
        there = await elsewhere.resume("x")
        backend.break_down()
        start = current_time()
        (end,) = await records_of(here)
        assert end.outcome is Outcome.FAILED
        assert OUTAGE <= current_time() - start <= OUTAGE + LEASE
        await sleep(1)
        assert script.closed == 1
        assert streams.statistics().producers == 0
        assert "stream 'x' was given up" in caplog.text
        backend.recover()
        with fail_after(LEASE + CHECK + 1):
            event, end = await records_of(there)
        assert (event.data, end.outcome) == ("one", Outcome.LOST)


async def test_a_source_is_ended_even_if_the_store_cannot_be_told_yet():
    """Its limits hold during an outage, too; the end is recorded when the store is back."""
    backend, script = FaultyBackend(MemoryBackend()), Script("one")
    async with Streams(backend, limits=ProducerLimits(total=10)) as streams:
        subscription = await streams.start("x", script)
        await sleep(9)
        backend.break_down()
        await sleep(2)
        assert script.closed == 1
        await sleep(5)
        backend.recover()
        event, end = await records_of(subscription)
        assert (event.data, end.error) == ("one", "the source ran for more than 10 s")


async def test_who_produces_by_hand_is_told_of_an_outage():
    backend = FaultyBackend(MemoryBackend())
    async with Streams(backend) as streams:
        with pytest.raises(BackendUnavailable, match="did not answer for 30 s"):  # noqa: PT012
            async with streams.produce("x") as out:
                backend.break_down()
                await out.send("one")
                await out.flush()
        backend.recover()


@pytest.mark.parametrize("call", ["flush", "leave"])
async def test_who_produces_by_hand_is_not_left_waiting_when_the_store_is_gone_at_the_end(call):
    """Liveness: once the streams have been left, nobody is there to record anything."""
    backend = FaultyBackend(MemoryBackend())
    streams = Streams(backend, grace=0)
    with fail_after(LEASE):
        async with create_task_group() as group:

            async def produce():
                async with streams.produce("x") as out:
                    await sleep(0.55)
                    await out.send("one")
                    if call == "flush":
                        with pytest.raises(Fenced, match="shut down"):
                            await out.flush()
                    else:
                        await sleep(1)

            async with streams:
                group.start_soon(produce)
                await sleep(0.5)
                backend.refuse("apply")
                await sleep(0.1)


@pytest.mark.parametrize("how", ["start", "start_or_resume", "produce"])
async def test_a_claim_that_is_never_answered_is_given_up(how):
    """Nothing waits for ever; the source is closed, unused."""
    backend, script = FaultyBackend(MemoryBackend()), Script()
    async with Streams(backend) as streams:
        backend.refuse("apply")
        start = current_time()
        with pytest.raises(BackendUnavailable):  # noqa: PT012
            if how == "produce":
                async with streams.produce("x"):
                    pytest.fail("entered")
            else:
                await getattr(streams, how)("x", script)
        assert current_time() - start == pytest.approx(OUTAGE, abs=3)
        backend.recover()
        assert await data_of(await streams.start("x", WHOLE)) == WHOLE
    assert script.calls == 0


async def test_renewals_do_not_queue_behind_appends():
    """Law 7: a store that takes long over an append does not make its producer look dead."""
    backend = SlowToAppend(4 * LEASE)
    async with (
        Streams(backend, limits=ProducerLimits(outage=1000)) as streams,
        Streams(backend) as elsewhere,
    ):
        await streams.start("x", WHOLE)
        assert await data_of(await elsewhere.resume("x")) == WHOLE
        assert current_time() >= 4 * LEASE


class SlowToAppend(MemoryBackend):
    def __init__(self, seconds):
        super().__init__()
        self._seconds = seconds

    async def apply(self, stream_id, change):
        if isinstance(change, Append):
            await sleep(self._seconds)
        return await super().apply(stream_id, change)


class Held(MemoryBackend):
    """Answers nothing that it is asked while it is held."""

    held = False

    async def apply(self, stream_id, change):
        if self.held:
            await sleep_forever()
        return await super().apply(stream_id, change)


async def test_who_leaves_while_nothing_is_answered_gives_its_streams_up():
    """Law 7: nobody renews any more, so what was under way is repeated by the write lane alone."""
    backend, script = Held(), Script("one")
    async with Streams(backend) as elsewhere:
        async with Streams(backend, grace=0) as streams:
            await anext(await streams.start("x", script))
            backend.held = True
            script.put("two")
            await sleep(10)  # a renewal is under way, too
            backend.held = False
            start = current_time()
        assert current_time() - start < 1
        assert (await elsewhere.state("x")).outcome is Outcome.LOST


async def test_sources_wait_while_the_store_is_full():
    """Law 8: backpressure instead of memory. When there is room again, they go on."""
    backend = MemoryBackend(max_bytes=400_000)
    async with Streams(backend, grace=0) as streams:
        big, small = Script("." * 300_000), Script(*map(str, range(1200)), ended=True)
        await anext(await streams.start("big", big))
        subscription = await streams.start("small", small)
        await sleep(20)
        state = await streams.state("small")
        assert state.state is State.ACTIVE
        assert state.last_seq < 600
        assert small._items  # it is not asked for more than there is room for
        big.end()  # an ended stream makes room
        assert await data_of(subscription) == [str(number) for number in range(1200)]


async def test_a_store_that_stays_full_ends_the_stream(caplog):
    """Nothing waits for ever, and the reason is told."""
    backend = MemoryBackend(max_bytes=100_000)
    async with Streams(backend, grace=0) as streams:
        await anext(await streams.start("big", Script("." * 90_000)))
        subscription = await streams.start("small", Script(*map(str, range(2000))))
        start = current_time()
        *events, end = await records_of(subscription)
        assert [event.data for event in events] == [str(number) for number in range(len(events))]
        assert (end.outcome, end.error) == (Outcome.FAILED, "the store is full")
        assert OUTAGE <= current_time() - start <= OUTAGE + LEASE
        with pytest.raises(BackendFull, match="raise max_bytes"):
            await streams.start("another", WHOLE)


async def test_a_stop_is_noticed_without_a_feed():
    """Without news of changes, a producer learns from the answers to its renewals."""
    backend, script = FaultyBackend(MemoryBackend()), Script("one")
    async with Streams(backend) as elsewhere:
        backend.refuse("follow")
        async with Streams(backend) as streams:
            await streams.start("x", script)
            await sleep(20 * LEASE)
            assert script.closed == 0  # it was renewed all the time
            await elsewhere.stop("x")
            await sleep(LEASE)
            assert script.closed == 1
            assert streams.statistics().producers == 0
            backend.refuse()


async def test_the_feed_is_asked_for_until_it_is_there():
    backend, script = FaultyBackend(MemoryBackend()), Script("one")
    async with Streams(backend, lease=1000) as streams:
        backend.refuse("follow")
        await streams.start("x", script)
        await sleep(30)
        backend.refuse()
        await sleep(2)
        await streams.stop("x")
        await sleep(1)  # no renewal is due for long
        assert script.closed == 1


async def test_a_backend_with_a_bug_harms_its_stream_alone(caplog):
    """What no backend may raise is logged, and the stream is lost; all others go on."""
    backend = Buggy(Append)
    async with Streams(backend) as streams:
        other = Script("one")
        others = await streams.start("other", other)
        subscription = await streams.start("buggy", Script("one"))
        with fail_after(LEASE + CHECK + 1):
            *_, end = await records_of(subscription)
        assert isinstance(end, End)
        assert end.outcome is Outcome.LOST
        other.end()
        assert await data_of(others) == ["one"]
        await sleep(1)
        assert streams.statistics().producers == 0
    (record, *_) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert "'buggy'" in record.getMessage()
    assert record.exc_info


async def test_a_backend_with_a_bug_at_the_end_harms_its_stream_alone(caplog):
    """The streams are left in order, and the others are recorded as lost."""
    backend = Buggy(Finish)
    async with Streams(backend) as elsewhere:
        async with Streams(backend, grace=0) as streams:
            for stream_id in ("buggy", "other"):
                await anext(await streams.start(stream_id, Script("one")))
        assert (await elsewhere.state("buggy")).outcome is None
        assert (await elsewhere.state("other")).outcome is Outcome.LOST
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert "'buggy'" in record.getMessage()


class Buggy(MemoryBackend):
    def __init__(self, change):
        super().__init__()
        self.change = change

    async def apply(self, stream_id, change):
        if stream_id == "buggy" and isinstance(change, self.change):
            raise ZeroDivisionError
        return await super().apply(stream_id, change)


async def test_history_is_read_again_when_the_store_fails():
    """A source that takes over gets all that is there, or its stream fails: never a part."""
    backend = FaultyBackend(MemoryBackend())
    async with Streams(backend, grace=0) as gone:
        await anext(await gone.start("x", Script("one")))
    async with Streams(backend) as streams:
        histories = []

        def source(history):
            histories.append([event.data for event in history])
            yield "two"

        backend.refuse("read")
        subscription = await streams.start("x", source, on_lost="continue")
        await sleep(1)
        backend.recover()
        *events, end = await records_of(subscription)
        assert not any(isinstance(event, Gap) for event in events)
        if end.outcome is Outcome.DONE:
            assert histories == [["one"]]
        else:
            assert histories == []
            assert issubclass(BackendUnavailable, BackendError)
            assert end.error.startswith("BackendUnavailable")
        with pytest.raises(StreamExists):
            await streams.start("x", WHOLE)
