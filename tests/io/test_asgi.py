"""The responses, called as an ASGI server calls them: positions, statuses, endings, time limits."""

import functools
import json
import logging
import math
from collections import Counter
from contextlib import nullcontext

import pytest
from anyio import (
    Event,
    create_task_group,
    current_time,
    fail_after,
    sleep,
    sleep_forever,
    wait_all_tasks_blocked,
)
from anyio.lowlevel import checkpoint
from starlette.background import BackgroundTask
from starlette.responses import Response

from resumable_core import (
    Claim,
    Decoder,
    Delete,
    EventId,
    Finish,
    Message,
    Outcome,
    Retention,
    SSEFraming,
    TextFraming,
)
from resumable_core.testing import append
from resumable_io import (
    BackendError,
    BackendFull,
    BackendUnavailable,
    InvalidInput,
    MemoryBackend,
    ResumableError,
    SourceError,
    State,
    Streams,
    asgi,
    starlette,
)
from resumable_io._body import SLICE_BYTES
from resumable_io.asgi import ResponseCut, last_event_id, resume_at, status_of
from resumable_io.testing import FaultyBackend
from tests.io.scripted import Script, data_of, records_of, until
from tests.io.test_sources import Closable

WHOLE = ["one", "two", "three"]

# Leaving them takes no time, even while there are scripts that never end.
hasty = functools.partial(Streams, grace=0)

SSE = [asgi.EventStreamResponse, starlette.EventStreamResponse]
TEXT = [asgi.TextStreamResponse, starlette.TextStreamResponse]
BOTH = [*SSE, *TEXT]


def name(response_class):
    return f"{response_class.__module__.rpartition('.')[2]}.{response_class.__name__}"


of_sse = pytest.mark.parametrize("response_class", SSE, ids=name)
of_text = pytest.mark.parametrize("response_class", TEXT, ids=name)
of_both = pytest.mark.parametrize("response_class", BOTH, ids=name)


class Client:
    """A client with the server in front of it, as far as an application sees them.

    Insists on the order of messages that the ASGI specification asks for, and fails on those that
    it does not know.
    """

    def __init__(self, query="", *, method="GET", **headers):
        self.scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "path": "/",
            "query_string": query.encode(),
            "headers": [
                (name.replace("_", "-").encode(), value.encode("latin-1"))
                for name, value in headers.items()
            ],
        }
        self.status = None
        self.headers = {}
        self.body = b""
        self.complete = False
        """Whether the body was ended properly."""
        self.cut = False
        """Whether the application has failed, so that the server breaks the connection."""
        self.reads = True
        """Whether it takes what it is sent."""
        self._left = Event()
        self._asked = False

    async def receive(self):
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        assert not self.complete, "nothing is sent behind the end"
        match message["type"]:
            case "http.response.start":
                assert self.status is None
                self.status = message["status"]
                for key, value in message["headers"]:
                    assert key == key.lower()
                    self.headers.setdefault(key.decode("latin-1"), []).append(
                        value.decode("latin-1")
                    )
            case "http.response.body":
                assert self.status is not None
                while not self.reads:
                    await sleep_forever()
                self.body += message["body"]
                self.complete = not message.get("more_body", False)
            case unknown:
                raise ValueError(f"unknown message: {unknown}")
        await checkpoint()

    def leave(self):
        self._left.set()

    async def get(self, response):
        """Get the whole response; a test that waits too long fails."""
        with fail_after(100):
            try:
                await response(self.scope, self.receive, self.send)
            except ResponseCut:
                self.cut = True
        return self

    @property
    def text(self):
        return self.body.decode()

    @property
    def events(self):
        return Decoder().feed(self.body)

    @property
    def data(self):
        """Return the data of all events that are the stream's own."""
        return [event.data for event in self.events if event.type not in {"end", "gap", "reset"}]

    @property
    def end(self):
        event = self.events[-1]
        assert event.type == "end"
        return json.loads(event.data)

    def seen(self, count):
        """Return when so many events have come."""
        return until(lambda: len(self.events) >= count)


async def get(response, *args, **kwargs):
    return await Client(*args, **kwargs).get(response)


# Granting


@of_sse
async def test_a_stream_is_served_as_events(response_class):
    """Every event with its id and type; the end in band; then the body is complete."""
    async with hasty() as streams:
        items = ["one", Message("two\nlines", "token"), {"a": 1}, b"bytes"]
        client = await get(response_class(streams, "x", items))
        epoch = (await streams.state("x")).epoch
    assert client.status == 200
    assert client.complete
    assert [(event.type, event.data, event.last_event_id) for event in client.events] == [
        ("message", "one", f"{epoch}-1"),
        ("token", "two\nlines", f"{epoch}-2"),
        ("message", '{"a":1}', f"{epoch}-3"),
        ("message", "bytes", f"{epoch}-4"),
        ("end", '{"outcome":"done","error":null}', f"{epoch}-4-end"),
    ]


@of_text
async def test_a_stream_is_served_as_text(response_class):
    async with hasty() as streams:
        client = await get(
            response_class(streams, "x", ["öne\r\n", Message("two", "token"), b"\xff"])
        )
    assert (client.status, client.complete) == (200, True)
    assert client.body == "öne\r\ntwo".encode() + b"\xff"


