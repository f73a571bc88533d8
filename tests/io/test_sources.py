"""Sources: what they may be and yield, what becomes of those that fail, and that all are closed."""

import asyncio
import functools
import gc
import json
import logging
import threading
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest
from anyio import (
    CancelScope,
    CapacityLimiter,
    Event,
    create_task_group,
    current_time,
    fail_after,
    get_cancelled_exc_class,
    move_on_after,
    sleep,
    sleep_forever,
    to_thread,
    wait_all_tasks_blocked,
)
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from resumable_core import Append, Message, Observe, Outcome, ProducerLimits
from resumable_io import (
    BackendUnavailable,
    Fenced,
    InvalidInput,
    InvalidMessage,
    InvalidStreamId,
    MemoryBackend,
    SourceError,
    StreamExists,
    StreamExpired,
    Streams,
    StreamsClosed,
)
from resumable_io._sources import (
    CLEANUP_SECONDS,
    check_source,
    close,
    encode_json,
    is_fault,
    opened,
    safe_reason,
    to_message,
    wants_history,
)
from resumable_io.testing import Fault, FaultyBackend
from tests.io.scripted import Script, data_of, records_of, until

ITEMS = ["one", "two", "three"]


# What a source may be


async def async_generator():
    for item in ITEMS:
        yield item


def generator():
    yield from ITEMS


class AsyncIterator:
    def __init__(self):
        self.rest = list(ITEMS)

    def __aiter__(self):
        return self

    async def __anext__(self):
        await checkpoint()
        if not self.rest:
            raise StopAsyncIteration
        return self.rest.pop(0)


class AsyncIterable:
    def __aiter__(self):
        return async_generator()


class Iterable:
    def __iter__(self):
        return generator()


class Maker:
    def __call__(self):
        return async_generator()

    def method(self):
        return generator()


class Awaitable:
    def __await__(self):
        yield from checkpoint().__await__()
        return ITEMS


async def make_list():
    await checkpoint()
    return ITEMS


async def make_async_generator():
    await checkpoint()
    return async_generator()


async def make_generator():
    return generator()


SOURCES = {
    "async generator": async_generator,
    "async iterator": AsyncIterator,
    "async iterable": AsyncIterable,
    "generator": generator,
    "iterator": lambda: iter(ITEMS),
    "iterable": Iterable,
    "list": lambda: ITEMS,
    "map": lambda: map(str, ITEMS),
    "callable: async generator": lambda: async_generator,
    "callable: async iterator": lambda: AsyncIterator,
    "callable: async iterable": lambda: AsyncIterable,
    "callable: generator": lambda: generator,
    "callable: list": lambda: lambda: ITEMS,
    "callable object": Maker,
    "bound method": lambda: Maker().method,
    "partial": lambda: functools.partial(lambda items: items, ITEMS),
    "async callable: list": lambda: make_list,
    "async callable: async generator": lambda: make_async_generator,
    "async callable: generator": lambda: make_generator,
    "callable: awaitable": lambda: Awaitable,
    "optional parameters": lambda: lambda items=ITEMS, *rest, more=(), **others: items,
}


@pytest.mark.parametrize("make", SOURCES.values(), ids=SOURCES)
async def test_a_source_is_an_iterable_or_makes_one(make):
    """A source is an async iterable, an iterable, or a callable that returns one or an awaitable
    of one.
    """
    async with Streams() as streams:
        assert await data_of(await streams.start("x", make())) == ITEMS


async def test_an_empty_source_is_done():
    async with Streams() as streams:
        assert await data_of(await streams.start("x", [])) == []
        assert (await streams.state("x")).outcome is Outcome.DONE


@pytest.mark.parametrize(
    "source", [None, 7, "text", b"bytes", object()], ids=["None", "7", "text", "bytes", "object"]
)
async def test_nothing_else_is_a_source(source):
    """Refused before anything is stored. Text is refused since it would come letter by letter."""
    with pytest.raises(InvalidInput, match=type(source).__name__):
        check_source(source)
    async with Streams() as streams:
        with pytest.raises(InvalidInput, match="a source is"):
            await streams.start("x", source)
        with pytest.raises(InvalidInput, match="a source is"):
            await streams.start_or_resume("x", source)
        assert await streams.state("x") is None


