"""The interface, in one process: contexts that share a `MemoryPubSub`, in virtual time."""

import asyncio
import logging
import math
from contextlib import AsyncExitStack

import anyio
import pytest
from anyio import create_task_group, fail_after, sleep
from hypothesis import given, settings
from hypothesis import strategies as st

from resumable_core import (
    DONE_MESSAGE,
    BackendError,
    InvalidInput,
    InvalidStreamId,
    ResumeRequest,
    StreamFailed,
    StreamLost,
    StreamReset,
    skip_units,
)
from resumable_io import StreamsClosed
from resumable_io.vercel import MemoryPubSub, create_resumable_stream_context
from tests.vercel.sources import Tap, counted, text_of

pytestmark = pytest.mark.virtual_time

SENTINEL = "resumable-stream:rs:sentinel:one"
REQUESTS = "resumable-stream:rs:request:one"


@pytest.fixture
def memory():
    return MemoryPubSub()


@pytest.fixture
async def contexts(memory):
    """What opens another context on `memory`."""
    async with AsyncExitStack() as stack:

        async def opened(**options):
            context = create_resumable_stream_context(
                publisher=memory, subscriber=memory, **options
            )
            return await stack.enter_async_context(context)

        yield opened


@pytest.fixture
async def ours(contexts):
    return await contexts()


@pytest.fixture
async def other(contexts):
    return await contexts()


# -- What the library that it follows promises ---------------------------------------------------


async def test_who_starts_a_stream_reads_it(ours):
    stream = await ours.resumable_stream("one", counted("1\n", "2\n", "3\n"))
    assert [chunk async for chunk in stream] == ["1\n", "2\n", "3\n"]


async def test_states(ours, other):
    tap = Tap()
    assert await ours.has_existing_stream("one") is None
    stream = await ours.resumable_stream("one", tap)
    for context in (ours, other):
        assert await context.has_existing_stream("one") is True
        assert await context.has_existing_stream("two") is None
    tap.end()
    await text_of(stream)
    await sleep(0.1)
    assert await other.has_existing_stream("one") == "DONE"


async def test_every_reader_gets_all_of_it(ours, other):
    """Whoever comes when, and whether or not anybody reads what was started first."""
    tap = Tap()
    first = await ours.resumable_stream("one", tap)
    tap.pour("1\n")
    second = await other.resumable_stream("one", counted("never"))
    tap.pour("2\n")
    third = await other.resume_existing_stream("one")
    tap.pour("3\n")
    await sleep(0.1)
    fourth = await ours.resume_existing_stream("one")
    tap.end()
    for stream in (fourth, third, second, first):
        assert await text_of(stream) == "1\n2\n3\n"
    assert tap.runs == 1


async def test_it_streams(ours, other):
    """What has come can be read before anything else comes."""
    tap = Tap()
    first = await ours.resumable_stream("one", tap)
    second = await other.resumable_stream("one", tap)
    for chunk in ("1\n", "2\n"):
        tap.pour(chunk)
        assert await anext(first) == chunk
        assert await anext(second) == chunk
    tap.end()
    assert await text_of(second) == ""


async def test_streams_do_not_mix(ours, other):
    taps = {name: Tap() for name in ("one", "two")}
    for name, tap in taps.items():
        await ours.resumable_stream(name, tap)
    readers = {name: await other.resume_existing_stream(name) for name in taps}
    for name, tap in taps.items():
        tap.pour(name)
        tap.end()
    for name, reader in readers.items():
        assert await text_of(reader) == name


@pytest.mark.parametrize(("skip", "text"), [(None, "1\n2\n"), (0, "1\n2\n"), (2, "2\n"), (4, "")])
async def test_characters_are_skipped(skip, text, ours, other):
    tap = Tap()
    await ours.resumable_stream("one", tap)
    tap.pour("1\n", "2\n")
    await sleep(0.1)
    stream = await other.resumable_stream("one", tap, skip_characters=skip)
    tap.end()
    assert await text_of(stream) == text


async def test_a_stream_that_has_ended_is_none(ours, other):
    source, again = counted("1"), counted("2")
    assert await text_of(await ours.create_new_resumable_stream("one", source)) == "1"
    await sleep(0.1)
    for context in (ours, other):
        assert await context.resumable_stream("one", again) is None
        assert await context.create_new_resumable_stream("one", again) is None
        assert await context.resume_existing_stream("one") is None
    assert again.runs == 0