@of_both
async def test_what_is_large_is_sent_in_slices(response_class):
    """A client that stops reading makes the server hold one slice, not the whole page."""
    text = "0123456789abcde\n" * 20_000
    async with hasty() as streams:
        client, sizes = Client(), []

        async def send(message):
            sizes.append(len(message.get("body", b"")))
            await client.send(message)

        await response_class(streams, "x", [text, "end"])(client.scope, client.receive, send)
        assert client.complete
        assert max(sizes) <= SLICE_BYTES
        if response_class in SSE:
            assert client.data == [text, "end"]
        else:
            assert client.text == f"{text}end"


@of_both
async def test_the_headers_keep_proxies_from_holding_it_up(response_class):
    async with hasty() as streams:
        client = await get(response_class(streams, "x", WHOLE))
    kind = "event-stream" if response_class in SSE else "plain"
    assert client.headers == {
        "cache-control": ["no-store, no-transform"],
        "x-accel-buffering": ["no"],
        "content-type": [f"text/{kind}; charset=utf-8"],
    }


@of_both
async def test_headers_can_be_added_and_replaced(response_class):
    async with hasty() as streams:
        headers = {"Cache-Control": "private", "X-Answer": "42"}
        client = await get(response_class(streams, "x", WHOLE, headers=headers))
    assert client.headers["cache-control"] == ["private"]
    assert client.headers["x-answer"] == ["42"]
    assert client.headers["x-accel-buffering"] == ["no"]


@of_sse
async def test_a_response_begins_with_the_retry_time_and_the_place(response_class):
    """With an id even who is cut off before the first event comes back as one that was here."""
    script = Script()
    async with hasty() as streams, create_task_group() as group:
        client = Client()
        group.start_soon(client.get, response_class(streams, "x", script, retry=1234))
        await until(lambda: client.body)
        epoch = (await streams.state("x")).epoch
        decoder = Decoder()
        assert decoder.feed(client.body) == []
        assert (decoder.retry, decoder.last_event_id) == (1234, f"{epoch}-0")
        client.leave()


@of_sse
@pytest.mark.parametrize("retry", [-1, 2**31, 1.5, "2000", True, math.nan])
def test_a_retry_time_that_is_none_is_refused(response_class, retry):
    with pytest.raises(ValueError, match="milliseconds"):
        response_class(hasty(), "x", retry=retry)


BAD_OPTIONS = [
    *({"heartbeat": value} for value in (0, -1, -math.inf, math.nan, "5", None)),
    *({"send_timeout": value} for value in (0, -1, math.inf, math.nan, "5", None)),
    *({"headers": {"x": value}} for value in ("€", "a\r\nb", "\0")),
    *({"headers": {name: "x"}} for name in ("", "é", "a b", "a:")),
    {"on_lost": "x"},
]


@of_both
@pytest.mark.parametrize("options", BAD_OPTIONS, ids=repr)
async def test_options_that_are_none_are_refused_before_anything_is_started(
    response_class, options
):
    """Not in the middle of a request, when the stream goes on."""
    async with hasty() as streams:
        with pytest.raises(InvalidInput, match=r"seconds above 0|a header is|restart or continue"):
            response_class(streams, "x", WHOLE, **options)
        assert await streams.state("x") is None


def test_who_wants_no_heartbeats_is_told_how():
    with pytest.raises(
        InvalidInput, match=r"heartbeat is .* or math\.inf for no heartbeats; got 0"
    ):
        asgi.EventStreamResponse(hasty(), "x", heartbeat=0)


@of_both
def test_an_option_that_there_is_not_is_refused(response_class):
    with pytest.raises(TypeError, match="no option 'heartbeet': expected headers, heartbeat, "):
        response_class(hasty(), "x", heartbeet=5)


@of_both
async def test_metadata_and_choices_reach_the_stream(response_class):
    async with hasty() as streams:
        await get(response_class(streams, "x", WHOLE, metadata={"owner": "me"}))
        assert (await streams.state("x")).metadata == {"owner": "me"}
        async with Streams(streams._backend, grace=0) as gone:
            await anext(await gone.start("y", Script("old")))
        client = await get(response_class(streams, "y", WHOLE, on_lost="restart"))
        assert client.complete
        assert await data_of(await streams.resume("y")) == WHOLE
        with pytest.raises(ValueError, match="whatever"):
            response_class(streams, "x", on_lost="whatever")


# Positions


def scope_of(query="", **headers):
    return Client(query, **headers).scope


@pytest.mark.parametrize(
    ("query", "headers", "position"),
    [
        ("", {}, "Beginning()"),
        ("", {"last_event_id": ""}, "Beginning()"),
        ("last_event_id=", {}, "Beginning()"),
        ("", {"last_event_id": "a-7"}, "After(id=EventId(epoch='a', seq=7), end=False)"),
        ("", {"Last_Event_ID": "a-7"}, "After(id=EventId(epoch='a', seq=7), end=False)"),
        ("last_event_id=a-7-end", {}, "After(id=EventId(epoch='a', seq=7), end=True)"),
        ("x=1&last_event_id=a%2D7&y", {}, "After(id=EventId(epoch='a', seq=7), end=False)"),
        (
            "last_event_id=a-7",
            {"last_event_id": "b-8"},
            "After(id=EventId(epoch='b', seq=8), end=False)",
        ),
        ("", {"last_event_id": "rubbish"}, "Unreadable(reason='malformed')"),
        ("", {"last_event_id": "é"}, "Unreadable(reason='malformed')"),
        ("last_event_id=%ff%00", {}, "Unreadable(reason='malformed')"),
        ("last_event_id=a-7%0A", {}, "Unreadable(reason='malformed')"),
        ("", {"last_event_id": "x" * 257}, "Unreadable(reason='oversized')"),
        ("last_event_id=" + "x" * 10_000, {}, "Unreadable(reason='oversized')"),
        ("&" * 500 + "last_event_id=a-7", {}, "After(id=EventId(epoch='a', seq=7), end=False)"),
        ("&".join(f"x{n}=1" for n in range(500)), {}, "Beginning()"),
    ],
    ids=range(16),
)
def test_the_position_is_in_the_header_or_the_query(query, headers, position):
    """Attacker input: whatever it is, it is a position, and never an error."""
    assert repr(last_event_id(scope_of(query, **headers))) == position