@pytest.mark.parametrize("made", [None, 7, "text", b"bytes"], ids=repr)
async def test_a_callable_returns_a_source(made, caplog):
    async def make():
        return made

    async with Streams() as streams:
        for stream_id, source in (("x", lambda: made), ("y", make)):
            end = (await records_of(await streams.start(stream_id, source)))[-1]
            assert end.outcome is Outcome.FAILED
            assert type(made).__name__ in end.error


# History


def keyword_only(*, history=()):
    return history


CALLABLES = {
    "required": (lambda history: history, True),
    "positional": (lambda history, /: history, True),
    "required and optional": (lambda history, more=1: history, True),
    "rest of a partial": (functools.partial(lambda model, history: history, "model"), True),
    "bound by a partial": (functools.partial(lambda history: history, []), False),
    "optional": (lambda history=(): history, False),
    "keyword only": (keyword_only, False),
    "any number": (lambda *history: history, False),
    "none": (list, False),
    "no signature": (dict, False),
    "no callable": ([], False),
}


@pytest.mark.parametrize(("source", "wants"), CALLABLES.values(), ids=CALLABLES)
def test_a_required_parameter_asks_for_history(source, wants):
    assert wants_history(source) is wants


@pytest.mark.parametrize("count", [0, 1, 1100])  # 1,100 are three pages
async def test_a_source_gets_what_is_in_the_log(count):
    """A source that takes over and asks for it gets the events that are there, to continue."""
    before = [str(number) for number in range(count)]
    got = []

    async def continued(history):
        got.extend(history)
        yield "the rest"

    async with Streams() as streams:
        with CancelScope() as scope:
            async with streams.produce("x") as out:
                for text in before:
                    await out.send(text)
                await out.flush()
                scope.cancel()
                await checkpoint()
        await until(lambda: streams.statistics().producers == 0)
        subscription = await streams.start("x", continued, on_lost="continue")
        assert await data_of(subscription) == [*before, "the rest"]
    assert [event.data for event in got] == before


async def test_a_source_gets_what_is_left_of_the_log():
    """What the store has lost of it is not waited for."""

    class Forgetful(MemoryBackend):
        async def read(self, *args, **kwargs):
            page = await super().read(*args, **kwargs)
            return replace(page, events=page.events[:1] if page.after == 0 else ())

    got = []

    async def continued(history):
        got.extend(history)
        yield "the rest"

    async with Streams(Forgetful()) as streams:
        with CancelScope() as scope:
            async with streams.produce("x") as out:
                for text in ITEMS:
                    await out.send(text)
                await out.flush()
                scope.cancel()
                await checkpoint()
        await until(lambda: streams.statistics().producers == 0)
        await streams.start("x", continued, on_lost="continue")
        await until(lambda: streams.statistics().producers == 0)
    assert [event.data for event in got] == [ITEMS[0]]


async def test_a_source_that_is_the_first_gets_an_empty_history():
    async def source(history):
        yield list(history)

    async with Streams() as streams:
        assert await data_of(await streams.start("x", source)) == ["[]"]


# What a source may yield


@pytest.mark.parametrize(
    ("item", "data"),
    [
        ("text", "text"),
        ("", ""),
        ("two\r\nlines é😀", "two\r\nlines é😀"),
        (b"\xff\x00", b"\xff\x00"),
        (Message("text", "token"), "text"),
        ({"a": [1, None, True], "é": "😀"}, '{"a":[1,null,true],"é":"😀"}'),
        ([], "[]"),
        (7, "7"),
        (1.5, "1.5"),
        ([None], "[null]"),
    ],
    ids=repr,
)
async def test_a_source_yields_text_bytes_messages_or_json(item, data):
    async with Streams() as streams:
        (event,) = [event async for event in await streams.start("x", [item])]
    assert event.data == data
    assert event.type == (item.type if isinstance(item, Message) else None)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False).filter(abs)
        | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=5,
    )
)
def test_json_comes_back_as_it_was(item):
    """Law 11: whatever JSON can say is one message that says the same, or is refused."""
    with suppress(InvalidMessage):
        message = to_message(item, encode_json)
        assert (
            message == Message(item) if isinstance(item, str) else json.loads(message.data) == item
        )


circular = []
circular.append(circular)
deep = []
for _ in range(100_000):
    deep = [deep]