async def test_a_stream_that_was_never_started_is_not_found(ours, memory):
    assert await ours.resume_existing_stream("one") == "NOT_FOUND"
    assert await memory.get(SENTINEL) is None


async def test_a_stream_that_is_being_produced_is_not_created_again(ours, other):
    tap, again = Tap(), counted("2")
    await ours.create_new_resumable_stream("one", tap)
    for context in (ours, other):
        assert await context.create_new_resumable_stream("one", again) is None
    assert again.runs == 0
    tap.end()


# -- What it promises beyond that ----------------------------------------------------------------


@settings(max_examples=15)
@given(
    chunks=st.lists(st.sampled_from(["a", "héllo", "😀", "日本", "e\u0301"]), max_size=6),
    skips=st.lists(st.integers(0, 8), max_size=3),
)
def test_text_in_any_language_from_any_offset(chunks, skips):
    async def main():
        memory = MemoryPubSub()
        both = {"publisher": memory, "subscriber": memory}
        tap, streams = Tap(), []
        async with (
            create_resumable_stream_context(**both) as ours,
            create_resumable_stream_context(**both) as other,
        ):
            await ours.resumable_stream("one", tap)
            for chunk, skip in zip(chunks, [*skips, *(0 for _ in chunks)], strict=False):
                streams.append((skip, await other.resume_existing_stream("one", skip)))
                tap.pour(chunk)
            tap.end()
            for skip, stream in streams:
                assert await text_of(stream) == skip_units("".join(chunks), skip)

    anyio.run(main)


async def test_however_many_ask_at_once_the_source_runs_once(ours, other):
    tap = Tap()
    streams = []

    async def ask(context):
        streams.append(await context.resumable_stream("one", tap))

    async with create_task_group() as tasks:
        for context in (ours, other) * 5:
            tasks.start_soon(ask, context)
    tap.pour("text")
    tap.end()
    assert [await text_of(stream) for stream in streams] == ["text"] * 10
    assert tap.runs == 1


async def test_a_failed_source_is_an_error_for_everybody(ours, other, memory, caplog):
    tap = Tap()
    first = await ours.resumable_stream("one", tap)
    second = await other.resumable_stream("one", tap)
    tap.pour("part")
    tap.fail()
    for stream in (first, second):
        assert await anext(stream) == "part"
        with pytest.raises(StreamFailed, match=r"^ValueError$"):
            await anext(stream)
    assert "secret" in caplog.text
    assert await other.has_existing_stream("one") is None
    assert await other.resume_existing_stream("one") == "NOT_FOUND"
    again = await other.resumable_stream("one", counted("again"))
    assert await text_of(again) == "again"


async def test_a_source_whose_own_task_was_cancelled_fails_alone(ours):
    async def source():
        yield "1\n"
        raise asyncio.CancelledError  # as waiting for a task does that somebody has cancelled

    tap = Tap()
    another = await ours.resumable_stream("two", tap)
    with pytest.raises(StreamFailed, match="CancelledError"):
        await text_of(await ours.resumable_stream("one", source))
    tap.pour("2\n")
    tap.end()
    assert await text_of(another) == "2\n"


@pytest.mark.parametrize("item", [b"bytes", {"a": "dict"}, "\ud83d"], ids=["bytes", "dict", "half"])
async def test_a_source_yields_text(item, ours):
    stream = await ours.resumable_stream("one", counted(item))
    with pytest.raises(StreamFailed, match="InvalidMessage"):
        await text_of(stream)


async def test_a_chunk_that_equals_the_message_of_the_end_is_text(ours, other):
    tap = Tap()
    await ours.resumable_stream("one", tap)
    stream = await other.resume_existing_stream("one")
    tap.pour("before", DONE_MESSAGE, "after")
    tap.end()
    assert await text_of(stream) == f"before{DONE_MESSAGE}after"


async def test_a_dead_producer_is_noticed_at_once(ours, memory):
    await memory.set(SENTINEL, "1", ex=1000)
    with fail_after(0.5), pytest.raises(StreamLost, match="died"):
        await ours.resume_existing_stream("one")
    assert await ours.has_existing_stream("one") is None
    await sleep(2)
    assert await memory.get(SENTINEL) is None


