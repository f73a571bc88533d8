"""Streams: what it starts, resumes, refuses and ends, and that nothing of it stays behind."""

import functools
import gc
import math
import time
from contextlib import suppress

import anyio
import pytest
from anyio import (
    CancelScope,
    Event,
    create_task_group,
    current_time,
    fail_after,
    move_on_after,
    sleep,
    sleep_forever,
    wait_all_tasks_blocked,
)
from anyio.lowlevel import checkpoint

from resumable_core import (
    After,
    AtCharacter,
    Beginning,
    Claim,
    Delete,
    End,
    EventId,
    Gap,
    GapReason,
    Live,
    Message,
    Outcome,
    ProducerLimits,
    Reset,
    ResetReason,
    Retention,
    State,
    Takeover,
    Unreadable,
)
from resumable_io import (
    Fenced,
    InvalidInput,
    InvalidMessage,
    InvalidPosition,
    InvalidStreamId,
    MemoryBackend,
    SourceError,
    Statistics,
    StreamExists,
    StreamExpired,
    StreamNotFound,
    Streams,
    StreamsClosed,
)
from resumable_io.sqlite import SQLiteBackend
from resumable_io.testing import Fault, FaultyBackend
from tests.io.scripted import Script, data_of, records_of, tasks, until
from tests.io.test_sources import Closable

WHOLE = ["one", "two", "three"]
LEASE, CHECK = 15.0, 5.0  # what `Streams` has when it is told nothing else
IDLE = Statistics(producers=0, followers=0, subscriptions=0, responses=0, draining=False)


async def lost(backend, stream_id, *items):
    """Leave a stream behind whose producer is gone, as a process does that shuts down."""
    async with hasty(backend, grace=0) as streams:
        subscription = await streams.start(stream_id, Script(*items))
        for _ in items:
            await anext(subscription)


async def ended_as(streams, stream_id, outcome):
    """Make a stream that has ended, with the event "one"."""
    match outcome:
        case Outcome.DONE:
            await data_of(await streams.start(stream_id, ["one"]))
        case Outcome.FAILED:
            script = Script("one")
            subscription = await streams.start(stream_id, script)
            script.fail(SourceError("told to"))
            await records_of(subscription)
        case Outcome.STOPPED:
            await anext(await streams.start(stream_id, Script("one")))
            await streams.stop(stream_id)
        case Outcome.LOST:
            await lost(streams._backend, stream_id, "one")


# Leaving them takes no time, even while there are scripts that never end.
hasty = functools.partial(Streams, grace=0)


# Starting and resuming


async def test_start_hands_out_the_stream_from_its_beginning():
    async with hasty() as streams:
        subscription = await streams.start("x", WHOLE)
        *events, end = await records_of(subscription)
        assert [event.data for event in events] == WHOLE
        assert [event.id.seq for event in events] == [1, 2, 3]
        assert {event.id.epoch for event in events} == {end.id.epoch}
        assert end == End(events[-1].id, Outcome.DONE)


async def test_starting_is_not_waiting_for_the_source():
    async with hasty() as streams:
        with fail_after(10):
            await streams.start("x", Script())
            await streams.start_or_resume("y", Script())


@pytest.mark.parametrize("running", [True, False])
async def test_resume_goes_on_where_it_is_told(running):
    """Law 3: a stream is resumed while it is produced, and after."""
    async with hasty() as streams:
        script = Script(*WHOLE, ended=not running)
        subscription = await streams.start("x", script)
        events = [await anext(subscription) for _ in WHOLE]
        if not running:
            assert [event async for event in subscription] == []

        positions = {
            None: WHOLE,
            Beginning(): WHOLE,
            "": WHOLE,
            AtCharacter(0): WHOLE,
            AtCharacter(1): ["ne", "two", "three"],
            AtCharacter(3): ["two", "three"],
            AtCharacter(10): ["e"],
            Live(): [],
        }
        for index, event in enumerate(events):
            for position in (event.id, str(event.id), After(event.id)):
                positions[position] = WHOLE[index + 1 :]
        resumed = []
        for position in positions:
            if position == "":
                continue  # is a malformed id: see below
            resumed.append((position, await streams.resume("x", position)))
        script.put("four")
        script.end()
        for position, resumption in resumed:
            rest = positions[position] + (["four"] if running else [])
            assert await data_of(resumption) == rest, position


async def test_start_or_resume_starts_once():
    script = Script(*WHOLE)
    async with hasty() as streams:
        one = await streams.start_or_resume("x", script)
        other = await streams.start_or_resume("x", script)
        script.end()
        assert await data_of(one) == await data_of(other) == WHOLE
        late = await streams.start_or_resume("x", script)
        assert await data_of(late) == WHOLE
    assert script.calls == 1


async def test_who_finds_a_claim_that_is_taken_back_starts_itself():
    """Law 4: somebody was faster, and is gone before anybody can resume."""

    class Faster(MemoryBackend):
        faster = 3

        async def apply(self, stream_id, change):
            if isinstance(change, Claim) and self.faster:
                self.faster -= 1
                raise StreamExists("somebody produces it")
            return await super().apply(stream_id, change)

    backend, script = Faster(), Script(*WHOLE, ended=True)
    async with hasty(backend) as streams:
        assert await data_of(await streams.start_or_resume("x", script)) == WHOLE
    assert not backend.faster
    assert (script.calls, script.closed) == (1, 1)


@pytest.mark.virtual_time
async def test_a_stream_that_is_deleted_as_soon_as_it_is_started_is_not_started_again():
    """Law 4: the source is used once, whatever becomes of what it has made."""

    class Deleted(MemoryBackend):
        claims = 0

        async def apply(self, stream_id, change):
            sentinel = await super().apply(stream_id, change)
            if isinstance(change, Claim):
                self.claims += 1
                assert self.claims == 1
                await super().apply(stream_id, Delete())
            return sentinel

    script = Script(*WHOLE)
    async with hasty(Deleted()) as streams:
        with pytest.raises(StreamNotFound):
            await streams.start_or_resume("x", script)
    assert script.calls <= 1


@pytest.mark.parametrize("position", [None, Beginning(), AtCharacter(0), Live()])
async def test_who_has_nothing_yet_may_start(position):
    async with hasty() as streams:
        subscription = await streams.start_or_resume("x", Script(*WHOLE, ended=True), position)
        end = (await records_of(subscription))[-1]
        assert end.outcome is Outcome.DONE