@pytest.mark.parametrize(
    "item",
    [
        float("nan"),
        {"a": float("inf")},
        object(),
        {1, 2},
        {"a": object()},
        circular,
        deep,
        "\ud800",
        None,
    ],
    ids=["nan", "inf", "object", "set", "nested", "circular", "deep", "surrogate", "None"],
)
async def test_what_cannot_be_encoded_fails_the_stream(item, caplog):
    """Consumers get what was produced, then End(failed) with a safe message."""
    closed = Event()

    async def source():
        try:
            yield "one"
            yield item
            yield "never"
        finally:
            closed.set()

    async with Streams() as streams:
        event, end = await records_of(await streams.start("x", source))
    assert event.data == "one"
    assert (end.outcome, end.error[:16]) == (Outcome.FAILED, "InvalidMessage: ")
    assert closed.is_set()
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("type_", ["", "end", "gap", "reset", "a\nb", "a\rb", "a\0b", "\ud800"])
async def test_a_type_that_would_break_a_frame_fails_the_stream(type_, caplog):
    """Law 11: refused with an error that names the field, before anything is stored."""

    def source():
        yield Message("text", type_)

    async with Streams() as streams:
        (end,) = await records_of(await streams.start("x", source))
    assert end.outcome is Outcome.FAILED
    assert "type" in end.error


async def test_the_encoder_is_the_applications():
    def encode(item):
        return Message(repr(item), "repr") if isinstance(item, set) else repr(item)

    async with Streams(encode=encode) as streams:
        events = [event async for event in await streams.start("x", [{1}, 2.5, "text", b"bytes"])]
    assert [(event.data, event.type) for event in events] == [
        ("{1}", "repr"),
        ("2.5", None),
        ("text", None),
        (b"bytes", None),
    ]


async def test_an_encoder_that_fails_fails_the_stream(caplog):
    def encode(item):
        raise LookupError("a secret")

    async with Streams(encode=encode) as streams:
        (end,) = await records_of(await streams.start("x", [7]))
        assert (end.outcome, end.error) == (Outcome.FAILED, "LookupError")
    async with Streams(encode=lambda item: item) as streams:
        (end,) = await records_of(await streams.start("x", [7]))
        assert (end.outcome, end.error) == (
            Outcome.FAILED,
            "InvalidMessage: data is text or bytes, got int",
        )


# Sources that fail


class OddError(BaseException):
    """Is no `Exception`."""


async def raising_async(error):
    yield "one"
    raise error


def raising(error):
    yield "one"
    raise error


async def raising_at_once(error):
    raise error


