"""Cancellation at each await of each public call: afterwards everything is consistent.

Law 10, and 4, 5 and 7: whoever is cancelled, wherever that happens, disturbs nobody; another
consumer gets the whole; a stream that has lost its producer is lost within one lease and can be
started again; a source is used once at most, and is closed; no task stays behind.

Every test is run again and again, each time in a new world, and is cancelled one await later (see
cancelling.py). The slow backend suspends once more after everything it does, so that whoever is
cancelled there never learns that it was done.
"""

from contextlib import suppress
from functools import partial

import pytest
from anyio import create_task_group, current_time, fail_after, move_on_after, sleep
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint

from resumable_core import (
    AtCharacter,
    BackendUnavailable,
    EventId,
    Live,
    Outcome,
    ProducerLimits,
    Reset,
    State,
)
from resumable_io import (
    Fenced,
    MemoryBackend,
    StreamNotFound,
    Streams,
    StreamsClosed,
)
from resumable_io.testing import Fault, FaultyBackend
from tests.io.backends import SlowBackend
from tests.io.cancelling import Cut, at_each_await
from tests.io.scripted import Script, data_of, records_of, tasks

LEASE, CHECK = 15.0, 5.0
WHOLE = ["one", "two", "three"]

pytestmark = pytest.mark.virtual_time

on_both_backends = pytest.mark.parametrize("backend_class", [MemoryBackend, SlowBackend])


class World:
    """A backend, the streams that a call is cancelled in, and those of another process."""

    def __init__(self, backend_class):
        self.backend = backend_class()
        self.here = Streams(self.backend, grace=0)
        self.elsewhere = Streams(self.backend, grace=0)

    async def __aenter__(self):
        self._tasks = tasks()
        await self.elsewhere.__aenter__()
        await self.here.__aenter__()
        return self.here

    async def __aexit__(self, *exc_info):
        await self.here.__aexit__(*exc_info)
        await self.elsewhere.__aexit__(*exc_info)
        if exc_info == (None, None, None):
            assert tasks() == self._tasks
            assert not self.backend._feeds


async def check(streams, stream_id, script, whole=WHOLE):
    """Find out what became of a stream that somebody was cancelled about, and that it is in order.

    Within a lease and a check interval it has ended, as far as it has begun; and if it is not
    whole, it can be started again.
    """
    await sleep(0.1)  # a claim that was cancelled is taken back meanwhile
    assert script.calls <= 1
    if await streams.state(stream_id) is None:
        assert script.calls == 0
        subscription = await streams.start(stream_id, script)
    else:
        with fail_after(LEASE + CHECK + 1):
            *events, end = await records_of(await streams.resume(stream_id))
        assert [event.data for event in events] == whole[: len(events)]
        assert [event.id.seq for event in events] == [*range(1, len(events) + 1)]
        if end.outcome is Outcome.DONE:
            assert len(events) == len(whole)
            assert script.calls == 1
            subscription = await streams.resume(stream_id)
        else:
            assert end.outcome is Outcome.LOST
            subscription = await streams.start(stream_id, list(whole), on_lost="restart")
    assert await data_of(subscription) == whole
    await sleep(0.1)
    assert script.started == script.closed


# The harness


@at_each_await(at_least=4)
async def test_the_harness_cancels_at_each_await(cut):
    """Before it begins, at each of its three awaits, and then not any more."""
    trace = []

    async def call():
        for number in range(3):
            trace.append(number)
            await checkpoint()
        return "done"

    assert await cut(call()) == ("done" if cut.step > 3 else None)
    assert cut.reached is cut.cancelled is (cut.step <= 3)
    assert trace == [*range(min(max(cut.step, 1), 3))]


async def test_the_harness_knows_what_was_completed():
    """A call that was nearly through when it was cancelled has completed."""

    async def call():
        await cancel_shielded_checkpoint()
        return "done"

    cut = Cut(1)
    assert await cut(call()) == "done"
    assert cut.reached
    assert not cut.cancelled


async def test_the_harness_lets_exceptions_through():
    async def call():
        await checkpoint()
        raise LookupError

    with pytest.raises(LookupError):
        await Cut(7)(call())