def test_a_scope_need_not_have_a_query():
    scope = scope_of()
    del scope["query_string"]
    assert repr(last_event_id(scope)) == "Beginning()"


@of_sse
async def test_a_client_goes_on_where_it_was(response_class):
    """Law 3, over HTTP: what came up to an id, then a response after it, is the whole."""
    async with hasty() as streams:
        client = await get(response_class(streams, "x", WHOLE))
        for index, event in enumerate(client.events):
            for again in (
                await get(response_class(streams, "x"), last_event_id=event.last_event_id),
                await get(response_class(streams, "x"), f"last_event_id={event.last_event_id}"),
            ):
                if event.type == "end":
                    assert (again.status, again.body) == (204, b"")
                else:
                    assert again.events == client.events[index + 1 :]


@of_text
async def test_text_goes_on_at_a_character(response_class):
    items = ["öne", "😀two", "e\u0301nd"]
    whole = "".join(items)
    async with hasty() as streams:
        await data_of(await streams.start("x", items))
        for offset in range(len(whole) + 1):
            client = await get(response_class(streams, "x"), f"resume_at={offset}")
            assert (client.status, client.complete) == (200, True)
            assert client.text == whole[offset:]


@pytest.mark.parametrize("text", ["-1", "x", "", "1.5", "+1", " 1", "٣", "1e3", "0x1", "9" * 17])
@of_text
async def test_a_resume_at_that_is_no_number_is_refused(response_class, text):
    """400, with a clear message; and the source is closed, unused."""
    source = Closable()
    async with hasty() as streams:
        client = await get(response_class(streams, "x", source), f"resume_at={text}")
        assert (client.status, client.complete) == (400, True)
        assert "resume_at is a number of characters, 0 or more" in client.text
        assert await streams.state("x") is None
    assert (source.used, source.closed) == (0, 1)


def test_resume_at_is_read_once():
    assert repr(resume_at(scope_of())) == "Beginning()"
    assert repr(resume_at(scope_of("resume_at=7&resume_at=8"))) == "AtCharacter(offset=7)"


@of_sse
@pytest.mark.parametrize(
    ("text", "reason"), [("rubbish", "malformed"), ("x" * 300, "oversized"), ("a-1", "unknown")]
)
async def test_a_foreign_position_is_told_in_band(response_class, text, reason):
    """A reset that says which, then everything: never a 500, nor silence."""
    async with hasty() as streams:
        await data_of(await streams.start("x", WHOLE))
        client = await get(response_class(streams, "x", Script()), last_event_id=text)
    assert client.status == 200
    reset, *_ = client.events
    assert (reset.type, json.loads(reset.data)) == ("reset", {"reason": reason})
    assert client.data == WHOLE
    assert client.end == {"outcome": "done", "error": None}
    # Until it has been told, its last id is none of ours.
    assert client.body.index(b"event: reset") < client.body.index(b"id: ")


# Refusing


def assert_refused(client, status):
    """A refusal has a text that says why, and is not to be kept by anybody."""
    assert (client.status, client.complete) == (status, True)
    assert client.headers["cache-control"] == ["no-store"]
    assert client.headers["content-type"] == ["text/plain; charset=utf-8"]
    assert client.text.strip()
    assert "Traceback" not in client.text


@of_both
async def test_an_unknown_stream_is_not_found(response_class):
    """404, and law 9: nothing is created."""
    async with hasty() as streams:
        for query in ("", "last_event_id=a-1", "resume_at=1"):
            assert_refused(await get(response_class(streams, "x"), query), 404)
        assert [each async for each in streams.scan()] == []


@of_both
async def test_who_was_here_before_never_starts_a_stream(response_class):
    """410: a reconnecting browser must never run the model again. The source is closed."""
    queries = ["resume_at=1"]
    if response_class in SSE:
        queries = ["last_event_id=a-1", "last_event_id=rubbish", "last_event_id=a-0"]
    async with hasty() as streams:
        for query in queries:
            source = Closable()
            assert_refused(await get(response_class(streams, "x", source), query), 410)
            assert (source.used, source.closed) == (0, 1)
        assert await streams.state("x") is None


@of_both
@pytest.mark.parametrize("stream_id", ["", "a\nb", "x" * 256])
async def test_a_bad_stream_id_is_refused(response_class, stream_id):
    async with hasty() as streams:
        assert_refused(await get(response_class(streams, stream_id)), 400)
        assert_refused(await get(response_class(streams, stream_id, WHOLE)), 400)


@of_both
@pytest.mark.parametrize("source", [True, False])
async def test_nothing_begins_while_the_process_drains(response_class, source):
    """503: ask again, and get another process."""
    async with hasty() as streams:
        await data_of(await streams.start("x", WHOLE))
        streams.shutdown.begin()
        unused = Closable() if source else None
        client = await get(response_class(streams, "x", unused))
        assert_refused(client, 503)
        assert client.headers["retry-after"] == ["1"]
    if unused:
        assert unused.closed == 1


