"""Subscriptions: iterating, receiving, interruptions, resuming from anywhere, slow consumers."""

import gc
import random
from contextlib import suppress
from dataclasses import replace

import pytest
from anyio import (
    CancelScope,
    Event,
    create_task_group,
    current_time,
    fail_after,
    move_on_after,
    sleep,
    wait_all_tasks_blocked,
)
from anyio.lowlevel import checkpoint
from hypothesis import example, given
from hypothesis import strategies as st

from resumable_core import (
    PAGE_EVENTS,
    AtCharacter,
    End,
    EventId,
    FollowerLimits,
    Gap,
    GapReason,
    Live,
    Outcome,
    Reset,
    ResetReason,
    Retention,
)
from resumable_core import (
    Event as StreamEvent,
)
from resumable_core.testing import blobs, texts
from resumable_io import (
    BackendUnavailable,
    Interruption,
    MemoryBackend,
    SourceError,
    StreamFailed,
    StreamGap,
    StreamLost,
    StreamReset,
    Streams,
    StreamsClosed,
    StreamStopped,
)
from resumable_io.testing import Fault, FaultyBackend
from tests.io.scripted import Script, data_of, records_of, until

WHOLE = ["one", "two", "three"]
CHECK, OUTAGE = 5.0, 45.0  # what `Streams` has when it is told nothing else


# Iterating and receiving


async def test_iterating_gives_the_events():
    async with Streams() as streams:
        subscription = await streams.start("x", WHOLE)
        events = [event async for event in subscription]
        assert [event.data for event in events] == WHOLE
        assert all(type(event) is StreamEvent for event in events)
        assert subscription.finished
        assert [event async for event in subscription] == []  # the end stays the end


async def test_records_give_everything_and_raise_nothing():
    """Law 5: the end is the last, once."""
    async with Streams() as streams:
        subscription = await streams.start("x", WHOLE)
        *events, end = [record async for record in subscription.records()]
        assert [event.data for event in events] == WHOLE
        assert end == End(events[-1].id, Outcome.DONE)
        assert [record async for record in subscription.records()] == []


async def test_receiving_gives_all_there_is_at_once():
    async with Streams() as streams:
        script = Script(*WHOLE)
        subscription = await streams.start("x", script)
        while (await streams.state("x")).last_seq < 3:
            await checkpoint()
        events = await subscription.receive()
        assert [event.data for event in events] == WHOLE
        script.end()
        (end,) = await subscription.receive()
        assert end.outcome is Outcome.DONE
        assert subscription.finished
        assert await subscription.receive() == ()


async def test_what_is_here_can_be_received_without_waiting():
    async with Streams() as streams:
        script, got = Script(*WHOLE), []
        subscription = await streams.start("x", script)
        with fail_after(10):
            while not subscription.finished:
                while not (records := subscription.receive_nowait()):
                    await subscription.wait()
                got += records
                if len(got) == len(WHOLE):
                    assert subscription.receive_nowait() == ()
                    script.end()
        assert [record.data for record in got[:-1]] == WHOLE
        assert got[-1].outcome is Outcome.DONE
        assert subscription.receive_nowait() == ()
        left = await streams.resume("x")
        await left.aclose()
        assert left.receive_nowait() == ()


async def test_the_ways_can_be_mixed():
    """A subscription has one place, however it is moved on."""
    async with Streams() as streams:
        await data_of(await streams.start("x", [*WHOLE, "four", "five"]))
        subscription = await streams.resume("x")
        assert [record.data for record in subscription.waiting[:-1]] == [*WHOLE, "four", "five"]
        assert (await anext(subscription)).data == "one"
        assert (await anext(subscription.records())).data == "two"
        async for event in subscription:
            assert event.data == "three"
            break
        assert [getattr(record, "data", None) for record in subscription.waiting] == [
            "four",
            "five",
            None,
        ]
        records = await subscription.receive()
        assert [getattr(record, "data", None) for record in records] == ["four", "five", None]
        assert not subscription.waiting