# Starting and resuming


@on_both_backends
@at_each_await(at_least=2)
async def test_start(cut, backend_class):
    script = Script(*WHOLE, ended=True)
    async with (world := World(backend_class)) as streams:
        subscription = await cut(streams.start("x", script))
        if subscription is not None:
            assert await data_of(subscription) == WHOLE
        await check(world.elsewhere, "x", script)


@on_both_backends
@at_each_await(at_least=4)
async def test_start_or_resume_as_the_first(cut, backend_class):
    script = Script(*WHOLE, ended=True)
    async with (world := World(backend_class)) as streams:
        subscription = await cut(streams.start_or_resume("x", script))
        if subscription is not None:
            assert await data_of(subscription) == WHOLE
        await check(world.elsewhere, "x", script)


@on_both_backends
@pytest.mark.parametrize("position", [None, "a-1", AtCharacter(5), Live()])
@at_each_await(at_least=2)
async def test_start_or_resume_of_a_running_one(cut, backend_class, position):
    """The source of whoever is cancelled is closed, the one that runs goes on."""
    script, other = Script(*WHOLE), Closable()
    async with (world := World(backend_class)) as streams:
        subscription = await world.elsewhere.start("x", script)
        assert (await anext(subscription)).data == "one"
        await cut(streams.start_or_resume("x", other, position))
        assert other.closed == 1
        script.end()
        assert await data_of(subscription) == WHOLE[1:]
        await check(world.elsewhere, "x", script)


class Closable:
    closed = 0

    def __aiter__(self):
        raise AssertionError("it is not needed")

    async def aclose(self):
        await checkpoint()
        self.closed += 1


@on_both_backends
@at_each_await(at_least=4)
async def test_start_or_resume_to_take_over(cut, backend_class):
    """Law 4: the source runs once at most, and nothing of what was there is lost."""
    script = Script("two", "three", ended=True)
    async with (world := World(backend_class)) as streams:
        async with Streams(world.backend, grace=0) as gone:
            await anext(await gone.start("x", Script("one")))
        await cut(streams.start_or_resume("x", script, on_lost="continue"))
        with fail_after(LEASE + CHECK + 1):
            subscription = await world.elsewhere.start_or_resume(
                "x", lambda history: WHOLE[len(history) :], on_lost="continue"
            )
            *events, end = await records_of(subscription)
            if end.outcome is Outcome.LOST:  # by the lease of whoever was cancelled
                *events, end = await records_of(
                    await world.elsewhere.start_or_resume(
                        "x", lambda history: WHOLE[len(history) :], on_lost="continue"
                    )
                )
        assert [event.data for event in events] == WHOLE
        assert end.outcome is Outcome.DONE
        assert script.calls <= 1


@on_both_backends
@at_each_await(at_least=2)
async def test_resume(cut, backend_class):
    script = Script(*WHOLE)
    async with (world := World(backend_class)) as streams:
        other = await world.elsewhere.start("x", script)
        subscription = await cut(streams.resume("x"))
        script.end()
        assert await data_of(other) == WHOLE
        if subscription is not None:
            assert await data_of(subscription) == WHOLE


@on_both_backends
@at_each_await(at_least=4)
async def test_several_starts_of_which_one_is_cancelled(cut, backend_class):
    """Whoever is cancelled among those who start together, the others get the whole.

    Those who have found a claim that was taken back then are told to start from the beginning, or
    that it was deleted when nobody starts it again before they look.
    """
    script = Script(*WHOLE, ended=True)
    outcomes = []
    async with (world := World(backend_class)) as streams:

        async def client():
            first, *others = await records_of(await world.elsewhere.start_or_resume("x", script))
            records = others if isinstance(first, Reset) else [first, *others]
            outcomes.append(([r.data for r in records[:-1]], records[-1].outcome))

        async with create_task_group() as group:
            for _ in range(5):
                group.start_soon(client)
            await cut(streams.start_or_resume("x", script))
            for _ in range(5):
                group.start_soon(client)
        whole, nothing = (WHOLE, Outcome.DONE), ([], Outcome.STOPPED)
        assert outcomes.count(whole) >= (5 if cut.cancelled else 10)
        assert outcomes.count(whole) + outcomes.count(nothing) == 10
        assert script.calls == 1
        await check(world.elsewhere, "x", script)