@pytest.mark.parametrize(
    ("make", "data"),
    [
        (raising_async, ["one"]),
        (raising, ["one"]),
        (lambda error: functools.partial(raising_async, error), ["one"]),
        (lambda error: functools.partial(raising_at_once, error), []),
    ],
    ids=["async generator", "generator", "callable", "async callable"],
)
@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (ValueError("a secret"), "ValueError"),
        (SourceError("the model is overloaded"), "SourceError: the model is overloaded"),
        (ExceptionGroup("a secret", [ValueError("a secret")]), "ExceptionGroup"),
        (BackendUnavailable("a secret"), "BackendUnavailable: the store did not answer"),
        (OddError("a secret"), "OddError"),
        (BaseExceptionGroup("a secret", [OddError("a secret")]), "BaseExceptionGroup"),
    ],
    ids=["any", "SourceError", "group", "store", "base", "base group"],
)
async def test_a_source_that_raises_fails_its_stream_alone(make, data, error, shown, caplog):
    """Consumers get what was produced, then End(failed) with the class name alone, or with the
    text that the source has chosen; the log has the traceback; all other streams go on.
    """
    other = Script("before")
    async with Streams() as streams:
        others = await streams.start("other", other)
        assert (await anext(others)).data == "before"

        *events, end = await records_of(await streams.start("x", make(error)))
        assert [event.data for event in events] == data
        assert (end.outcome, end.error) == (Outcome.FAILED, shown)
        state = await streams.state("x")
        assert (state.outcome, state.error) == (Outcome.FAILED, shown)

        other.put("after")
        other.end()
        assert await data_of(others) == ["after"]
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("resumable_io", logging.ERROR)
    assert record.exc_info[1] is error
    assert "'x'" in record.getMessage()


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_a_source_whose_own_task_was_cancelled_has_failed(caplog):
    """Nobody has cancelled the source itself: it was not shut down."""

    async def source():
        yield "one"
        task = asyncio.create_task(sleep_forever())
        await checkpoint()
        task.cancel()
        await task

    async with Streams() as streams:
        event, end = await records_of(await streams.start("x", source))
        assert (event.data, end.outcome, end.error) == ("one", Outcome.FAILED, "CancelledError")
        assert await data_of(await streams.start("y", ITEMS)) == ITEMS


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_all_tasks_are_cancelled_one_by_one_as_a_runner_does_at_its_end(caplog):
    """The source was shut down, although its task learns of it before whoever holds the streams."""
    tasks = []
    backend = MemoryBackend()

    async def source():
        yield "one"
        tasks.append(asyncio.current_task())
        await sleep_forever()

    async def serve():
        async with Streams(backend) as streams:
            await streams.start("x", source)
            await sleep_forever()

    server = asyncio.create_task(serve())
    await until(lambda: tasks)
    for task in (*tasks, server):
        task.cancel()
    await asyncio.wait([server])
    async with Streams(backend) as streams:
        *_, end = await records_of(await streams.resume("x"))
    assert (end.outcome, end.error) == (Outcome.LOST, "the producer was shut down")
    assert not caplog.records


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
async def test_who_produces_by_hand_may_lose_the_task_that_writes_before_it_begins():
    """Liveness: a runner's end may come between a claim and the task that is begun for it."""
    entered = []

    async def serve():
        async with Streams() as streams:
            others = asyncio.all_tasks()
            entered.append(await streams.produce("x").__aenter__())
            (begun,) = asyncio.all_tasks() - others
            begun.cancel()
            await sleep_forever()

    await asyncio.wait([asyncio.create_task(serve())])
    with fail_after(10):
        with pytest.raises(Fenced, match="lost: the producer was shut down"):
            await entered[0].send("one")
        await entered[0].__aexit__(None, None, None)
    gc.collect()  # while what asyncio says of a coroutine that never began is ignored


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit()], ids=["interrupt", "exit"])
async def test_what_ends_the_program_is_no_fault_of_a_source(error):
    assert await is_fault(error) is False
    assert await is_fault(BaseExceptionGroup("both", [error, OddError()])) is False
    assert await is_fault(BaseExceptionGroup("one", [OddError()])) is True


def test_only_errors_of_this_library_are_quoted():
    assert safe_reason(KeyError("a secret")) == "KeyError"
    assert safe_reason(Fenced("taken over")) == "Fenced: taken over"
    away = BackendUnavailable("Error 111 connecting to 10.0.0.1:6379")
    assert safe_reason(away) == "BackendUnavailable: the store did not answer"


# Sources that are not needed


class Closable:
    """An async iterable that says whether it was closed, and how often it was asked."""

    def __init__(self):
        self.closed = 0
        self.used = 0

    def __aiter__(self):
        self.used += 1
        return self

    async def __anext__(self):
        raise StopAsyncIteration

    async def aclose(self):
        await checkpoint()
        self.closed += 1


class ClosableStream(Closable):
    """As the stream of an API client: `close` is a coroutine function."""

    aclose = None

    async def close(self):
        await checkpoint()
        self.closed += 1


class ClosableResponse(ClosableStream):
    """As one that is iterated by a generator, and has a connection to close besides."""

    async def __aiter__(self):
        self.used += 1
        for item in ():
            yield item


class ClosableFile:
    """An iterable with a `close` that may block."""

    def __init__(self):
        self.closed = 0
        self.used = 0
        self.thread = None

    def __iter__(self):
        self.used += 1
        return iter(())

    def close(self):
        self.closed += 1
        self.thread = threading.current_thread()


CLOSABLES = [Closable, ClosableStream, ClosableResponse, ClosableFile]