@of_both
async def test_nothing_begins_when_draining_began_meanwhile(response_class):
    async with hasty(FaultyBackend(MemoryBackend())) as streams:
        await data_of(await streams.start("x", WHOLE))
        client = Client()
        async with create_task_group() as group:
            group.start_soon(client.get, response_class(streams, "x"))
            await checkpoint()
            assert client.status is None
            streams.shutdown.begin()
        assert_refused(client, 503)
        assert streams.shutdown.responses == 0


@of_both
async def test_a_store_that_does_not_answer_is_not_the_clients_fault(response_class):
    backend = FaultyBackend(MemoryBackend())
    async with hasty(backend) as streams:
        backend.refuse("read")
        assert_refused(await get(response_class(streams, "x")), 503)


STORE_ERRORS = {
    "away": (
        BackendUnavailable("Error 111 connecting to 10.0.0.1:6379"),
        "the store did not answer",
    ),
    "full": (BackendFull("/srv/streams.db cannot grow"), "the store is full"),
    "broken": (BackendError("foreign data in shop:{a}:log"), "the store failed"),
}


@pytest.mark.parametrize("case", STORE_ERRORS)
@of_both
async def test_a_client_is_not_told_where_the_store_is(response_class, case, caplog):
    """An address, a path or a key are for the log, where what does not pass by itself shows."""
    caplog.set_level(logging.INFO, "resumable_io")
    error, said = STORE_ERRORS[case]

    class Failing(MemoryBackend):
        async def read(self, *args, **kwargs):
            raise error

    async with hasty(Failing()) as streams:
        client = await get(response_class(streams, "x"))
        assert_refused(client, 503)
        assert client.text == said
        patient = await get(response_class(streams, "x"), accept="text/event-stream")
        assert str(error) not in patient.text
        handle = starlette.exception_handlers[ResumableError]
        assert handle(None, error).body.decode() == said
    lines = [(record.levelno, record.getMessage()) for record in caplog.records]
    level = logging.INFO if error.may_pass else logging.ERROR
    assert lines == [(level, f"a request was refused: {error}")] * 3


@of_both
async def test_streams_that_were_left_are_unavailable(response_class):
    async with hasty() as streams:
        pass
    streams.shutdown.begun = False
    assert_refused(await get(response_class(streams, "x")), 503)


@pytest.mark.parametrize("processes_error", [BackendUnavailable("x"), SourceError("x")])
def test_other_errors_are_ours(processes_error):
    expected = 503 if isinstance(processes_error, BackendUnavailable) else 500
    assert status_of(processes_error) == expected


async def test_what_text_cannot_say_is_a_status():
    """410 for a place that was trimmed, 416 for one beyond the text."""
    async with hasty(retention=Retention(count=1)) as streams:
        async with streams.produce("x") as out:
            for item in WHOLE:
                await out.send(item)
                await out.flush()
        for response_class in TEXT:
            for query in ("", "resume_at=0", "resume_at=1"):
                assert_refused(await get(response_class(streams, "x"), query), 410)
            client = await get(response_class(streams, "x"), "resume_at=6")
            assert (client.text, client.complete) == ("three", True)
            assert_refused(await get(response_class(streams, "x"), "resume_at=12"), 416)


@of_sse
async def test_what_was_trimmed_is_told_in_band(response_class):
    async with hasty(retention=Retention(count=1)) as streams:
        async with streams.produce("x") as out:
            for item in WHOLE:
                await out.send(item)
                await out.flush()
        client = await get(response_class(streams, "x"))
    gap, *_ = client.events
    assert (gap.type, json.loads(gap.data)) == ("gap", {"reason": "trimmed"})
    assert client.data == ["three"]


# HEAD


@of_both
async def test_head_answers_headers_only(response_class):
    """It does not start the source, and closes it."""
    async with hasty() as streams:
        source = Closable()
        client = await get(response_class(streams, "x", source), method="HEAD")
        assert (client.status, client.body, client.complete) == (200, b"", True)
        assert client.headers["cache-control"] == ["no-store, no-transform"]
        assert (source.used, source.closed) == (0, 1)
        assert await streams.state("x") is None

        assert (await get(response_class(streams, "x"), method="HEAD")).status == 404
        assert (await get(response_class(streams, "a\nb"), method="HEAD")).status == 400
        await streams.start("x", Script())
        client = await get(response_class(streams, "x"), method="HEAD")
        assert (client.status, client.body, client.complete) == (200, b"", True)
        assert streams.statistics().subscriptions == 0


@of_both
async def test_head_is_refused_as_get_is(response_class):
    async with hasty() as streams:
        for stream_id in ("", "x" * 256):
            source = Closable()
            client = await get(response_class(streams, stream_id, source), method="HEAD")
            assert (client.status, source.closed) == (400, 1)
        streams.shutdown.begin()
        source = Closable()
        client = await get(response_class(streams, "x", source), method="HEAD")
        assert (client.status, source.used, source.closed) == (503, 0, 1)


@of_text
async def test_head_is_refused_at_a_position_that_is_none(response_class):
    async with hasty() as streams:
        source = Closable()
        client = await get(response_class(streams, "x", source), "resume_at=-1", method="HEAD")
        assert (client.status, source.closed) == (400, 1)


# Leaving