# Looking and acting


@on_both_backends
@at_each_await(at_least=2)
async def test_state(cut, backend_class):
    async with World(backend_class) as streams:
        script = Script("one")
        subscription = await streams.start("x", script)
        await anext(subscription)
        await cut(streams.state("x"))
        await cut(streams.state("unknown"))
        assert (await streams.state("x")).state is State.ACTIVE
        assert [stream_id async for stream_id, _ in streams.scan()] == ["x"]


@on_both_backends
@at_each_await(at_least=4)
async def test_scan(cut, backend_class):
    async with World(backend_class) as streams:
        await streams.start("x", Script())
        await streams.start("y", Script())

        async def scan():
            return [stream_id async for stream_id, _ in streams.scan()]

        await cut(scan())
        assert await scan() == ["x", "y"]


@on_both_backends
@pytest.mark.parametrize("how", ["stop", "delete"])
@at_each_await(at_least=2)
async def test_stop_and_delete(cut, backend_class, how):
    """It is done or not; a repeat does it, and the source is closed."""
    script = Script("one")
    async with (world := World(backend_class)) as streams:
        subscription = await world.elsewhere.start("x", script)
        await anext(subscription)
        await cut(getattr(streams, how)("x"))
        await sleep(1)
        state = await streams.state("x")
        ended = state is None or state.outcome is Outcome.STOPPED
        assert script.closed == ended
        assert world.elsewhere.statistics().producers == (not ended)
        await getattr(streams, how)("x")
        (end,) = await records_of(subscription)
        assert end.outcome is Outcome.STOPPED
        await sleep(1)
        assert script.closed == 1


# Consuming


@on_both_backends
@pytest.mark.parametrize("how", ["receive", "next", "records"])
@at_each_await(at_least=7)
async def test_receiving(cut, backend_class, how):
    """What was not handed out is handed out by the next call: nothing twice, nothing never."""
    script = Script()
    async with (world := World(backend_class)) as streams:
        await world.elsewhere.start("x", script)
        subscription = await streams.resume("x")
        got = []

        async def consume():
            match how:
                case "receive":
                    while records := await subscription.receive():
                        got.extend(records)
                case "next":
                    async for event in subscription:
                        got.append(event)  # noqa: PERF401 - cancelled, it keeps what it has
                case "records":
                    async for record in subscription.records():
                        got.append(record)  # noqa: PERF401

        async def produce():
            for item in WHOLE:
                script.put(item)
                await checkpoint()
                await sleep(1)
            script.end()

        async with create_task_group() as group:
            group.start_soon(produce)
            await cut(consume())
            await consume()
        assert [record.data for record in got if hasattr(record, "data")] == WHOLE
        assert len({record.id for record in got if hasattr(record, "data")}) == len(WHOLE)
        assert streams.statistics().subscriptions == 0
        await check(world.elsewhere, "x", script)


@on_both_backends
@at_each_await(at_least=6)
async def test_leaving_a_subscription(cut, backend_class):
    """`aclose` itself never suspends: it can't be cancelled half way. The block around it can."""
    script = Script("one")
    async with (world := World(backend_class)) as streams:
        await world.elsewhere.start("x", script)

        async def consume():
            async with await streams.resume("x") as subscription:
                await anext(subscription)
                with move_on_after(1):
                    await anext(subscription)
                await cancel_shielded_checkpoint()

        await cut(consume())
        await sleep(CHECK)
        assert streams.statistics().subscriptions == streams.statistics().followers == 0
        subscription = await streams.resume("x")
        await anext(subscription)
        closing = Cut(1)
        await closing(subscription.aclose())
        assert not closing.reached
        script.put("two", "three")
        script.end()
        await check(world.elsewhere, "x", script)