@asynccontextmanager
async def not_needed(case):
    """Yield what starts a stream with a source that turns out not to be needed."""
    backend = FaultyBackend(MemoryBackend())
    limits = ProducerLimits(outage=0.2)
    async with Streams(backend, grace=0, limits=limits) as streams:
        match case:
            case "exists":
                await streams.start("x", sleep_forever_source)
                yield functools.partial(refused, streams.start, "x", StreamExists)
            case "has ended":
                await data_of(await streams.start("x", []))
                yield functools.partial(refused, streams.start, "x", StreamExists)
            case "is resumed":
                await streams.start("x", sleep_forever_source)
                yield functools.partial(streams.start_or_resume, "x")
            case "expired":
                start = functools.partial(streams.start_or_resume, position="a-1")
                yield functools.partial(refused, start, "x", StreamExpired)
            case "bad id":
                yield functools.partial(refused, streams.start, "a\nb", InvalidStreamId)
            case "bad id to resume":
                yield functools.partial(refused, streams.start_or_resume, "", InvalidStreamId)
            case "bad choice":
                start = functools.partial(streams.start_or_resume, on_lost="whatever")
                yield functools.partial(refused, start, "x", ValueError)
            case "draining":
                streams.shutdown.begin()
                yield functools.partial(refused, streams.start, "x", StreamsClosed)
            case "no store":
                backend.refuse("apply", "read")
                yield functools.partial(refused, streams.start, "x", Exception)
        backend.refuse()
    if case == "left":
        yield functools.partial(refused, streams.start, "x", StreamsClosed)
    if case == "not entered":
        yield functools.partial(refused, Streams().start_or_resume, "x", RuntimeError)


async def sleep_forever_source():
    await sleep_forever()
    yield


async def refused(start, stream_id, error, source):
    with pytest.raises(error):
        await start(stream_id, source)


NOT_NEEDED = [
    "exists",
    "has ended",
    "is resumed",
    "expired",
    "bad id",
    "bad id to resume",
    "bad choice",
    "draining",
    "no store",
    "left",
    "not entered",
]


@pytest.mark.parametrize("case", NOT_NEEDED)
async def test_a_source_that_is_not_needed_is_closed(case):
    """Whatever it is and whyever; and it is not used."""
    async with not_needed(case) as start:
        for make in CLOSABLES:
            source = make()
            await start(source)
            assert (source.used, source.closed) == (0, 1)

        source = async_generator()
        await start(source)
        assert source.ag_frame is None

        source = generator()
        await start(source)
        assert source.gi_frame is None

        await start(ITEMS)  # nothing to close

        called = []
        await start(lambda: called.append("called") or ITEMS)
        assert called == []


@pytest.mark.virtual_time
@pytest.mark.parametrize("how", ["start", "start_or_resume"])
async def test_a_source_is_closed_if_its_start_was_cancelled(how):
    backend = FaultyBackend(MemoryBackend(), {"apply": Fault.DELAY}.get, delay=2)
    async with Streams(backend, grace=0) as streams:
        for make in CLOSABLES:
            source = make()
            with move_on_after(1):
                await getattr(streams, how)(make.__name__, source)
            assert (source.used, source.closed) == (0, 1)


@pytest.mark.parametrize("how", ["start", "start_or_resume"])
async def test_a_coroutine_is_no_source_and_is_closed(how):
    """Forgetting to await, or to pass the function itself, is told, without further warnings."""
    async with Streams() as streams:
        with pytest.raises(InvalidInput, match="coroutine"):
            await getattr(streams, how)("x", make_list())
        gc.collect()
        assert await streams.state("x") is None


async def test_a_callable_with_a_close_of_its_own_is_left_alone():
    """A client that makes sources is not a source: it may be wanted again."""

    class Client(Closable):
        __aiter__ = None

        def __call__(self):
            return ITEMS

    client = Client()
    async with Streams() as streams:
        for _ in range(2):
            subscription = await streams.start_or_resume("x", client)
            assert await data_of(subscription) == ITEMS
    assert client.closed == 0


async def test_a_source_that_fails_to_close_is_logged(caplog):
    """Whoever resumes has nothing to do with it."""

    class Broken(Closable):
        async def aclose(self):
            raise LookupError("not today")

    async with Streams() as streams:
        await data_of(await streams.start("x", ITEMS))
        assert await data_of(await streams.start_or_resume("x", Broken())) == ITEMS
        with pytest.raises(StreamExists):
            await streams.start("x", Broken())
    assert [str(record.exc_info[1]) for record in caplog.records] == ["not today"] * 2


@pytest.mark.virtual_time
async def test_a_source_that_hangs_when_it_is_closed_holds_nobody_up_for_long():
    class Hanging(Closable):
        async def aclose(self):
            await sleep_forever()

    async with Streams() as streams:
        await data_of(await streams.start("x", ITEMS))
        start = current_time()
        assert await data_of(await streams.start_or_resume("x", Hanging())) == ITEMS
        assert current_time() - start == CLEANUP_SECONDS