@pytest.mark.parametrize("processes", [1, 4])
async def test_a_hundred_at_once_start_it_once(processes):
    """Law 4: concurrent idempotent starts call the source exactly once, and all get the whole."""
    backend = MemoryBackend()
    script = Script(*WHOLE, ended=True)
    got = []
    async with (
        hasty(backend) as one,
        hasty(backend) as two,
        hasty(backend) as three,
        hasty(backend) as four,
    ):
        several = [one, two, three, four][:processes]

        async def client(number):
            streams = several[number % processes]
            got.append(await data_of(await streams.start_or_resume("x", script)))

        async with create_task_group() as group:
            for number in range(100):
                group.start_soon(client, number)
    assert got == [WHOLE] * 100
    assert (script.calls, script.started, script.closed) == (1, 1, 1)


# The state


async def test_the_state_comes_with_the_metadata():
    metadata = {"owner": "me", "tenant": 7}
    script = Script("héllo", b"\xff", Message("x", "token"))
    async with hasty() as streams:
        subscription = await streams.start("x", script, metadata=metadata)
        for _ in range(3):
            event = await anext(subscription)
        state = await streams.state("x")
        assert (state.state, state.outcome) == (State.ACTIVE, None)
        assert (state.epoch, state.last_seq) == (event.id.epoch, event.id.seq)
        assert state.metadata == metadata
        script.end()
        assert [event async for event in subscription] == []
        state = await streams.state("x")
        assert (state.outcome, state.error, state.metadata) == (Outcome.DONE, None, metadata)

        metadata["owner"] = "somebody else"  # is the caller's own again
        assert (await streams.state("x")).metadata["owner"] == "me"

        await streams.start_or_resume("y", Script(), metadata={"a": 1})
        assert (await streams.state("y")).metadata == {"a": 1}
        async with streams.produce("z", metadata={"b": 2}):
            assert (await streams.state("z")).metadata == {"b": 2}


async def test_a_scan_shows_all_streams():
    async with hasty() as streams:
        assert [each async for each in streams.scan()] == []
        for outcome in Outcome:
            await ended_as(streams, outcome.value, outcome)
        await streams.start("active", Script(), metadata={"n": 1})
        states = {id: (state.state, state.metadata) async for id, state in streams.scan()}
        assert states == {
            **{outcome.value: (State(outcome.value), {}) for outcome in Outcome},
            "active": (State.ACTIVE, {"n": 1}),
        }


# What is refused


async def test_nobody_knows_an_unknown_stream():
    """Law 9: StreamNotFound, and nothing is created."""
    backend = MemoryBackend()
    async with hasty(backend) as streams:
        for position in (None, "a-1", "rubbish", AtCharacter(7), Live()):
            with pytest.raises(StreamNotFound):
                await streams.resume("x", position)
        with pytest.raises(StreamNotFound):
            await streams.stop("x")
        assert await streams.state("x") is None
        await streams.delete("x")
        assert [each async for each in streams.scan()] == []
        assert streams.statistics() == IDLE
    assert not backend._logs
    assert not backend._feeds


@pytest.mark.parametrize("how", ["running", *Outcome])
async def test_a_stream_that_exists_is_not_started_again(how):
    """StreamExists, and the source is not called: an id names one answer."""
    script = Script()
    async with hasty() as streams:
        if how == "running":
            await streams.start("x", Script("one"))
        else:
            await ended_as(streams, "x", how)
        before = await streams.state("x")
        with pytest.raises(StreamExists, match="new answer"):
            await streams.start("x", script)
        with pytest.raises(StreamExists):
            async with streams.produce("x"):
                pytest.fail("entered")
        assert (await streams.state("x")).epoch == before.epoch
        assert streams.statistics().producers == (how == "running")
    assert script.calls == 0


@pytest.mark.parametrize(
    "position",
    [EventId("a", 1), After(EventId("a", 0)), "a-1", "a-1-end", "rubbish", "", AtCharacter(1)],
    ids=repr,
)
async def test_who_was_here_before_never_starts_a_stream(position):
    """Law 4: a reconnecting browser must never run the model again. StreamExpired; the source is
    not called, and nothing is created.
    """
    script = Script()
    async with hasty() as streams:
        with pytest.raises(StreamExpired, match="new id"):
            await streams.start_or_resume("x", script, position)
        assert await streams.state("x") is None
    assert script.calls == 0


BAD_IDS = ["", "a\nb", "a\0b", "\x7f", "\u2028", "x" * 256, "é" * 128, "\ud800"]


@pytest.mark.parametrize("stream_id", BAD_IDS, ids=ascii)
async def test_bad_stream_ids_are_refused_everywhere(stream_id):
    """Before anything else happens: they could not be keys in every backend."""
    script = Script()
    async with hasty() as streams:
        for call in (
            lambda: streams.start(stream_id, script),
            lambda: streams.start_or_resume(stream_id, script),
            lambda: streams.start_or_resume(stream_id, script, "a-1"),
            lambda: streams.resume(stream_id),
            lambda: streams.state(stream_id),
            lambda: streams.stop(stream_id),
            lambda: streams.delete(stream_id),
        ):
            with pytest.raises(InvalidStreamId):
                await call()
        with pytest.raises(InvalidStreamId):
            streams.produce(stream_id)
    assert script.calls == 0


@pytest.mark.parametrize(
    "options",
    [
        {"lease": 0},
        {"lease": -1},
        {"lease": math.inf},
        {"lease": math.nan},
        {"check_interval": 0},
        {"check_interval": math.inf},
        {"lease": "15"},
        {"lease": 1e300},
        {"grace": -1},
        {"grace": None},
        {"retention": {}},
        {"limits": 5},
        {"encode": 3},
        {"backend": 5},
        {"backend": "redis"},
        {"backend": "memory://x"},
        {"backend": "postgres://secret@host"},
        {"backend": ""},
    ],
    ids=repr,
)
def test_bad_options_are_refused(options):
    with pytest.raises(InvalidInput) as caught:
        Streams(**options)
    assert "secret" not in str(caught.value)


async def test_a_bad_choice_for_lost_streams_is_refused():
    async with hasty() as streams:
        for start in (streams.start, streams.start_or_resume):
            source = Closable()
            with pytest.raises(InvalidInput, match="refuse, restart or continue; got 'whatever'"):
                await start("x", source, on_lost="whatever")
            assert (source.used, source.closed) == (0, 1)
        assert await streams.state("x") is None


async def test_metadata_that_is_none_is_refused():
    async with hasty() as streams:
        with pytest.raises(InvalidInput, match="metadata is a Mapping, got list"):
            await streams.start("x", WHOLE, metadata=[1])


@pytest.mark.parametrize("reason", [5, "\ud800", "y" * 4097], ids=["int", "surrogate", "long"])
async def test_a_reason_that_cannot_be_shown_is_refused(reason):
    async with hasty() as streams:
        await streams.start("x", Script())
        with pytest.raises(InvalidInput, match="reason"):
            await streams.stop("x", reason)
        assert (await streams.state("x")).state is State.ACTIVE