@on_both_backends
@at_each_await(at_least=6)
async def test_a_consumer_that_is_cancelled_disturbs_nobody(cut, backend_class):
    """Law 10: the others at the same place, who share its follower, get everything."""
    script = Script()
    async with (world := World(backend_class)) as streams:
        await world.elsewhere.start("x", script)
        others = [await streams.resume("x") for _ in range(3)]
        got = []

        async def consume(subscription):
            got.append(await data_of(subscription))

        async def produce():
            for item in WHOLE:
                await sleep(1)
                script.put(item)
            script.end()

        async with create_task_group() as group:
            for other in others:
                group.start_soon(consume, other)
            group.start_soon(produce)
            await cut(data_of(await streams.resume("x")))
        assert got == [WHOLE] * 3


# Producing


async def produced(streams, *items):
    async with streams.produce("x") as out:
        for item in items:
            await out.send(item)
        await out.flush()
        await out.send("three")


@on_both_backends
@at_each_await(at_least=3)
async def test_producing(cut, backend_class):
    """Entering, sending, flushing, and leaving: the stream is whole or lost, at once if it was
    entered, and what was sent before is there.
    """
    script = Script()  # is not used
    async with (world := World(backend_class)) as streams:
        await cut(produced(streams, "one", "two"))
        await sleep(0.1)  # a claim that was cancelled is taken back meanwhile
        start = current_time()
        if await streams.state("x") is None:
            assert cut.cancelled
            await produced(streams, "one", "two")
        with fail_after(LEASE + CHECK + 1):
            *events, end = await records_of(await world.elsewhere.resume("x"))
        data = [event.data for event in events]
        if end.outcome is Outcome.LOST:
            assert cut.cancelled
            assert data == WHOLE[: len(data)]
            if end.error == "the producer was cancelled":
                assert current_time() == start
        else:
            assert (end.outcome, data) == (Outcome.DONE, WHOLE)
        await sleep(1)
        assert streams.statistics().producers == 0
        assert (
            await data_of(
                await world.elsewhere.start("x", WHOLE, on_lost="restart")
                if end.outcome is Outcome.LOST
                else await world.elsewhere.resume("x")
            )
            == WHOLE
        )
        assert script.calls == 0


@pytest.mark.parametrize("call", ["send", "flush"])
@at_each_await(at_least=3)
async def test_sending_and_flushing(cut, call):
    """A cancelled `send` has not sent its item; a cancelled `flush` is of no consequence."""
    async with Streams(SlowBackend(), limits=ProducerLimits(buffer_count=1)) as streams:
        async with streams.produce("x") as out:
            await out.send("one")  # now the buffer is full
            expected = ["one"]
            if call == "flush":
                await cut(out.flush())
            else:
                await cut(out.send("two"))
                if not cut.cancelled:
                    expected.append("two")
            await out.send("three")
            await out.flush()
            expected.append("three")
        assert await data_of(await streams.resume("x")) == expected


@on_both_backends
@at_each_await(at_least=4)
async def test_producing_what_was_stopped(cut, backend_class):
    """A producer that is fenced meanwhile ends like any other."""
    async with (world := World(backend_class)) as streams:

        async def produce():
            try:
                async with streams.produce("x") as out:
                    await out.send("one")
                    await out.flush()
                    await world.elsewhere.stop("x")
                    await out.send("two")
                    await out.flush()
                    await out.send("three")
            except Fenced:
                pass

        await cut(produce())
        await sleep(LEASE + CHECK)
        assert streams.statistics().producers == 0
        state = await world.elsewhere.state("x")
        assert state is None or state.outcome in {Outcome.STOPPED, Outcome.LOST}


# Entering and leaving


@on_both_backends
@at_each_await(at_least=7)
async def test_a_whole_lifespan(cut, backend_class):
    """Entering, starting, draining and leaving, cancelled anywhere: nothing runs on, and what was
    begun is whole, or lost within a lease.
    """
    script = Script(*WHOLE, ended=True)
    async with World(backend_class) as elsewhere:
        before = tasks()
        streams = Streams(elsewhere._backend, grace=3)

        async def lifespan():
            async with streams:
                subscription = await streams.start("x", script)
                await anext(subscription)
                await streams.drain()

        await cut(lifespan())
        assert tasks() == before
        with pytest.raises((StreamsClosed, RuntimeError)):
            await streams.state("x")
        await check(elsewhere, "x", script)