async def test_what_is_waiting_is_not_taken_by_looking():
    async with Streams() as streams:
        await data_of(await streams.start("x", WHOLE))
        subscription = await streams.resume("x")
        before = subscription.waiting
        assert subscription.waiting == before
        assert await subscription.receive() == before
        assert subscription.waiting == ()


async def test_its_id_is_from_where_another_goes_on():
    """Of the last record that was handed out; before that, of the place where it began."""
    script = Script(*WHOLE)
    async with Streams(grace=0) as streams:
        first = await streams.start("x", script)
        assert (first.stream_id, first.id) == ("x", None)
        events = []
        for _ in WHOLE:
            events.append(await anext(first))
            assert first.id == events[-1].id

        resumed = await streams.resume("x", events[0].id)
        assert resumed.id == events[0].id
        assert await resumed.receive() == (*events[1:],)
        assert resumed.id == events[-1].id

        assert (await streams.resume("x", Live())).id == events[-1].id
        assert (await streams.start_or_resume("y", Script())).id.seq == 0

        reset = await streams.resume("x", "rubbish")
        assert reset.id is None  # what it has is no place at all
        with pytest.raises(StreamReset):
            await anext(reset)
        assert reset.id == EventId(events[0].id.epoch, 0)


async def test_a_live_subscription_gets_what_is_new():
    script = Script("old")
    async with Streams() as streams:
        await anext(await streams.start("x", script))
        subscription = await streams.resume("x", Live())
        script.put("new")
        script.end()
        assert await data_of(subscription) == ["new"]
        (end,) = await records_of(await streams.resume("x", Live()))
        assert end.outcome is Outcome.DONE


# Interruptions


@pytest.mark.parametrize(
    ("outcome", "interruption", "text"),
    [
        (Outcome.FAILED, StreamFailed, "SourceError: told to"),
        (Outcome.STOPPED, StreamStopped, "enough"),
        (Outcome.LOST, StreamLost, "the producer was cancelled"),
    ],
)
async def test_an_end_that_is_no_success_is_raised(outcome, interruption, text):
    """A part is never taken for the whole. It is raised once, and then there is nothing more."""
    async with Streams() as streams:
        with CancelScope() as scope, suppress(SourceError):
            async with streams.produce("x") as out:
                await out.send("one")
                await out.flush()
                subscription = await streams.resume("x")
                match outcome:
                    case Outcome.FAILED:
                        raise SourceError("told to")
                    case Outcome.STOPPED:
                        await streams.stop("x", "enough")
                    case Outcome.LOST:
                        scope.cancel()
                        await checkpoint()
        got = []
        with pytest.raises(interruption, match=text) as caught:  # noqa: PT012
            async for event in subscription:
                got.append(event.data)  # noqa: PERF401 - what comes before is received
        assert got == ["one"]
        assert isinstance(caught.value, Interruption)
        assert subscription.finished
        with pytest.raises(StopAsyncIteration):
            await anext(subscription)


async def test_a_stop_without_a_reason_still_says_something():
    async with Streams() as streams:
        subscription = await streams.start("x", Script())
        await streams.stop("x")
        with pytest.raises(StreamStopped, match="stopped"):
            await anext(subscription)


async def test_after_a_gap_it_goes_on():
    async with Streams(retention=Retention(count=1)) as streams:
        async with streams.produce("x") as out:
            for item in WHOLE:
                await out.send(item)
                await out.flush()
        subscription = await streams.resume("x")
        with pytest.raises(StreamGap, match=r"before \w+-\d: trimmed"):
            await anext(subscription)
        assert await data_of(subscription) == ["three"]


async def test_after_a_reset_it_starts_anew():
    async with Streams() as streams:
        await data_of(await streams.start("x", WHOLE))
        subscription = await streams.resume("x", "rubbish")
        with pytest.raises(StreamReset, match="malformed"):
            await anext(subscription)
        assert await data_of(subscription) == WHOLE