async def test_what_a_source_says_about_its_failure_is_cut():
    async with hasty() as streams:
        script = Script()
        subscription = await streams.start("x", script)
        script.fail(SourceError("é" * 1_000_000))
        (end,) = await records_of(subscription)
        assert end.outcome is Outcome.FAILED
        assert len(end.error.encode()) <= 4096
        assert end.error.startswith("SourceError: é")


# Positions that are none


@pytest.mark.parametrize("position", [5, -1, 1.5, b"e-1", True], ids=repr)
async def test_what_is_no_position_at_all_is_refused(position):
    async with hasty() as streams:
        await data_of(await streams.start("x", WHOLE))
        with pytest.raises(InvalidPosition, match=f"a position is an EventId.*; got {position!r}"):
            await streams.resume("x", position)
        source = Closable()
        with pytest.raises(InvalidPosition):
            await streams.start_or_resume("x", source, position)
        assert (source.used, source.closed) == (0, 1)


FOREIGN = {
    "rubbish": ResetReason.MALFORMED,
    "": ResetReason.MALFORMED,
    "a-01": ResetReason.MALFORMED,
    "a-1 ": ResetReason.MALFORMED,
    "a-1\nid: b-2": ResetReason.MALFORMED,
    "é": ResetReason.MALFORMED,
    f"a-{2**53}": ResetReason.MALFORMED,
    "x" * 257: ResetReason.OVERSIZED,
    "x" * 100_000: ResetReason.OVERSIZED,
    "a-1": ResetReason.UNKNOWN,
    "a-0": ResetReason.UNKNOWN,
    "a-1-end": ResetReason.UNKNOWN,
    f"a-{2**53 - 1}": ResetReason.UNKNOWN,
}


@pytest.mark.parametrize("running", [True, False])
@pytest.mark.parametrize(
    ("text", "reason"), FOREIGN.items(), ids=[f"{text[:20]}-{len(text)}" for text in FOREIGN]
)
async def test_a_foreign_position_resets(text, reason, running):
    """A Reset that says which, then the stream from its first event: no error, and no silence."""
    async with hasty() as streams:
        script = Script("one", ended=not running)
        first = await streams.start("x", script)
        await anext(first)
        for resume in (
            streams.resume,
            lambda *args: streams.start_or_resume(args[0], script, args[1]),
        ):
            subscription = await resume("x", text)
            reset, event = [await anext(subscription.records()) for _ in range(2)]
            assert reset == Reset(EventId(event.id.epoch, 0), reason)
            assert event.data == "one"
    assert script.calls == 1


async def test_an_unreadable_position_can_be_handed_in_as_such():
    async with hasty() as streams:
        await data_of(await streams.start("x", WHOLE))
        reset, *_ = await records_of(await streams.resume("x", Unreadable("oversized")))
        assert reset.reason is ResetReason.OVERSIZED


async def test_an_id_of_an_earlier_answer_resets():
    async with hasty() as streams:
        await data_of(await streams.start("x", WHOLE))
        old = await streams.state("x")
        await data_of(await streams.start("x", ["new"], replaces=old.epoch))
        reset, event, _ = await records_of(await streams.resume("x", EventId(old.epoch, 2)))
        assert (reset.reason, event.data) == (ResetReason.UNKNOWN, "new")


@pytest.mark.parametrize("position", [None, 1, 6, 7])
async def test_what_was_trimmed_is_a_gap(position):
    """Law 2: then the stream goes on with its first retained event."""
    async with hasty(retention=Retention(count=3)) as streams:
        async with streams.produce("x") as out:
            for number in range(1, 11):
                await out.send(str(number))
                await out.flush()
        epoch = (await streams.state("x")).epoch
        place = None if position is None else EventId(epoch, position)
        records = await records_of(await streams.resume("x", place))
    events = [record for record in records if not isinstance(record, Gap | End)]
    first = events[0].id.seq
    assert [event.data for event in events] == [str(number) for number in range(first, 11)]
    assert first in range(7, 9)  # retention is a floor
    if (position or 0) < first - 1:
        assert records[0] == Gap(EventId(epoch, first - 1), GapReason.TRIMMED)
    else:
        assert Gap not in map(type, records)


@pytest.mark.virtual_time
@pytest.mark.parametrize("waiting", ["receive", "records", "next"])
async def test_ahead_of_the_log_waits_one_lease(waiting):
    """An id of the current epoch ahead of the top is a tail that may be restored: the consumer
    waits at most one lease, and is then told to begin again.
    """
    async with hasty() as streams:
        await anext(await streams.start("x", Script("one")))
        epoch = (await streams.state("x")).epoch
        subscription = await streams.resume("x", EventId(epoch, 5))
        start = current_time()
        with fail_after(2 * LEASE):
            match waiting:
                case "receive":
                    (reset,) = await subscription.receive()
                case "records":
                    reset = await anext(subscription.records())
                case "next":
                    with pytest.raises(Exception, match="ahead"):
                        await anext(subscription)
                    reset = Reset(EventId(epoch, 0), ResetReason.AHEAD)
        assert current_time() - start == pytest.approx(LEASE)
        assert reset == Reset(EventId(epoch, 0), ResetReason.AHEAD)
        assert (await anext(subscription)).data == "one"


@pytest.mark.virtual_time
async def test_who_is_ahead_goes_on_when_the_log_catches_up():
    script = Script("one")
    async with hasty() as streams:
        await anext(await streams.start("x", script))
        epoch = (await streams.state("x")).epoch
        subscription = await streams.resume("x", EventId(epoch, 3))
        async with create_task_group() as group:

            async def catch_up():
                await sleep(LEASE / 2)
                script.put("two", "three", "four")

            group.start_soon(catch_up)
            event = await anext(subscription)
        assert (event.data, event.id.seq) == ("four", 4)


async def test_ahead_of_a_log_that_has_ended_is_told_at_once():
    async with hasty() as streams:
        await data_of(await streams.start("x", WHOLE))
        epoch = (await streams.state("x")).epoch
        with fail_after(10):
            reset, *events, end = await records_of(await streams.resume("x", f"{epoch}-7"))
        assert reset.reason is ResetReason.AHEAD
        assert [event.data for event in events] == WHOLE
        assert end.outcome is Outcome.DONE


async def test_who_has_seen_the_end_gets_nothing_more():
    async with hasty() as streams:
        end = (await records_of(await streams.start("x", WHOLE)))[-1]
        subscription = await streams.resume("x", f"{end.id}-end")
        assert subscription.finished
        assert await records_of(subscription) == []
        # Who has seen the last event, and not the end, is told of it.
        assert await records_of(await streams.resume("x", end.id)) == [end]


# Stopping and deleting