@on_both_backends
@pytest.mark.parametrize("finishes", [True, False])
@at_each_await(at_least=3)
async def test_draining(cut, backend_class, finishes):
    """A drain that is cancelled has begun all the same, and can be awaited again."""
    script = Script(*WHOLE, ended=finishes)
    async with (world := World(backend_class)) as elsewhere:
        async with Streams(world.backend, grace=3) as streams:
            await streams.start("x", script)
            await streams.start("y", Script("one"))
            await cut(streams.drain())
            if cut.step > 0:
                assert streams.statistics().draining
                with pytest.raises(StreamsClosed):
                    await streams.start("z", WHOLE)
            assert (await streams.state("x")).outcome in {None, Outcome.DONE}
        await check(elsewhere, "x", script)
        assert (await elsewhere.state("y")).outcome is Outcome.LOST


@on_both_backends
async def test_leaving_at_any_moment(backend_class):
    """Whatever the tasks inside are doing just then: they end, and the store knows how."""
    outcomes = set()
    for moment in range(40):
        script = Script()
        async with World(backend_class) as elsewhere:
            before = tasks()
            async with create_task_group() as group:  # noqa: SIM117 - it outlives the streams
                async with Streams(elsewhere._backend, grace=0) as streams:

                    async def consume(streams=streams, script=script):
                        with suppress(StreamsClosed):
                            await data_of(await streams.start_or_resume("x", script))

                    async def produce(script=script):
                        for item in WHOLE:
                            for _ in range(6):
                                await checkpoint()
                            script.put(item)
                        script.end()

                    group.start_soon(consume)
                    group.start_soon(produce)
                    for _ in range(moment):
                        await checkpoint()
            assert tasks() == before
            state = await elsewhere.state("x")
            outcomes.add(state and state.state)
            await check(elsewhere, "x", script)
    assert {State.LOST, State.DONE} <= outcomes <= {None, State.ACTIVE, State.LOST, State.DONE}


async def test_nothing_is_left_of_an_unknown_stream():
    """Law 9, after being cancelled everywhere above: for the calls that find nothing."""
    step = 0
    reached = True
    while reached:
        async with World(SlowBackend) as streams:
            cut = Cut(step)

            async def ask(streams=streams):
                with pytest.raises(StreamNotFound):
                    await streams.resume("x", EventId("a", 1))
                with pytest.raises(StreamNotFound):
                    await streams.stop("x")
                assert await streams.state("x") is None
                await streams.delete("x")

            await cut(ask())
            assert not streams._backend._logs
            reached = cut.reached
        step += 1
    assert step > 8


# A claim that is cancelled when it was applied, and nobody knows


async def cancelled_in_mid_claim(backend, streams, elsewhere, **options):
    """Start a stream, and cancel that when the claim was applied and nobody knows it."""
    backend.faults, backend.delay = {"apply": Fault.DELAY}.get, 2.0
    async with create_task_group() as group:
        group.start_soon(partial(streams.start, "x", Script(), **options))
        await sleep(1)
        assert (await elsewhere.state("x")).state is State.ACTIVE
        backend.refuse()
        group.cancel_scope.cancel()


@pytest.mark.parametrize("on_lost", ["refuse", "restart"])
async def test_a_claim_that_was_cancelled_is_taken_back(on_lost):
    """Laws 7 and 10: there is no such stream, at once; no lease is waited for."""
    backend = FaultyBackend(MemoryBackend())
    async with Streams(backend) as streams, Streams(backend.backend) as elsewhere:
        if on_lost == "restart":
            async with Streams(backend.backend, grace=0) as gone:
                await anext(await gone.start("x", Script("one")))
        await cancelled_in_mid_claim(backend, streams, elsewhere, on_lost=on_lost)
        await sleep(0.1)
        assert await elsewhere.state("x") is None
        assert await data_of(await elsewhere.start("x", WHOLE)) == WHOLE