# Tasks, closing, cancelling


async def test_it_is_iterated_in_another_task_than_the_one_that_opened_it():
    script = Script()
    got = []
    async with Streams() as streams:
        opened = []

        async def open_it():
            opened.append(await streams.start("x", script))

        async def take_one():
            got.append((await anext(opened[0])).data)

        async def take_the_rest():
            got.extend(await data_of(opened[0]))

        for task in (open_it, take_one, take_one, take_the_rest):
            async with create_task_group() as group:
                group.start_soon(task)
                script.put(task.__name__)
                if task is take_the_rest:
                    script.end()
    assert got == ["open_it", "take_one", "take_one", "take_the_rest"]


@pytest.mark.parametrize("waiting", ["receive", "next", "records"])
async def test_closing_from_another_task_ends_it(waiting):
    """Whoever waits is woken, and finds the end; nobody else notices."""
    script = Script()
    async with Streams(grace=0) as streams, create_task_group() as group:
        subscription = await streams.start("x", script)
        other = await streams.resume("x")
        done = Event()

        async def wait():
            match waiting:
                case "receive":
                    assert await subscription.receive() == ()
                case "next":
                    with pytest.raises(StopAsyncIteration):
                        await anext(subscription)
                case "records":
                    assert [record async for record in subscription.records()] == []
            done.set()

        async def wait_for_the_event():
            assert (await anext(other)).data == "one"

        group.start_soon(wait)
        group.start_soon(wait_for_the_event)
        await wait_all_tasks_blocked()
        assert streams.statistics().subscriptions == 2
        assert not done.is_set()
        await subscription.aclose()
        await subscription.aclose()
        with fail_after(10):
            await done.wait()
        assert subscription.finished
        script.put("one")


async def test_closing_during_a_read_ends_it():
    """It does not wait for news of a stream that it has left, though others still do."""
    backend = Gated()
    async with Streams(backend, grace=0) as streams, create_task_group() as group:
        subscription = await streams.start("x", Script())
        other = await streams.resume("x")
        done = Event()

        async def read():
            assert await subscription.receive() == ()
            done.set()

        for each in (subscription, other):
            with move_on_after(0.01):
                await each.receive()  # now they have a follower
        backend.close()
        subscription._cursor.from_log = True  # as after a look into a window that was too old
        group.start_soon(read)
        await until(lambda: backend.waiting)
        await subscription.aclose()
        backend.open()
        with fail_after(10):
            await done.wait()


async def test_closing_during_a_read_leaves_nothing_behind():
    """It begins to follow no stream that it has left."""
    backend = Gated()
    async with Streams(backend, grace=0) as streams, create_task_group() as group:
        subscription = await streams.start("x", Script())
        backend.close()
        group.start_soon(subscription.receive)
        await until(lambda: backend.waiting)
        await subscription.aclose()
        backend.open()
        await wait_all_tasks_blocked()
        assert streams.statistics().subscriptions == 0


class Gated(MemoryBackend):
    """Keeps readers waiting while it is closed."""

    def __init__(self):
        super().__init__()
        self._gate = Event()
        self._gate.set()
        self.waiting = 0

    def close(self):
        self._gate = Event()

    def open(self):
        self._gate.set()

    async def read(self, *args, **kwargs):
        page = await super().read(*args, **kwargs)
        self.waiting += 1
        await self._gate.wait()
        self.waiting -= 1
        return page


async def test_it_can_be_left_open():
    """`break` leaves nothing behind about which an event loop would warn."""
    async with Streams() as streams:
        async for _ in await streams.start("x", WHOLE):
            break
        async for _ in (await streams.resume("x")).records():
            break
        gc.collect()
        await checkpoint()