# Sources that are used are closed, too


@pytest.mark.parametrize("make", CLOSABLES)
async def test_a_source_is_closed_when_it_is_done(make):
    source = make()
    made = make()
    async with Streams() as streams:
        await data_of(await streams.start("x", source))
        await data_of(await streams.start("y", lambda: made))
        await until(lambda: streams.statistics().producers == 0)
    for each in (source, made):
        assert each.used
        assert each.closed == 1


async def test_what_may_block_is_closed_in_a_thread():
    source = ClosableFile()
    await close(source, CapacityLimiter(1))
    assert source.thread is not threading.current_thread()


@pytest.mark.virtual_time(wait_for_threads=False)
async def test_what_has_nothing_to_close_needs_no_thread():
    """Not even when all of them are taken by sources that block."""
    limiter = CapacityLimiter(1)
    await limiter.acquire_on_behalf_of("somebody")
    for source in (ITEMS, iter(ITEMS), AsyncIterator(), lambda: ITEMS):
        await close(source, limiter)
    assert current_time() == 0
    await close(generator(), limiter)
    assert current_time() == CLEANUP_SECONDS


async def test_opening_closes_whatever_happens():
    limiter = CapacityLimiter(1)
    for make in CLOSABLES:
        source = make()
        with pytest.raises(LookupError):
            async with opened(source, None, limiter):
                raise LookupError
        assert source.closed == 1


@pytest.mark.parametrize("where", ["in an await", "at a yield"])
@pytest.mark.parametrize("how", ["stop", "delete", "leave"])
@pytest.mark.virtual_time
async def test_a_source_cleans_up_when_it_is_stopped(where, how):
    """An async generator's `finally` runs. One that is paused at a `yield` may even await there;
    one that is itself waiting gets its cancellation where it waits, as everywhere, and has to
    shield what it awaits then.
    """
    done = []

    async def source():
        try:
            yield "one"
            if where == "in an await":
                await sleep_forever()
            await full.wait()
            yield "two"
            yield "never taken"
        finally:
            done.append("began")
            with CancelScope(shield=where == "in an await"):
                await sleep(1)
            done.append("cleaned up")

    backend, full = Full(), Event()
    limits = ProducerLimits(buffer_count=1)
    async with Streams(backend, grace=0, limits=limits) as streams:
        subscription = await streams.start("x", source)
        assert (await anext(subscription)).data == "one"
        backend.full = True
        full.set()
        await sleep(1)
        assert done == []
        match how:
            case "stop":
                await streams.stop("x")
            case "delete":
                await streams.delete("x")
        if how != "leave":
            await sleep(2)
            assert done == ["began", "cleaned up"]
        backend.full = False
        if how != "leave":
            await sleep(1)
            assert streams.statistics().producers == 0
    assert done == ["began", "cleaned up"]


class Full(MemoryBackend):
    """Takes no further messages while it is `full`, and lets producers wait."""

    full = False

    async def apply(self, stream_id, change):
        while self.full and isinstance(change, Append):  # noqa: ASYNC110 - in virtual time
            await sleep(0.1)
        return await super().apply(stream_id, change)


async def stubborn():
    """Yields once more after it was cancelled, as what was about to yield anyway may."""
    yield "one"
    with suppress(get_cancelled_exc_class()):
        await sleep_forever()
    yield "two"


async def clumsy():
    """Fails while it cleans up."""
    try:
        yield "one"
        await sleep_forever()
    finally:
        raise LookupError("a secret")


@pytest.mark.parametrize("how", ["stop", "delete", "leave"])
@pytest.mark.parametrize(("source", "logged"), [(stubborn, []), (clumsy, [LookupError])])
async def test_what_a_source_does_after_its_end_changes_nothing(source, logged, how, caplog):
    """Neither that end, nor any other stream; a failure there is logged as the source's own."""
    other = Script("before")
    backend = MemoryBackend()
    async with Streams(backend, grace=0) as streams:
        subscription = await streams.start("x", source)
        assert (await anext(subscription)).data == "one"
        match how:
            case "stop":
                await streams.stop("x", "enough")
            case "delete":
                await streams.delete("x")
        others = await streams.start("other", other)
        assert (await anext(others)).data == "before"
        if how != "leave":
            while streams.statistics().producers > 1:
                await checkpoint()
            other.put("after")
            other.end()
            assert await data_of(others) == ["after"]
    ends = {
        "stop": (Outcome.STOPPED, "enough"),
        "delete": (None, None),
        "leave": (Outcome.LOST, "the producer was shut down"),
    }
    sentinel = await backend.apply("x", Observe(connected_for=0.0))
    assert (sentinel.outcome, sentinel.error) == ends[how]
    assert [type(record.exc_info[1]) for record in caplog.records] == logged
    assert all("the source of stream 'x' failed" in each.message for each in caplog.records)