@pytest.mark.parametrize("start", ["resumable_stream", "create_new_resumable_stream"])
async def test_the_id_of_a_dead_producer_is_usable_again(start, ours, memory):
    await memory.set(SENTINEL, "3", ex=1000)
    with fail_after(0.5):
        stream = await getattr(ours, start)("one", counted("again"))
    assert await text_of(stream) == "again"


async def test_however_many_find_it_dead_at_once_it_is_started_once(contexts, memory):
    await memory.set(SENTINEL, "3", ex=1000)
    taps = [(await contexts(), Tap()) for _ in range(6)]
    streams = []

    async def ask(context, tap):
        streams.append(await context.resumable_stream("one", tap))

    async with create_task_group() as tasks:
        for context, tap in taps:
            tasks.start_soon(ask, context, tap)
    assert sum(tap.runs for _, tap in taps) == 1
    for _, tap in taps:
        if tap.runs:
            tap.pour("text")
            tap.end()
    assert [await text_of(stream) for stream in streams] == ["text"] * 6


async def test_who_has_a_part_of_a_dead_stream_does_not_start_another_one(ours, memory):
    """Its text would not go on where the part ends."""
    await memory.set(SENTINEL, "3", ex=1000)
    source = counted("again")
    with pytest.raises(StreamLost):
        await ours.resumable_stream("one", source, skip_characters=4)
    assert source.runs == 0


async def test_a_producer_that_dies_is_noticed_by_who_listens(ours, other, memory):
    tap = Tap()
    await ours.resumable_stream("one", tap)
    stream = await other.resume_existing_stream("one")
    tap.pour("part")
    assert await anext(stream) == "part"
    await memory.unsubscribe(REQUESTS)  # as the connection of a process that is killed
    with fail_after(12), pytest.raises(StreamLost, match="died"):
        await anext(stream)
    assert await other.has_existing_stream("one") is None
    tap.end()


async def test_a_producer_that_does_not_answer_is_an_error(contexts, memory):
    async def ignore(message):
        pass

    await memory.subscribe(REQUESTS, ignore)
    await memory.set(SENTINEL, "1", ex=1000)
    slow = await contexts(ack_timeout=3)
    with fail_after(4), pytest.raises(StreamLost, match="did not answer within 3 s"):
        await slow.resume_existing_stream("one")
    assert await slow.has_existing_stream("one") is True


async def test_silence_is_not_death(ours, other):
    tap = Tap()
    await ours.resumable_stream("one", tap)
    stream = await other.resume_existing_stream("one")
    for chunk in ("a", "b"):
        tap.pour(chunk)
        assert await anext(stream) == chunk
        await sleep(100)
    with anyio.move_on_after(100) as scope:
        await anext(stream)
    assert scope.cancelled_caught  # and nothing is lost by it
    tap.pour("c")
    tap.end()
    assert await text_of(stream) == "c"


async def test_a_listener_that_left_is_forgotten(ours, other, memory):
    tap = Tap()
    await ours.resumable_stream("one", tap)
    closed = await other.resume_existing_stream("one")
    dropped = await other.resume_existing_stream("one")
    assert sum(map(len, memory._callbacks.values())) == 3
    await closed.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(closed)
    del dropped
    await sleep(12)
    tap.pour("more")
    await sleep(0.1)
    (production,) = ours._productions.values()
    assert production.machine.listeners == 0
    assert list(memory._callbacks) == [REQUESTS]
    tap.end()


async def test_a_reader_that_left_leaves_the_stream_alone(ours, other):
    tap = Tap()
    first = await ours.resumable_stream("one", tap)
    second = await other.resume_existing_stream("one")
    await first.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(first)
    tap.pour("text")
    tap.end()
    assert await text_of(second) == "text"


async def test_a_slow_reader_costs_a_message_and_loses_nothing(ours, other):
    tap = Tap()
    await ours.resumable_stream("one", tap)
    stream = await other.resume_existing_stream("one")
    numbers = [f"{number} " for number in range(3000)]
    for start in range(0, len(numbers), 100):
        tap.pour(*numbers[start : start + 100])
        await sleep(0.1)
    tap.end()
    await sleep(100)
    with fail_after(100):
        with pytest.raises(StreamLost, match="last part"):  # the producer has ended long ago
            await text_of(stream)
    tap = Tap()
    await ours.resumable_stream("two", tap)
    stream = await other.resume_existing_stream("two")
    for start in range(0, len(numbers), 100):
        tap.pour(*numbers[start : start + 100])
        await sleep(0.1)
    tap.end()
    assert await text_of(stream) == "".join(numbers)