@pytest.mark.parametrize("reason", [None, "the user pressed stop"])
async def test_stop_ends_a_stream_and_cancels_its_source(reason):
    """Law 5: from anywhere; consumers get what was produced, then End(stopped)."""
    backend, script = MemoryBackend(), Script("one")
    async with hasty(backend) as streams, hasty(backend) as elsewhere:
        subscription = await streams.start("x", script)
        await anext(subscription)
        state = await elsewhere.stop("x", reason)
        assert (state.outcome, state.error) == (Outcome.STOPPED, reason)
        with fail_after(10):
            (end,) = await records_of(subscription)
        assert (end.outcome, end.error) == (Outcome.STOPPED, reason)
        await until(lambda: script.closed)
        await until(lambda: streams.statistics() == IDLE)


async def test_a_source_that_never_yields_can_be_stopped():
    script = Script()
    async with hasty() as streams:
        subscription = await streams.start("x", script)
        await until(lambda: script.started)
        await streams.stop("x")
        with fail_after(10):
            (end,) = await records_of(subscription)
        assert end.outcome is Outcome.STOPPED
        await until(lambda: script.closed)
        await until(lambda: streams.statistics() == IDLE)


@pytest.mark.parametrize("outcome", Outcome)
async def test_stop_changes_nothing_about_an_end(outcome):
    """Law 5: one end."""
    async with hasty() as streams:
        await ended_as(streams, "x", outcome)
        before = await streams.state("x")
        assert await streams.stop("x", "again") == before
        assert await streams.state("x") == before


async def test_delete_removes_a_stream_at_once():
    backend, script = MemoryBackend(), Script("one")
    async with hasty(backend) as streams, hasty(backend) as elsewhere:
        subscription = await streams.start("x", script)
        await anext(subscription)
        await elsewhere.delete("x")
        assert await streams.state("x") is None
        with pytest.raises(StreamNotFound):
            await streams.resume("x")
        with fail_after(10):
            (end,) = await records_of(subscription)
        assert (end.outcome, end.error) == (Outcome.STOPPED, "the stream was deleted")
        await until(lambda: script.closed)
        await until(lambda: streams.statistics() == IDLE)
        await elsewhere.delete("x")
        # Its producer does not restore it, and the id is free.
        assert await data_of(await streams.start("x", WHOLE)) == WHOLE


async def test_a_stream_that_is_deleted_while_it_is_resumed_is_gone():
    """StreamExpired for whoever has a part of it; else it is started again."""

    class Racing(MemoryBackend):
        reads = 0

        async def read(self, stream_id, *args, **kwargs):
            self.reads += 1
            if self.reads == self.delete_at:
                await self.apply(stream_id, Delete())
            return await super().read(stream_id, *args, **kwargs)

    backend = Racing()
    backend.delete_at = math.inf
    async with hasty(backend) as streams:
        await data_of(await streams.start("x", WHOLE))
        backend.reads, backend.delete_at = 0, 1
        with pytest.raises(StreamExpired):
            await streams.start_or_resume("x", Script(), "a-1")
        await data_of(await streams.start("x", WHOLE))
        backend.reads, backend.delete_at = 0, 2
        again = Script("again", ended=True)
        assert await data_of(await streams.start_or_resume("x", again)) == ["again"]


async def test_a_reader_of_a_deleted_and_restarted_stream_is_reset():
    """Law 2: what it has is void, and it is told so."""
    async with hasty() as streams:
        subscription = await streams.start("x", Script("old"))
        assert (await anext(subscription)).data == "old"
        await streams.delete("x")
        await streams.start("x", ["new"])
        reset, event, end = await records_of(subscription)
    assert reset == Reset(EventId(event.id.epoch, 0), ResetReason.RESTARTED)
    assert (event.data, end.outcome) == ("new", Outcome.DONE)


# Taking over


async def test_a_lost_stream_is_left_alone_by_default():
    backend, script = MemoryBackend(), Script()
    await lost(backend, "x", "one")
    async with hasty(backend) as streams:
        with pytest.raises(StreamExists, match="lost"):
            await streams.start("x", script)
        event, end = await records_of(await streams.start_or_resume("x", script))
        assert (event.data, end.outcome) == ("one", Outcome.LOST)
    assert script.calls == 0


@pytest.mark.parametrize("how", ["start", "start_or_resume", "produce"])
@pytest.mark.parametrize("choice", ["restart", Takeover.RESTART], ids=repr)
async def test_a_lost_stream_can_be_restarted(how, choice):
    """The log begins anew; readers get a Reset."""
    backend = MemoryBackend()
    await lost(backend, "x", "old", "older")
    async with hasty(backend) as streams:
        old = await streams.state("x")
        reader = await streams.resume("x", EventId(old.epoch, 1))
        if how == "produce":
            async with streams.produce("x", on_lost=choice) as out:
                await out.send("new")
        else:
            subscription = await getattr(streams, how)("x", ["new"], on_lost=choice)
            assert await data_of(subscription) == ["new"]
        assert await data_of(await streams.resume("x")) == ["new"]
        records = [
            record for record in await records_of(reader) if getattr(record, "data", "") != "older"
        ]
        assert isinstance(records[0], Reset | End)
        (reset, *_) = await records_of(await streams.resume("x", EventId(old.epoch, 1)))
        assert isinstance(reset, Reset)
        assert (await streams.state("x")).epoch != old.epoch


@pytest.mark.parametrize("how", ["start", "start_or_resume", "produce"])
async def test_a_lost_stream_can_be_continued(how):
    """Seqs go on after the last one kept, the lineage grows, and old ids stay good."""
    backend = MemoryBackend()
    await lost(backend, "x", "one", "two")
    async with hasty(backend) as streams:
        old = await streams.state("x")
        history = []

        def go_on(events):
            history.extend(event.data for event in events)
            yield "three"

        if how == "produce":
            async with streams.produce("x", on_lost="continue") as out:
                await out.send("three")
        else:
            subscription = await getattr(streams, how)("x", go_on, on_lost="continue")
            assert await data_of(subscription) == WHOLE
            assert history == ["one", "two"]
        records = await records_of(await streams.resume("x", EventId(old.epoch, 1)))
        assert [record.data for record in records[:-1]] == ["two", "three"]
        assert [record.id.epoch == old.epoch for record in records[:-1]] == [True, False]
        assert [record.id.seq for record in records[:-1]] == [2, 3]
        # An event that the first producer never appended is nobody's.
        reset, *_ = await records_of(await streams.resume("x", EventId(old.epoch, 3)))
        assert reset.reason is ResetReason.RESTARTED