@of_both
async def test_a_client_that_leaves_disturbs_nobody(response_class):
    """Law 10: its response ends, quietly; the producer and the other clients go on."""
    script = Script("one")
    async with hasty() as streams, create_task_group() as group:
        leaving, staying = Client(), Client()
        for client in (leaving, staying):
            group.start_soon(client.get, response_class(streams, "x", script))
        await until(lambda: b"one" in leaving.body and b"one" in staying.body)
        assert streams.statistics().responses == 2
        leaving.leave()
        await until(lambda: streams.statistics().responses == 1)
        script.put("two")
        script.end()
        await until(lambda: staying.complete)
        assert not leaving.complete
        assert not leaving.cut
        assert b"two" not in leaving.body
        assert b"two" in staying.body
        assert streams.statistics().responses == 0
        assert (script.started, (await streams.state("x")).outcome) == (1, Outcome.DONE)


@of_both
@pytest.mark.parametrize("at", ["start", "body"])
async def test_a_server_that_says_that_the_client_left_is_believed(response_class, at):
    """ASGI 2.4: `send` raises an OSError then. Nothing is wrong with that."""
    script = Script("one")
    async with hasty() as streams:
        client = Client()

        async def send(message):
            if message["type"] == f"http.response.{at}":
                raise BrokenPipeError
            await client.send(message)

        with fail_after(10):
            await response_class(streams, "x", script)(client.scope, client.receive, send)
        assert streams.statistics().responses == 0
        assert (await streams.state("x")).state is State.ACTIVE


@of_both
async def test_a_cancelled_response_disturbs_nobody(response_class):
    """Some servers cancel the application when the client leaves."""
    script = Script("one")
    async with hasty() as streams, create_task_group() as group:
        client = Client()
        group.start_soon(client.get, response_class(streams, "x", script))
        await until(lambda: b"one" in client.body)
        group.cancel_scope.cancel()
        await sleep_forever()
    assert script.closed == 1  # by leaving the streams, later
    assert not client.complete


@of_both
async def test_the_last_client_may_leave(response_class):
    """The producer runs on without any."""
    script = Script("one")
    async with hasty() as streams:
        async with create_task_group() as group:
            client = Client()
            group.start_soon(client.get, response_class(streams, "x", script))
            await until(lambda: b"one" in client.body)
            client.leave()
        script.put("two", "three")
        script.end()
        assert await data_of(await streams.resume("x")) == WHOLE


# Heartbeats and time limits


@pytest.mark.virtual_time
@of_sse
async def test_silence_is_filled_with_heartbeats(response_class):
    """A source that never yields: comments flow, and mean nothing to the client."""
    script = Script()
    async with hasty() as streams, create_task_group() as group:
        client = Client()
        group.start_soon(client.get, response_class(streams, "x", script, heartbeat=10))
        await sleep(0.5)
        before = client.body
        await sleep(9)
        assert client.body == before
        await sleep(1)
        assert client.body == before + SSEFraming.heartbeat
        await sleep(20)
        assert client.body == before + 3 * SSEFraming.heartbeat
        script.put("one")
        await sleep(5)
        assert client.data == ["one"]
        assert client.body.count(SSEFraming.heartbeat) == 3  # an event is a sign of life
        await sleep(5)
        assert client.body.count(SSEFraming.heartbeat) == 4  # never silent for longer
        script.end()
        await sleep(0.5)
        assert client.complete


@pytest.mark.virtual_time
@of_sse
async def test_an_infinite_heartbeat_is_none(response_class):
    """And a client that does not read is dropped all the same."""
    script = Script("one")
    async with hasty() as streams, create_task_group() as group:
        client = Client()
        group.start_soon(client.get, response_class(streams, "x", script, heartbeat=math.inf))
        await sleep(40)
        assert client.data == ["one"]
        assert SSEFraming.heartbeat not in client.body
        client.reads = False
        script.put("two")
        await sleep(50)
        assert client.cut
        assert streams.statistics().responses == 0


@pytest.mark.virtual_time
@of_text
async def test_text_has_no_heartbeats(response_class):
    script = Script()
    async with hasty() as streams, create_task_group() as group:
        client = Client()
        group.start_soon(client.get, response_class(streams, "x", script, heartbeat=10))
        await sleep(60)
        assert (client.status, client.body, client.complete) == (200, b"", False)
        client.leave()


@pytest.mark.virtual_time
@of_both
@pytest.mark.parametrize("ended", [True, False])
async def test_a_client_that_does_not_read_is_cut_off(response_class, ended):
    """After the send timeout, or half as long again; what it did not read must not look like the
    whole afterwards. The producer and the others do not notice.
    """
    script = Script("one")
    async with hasty() as streams, create_task_group() as group:
        stuck, other = Client(), Client()
        for client in (stuck, other):
            group.start_soon(client.get, response_class(streams, "x", script, send_timeout=20))
        await sleep(1)
        stuck.reads = False
        script.put("two")
        if ended:
            script.end()
        await sleep(19)
        assert not stuck.cut
        assert b"two" in other.body
        assert streams.statistics().responses == (1 if ended else 2)
        await sleep(11)
        assert stuck.cut
        assert not stuck.complete
        assert b"two" not in stuck.body
        assert streams.statistics().responses == (0 if ended else 1)
        assert other.complete is ended
        other.leave()


@pytest.mark.virtual_time
@of_both
async def test_a_client_that_does_not_even_take_the_headers_is_cut_off(response_class):
    async with hasty() as streams:
        client = Client()

        async def send(message):
            if message["type"] == "http.response.start":
                await sleep_forever()
            await client.send(message)

        with pytest.raises(ResponseCut):
            await response_class(streams, "x", Script(), send_timeout=20)(
                client.scope, client.receive, send
            )
        assert 20 - 1e-6 <= current_time() <= 30
        assert client.status is None
        assert streams.statistics().responses == 0


# Draining