async def test_leaving_its_block_closes_it():
    async with Streams(grace=0) as streams:
        async with await streams.start("x", Script("one")) as subscription:
            assert (await anext(subscription)).data == "one"
            with move_on_after(0):
                await anext(subscription)
        assert subscription.finished
        await until(lambda: streams.statistics().subscriptions == 0)


async def test_a_cancelled_consumer_has_lost_nothing():
    """Law 10: it goes on where it was."""
    script = Script()
    async with Streams() as streams:
        subscription = await streams.start("x", script)
        got = []
        for item in WHOLE:
            for take in (lambda: anext(subscription), subscription.receive):
                with CancelScope() as scope:
                    scope.cancel()
                    await take()
                assert scope.cancelled_caught
            script.put(item)
            got.append((await anext(subscription)).data)
        script.end()
        assert got == WHOLE
        assert await data_of(subscription) == []


async def test_a_consumer_that_is_behind_reads_the_log():
    """Law 3: more than the window holds, page by page."""
    count = 2 * FollowerLimits().window_count + PAGE_EVENTS + 7
    whole = [str(number) for number in range(count)]
    async with Streams() as streams:
        script = Script(*whole)
        quick = await streams.start("x", script)
        slow = await streams.resume("x")
        assert [(await anext(quick)).data for _ in whole] == whole
        script.end()
        assert await data_of(slow) == whole
        assert await data_of(await streams.resume("x", AtCharacter(len("".join(whole)) - 3))) == [
            whole[-1][-3:]
        ]


# Slow consumers and retention


@pytest.mark.virtual_time
@pytest.mark.parametrize("pause", [0.5, 3.0, 20.0])
async def test_a_slow_consumer_of_a_trimmed_log_is_told(pause):
    """Laws 2 and 8: a slow consumer costs only itself. What it gets is in order, and every event it
    misses lies in a gap that it is told of.
    """
    async with Streams(retention=Retention(count=10)) as streams:
        production = streams.produce("x")
        records = []
        async with create_task_group() as group:

            async def produce():
                async with production as out:
                    for number in range(1, 201):
                        await out.send(str(number))
                        await out.flush()
                        await sleep(0.1)

            async def consume(subscription, pause, records):
                async for record in subscription.records():
                    records.append(record)
                    await sleep(pause)

            group.start_soon(produce)
            await checkpoint()
            quick = []
            group.start_soon(consume, await resumed(streams, "x"), 0.01, quick)
            group.start_soon(consume, await resumed(streams, "x"), pause, records)
        assert [record.data for record in quick[:-1]] == [str(number) for number in range(1, 201)]
        assert_nothing_missing_silently(records, last_seq=200)
        assert any(isinstance(record, Gap) for record in records)


async def resumed(streams, stream_id):
    while await streams.state(stream_id) is None:  # noqa: ASYNC110 - in virtual time
        await sleep(0.01)
    return await streams.resume(stream_id)


def assert_nothing_missing_silently(records, last_seq):
    seq = 0
    for record in records:
        match record:
            case StreamEvent(id=id, data=data):
                assert (id.seq, data) == (seq + 1, str(seq + 1))
                seq = id.seq
            case Gap(id=id, reason=reason):
                assert id.seq > seq
                assert reason is GapReason.TRIMMED
                seq = id.seq
            case End(id=id):
                assert record is records[-1]
                assert id.seq == seq == last_seq
            case _:
                pytest.fail(f"unexpected: {record}")


@pytest.mark.virtual_time
async def test_waiting_for_what_the_store_lost_does_not_spin():
    """A consumer that has waited for a lease, and has no live feed either, reads the log: it
    neither waits for ever nor asks over and over.
    """
    backend = Counting(MemoryBackend())
    async with Streams(backend, grace=0) as streams:
        await anext(await streams.start("x", Script("one")))
        epoch = (await streams.state("x")).epoch
        backend.refuse("follow")
        subscription = await streams.resume("x", EventId(epoch, 7))
        before = backend.reads
        start = current_time()
        with fail_after(60):
            assert await anext(subscription.records()) == Reset(
                EventId(epoch, 0), ResetReason.AHEAD
            )
        assert current_time() - start == pytest.approx(15)
        assert backend.reads - before < 10
        assert (await anext(subscription)).data == "one"