async def test_only_one_takes_over():
    """Law 4, for a hundred who see the same loss."""
    backend = MemoryBackend()
    await lost(backend, "x", "one")
    script = Script("two", ended=True)
    got = []
    async with hasty(backend) as streams:

        async def client():
            subscription = await streams.start_or_resume("x", script, on_lost="continue")
            got.append(await data_of(subscription))

        async with create_task_group() as group:
            for _ in range(100):
                group.start_soon(client)
    assert got == [["one", "two"]] * 100
    assert script.calls == 1


@pytest.mark.parametrize("position", ["an id", AtCharacter(1)])
async def test_who_was_here_before_never_takes_over(position):
    """Law 4: a reconnecting client never starts a source."""
    backend = MemoryBackend()
    await lost(backend, "x", "one")
    script = Script()
    async with hasty(backend) as streams:
        if position == "an id":
            position = EventId((await streams.state("x")).epoch, 1)
        subscription = await streams.start_or_resume("x", script, position, on_lost="restart")
        assert (await records_of(subscription))[-1].outcome is Outcome.LOST
    assert script.calls == 0


@pytest.mark.parametrize("outcome", Outcome)
async def test_two_clicks_on_retry_make_one(outcome):
    """A restart names the epoch it replaces: the second finds another one."""
    script = Script("again", ended=True)
    async with hasty() as streams:
        await ended_as(streams, "x", outcome)
        old = await streams.state("x")
        results = []

        async def click():
            try:
                subscription = await streams.start("x", script, replaces=old.epoch)
            except StreamExists:
                subscription = await streams.resume("x")
            results.append(await data_of(subscription))

        async with create_task_group() as group:
            group.start_soon(click)
            group.start_soon(click)
        assert results == [["again"]] * 2
        with pytest.raises(StreamExists, match="restarted"):
            await streams.start("x", script, replaces=old.epoch)
    assert script.calls == 1


async def test_a_running_stream_is_not_replaced():
    async with hasty() as streams:
        await streams.start("x", Script("one"))
        epoch = (await streams.state("x")).epoch
        with pytest.raises(StreamExists):
            await streams.start("x", Script(), replaces=epoch)


async def test_a_blocked_event_loop_is_not_the_death_of_its_producers():
    """Who is blocked here cannot renew a lease here: those who look next know as much."""
    source = Script("one")
    async with hasty(lease=0.2) as streams:
        subscription = await streams.start("x", source)
        assert (await anext(subscription)).data == "one"
        time.sleep(0.3)  # noqa: ASYNC251 - as code does that should not
        assert (await streams.state("x")).state is State.ACTIVE
        with pytest.raises(StreamExists):
            await streams.start("x", Script("another"), on_lost="restart")
        source.put("two")
        source.end()
        assert await data_of(subscription) == ["two"]
        assert (await streams.state("x")).outcome is Outcome.DONE


@pytest.mark.virtual_time
async def test_a_dead_producer_is_noticed():
    """Law 7: every consumer gets End(lost) within the lease plus one check interval, and the id can
    be claimed again.
    """
    backend = MemoryBackend()
    async with hasty(Deaf(backend), grace=0) as dead, hasty(backend) as streams:
        await anext(await dead.start("x", Script("one")))
        consumers = [await streams.resume("x") for _ in range(3)]
        dead._backend.dead = True
        start = current_time()
        for consumer in consumers:
            with fail_after(LEASE + CHECK + 0.1):
                event, end = await records_of(consumer)
            assert (event.data, end.outcome) == ("one", Outcome.LOST)
        assert current_time() - start >= LEASE * 2 / 3
        assert await data_of(await streams.start("x", WHOLE, on_lost="restart")) == WHOLE


class Deaf(MemoryBackend):
    """Another process's way to a backend; when that process is `dead`, nothing arrives any more."""

    def __init__(self, backend):
        self.dead = False
        self._backend = backend

    async def apply(self, *args):
        if self.dead:
            await sleep_forever()
        return await self._backend.apply(*args)

    async def read(self, *args, **kwargs):
        return await self._backend.read(*args, **kwargs)

    def follow(self, *args, **kwargs):
        return self._backend.follow(*args, **kwargs)


@pytest.mark.virtual_time
async def test_a_slow_source_is_not_a_dead_one():
    """Leases are renewed by a timer."""
    script = Script("one")
    async with hasty() as streams:
        subscription = await streams.start("x", script)
        await sleep(20 * LEASE)
        script.put("two")
        script.end()
        assert await data_of(subscription) == ["one", "two"]


# Limits


@pytest.mark.virtual_time
async def test_a_source_that_yields_nothing_for_too_long_fails():
    limits = ProducerLimits(idle=60, total=1000)
    script = Script()
    async with hasty(limits=limits) as streams:
        subscription = await streams.start("x", script)
        for _ in range(5):
            await sleep(50)
            script.put("alive")
        start = current_time()
        *events, end = await records_of(subscription)
        assert len(events) == 5
        assert end.outcome is Outcome.FAILED
        assert end.error == "the source yielded nothing for 60 s"
        assert current_time() - start == pytest.approx(60)
        await sleep(1)
        assert script.closed == 1
        assert streams.statistics() == IDLE


@pytest.mark.virtual_time
async def test_a_source_that_runs_for_too_long_fails():
    limits = ProducerLimits(idle=60, total=200)
    script = Script()
    async with hasty(limits=limits) as streams:
        subscription = await streams.start("x", script)
        start = current_time()

        async def feed():
            while not script.closed:
                script.put("more")
                await sleep(30)

        async with create_task_group() as group:
            group.start_soon(feed)
            *_, end = await records_of(subscription)
            assert (end.outcome, end.error) == (
                Outcome.FAILED,
                "the source ran for more than 200 s",
            )
            assert current_time() - start == pytest.approx(200)


@pytest.mark.virtual_time
async def test_the_limits_are_finite_by_default():
    """Law 7: a source that never yields is given up after ten minutes, an hour is the most."""
    async with hasty() as streams:
        start = current_time()
        (end,) = await records_of(await streams.start("x", Script()))
        assert (end.outcome, current_time() - start) == (Outcome.FAILED, 600)

        async def drip():
            while True:
                yield "."
                await sleep(500)

        start = current_time()
        *_, end = await records_of(await streams.start("y", drip))
        assert (end.outcome, current_time() - start) == (Outcome.FAILED, 3600)


@pytest.mark.parametrize("item", ["x" * 101, "é" * 51, b"x" * 101, Message("x" * 100, "y")])
async def test_a_message_over_the_limit_fails_its_stream(item, caplog):
    """Refused with a clear error: the stream fails with that reason, after what came before."""
    async with hasty(limits=ProducerLimits(message_bytes=100)) as streams:
        script = Script("x" * 100, item, "never")
        event, end = await records_of(await streams.start("x", script))
        assert len(event.data) == 100
        assert end.outcome is Outcome.FAILED
        assert end.error.startswith("InvalidMessage: a message has at most 100 bytes, got 10")
        assert script.closed == 1