@of_sse
async def test_draining_ends_an_event_stream_cleanly(response_class):
    """With a retry time that brings the client back soon, and not all of them at once."""
    async with hasty() as streams, create_task_group() as group:
        clients = [Client() for _ in range(20)]
        script = Script("one")
        for client in clients:
            group.start_soon(client.get, response_class(streams, "x", script))
        for client in clients:
            await client.seen(1)
        await wait_all_tasks_blocked()
        streams.shutdown.begin()
        await until(lambda: all(client.complete for client in clients))
        assert streams.statistics().responses == 0
        retries = Counter()
        for client in clients:
            decoder = Decoder()
            assert [event.data for event in decoder.feed(client.body)] == ["one"]
            assert 100 <= decoder.retry < 1000
            retries[decoder.retry] += 1
            assert not client.cut
        assert len(retries) > 5
        assert (await streams.state("x")).state is State.ACTIVE


@of_both
async def test_draining_ends_a_response_that_has_hardly_begun(response_class):
    """Its end does not come before its headers, however early it comes."""
    async with hasty() as streams:
        client = Client()

        async def receive():
            streams.shutdown.begin()
            await sleep_forever()

        client.receive = receive
        await client.get(response_class(streams, "x", Script()))
        assert client.complete != client.cut


@of_text
async def test_draining_cuts_text_off(response_class):
    """Text has no room to say that this is not the whole."""
    async with hasty() as streams, create_task_group() as group:
        client = Client()
        group.start_soon(client.get, response_class(streams, "x", Script("one")))
        await until(lambda: client.body)
        await wait_all_tasks_blocked()
        streams.shutdown.begin()
        await until(lambda: client.cut)
        assert (client.text, client.complete) == ("one", False)


@pytest.mark.virtual_time
@of_both
async def test_draining_in_the_middle_of_a_piece_cuts_it_off(response_class):
    """What was left half sent is no place for a clean end."""
    async with hasty() as streams, create_task_group() as group:
        client, script = Client(), Script("one")
        group.start_soon(client.get, response_class(streams, "x", script))
        await sleep(1)
        client.reads = False
        script.put("two")
        await sleep(1)
        streams.shutdown.begin()
        await sleep(1)
        assert client.cut
        assert not client.complete


@pytest.mark.virtual_time
@of_both
async def test_draining_waits_no_longer_than_that_for_a_client_that_does_not_read(response_class):
    """Law 7: neither with a last piece, nor where the connection is to be broken."""
    async with hasty() as streams, create_task_group() as group:
        client = Client()

        async def send(message):
            if not client.reads:
                await sleep_forever()
            await Client.send(client, message)

        client.send = send
        response = response_class(streams, "x", Script("one"), heartbeat=math.inf, send_timeout=20)
        group.start_soon(client.get, response)
        await sleep(1)
        client.reads = False
        streams.shutdown.begin()
        await sleep(19)
        assert not client.cut
        await sleep(2)
        assert client.cut
        assert not client.complete


@of_both
@pytest.mark.parametrize("error", [None, ZeroDivisionError])
async def test_leaving_the_streams_sends_clients_to_another_process(response_class, error):
    """An event stream ends cleanly then, and text is cut off; also without a drain before."""
    async with create_task_group() as group:
        client = Client()
        with nullcontext() if error is None else pytest.raises(error):
            async with hasty() as streams:
                group.start_soon(client.get, response_class(streams, "x", Script("one")))
                await until(lambda: b"one" in client.body)
                await wait_all_tasks_blocked()
                if error is not None:
                    raise error
    if response_class in SSE:
        assert client.complete
        assert client.data == ["one"]
    else:
        assert client.cut


# Ends that are none


async def ending(streams, how, script):
    """Let the stream "x", of which a client has read "one", end in some way."""
    match how:
        case "failed":
            script.fail(SourceError("told to"))
        case "stopped":
            await streams.stop("x", "enough")
        case "deleted":
            await streams.delete("x")
        case "lost":
            # Another process shuts down: it is the one that produces the stream.
            script.leave.set()
        case "restarted":
            # All at once: whoever looks in between sees that it was deleted.
            for change in (
                Delete(),
                Claim("b", 10.0),
                append("b", 1, [Message("new")]),
                Finish("b", Outcome.DONE, 1),
            ):
                streams._backend._apply("x", change, current_time())


async def elsewhere(backend, script):
    script.leave = Event()
    async with Streams(backend, grace=0) as streams:
        await streams.start("x", script)
        await script.leave.wait()


ENDINGS = ["failed", "stopped", "deleted", "lost", "restarted"]


@of_text
@pytest.mark.parametrize("how", ENDINGS)
async def test_text_that_is_not_whole_is_cut_off(response_class, how, caplog):
    """The response breaks, and never sends the end of a body."""
    script = Script("one")
    async with hasty() as streams, create_task_group() as group:
        group.start_soon(elsewhere, streams._backend, script)
        await until(lambda: script.started)
        client = Client()
        group.start_soon(client.get, response_class(streams, "x"))
        await until(lambda: client.body)
        await ending(streams, how, script)
        with fail_after(10):
            await until(lambda: client.cut)
        assert (client.text, client.complete) == ("one", False)
        # Nor is it whole for those who come later.
        if how not in {"deleted", "restarted"}:
            late = await get(response_class(streams, "x"))
            assert (late.text, late.complete, late.cut) == ("one", False, True)
        script.leave.set()