async def test_a_stream_that_was_started_anew_meanwhile_is_another_one(ours, other, memory):
    tap, again = Tap(), Tap()
    await ours.resumable_stream("one", tap)
    stream = await other.resume_existing_stream("one")
    tap.pour("Hello, Ann")
    assert await anext(stream) == "Hello, Ann"
    await memory.unsubscribe(REQUESTS)
    await other.create_new_resumable_stream("one", again)
    again.pour("Hello, Bob. How are you?")
    with fail_after(20), pytest.raises(StreamReset):
        await anext(stream)
    tap.end()
    again.end()


# -- Bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize("message", ["", "{", "null", "[1]", '{"skipCharacters": 1}', "\ud800"])
async def test_what_is_no_request_does_not_disturb_the_producer(message, ours, other, memory):
    tap = Tap()
    await ours.resumable_stream("one", tap)
    assert await memory.publish(REQUESTS, message) == 1
    stream = await other.resume_existing_stream("one")
    tap.pour("text")
    tap.end()
    assert await text_of(stream) == "text"


@pytest.mark.parametrize(
    ("skip", "expected"),
    [(-2, ["cd", "ef"]), (10**30, ["", DONE_MESSAGE]), ("x", ["abcd", "ef"])],
    ids=["negative", "huge", "text"],
)
async def test_odd_requests_are_answered(skip, expected, ours, memory):
    """By the wire: any text names a listener, members that nobody knows are ignored."""
    heard = []

    async def hear(message):
        heard.append(message)

    tap = Tap()
    await ours.resumable_stream("one", tap)
    tap.pour("abcd")
    await sleep(0.1)
    await memory.subscribe("resumable-stream:rs:chunk:no UUID", hear)
    request = ResumeRequest("no UUID", 0).encode()
    request = request.replace('"skipCharacters": 0', f'"skipCharacters": {skip!r}, "new": 1')
    await memory.publish(REQUESTS, request.replace("'", '"'))
    await sleep(0.1)
    tap.pour("ef")
    tap.end()
    await sleep(0.1)
    assert heard[:2] == expected
    assert heard[-1] == DONE_MESSAGE


async def test_arguments_are_checked(ours):
    with pytest.raises(InvalidInput, match="counted from 0"):
        await ours.resume_existing_stream("one", -1)
    with pytest.raises(InvalidStreamId):
        await ours.has_existing_stream("")
    with pytest.raises(InvalidInput, match="a source is"):
        await ours.resumable_stream("one", 5)
    assert await ours.has_existing_stream("one") is None


@pytest.mark.parametrize("option", ["ttl", "ack_timeout", "watchdog"])
@pytest.mark.parametrize("value", [0, -1, math.inf, math.nan])
def test_times_are_checked(option, value):
    with pytest.raises(InvalidInput, match=option):
        create_resumable_stream_context(redis_url="memory://", **{option: value})