async def test_a_message_of_a_mebibyte_is_the_most():
    async with hasty() as streams:
        assert await data_of(await streams.start("x", ["x" * 2**20])) == ["x" * 2**20]
        async with streams.produce("y") as out:
            with pytest.raises(InvalidMessage, match="at most 1048576 bytes"):
                await out.send("x" * (2**20 + 1))
            await out.send("goes on")
        assert await data_of(await streams.resume("y")) == ["goes on"]


# Producing by hand


async def test_what_is_sent_is_the_stream():
    async with hasty() as streams:
        async with streams.produce("x") as out:
            assert out.stream_id == "x"
            subscription = await streams.resume("x")
            await out.send("one")
            assert (await anext(subscription)).data == "one"
            await out.send({"a": 1})
            await out.send(Message("three", "token"))
            await out.send(b"\xff")
        # Left, its end is recorded.
        assert (await streams.state("x")).outcome is Outcome.DONE
        assert await data_of(subscription) == ['{"a":1}', "three", b"\xff"]
        await until(lambda: streams.statistics() == IDLE)


async def test_flush_waits_until_it_is_in_the_log():
    async with hasty() as streams, streams.produce("x") as out:
        await out.flush()
        for number in range(1, 300):
            await out.send(str(number))
        await out.flush()
        assert (await streams.state("x")).last_seq == 299
        await out.flush()


async def test_what_cannot_be_sent_is_refused_and_changes_nothing():
    async with hasty() as streams:
        async with streams.produce("x") as out:
            for item in (object(), math.nan, "\ud800"):
                with pytest.raises(InvalidMessage):
                    await out.send(item)
            await out.send("one")
        assert await data_of(await streams.resume("x")) == ["one"]


@pytest.mark.parametrize(
    ("error", "shown"),
    [(KeyError("a secret"), "KeyError"), (SourceError("too bad"), "SourceError: too bad")],
    ids=["any", "SourceError"],
)
async def test_an_exception_fails_what_is_produced(error, shown):
    async with hasty() as streams:
        with pytest.raises(type(error)) as caught:  # noqa: PT012
            async with streams.produce("x") as out:
                await out.send("one")
                raise error
        assert caught.value is error
        event, end = await records_of(await streams.resume("x"))
        assert (event.data, end.outcome, end.error) == ("one", Outcome.FAILED, shown)


async def test_a_cancelled_producer_is_lost_at_once():
    """Law 7: consumers need not wait for the lease, and others may take over."""
    async with hasty() as streams:
        with CancelScope() as scope:
            async with streams.produce("x") as out:
                subscription = await streams.resume("x")
                await out.send("one")
                scope.cancel()
                await sleep_forever()
        with fail_after(10):
            event, end = await records_of(subscription)
        assert (event.data, end.outcome) == ("one", Outcome.LOST)
        assert end.error == "the producer was cancelled"
        assert await data_of(await streams.start("x", ["two"], on_lost="continue")) == [
            "one",
            "two",
        ]


@pytest.mark.parametrize("how", ["stop", "delete", "restart"])
async def test_a_producer_learns_that_it_was_fenced(how):
    """Law 4: what it sends then is refused, and does not appear."""
    async with hasty() as streams:
        async with streams.produce("x") as out:
            await out.send("one")
            await out.flush()
            match how:
                case "stop":
                    await streams.stop("x", "enough")
                case "delete":
                    await streams.delete("x")
                case "restart":
                    await streams.delete("x")
                    await streams.start("x", Script("new"))
            with fail_after(10), pytest.raises(Fenced):  # noqa: PT012
                while True:
                    await out.send("two")
                    await checkpoint()
            if how == "stop":
                with pytest.raises(Fenced, match="stopped"):
                    await out.send("two")
            with fail_after(10):
                with suppress(Fenced):
                    await out.flush()
        state = await streams.state("x")
        match how:
            case "stop":
                assert state.outcome is Outcome.STOPPED
            case "delete":
                assert state is None
            case "restart":
                assert (await anext(await streams.resume("x"))).data == "new"


@pytest.mark.virtual_time
async def test_a_silent_producer_learns_that_it_was_stopped():
    """It need not send anything for that: whoever waits for room or for the end is told."""
    async with hasty() as streams, streams.produce("x") as out:
        await streams.stop("x")
        await sleep(1)
        with pytest.raises(Fenced):
            await out.send("one")


@pytest.mark.virtual_time
async def test_the_limits_hold_for_those_who_produce_by_hand():
    async with hasty() as streams, streams.produce("x") as out:
        await out.send("one")
        await sleep(601)
        with pytest.raises(Fenced, match="yielded nothing for 600 s"):
            await out.send("two")
        *_, end = await records_of(await streams.resume("x"))
        assert end.outcome is Outcome.FAILED


@pytest.mark.virtual_time
async def test_sending_waits_for_room():
    """Law 8: a source is slowed down when its backend is."""
    backend = Slow()
    async with hasty(backend, limits=ProducerLimits(buffer_count=4)) as streams:
        start = current_time()
        async with streams.produce("x") as out:
            for number in range(16):
                await out.send(str(number))
                run = out._driver._machine._run
                assert len(run._kept) + len(run._unacked) <= 8
        assert current_time() - start >= 3
        assert len(await data_of(await streams.resume("x"))) == 16


class Slow(MemoryBackend):
    async def apply(self, stream_id, change):
        await sleep(1)
        return await super().apply(stream_id, change)


# Leaving


async def test_streams_are_used_between_entering_and_leaving():
    """Before, a clear error; afterwards another one. Sources are closed in both cases."""
    streams = hasty()
    calls = {
        "start": lambda: streams.start("x", WHOLE),
        "start_or_resume": lambda: streams.start_or_resume("x", WHOLE),
        "resume": lambda: streams.resume("x"),
        "state": lambda: streams.state("x"),
        "stop": lambda: streams.stop("x"),
        "delete": lambda: streams.delete("x"),
        "drain": streams.drain,
    }
    for call in calls.values():
        with pytest.raises(RuntimeError, match="async with streams"):
            await call()
    for call in (streams.scan, streams.statistics, lambda: streams.produce("x")):
        with pytest.raises(RuntimeError, match="async with streams"):
            call()
    async with streams:
        subscription = await streams.start("x", Script("one"))
        with pytest.raises(RuntimeError, match="entered already"):
            await streams.__aenter__()
    for call in calls.values():
        with pytest.raises(StreamsClosed):
            await call()
    for call in (streams.scan, streams.statistics, lambda: streams.produce("x")):
        with pytest.raises(StreamsClosed):
            call()
    with pytest.raises(StreamsClosed):
        await subscription.receive()