@pytest.mark.virtual_time
async def test_a_source_that_never_finishes_cleaning_up_is_left():
    """Its stream has ended long before; nobody else waits for it."""

    async def source():
        try:
            yield float("nan")  # refused: it is paused here
        finally:
            await sleep_forever()

    async with Streams() as streams:
        start = current_time()
        (end,) = await records_of(await streams.start("x", source))
        assert end.outcome is Outcome.FAILED
        assert current_time() - start <= CLEANUP_SECONDS
        await sleep(2 * CLEANUP_SECONDS)
        assert streams.statistics().producers == 0


# Sources in threads


class Blocking:
    """A generator that blocks its thread until it is let go."""

    def __init__(self):
        self.blocked = threading.Event()
        self.free = threading.Event()
        self.closed = threading.Event()
        self.thread = None

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.free.set()

    def __call__(self):
        try:
            yield "one"
            self.thread = threading.current_thread()
            self.blocked.set()
            self.free.wait(10)
            yield "two"
        finally:
            self.closed.set()


async def test_a_source_that_blocks_holds_up_nobody():
    with Blocking() as blocking:
        async with Streams() as streams:
            subscription = await streams.start("x", blocking)
            assert (await anext(subscription)).data == "one"
            await until(blocking.blocked.is_set)
            assert blocking.thread is not threading.current_thread()
            assert await data_of(await streams.start("y", generator)) == ITEMS
            blocking.free.set()
            assert await data_of(subscription) == ["two"]
    assert blocking.closed.is_set()


@pytest.mark.parametrize("how", ["stop", "delete", "leave"])
async def test_a_source_that_blocks_can_be_stopped(how):
    """Its thread is abandoned, and ends by itself when the source goes on."""
    backend = MemoryBackend()
    with Blocking() as blocking:
        async with Streams(backend, grace=0) as streams:
            subscription = await streams.start("x", blocking)
            assert (await anext(subscription)).data == "one"
            await until(blocking.blocked.is_set)
            if how == "stop":
                await streams.stop("x", "enough")
                (end,) = await records_of(subscription)
                assert (end.outcome, end.error) == (Outcome.STOPPED, "enough")
            elif how == "delete":
                await streams.delete("x")
                (end,) = await records_of(subscription)
                assert end.outcome is Outcome.STOPPED
            with fail_after(CLEANUP_SECONDS - 1):
                if how != "leave":
                    await until(lambda: streams.statistics().producers == 0)
        assert not blocking.closed.is_set()
        async with Streams(backend) as streams:
            state = await streams.state("x")
            if how == "leave":
                assert (state.outcome, state.error) == (
                    Outcome.LOST,
                    "the producer was shut down",
                )
        blocking.free.set()
        assert await to_thread.run_sync(blocking.closed.wait, 10)
        gc.collect()


async def test_a_source_without_end_can_be_stopped():
    """A generator that never blocks and never ends is slowed down by its buffer, and stops."""
    produced = 0

    def count():
        nonlocal produced
        while True:
            produced += 1
            yield str(produced)

    async with Streams() as streams:
        subscription = await streams.start("x", count)
        for number in range(1, 10):
            assert (await anext(subscription)).data == str(number)
        await streams.stop("x")
        *_, end = await records_of(subscription)
        assert end.outcome is Outcome.STOPPED
        await until(lambda: streams.statistics().producers == 0)
        stopped_at = produced
        await wait_all_tasks_blocked()
        assert produced == stopped_at


async def test_blocking_sources_run_side_by_side():
    """Several threads at once; the event loop goes on meanwhile."""
    together = threading.Barrier(5)

    def source():
        together.wait(10)
        yield "met"

    async with Streams() as streams, create_task_group() as tasks:

        async def run(number):
            assert await data_of(await streams.start(f"x-{number}", source)) == ["met"]

        for number in range(5):
            tasks.start_soon(run, number)