@pytest.mark.virtual_time
async def test_a_window_that_is_old_voids_nothing():
    """Law 2: a consumer that knows more than its follower, since it has read the log itself, is not
    told that what it has is gone. Whatever voids is told on the log's word alone.
    """

    class Deaf(MemoryBackend):
        """Delivers no events."""

        def follow(self, stream_id, tell, *, events):
            return super().follow(stream_id, tell, events=False)

    script = Script("one")
    async with Streams(Deaf(), check_interval=100) as streams, create_task_group() as group:
        await streams.start("x", script)
        await sleep(1)
        behind = await streams.resume("x")
        group.start_soon(data_of, behind)
        await sleep(1)  # from now on the window ends with the first event
        script.put("two", "three")
        await sleep(1)
        ahead = await streams.resume("x", Live())
        with move_on_after(60):  # for several leases
            record = await anext(ahead.records())
            pytest.fail(f"nothing has happened, but it was told: {record}")
        script.put("four")
        script.end()
        assert await data_of(ahead) == ["four"]


@pytest.mark.virtual_time
@pytest.mark.parametrize("what", ["ended", "left"])
async def test_what_happens_during_a_read_that_brings_nothing_is_not_missed(what):
    """Law 7: it wakes nobody, since just then nobody waits."""
    reads, told = [], []

    class Deaf(MemoryBackend):
        """Delivers no events, and is slow to answer who asks for what comes after them."""

        def follow(self, stream_id, tell, *, events):
            return super().follow(stream_id, tell, events=False)

        async def read(self, stream_id, after, limit, *, connected_for):
            page = await super().read(stream_id, after, limit, connected_for=connected_for)
            if after == 3:
                reads.append(after)
                await sleep(2)
            return page

    async def wait(subscription):
        with suppress(StreamsClosed):
            told.append(type(await anext(subscription.records())))
            return
        told.append(StreamsClosed)

    script = Script("one")
    async with create_task_group() as group:
        async with Streams(Deaf(), check_interval=100, grace=0) as streams:
            await streams.start("x", script)
            await sleep(1)
            behind = await streams.resume("x", Live())
            group.start_soon(wait, behind)
            await sleep(1)  # from now on the window ends with the first event
            script.put("two", "three")
            await sleep(1)
            ahead = await streams.resume("x", Live())
            group.start_soon(wait, ahead)
            await sleep(5)
            reads.clear()
            with fail_after(60):  # it doubts the window, and asks the log
                while not reads:  # noqa: ASYNC110 - in virtual time
                    await sleep(0.5)
            assert told == []
            if what == "ended":
                script.end()
                await sleep(10)
                assert told == [StreamEvent, End]
        if what == "left":
            await sleep(10)
            assert told == [StreamsClosed] * 2
        group.cancel_scope.cancel()


@pytest.mark.virtual_time
@pytest.mark.parametrize("running", [False, True])
async def test_who_reads_the_log_waits_for_a_store_that_comes_back(running):
    """An outage is ridden out by those, too, who need no follower, or are behind its window."""
    backend = FaultyBackend(MemoryBackend())
    async with Streams(backend) as streams, create_task_group() as group:
        numbers = [str(number) for number in range(3 * PAGE_EVENTS)]
        script = Script(*numbers, ended=not running)
        await streams.start("x", script)
        await sleep(1)
        if running:
            group.start_soon(data_of, await streams.resume("x", Live()))
            await sleep(1)
        subscription = await streams.resume("x")

        def faults(call):
            assert backend.failures < 20, "it asks over and over"
            return Fault.REFUSE if call == "read" else None

        async def recover():
            await sleep(10)
            backend.recover()
            script.end()

        backend.faults = faults

        group.start_soon(recover)
        with fail_after(10 + CHECK):
            assert await data_of(subscription) == numbers