@pytest.mark.parametrize("url", [True, False], ids=["url", "backend"])
def test_streams_can_be_entered_again(anyio_backend, url, tmp_path):
    """As tests of an app do, each in an event loop of its own; what a file keeps is there."""
    path = tmp_path / "streams.db"
    name, options = anyio_backend
    streams = Streams(f"sqlite:///{path}" if url else SQLiteBackend(path), grace=0)
    source = Script("half")

    async def leave():
        async with streams:
            assert (await anext(await streams.start("x", source))).data == "half"
            streams.shutdown.begin()
        with pytest.raises(StreamsClosed):
            await streams.state("x")

    async def come_back():
        async with streams:
            assert (await streams.state("x")).outcome is Outcome.LOST
            assert await data_of(await streams.start("y", WHOLE)) == WHOLE

    anyio.run(leave, backend=name, backend_options=options)
    anyio.run(come_back, backend=name, backend_options=options)


async def test_streams_in_memory_are_empty_when_they_are_entered_again():
    streams = Streams()
    for _ in range(2):
        async with streams:
            assert await streams.state("x") is None
            assert await data_of(await streams.start("x", WHOLE)) == WHOLE


@pytest.mark.virtual_time
async def test_a_producer_that_finishes_within_the_grace_period_is_done():
    backend, script = MemoryBackend(), Script("one")
    left_at = None
    async with create_task_group() as group:

        async def finish():
            await sleep(6)
            script.put("two")
            script.end()

        group.start_soon(finish)
        async with hasty(backend, grace=10) as streams:
            await streams.start("x", script)
            await sleep(1)
        left_at = current_time()
    assert left_at == pytest.approx(6)
    async with hasty(backend) as streams:
        assert await data_of(await streams.resume("x")) == ["one", "two"]


@pytest.mark.virtual_time
async def test_a_producer_that_does_not_is_lost():
    """Law 7: it is recorded, for consumers elsewhere need not wait for the lease; those who wait
    here are told that this process shuts down.
    """
    backend, script = MemoryBackend(), Script("one")
    told = []
    async with hasty(backend) as elsewhere, create_task_group() as group:

        async def consume(streams, subscription):
            try:
                async for record in subscription.records():
                    told.append((streams, record))  # noqa: PERF401 - it keeps what it has
            except StreamsClosed:
                told.append((streams, "closed"))

        async with hasty(backend, grace=10) as streams:
            group.start_soon(consume, "here", await streams.start("x", script))
            group.start_soon(consume, "elsewhere", await elsewhere.resume("x"))
            by_hand = Event()

            async def produce():
                try:
                    async with streams.produce("y") as out:
                        await out.send("one")
                        await sleep_forever()
                finally:
                    by_hand.set()

            group.start_soon(produce)
            await sleep(1)
            start = current_time()
        assert current_time() - start == pytest.approx(10)
        assert script.closed == 1
        state = await elsewhere.state("x")
        assert (state.outcome, state.error) == (Outcome.LOST, "the producer was shut down")
        assert (await elsewhere.state("y")).outcome is Outcome.LOST
        await sleep(0.1)
        assert current_time() - start < LEASE
        here, there = [
            [what for who, what in told if who == whose] for whose in ("here", "elsewhere")
        ]
        assert [getattr(record, "data", record) for record in here][:1] == ["one"]
        assert here[-1] == "closed" or here[-1].outcome is Outcome.LOST
        assert [type(record).__name__ for record in there] == ["Event", "End"]
        assert there[-1].outcome is Outcome.LOST
        group.cancel_scope.cancel()


@pytest.mark.virtual_time
async def test_those_who_wait_are_told_when_the_process_shuts_down():
    """Nothing waits for ever: not for streams that are produced elsewhere, either."""
    backend = MemoryBackend()
    async with hasty(backend) as elsewhere, create_task_group() as group:
        await elsewhere.start("x", Script())
        told = []
        async with hasty(backend) as streams:
            for how in ("receive", "next", "records"):
                subscription = await streams.resume("x", Live())

                async def wait(subscription=subscription, how=how):
                    try:
                        match how:
                            case "receive":
                                await subscription.receive()
                            case "next":
                                await anext(subscription)
                            case "records":
                                await anext(subscription.records())
                    except StreamsClosed:
                        told.append(how)

                group.start_soon(wait)
            await sleep(1)
            assert told == []
        await sleep(0.1)
        assert sorted(told) == ["next", "receive", "records"]
        assert (await elsewhere.state("x")).state is State.ACTIVE


@pytest.mark.virtual_time
async def test_who_reads_when_the_process_shuts_down_is_told():
    """The page that comes too late brings nothing, and nobody is left to wait for more."""
    backend = FaultyBackend(MemoryBackend(), delay=2)
    told = []
    async with create_task_group() as group, hasty(backend) as streams:
        subscription = await streams.start("x", Script())

        async def wait():
            with pytest.raises(StreamsClosed):
                await anext(subscription)
            told.append(current_time() - start)

        backend.faults = {"read": Fault.DELAY}.get
        start = current_time()
        group.start_soon(wait)
        await sleep(1)
    assert told == [pytest.approx(2)]


@pytest.mark.virtual_time
async def test_draining_refuses_new_producers():
    """Existing streams are still resumed, and produced to their end."""
    script = Script("one")
    async with hasty(grace=10) as streams:
        subscription = await streams.start("x", script)
        async with create_task_group() as group:
            group.start_soon(streams.drain)
            await sleep(1)
            assert streams.statistics().draining
            for call in (streams.start, streams.start_or_resume):
                with pytest.raises(StreamsClosed, match="draining"):
                    await call("y", WHOLE)
            with pytest.raises(StreamsClosed):
                streams.produce("y")
            assert (await anext(await streams.start_or_resume("x", Script()))).data == "one"
            script.put("two")
            script.end()
        assert current_time() == pytest.approx(1)
        assert await data_of(subscription) == ["one", "two"]
        await streams.drain()  # may be called again


@pytest.mark.virtual_time
async def test_draining_waits_for_the_grace_period_at_most():
    async with hasty(grace=7) as streams:
        await streams.start("x", Script())
        await streams.drain()
        assert current_time() == pytest.approx(7)
        assert (await streams.state("x")).state is State.ACTIVE