@of_sse
@pytest.mark.parametrize("how", ENDINGS)
async def test_events_say_how_a_stream_ended(response_class, how, caplog):
    script = Script("one")
    async with hasty() as streams, create_task_group() as group:
        group.start_soon(elsewhere, streams._backend, script)
        await until(lambda: script.started)
        client = Client()
        group.start_soon(client.get, response_class(streams, "x"))
        await client.seen(1)
        await ending(streams, how, script)
        with fail_after(10):
            await until(lambda: client.complete)
        match how:
            case "restarted":
                assert [event.type for event in client.events] == [
                    "message",
                    "reset",
                    "message",
                    "end",
                ]
            case "deleted":
                assert client.end == {"outcome": "stopped", "error": "the stream was deleted"}
            case "failed":
                assert client.end == {"outcome": "failed", "error": "SourceError: told to"}
            case "stopped":
                assert client.end == {"outcome": "stopped", "error": "enough"}
            case "lost":
                assert client.end == {"outcome": "lost", "error": "the producer was shut down"}
        script.leave.set()


@of_text
async def test_text_with_a_gap_in_it_is_cut_off(response_class):
    """A client too slow for what is retained does not get the rest as if it were the next."""
    async with hasty(retention=Retention(count=2)) as streams, create_task_group() as group:
        client, gate = Client(), Event()

        async def send(message):
            if message.get("body"):
                await gate.wait()
            await client.send(message)

        async def respond():
            with pytest.raises(ResponseCut):
                await response_class(streams, "x")(client.scope, client.receive, send)
            client.cut = True

        async with streams.produce("x") as out:
            await out.send("0")
            await out.flush()
            group.start_soon(respond)
            await wait_all_tasks_blocked()
            for number in range(1, 3000):  # more than a window holds, too
                await out.send(str(number % 10))
            await out.flush()
            gate.set()
            await until(lambda: client.cut)
        assert not client.complete
        whole = "".join(str(number % 10) for number in range(3000))
        assert whole.startswith(client.text)


@pytest.mark.virtual_time
@of_both
async def test_a_short_outage_of_the_store_is_ridden_out(response_class):
    """The client notices nothing but silence, which heartbeats fill."""
    backend, script = FaultyBackend(MemoryBackend()), Script("one")
    async with hasty(backend) as streams, create_task_group() as group:
        client = Client()
        group.start_soon(client.get, response_class(streams, "x", script))
        await sleep(1)
        backend.break_down()
        script.put("two")
        script.end()
        await sleep(20)
        assert b"two" not in client.body
        backend.recover()
        await sleep(20)
        assert client.complete
        assert b"two" in client.body
        if response_class in SSE:
            assert SSEFraming.heartbeat in client.body
            assert client.data == ["one", "two"]


@pytest.mark.virtual_time
@of_both
async def test_a_long_outage_of_the_store_cuts_the_response_off(response_class):
    """The client comes back, to this process or to another one: what it got is not the whole."""
    backend = FaultyBackend(MemoryBackend())
    async with Streams(backend, grace=0) as elsewhere, hasty(backend) as streams:
        await elsewhere.start("x", Script("one"))
        async with create_task_group() as group:
            client = Client()
            await sleep(1)
            group.start_soon(client.get, response_class(streams, "x"))
            await sleep(1)
            backend.break_down()
            await sleep(90)
            assert client.cut
            assert not client.complete
        assert streams.statistics().responses == 0
        backend.recover()


@of_sse
async def test_bytes_that_are_no_text_are_a_gap(response_class):
    async with hasty() as streams:
        client = await get(response_class(streams, "x", ["one", b"\xff\xfe", "two"]))
    assert [event.type for event in client.events] == ["message", "gap", "message", "end"]
    assert json.loads(client.events[1].data) == {"reason": "binary"}


@of_sse
async def test_no_content_can_inject_a_field(response_class):
    """Law 11."""
    nasty = "x\n\nevent: end\ndata: {}\n\nid: 7\r\rretry: 1\r\n\r\n: \0"
    async with hasty() as streams:
        client = await get(response_class(streams, "x", [nasty, Message(nasty, "to: ken")]))
    newlines = nasty.replace("\r\n", "\n").replace("\r", "\n")
    assert [event.type for event in client.events] == ["message", "to: ken", "end"]
    assert client.data == [newlines, newlines]


# Shared frames


class CountingSSE(SSEFraming):
    def __init__(self):
        self.framed = Counter()

    def frame(self, records):
        for record in records:
            self.framed[record.id] += 1
        return super().frame(records)


class CountingText(TextFraming):
    def __init__(self):
        self.framed = Counter()

    def frame(self, records):
        for record in records:
            self.framed[record.id] += 1
        return super().frame(records)


@of_both
async def test_each_page_is_framed_once_for_all(response_class):
    """Law 8: many clients at one place cost one framing, not one each."""
    script = Script("zero")
    counting = CountingSSE() if response_class in SSE else CountingText()
    kind = type("Counted", (response_class,), {"framing": counting})
    async with hasty() as streams, create_task_group() as group:
        await anext(await streams.start("x", script))
        clients = [Client() for _ in range(50)]
        for client in clients:
            group.start_soon(client.get, kind(streams, "x"))
        await until(lambda: all(b"zero" in client.body for client in clients))
        await wait_all_tasks_blocked()
        counting.framed.clear()
        for item in WHOLE:
            script.put(item)
            await until(lambda item=item: all(item.encode() in each.body for each in clients))
        assert len(counting.framed) == len(WHOLE)
        assert set(counting.framed.values()) == {1}
        script.end()
        await until(lambda: all(client.complete for client in clients))
        assert len({client.body for client in clients}) == 1