@pytest.mark.virtual_time
async def test_who_never_waits_for_long_learns_of_an_outage():
    """Law 7: although each of its reads is cancelled before the store has failed to answer."""

    class Silent(MemoryBackend):
        silent = False

        async def read(self, *args, **kwargs):
            if self.silent:
                await sleep(5)
                raise BackendUnavailable("no answer within 5 s")
            return await super().read(*args, **kwargs)

    backend = Silent()
    async with Streams(backend) as streams:
        await data_of(await streams.start("x", [str(number) for number in range(2 * PAGE_EVENTS)]))
        subscription = await streams.resume("x")
        await subscription.receive()
        backend.silent = True

        async def wait():
            while True:
                with move_on_after(1):
                    await anext(subscription)

        with fail_after(OUTAGE + 2 * CHECK), pytest.raises(BackendUnavailable):
            await wait()


@pytest.mark.virtual_time
async def test_a_subscription_that_has_told_the_end_holds_nothing():
    """Law 8: whether it is closed or not."""
    script = Script("one")
    async with Streams() as streams:
        subscription = await streams.start("x", script)
        await anext(subscription)
        with move_on_after(1):
            await anext(subscription)
        assert streams.statistics().followers == 1
        script.end()
        assert [type(record) async for record in subscription.records()] == [End]
        await sleep(0.1)
        assert streams.statistics().followers == 0


@pytest.mark.virtual_time
async def test_who_waits_before_the_window_is_not_forgotten():
    """Law 7: for a moment the store has lost its newest events, and only one consumer sees it.

    The follower has noticed nothing, so that there will be no news to wake the consumer.
    """

    class Behind(MemoryBackend):
        behind = 0

        async def read(self, stream_id, after, limit, *, connected_for):
            page = await super().read(stream_id, after, limit, connected_for=connected_for)
            if self.behind == 0 or after > 1:
                return page
            self.behind -= 1
            sentinel = replace(page.sentinel, last_seq=1)
            return replace(page, sentinel=sentinel, events=page.events[: 1 - after])

    backend, script = Behind(), Script(*WHOLE)
    async with Streams(backend, check_interval=100) as streams, create_task_group() as group:
        await streams.start("x", script)
        await sleep(1)
        group.start_soon(data_of, await streams.resume("x", Live()))
        await sleep(1)  # the window begins behind the last event
        backend.behind = 3
        subscription = await streams.resume("x")
        with fail_after(10):
            assert [(await anext(subscription)).data for _ in WHOLE] == WHOLE
        assert backend.behind == 0
        script.end()


class Counting(FaultyBackend):
    reads = 0

    async def read(self, *args, **kwargs):
        self.reads += 1
        return await super().read(*args, **kwargs)


# Law 3: what came up to an id, then a resume after it, is the whole stream


@st.composite
def clients(draw):
    """Draw how a client reads: how many records it takes in each of its connections, how it leaves
    them, and how it says where it was.
    """
    return draw(
        st.lists(
            st.tuples(
                st.integers(0, 6),
                st.sampled_from(["close", "forget", "cancel", "cancel and go on"]),
                st.sampled_from(["id", "text", "characters"]),
                st.integers(0, 5),
            ),
            max_size=5,
        )
    )