async def test_a_takeover_that_was_cancelled_loses_the_stream_again():
    """What was there stays, and somebody else may continue it at once."""
    backend = FaultyBackend(MemoryBackend())
    async with Streams(backend) as streams, Streams(backend.backend) as elsewhere:
        async with Streams(backend.backend, grace=0) as gone:
            await anext(await gone.start("x", Script("one")))
        await cancelled_in_mid_claim(backend, streams, elsewhere, on_lost="continue")
        await sleep(0.1)
        assert (await elsewhere.state("x")).state is State.LOST
        subscription = await elsewhere.start("x", WHOLE[1:], on_lost="continue")
        assert await data_of(subscription) == WHOLE


async def test_what_others_have_claimed_is_not_taken_back():
    """Law 4: a claim that was cancelled before it was applied leaves that of another alone."""
    backend, script = FaultyBackend(MemoryBackend()), Script("one")
    async with Streams(backend) as streams, Streams(backend.backend) as elsewhere:
        backend.refuse("apply")
        with move_on_after(1):
            await streams.start("x", Script())
        await elsewhere.start("x", script)
        backend.refuse()
        await sleep(2)
        assert (await elsewhere.state("x")).state is State.ACTIVE
        assert script.closed == 0


@pytest.mark.parametrize("seconds", [1, 60], ids=["is back soon", "is away for long"])
async def test_a_claim_is_cancelled_while_the_store_is_away(seconds):
    """It is taken back as soon as the store answers; who is cancelled does not wait for that."""
    backend = FaultyBackend(MemoryBackend())
    async with Streams(backend, lease=LEASE) as streams:
        backend.faults = {"apply": Fault.FORGET}.get
        start = current_time()
        with move_on_after(3):
            await streams.start("x", Script())
        assert current_time() == start + 3
        backend.break_down()
        await sleep(seconds)
        backend.refuse()
        await sleep(2)
        if seconds == 1:
            assert await streams.state("x") is None
        else:
            assert (await streams.state("x")).state is State.LOST


async def test_a_claim_that_nobody_knows_of_is_taken_back():
    """The store has not answered for the length of an outage, and whoever started it was told."""
    backend = FaultyBackend(MemoryBackend())
    async with Streams(backend, limits=ProducerLimits(outage=5.0)) as streams:
        backend.faults = {"apply": Fault.FORGET}.get
        with pytest.raises(BackendUnavailable):
            await streams.start("x", Script())
        backend.refuse()
        await sleep(1)
        assert await streams.state("x") is None


@pytest.mark.parametrize("store", ["answers", "is away"])
async def test_streams_are_left_right_after_a_start_was_cancelled(store):
    """Leaving takes five seconds at most for that."""
    memory = MemoryBackend()
    async with Streams(memory) as elsewhere:
        backend = FaultyBackend(memory)
        async with Streams(backend, grace=0) as streams:
            backend.faults, backend.delay = {"apply": Fault.DELAY}.get, 2.0
            with move_on_after(1):
                await streams.start("x", Script())
            backend.refuse(*(["apply"] if store == "is away" else ()))
            start = current_time()
        assert current_time() - start == (5 if store == "is away" else 0)
        state = await elsewhere.state("x")
        assert (state is None) == (store == "answers")


async def test_streams_are_left_in_mid_claim():
    """Who started something is told at once, and the claim is taken back."""
    memory = MemoryBackend()
    async with Streams(memory) as elsewhere, create_task_group() as group:
        backend = FaultyBackend(memory, {"apply": Fault.DELAY}.get, delay=60.0)
        told = []

        async def start(streams):
            with pytest.raises(StreamsClosed):
                await streams.start("x", Script())
            told.append(current_time())

        async with Streams(backend, grace=0) as streams:
            group.start_soon(start, streams)
            await sleep(1)
            assert (await elsewhere.state("x")).state is State.ACTIVE
            backend.refuse()
            left = current_time()
        assert current_time() == left
        assert await elsewhere.state("x") is None
        await sleep(0.1)
        assert told == [left]