def test_it_has_to_be_said_where_redis_is(monkeypatch):
    for name in ("REDIS_URL", "KV_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InvalidInput, match="REDIS_URL or KV_URL"):
        create_resumable_stream_context()
    with pytest.raises(InvalidInput, match="REDIS_URL or KV_URL"):
        create_resumable_stream_context(publisher=MemoryPubSub())


# -- Its lifetime --------------------------------------------------------------------------------


async def test_it_has_to_be_entered():
    context = create_resumable_stream_context(redis_url="memory://")
    with pytest.raises(RuntimeError, match="lifespan"):
        await context.has_existing_stream("one")
    async with context:
        assert await context.has_existing_stream("one") is None
        with pytest.raises(RuntimeError, match="entered already"):
            await context.__aenter__()
    with pytest.raises(StreamsClosed):
        await context.has_existing_stream("one")


async def test_producers_get_time_to_finish(contexts, other, memory):
    tap = Tap()
    both = {"publisher": memory, "subscriber": memory}
    async with create_task_group() as tasks, create_resumable_stream_context(**both) as leaving:
        await leaving.resumable_stream("one", tap)
        stream = await other.resume_existing_stream("one")

        async def finish():
            await sleep(5)
            tap.pour("text")
            tap.end()

        tasks.start_soon(finish)
    assert await text_of(stream) == "text"
    assert await other.has_existing_stream("one") == "DONE"


@pytest.mark.parametrize("how", ["late", "raising", "cancelled"])
async def test_who_does_not_finish_fails(how, other, memory):
    tap = Tap()
    with anyio.CancelScope() as scope:
        try:
            async with create_resumable_stream_context(
                publisher=memory, subscriber=memory, grace=3
            ) as leaving:
                first = await leaving.resumable_stream("one", tap)
                stream = await other.resume_existing_stream("one")
                tap.pour("part")
                assert await anext(stream) == "part"
                if how == "raising":
                    raise KeyError  # noqa: TRY301
                if how == "cancelled":
                    scope.cancel()
                    await sleep(1)
        except KeyError:
            assert how == "raising"
    assert tap.closed
    assert await anext(first) == "part"
    for reader in (first, stream):
        with pytest.raises(StreamFailed, match="shut down"):
            await anext(reader)
    assert await other.has_existing_stream("one") is None


async def test_who_reads_in_a_context_that_is_left_is_told(ours, memory):
    tap = Tap()
    await ours.resumable_stream("one", tap)
    both = {"publisher": memory, "subscriber": memory}
    async with create_resumable_stream_context(**both) as leaving:
        stream = await leaving.resume_existing_stream("one")
    with pytest.raises(StreamLost, match="left"):
        await anext(stream)
    tap.end()


async def test_the_sentinel_is_renewed_while_the_stream_is_produced(contexts, memory):
    context = await contexts(ttl=60)
    tap = Tap()
    stream = await context.resumable_stream("one", tap)
    for _ in range(10):
        await sleep(50)
        assert await context.has_existing_stream("one") is True
    tap.end()
    await text_of(stream)
    await sleep(1)
    assert await context.has_existing_stream("one") == "DONE"
    await sleep(61)
    assert await context.has_existing_stream("one") is None


async def test_errors_of_the_publisher_reach_the_caller(contexts, memory, monkeypatch):
    context = await contexts()

    async def fail(*_, **__):
        raise BackendError("no")

    monkeypatch.setattr(memory, "publish", fail)
    source = counted("text")
    with pytest.raises(BackendError):
        await context.resumable_stream("one", source)
    with pytest.raises(BackendError):
        await context.resume_existing_stream("one")
    assert source.runs == 0


async def test_debug(monkeypatch, caplog):
    logger = logging.getLogger("resumable_io.vercel")
    monkeypatch.setenv("DEBUG", "1")
    try:
        async with create_resumable_stream_context(redis_url="memory://") as context:
            await text_of(await context.resumable_stream("one", counted("text")))
        assert "stream 'one' is produced here" in caplog.text
    finally:
        logger.setLevel(logging.NOTSET)


async def test_what_has_ended_is_not_renewed(contexts, memory):
    context = await contexts(ttl=6)
    await text_of(await context.resumable_stream("one", counted("text")))
    await sleep(4)
    assert await memory.get(SENTINEL) == "DONE"


async def test_a_message_that_could_not_be_published_leaves_no_hole(contexts, memory, monkeypatch):
    """Its listener gets nothing more, neither the end; it asks again."""
    ours, other = await contexts(), await contexts(watchdog=1)
    publish, failures = memory.publish, ["b"]

    async def publish_or_fail(channel, message):
        if message in failures:
            failures.remove(message)
            raise BackendError("no")
        return await publish(channel, message)

    tap = Tap()
    await ours.resumable_stream("one", tap)
    stream = await other.resume_existing_stream("one")
    monkeypatch.setattr(memory, "publish", publish_or_fail)
    tap.pour("a", "b", "c")
    tap.end()
    assert await text_of(stream) == "abc"
    assert not failures


async def test_a_subscriber_that_fails_disturbs_nobody_else(contexts, memory, monkeypatch, caplog):
    ours, tap = await contexts(), Tap()
    stream = await ours.resumable_stream("one", tap)

    async def fail(*_):
        raise ValueError("no")

    with monkeypatch.context() as patch:
        patch.setattr(memory, "subscribe", fail)
        patch.setattr(memory, "unsubscribe", fail)
        for call in (ours.resume_existing_stream("one"), ours.resumable_stream("one", tap)):
            with pytest.raises(ValueError, match="no"):
                await call
    assert "could not be given up" in caplog.text
    tap.pour("text")
    tap.end()
    assert await text_of(stream) == "text"