async def test_what_is_framed_is_remembered_for_a_while_only():
    """Law 8: and each framing has its own."""
    sse, text = SSEFraming(), TextFraming()
    async with hasty() as streams:
        frames = streams.frames
        records = tuple(await records_of(await streams.start("x", WHOLE)))
        assert frames.framed(sse, records) is frames.framed(sse, records)
        assert frames.framed(text, records).body == b"onetwothree"
        assert frames.framed(sse, records).body.endswith(b"\n\n")
        for _ in range(1000):
            frames.framed(sse, (*records,))
        assert len(frames._frames) <= 64


# Starlette


@pytest.mark.parametrize("kind", ["EventStreamResponse", "TextStreamResponse"])
async def test_starlette_runs_background_tasks_and_sets_cookies(kind):
    response_class = getattr(starlette, kind)
    done = []
    async with hasty() as streams:

        async def background(what):
            await checkpoint()
            done.append(what)

        task = BackgroundTask(background, "done")
        response = response_class(streams, "x", WHOLE, background=task, headers={"X-A": "b"})
        assert isinstance(response, Response)
        response.set_cookie("session", "7")
        response.headers["x-more"] = "yes"
        client = await get(response)
        assert client.complete
        assert client.headers["set-cookie"] == ["session=7; Path=/; SameSite=lax"]
        assert client.headers["x-more"] == ["yes"]
        assert client.headers["x-a"] == ["b"]
        assert done == ["done"]

        # Also when the client has left before the end.
        async with create_task_group() as group:
            client = Client()
            task = BackgroundTask(background, "left")
            group.start_soon(
                client.get, response_class(streams, "y", Script("one"), background=task)
            )
            await until(lambda: client.body)
            client.leave()
        assert done == ["done", "left"]


async def test_starlette_turns_errors_into_statuses():
    """For what a route calls itself, before it returns a response."""
    from starlette.applications import Starlette
    from starlette.routing import Route

    async with hasty() as streams:
        await streams.start("there", Script())

        async def state(request):
            match request.query_params["do"]:
                case "resume":
                    await streams.resume("x")
                case "start":
                    await streams.start("there", WHOLE)
                case "expired":
                    await streams.start_or_resume("x", WHOLE, "a-1")
                case "bad id":
                    await streams.state("")
                case "drain":
                    streams.shutdown.begin()
                    await streams.start("y", WHOLE)
            pytest.fail("nothing was raised")

        app = Starlette(routes=[Route("/", state)], exception_handlers=starlette.exception_handlers)
        for do, status in {
            "resume": 404,
            "start": 409,
            "expired": 410,
            "bad id": 400,
            "drain": 503,
        }.items():
            client = await get(app, f"do={do}")
            assert client.status == status
            assert client.headers["cache-control"] == ["no-store"]
            assert client.text


async def test_fastapi_serves_a_route_that_returns_the_response():
    from fastapi import FastAPI

    app = FastAPI()
    async with hasty() as streams:

        @app.get("/")
        async def answer() -> starlette.EventStreamResponse:
            return starlette.EventStreamResponse(streams, "x", WHOLE)

        client = await get(app)
        assert client.data == WHOLE
        again = await get(app, last_event_id=client.events[1].last_event_id)
        assert again.data == ["three"]


async def test_a_stream_goes_on_across_processes():
    """A client whose server drains goes on with another one, loses nothing and repeats nothing."""
    backend, script = FaultyBackend(MemoryBackend()), Script()
    async with Streams(backend, grace=0) as producing, create_task_group() as group:
        await producing.start("x", script)
        got, last_id = [], ""
        for number in range(5):
            async with Streams(backend, grace=0) as streams:
                client = Client(last_event_id=last_id)
                group.start_soon(client.get, asgi.EventStreamResponse(streams, "x"))
                script.put(f"{number}")
                await client.seen(1)
                await wait_all_tasks_blocked()
                streams.shutdown.begin()
                await until(lambda client=client: client.complete)
                got += client.data
                last_id = client.events[-1].last_event_id
        assert got == ["0", "1", "2", "3", "4"]
        assert EventId.parse(last_id).seq == 5


# What a client's own kind asks for


@of_sse
@pytest.mark.parametrize("cause", ["drain", "store"])
async def test_an_event_source_is_told_to_come_again(response_class, cause):
    """Law 7: for an EventSource every status but 200 is final, so what a retry cures is none."""
    backend = FaultyBackend(MemoryBackend())
    async with hasty(backend) as streams:
        unused = Closable()
        if cause == "drain":
            streams.shutdown.begin()
        else:
            backend.refuse("read")
        client = await get(response_class(streams, "x", unused), accept="text/event-stream")
        assert (client.status, client.complete, client.events) == (200, True, [])
        assert client.body.startswith(b"retry: ")
        assert unused.closed == 1
        client = await get(response_class(streams, "x"), accept="text/event-stream")
        assert client.status == 200
    assert client.complete


@of_sse
async def test_an_event_source_is_told_what_is_final(response_class):
    """What no retry cures stays a status, at which an EventSource stops."""
    async with hasty() as streams:
        assert_refused(await get(response_class(streams, "x"), accept="text/event-stream"), 404)


@of_text
async def test_text_is_not_sent_where_a_part_looks_complete(response_class):
    """Law 2: HTTP/1.0 ends a body with the connection, so that a cut would look like the end."""
    async with hasty() as streams:
        await data_of(await streams.start("x", WHOLE))
        client = Client()
        client.scope["http_version"] = "1.0"
        assert_refused(await client.get(response_class(streams, "x")), 400)
        assert b"HTTP/1.1" in client.body