async def read_with_interruptions(streams, connections, got):
    """Read a stream as a client does that loses its connection now and then."""
    subscription, last_id = await streams.resume("x"), None

    def received(record):
        nonlocal last_id
        if isinstance(record, StreamEvent):
            got.append(record.data)
            last_id = record.id
        else:
            assert record.outcome is Outcome.DONE

    for take, how_to_leave, how_to_resume, pause in connections:
        for _ in range(take):
            async for record in subscription.records():
                received(record)
                break
        with CancelScope() as scope:
            if how_to_leave.startswith("cancel"):
                scope.cancel()
                for record in await subscription.receive():  # what is at hand may still come
                    received(record)
        for _ in range(pause):
            await checkpoint()
        if how_to_leave == "cancel and go on":
            continue
        if how_to_leave == "close":
            await subscription.aclose()
        match how_to_resume:
            case "id":
                place = last_id
            case "text":
                place = last_id and str(last_id)
            case "characters":
                place = AtCharacter(sum(characters(data) for data in got))
        subscription = await streams.resume("x", place)
    got.extend(await data_of(subscription))


def characters(data):
    if isinstance(data, str):
        return len(data)
    return sum(byte & 0xC0 != 0x80 for byte in data)


def joined(items):
    return b"".join(item.encode() if isinstance(item, str) else item for item in items)


@given(
    items=st.lists(texts(), max_size=12),
    pauses=st.lists(st.integers(0, 5), max_size=12),
    plans=st.lists(clients(), min_size=1, max_size=4),
)
@example(items=["a"], pauses=[], plans=[[(1, "cancel and go on", "id", 0), (0, "close", "id", 0)]])
async def test_a_stream_is_resumed_from_anywhere(items, pauses, plans):
    """Law 3, for many clients that come and go while the stream is produced: whatever they had, and
    a resume after it, by id or by characters, is the whole.
    """

    async def source():
        for index, item in enumerate(items):
            yield item
            for _ in range(pauses[index] if index < len(pauses) else 0):
                await checkpoint()

    async with Streams() as streams:
        await streams.start("x", source)
        all_got = [[] for _ in plans]
        with fail_after(20):
            async with create_task_group() as group:
                for connections, got in zip(plans, all_got, strict=True):
                    group.start_soon(read_with_interruptions, streams, connections, got)
        for got in all_got:
            assert joined(got) == joined(items)
        assert await data_of(await streams.resume("x")) == items


@given(items=st.lists(texts() | blobs(), max_size=8), place=st.integers(0, 1000))
async def test_every_character_is_a_place_to_go_on_from(items, place):
    """Law 3, for every character offset of streams of text and bytes: even of bytes that are no
    UTF-8, and of characters that are spread over several events.
    """
    async with Streams() as streams:
        assert await data_of(await streams.start("x", list(items))) == items
        whole = joined(items)
        total = sum(characters(item) for item in items)
        # Every lead byte begins a code point; offset n is where the one after the n-th begins.
        leads = [index for index, byte in enumerate(whole) if byte & 0xC0 != 0x80]
        offset = place % (total + 1)
        rest = joined(await data_of(await streams.resume("x", AtCharacter(offset))))
        if offset == 0:
            assert rest == whole
        elif offset < total:
            assert rest == whole[leads[offset] :]
        else:
            assert whole.endswith(rest)
            assert characters(rest) == 0
        # Beyond it there is nothing.
        reset, *_ = await records_of(await streams.resume("x", AtCharacter(total + 1)))
        assert reset.reason is ResetReason.AHEAD


async def test_many_consumers_at_different_places():
    """Law 1: each gets everything after its place, in order, once, however the producer runs."""
    rng = random.Random(7)
    whole = [str(number) for number in range(2000)]

    async def source():
        for item in whole:
            yield item
            if rng.random() < 0.05:
                await checkpoint()

    async with Streams() as streams:
        first = await streams.start("x", source)
        event = await anext(first)
        got = {}

        async def consume(number):
            place = rng.randrange(len(whole))
            while (await streams.state("x")).last_seq < place:
                await checkpoint()
            subscription = await streams.resume("x", EventId(event.id.epoch, place))
            got[number] = (place, await data_of(subscription))

        async with create_task_group() as group:
            for number in range(50):
                group.start_soon(consume, number)
        for place, data in got.values():
            assert data == whole[place:]
        assert len(got) == 50
        assert await data_of(first) == whole[1:]