@pytest.mark.virtual_time
@pytest.mark.parametrize("error", [KeyError("mine"), None], ids=["exception", "cancellation"])
async def test_leaving_in_a_hurry_gives_no_grace(error):
    """With an exception or cancelled: producers are lost at once, and the exception is the block's
    own.
    """
    backend = MemoryBackend()
    with CancelScope() as scope:
        with pytest.raises(KeyError) if error else move_on_after(math.inf):
            async with hasty(backend, grace=100) as streams:
                await anext(await streams.start("x", Script("one")))
                if error:
                    raise error
                scope.cancel()
                await sleep_forever()
    assert scope.cancelled_caught is (error is None)
    assert current_time() == 0
    async with hasty(backend) as streams:
        *_, end = await records_of(await streams.resume("x"))
        assert end.outcome is Outcome.LOST


async def test_what_is_in_the_buffer_is_written_before_leaving():
    """Law 2: what was sent is not lost by a shutdown in good order."""
    backend = MemoryBackend()
    async with hasty(backend, grace=0) as streams:
        production = streams.produce("x")
        out = await production.__aenter__()
        for number in range(100):
            await out.send(str(number))
    async with hasty(backend) as streams:
        *events, end = await records_of(await streams.resume("x"))
    assert [event.data for event in events] == [str(number) for number in range(100)]
    assert end.outcome is Outcome.LOST


@pytest.mark.virtual_time
async def test_a_claim_that_comes_too_late_is_not_used():
    """Streams that were left meanwhile start nothing: the claim is lost after one lease."""
    backend = Held()
    script = Script()
    results = []
    async with create_task_group() as group:
        async with hasty(backend) as streams:

            async def start(how):
                try:
                    await how("x" if how == streams.start else "y", script)
                except StreamsClosed:
                    results.append("closed")

            group.start_soon(start, streams.start)
            group.start_soon(start, streams.start_or_resume)
            await wait_all_tasks_blocked()
        backend.free.set()
    assert results == ["closed"] * 2
    assert script.calls == 0


class Held(MemoryBackend):
    """Keeps claims waiting."""

    def __init__(self):
        super().__init__()
        self.free = Event()

    async def apply(self, *args):
        await self.free.wait()
        return await super().apply(*args)


@pytest.fixture
def made_at_import():
    """Streams that were made while there was no event loop, as in a web app."""
    return Streams("memory://")


async def test_streams_can_be_made_outside_of_an_event_loop(made_at_import):
    async with made_at_import as streams:
        assert await data_of(await streams.start("x", iter(WHOLE))) == WHOLE


# Independence


async def test_consumers_do_not_disturb_each_other_nor_the_producer():
    """Law 10: one breaks out, one hangs, one is cancelled, one closes, one is forgotten; the
    producer and the last one do not notice.
    """
    script = Script()
    async with hasty() as streams, create_task_group() as group:
        subscription = await streams.start("x", script)

        async def breaks_out():
            async for _ in await streams.resume("x"):
                break

        async def hangs():
            async for _ in await streams.resume("x"):
                await sleep_forever()

        cancelled = CancelScope()

        async def is_cancelled():
            with cancelled:
                async for _ in await streams.resume("x"):
                    pass

        async def raises():
            with pytest.raises(LookupError):  # noqa: PT012
                async with await streams.resume("x") as mine:
                    async for _ in mine:
                        raise LookupError

        async def is_forgotten():
            forgotten = await streams.resume("x")
            await anext(forgotten)
            await anext(forgotten)

        for consumer in (breaks_out, hangs, is_cancelled, raises, is_forgotten):
            group.start_soon(consumer)
        for item in ("one", "two", "three"):
            script.put(item)
            assert (await anext(subscription)).data == item
            if item == "two":
                cancelled.cancel()
        script.end()
        assert await data_of(subscription) == []
        assert await data_of(await streams.resume("x")) == WHOLE
        assert (script.started, script.closed) == (1, 1)
        group.cancel_scope.cancel()


async def test_a_stream_is_produced_without_any_consumer():
    script = Script(*WHOLE, ended=True)
    async with hasty() as streams:
        subscription = await streams.start("x", script)
        del subscription
        gc.collect()
        await until(lambda: streams.statistics() == IDLE)
        assert await data_of(await streams.resume("x")) == WHOLE


@pytest.mark.virtual_time
@pytest.mark.parametrize("how", ["closed", "forgotten", "cancelled", "mixed"])
async def test_a_thousand_subscriptions_leave_nothing(how):
    """Law 8: opened and dropped, in every way: statistics show zero, and there are as many tasks as
    before.
    """
    script = Script("one", "two")
    ways = ["closed", "forgotten", "cancelled"] if how == "mixed" else [how]
    async with hasty() as streams:
        first = await streams.start("x", script)
        await anext(first)
        await first.aclose()
        await sleep(CHECK)
        before = tasks()
        assert streams.statistics() == Statistics(1, 0, 0, 0, draining=False)
        async with create_task_group() as group:

            async def consumer(way):
                subscription = await streams.resume("x")
                await anext(subscription)
                await anext(subscription)
                with move_on_after(10 if way == "cancelled" else 1):
                    await anext(subscription)
                if way == "closed":
                    await subscription.aclose()
                    assert subscription.finished

            for number in range(1000):
                group.start_soon(consumer, ways[number % len(ways)])
            await sleep(0.5)
            assert streams.statistics().subscriptions == 1000
            assert streams.statistics().followers == 1
        gc.collect()
        if how == "closed":
            await sleep(0.1)
        else:  # a follower notices at its next check that all are gone
            await sleep(CHECK)
        assert streams.statistics() == Statistics(1, 0, 0, 0, draining=False)
        assert tasks() == before
        assert not streams._backend._feeds._feeds.keys() - {"x"}
        assert len(streams._backend._feeds._feeds["x"]) == 1  # the producer's
        script.end()
        await sleep(1)
        assert streams.statistics() == IDLE
        assert not streams._backend._feeds


async def test_a_thousand_streams_leave_nothing():
    async with hasty() as streams:
        before = tasks()
        async with create_task_group() as group:

            async def one(number):
                subscription = await streams.start(f"x-{number}", Script(*WHOLE, ended=True))
                assert await data_of(subscription) == WHOLE
                await streams.delete(f"x-{number}")

            for number in range(1000):
                group.start_soon(one, number)
        await until(lambda: streams.statistics() == IDLE)
        await wait_all_tasks_blocked()
        assert tasks() == before
        assert not streams.shutdown._graces
        assert [each async for each in streams.scan()] == []


@pytest.mark.virtual_time
async def test_ended_streams_go_when_their_time_is_over():
    async with hasty(retention=Retention(keep=60)) as streams:
        await data_of(await streams.start("x", WHOLE))
        await sleep(59)
        assert await data_of(await streams.resume("x")) == WHOLE
        await sleep(1)
        assert await streams.state("x") is None
        with pytest.raises(StreamExpired):
            await streams.start_or_resume("x", WHOLE, "a-1")
        assert await data_of(await streams.start_or_resume("x", ["new"])) == ["new"]
