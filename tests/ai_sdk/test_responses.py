"""Answers for the AI SDK, called as a server calls them, and how answers follow each other."""

import json

import pytest
from anyio import Event, create_task_group, sleep_forever, wait_all_tasks_blocked

from resumable_core import Claim, InvalidPosition, Outcome, Retention, Stop
from resumable_io import MemoryBackend, SourceError, StreamExists, Streams, ai_sdk, starlette
from resumable_io.ai_sdk import Reasoning, data, start_answer, start_index, ui_message
from tests.io.test_asgi import Client, hasty
from tests.io.test_sources import Closable

CLASSES = [ai_sdk.UIMessageStreamResponse, starlette.UIMessageStreamResponse]

of_both = pytest.mark.parametrize("response_class", CLASSES, ids=["asgi", "starlette"])


async def pieces():
    yield Reasoning("Hm")
    yield "Hello, "
    yield "東京!"
    yield data("progress", 100)


def chunks_of(client):
    """Return the chunks, and whether they end with [DONE]."""
    events = [event.data for event in client.events]
    done = events[-1:] == ["[DONE]"]
    return [json.loads(each) for each in events[: -1 if done else None]], done


def text_of(chunks):
    return "".join(chunk["delta"] for chunk in chunks if chunk["type"] == "text-delta")


@of_both
async def test_a_source_is_served_from_its_first_chunk(response_class):
    """The headers, a place, the chunks with their ids, [DONE]."""
    async with Streams() as streams:
        response = response_class(streams, "a", ui_message(pieces(), "m1"), headers={"x-run": "7"})
        client = await Client(method="POST").get(response)
        epoch = (await streams.state("a")).epoch
    assert (client.status, client.complete) == (200, True)
    assert client.headers["x-vercel-ai-ui-message-stream"] == ["v1"]
    assert client.headers["content-type"] == ["text/event-stream; charset=utf-8"]
    assert client.headers["cache-control"] == ["no-store, no-transform"]
    assert client.headers["x-run"] == ["7"]
    assert client.body.startswith(f"id: {epoch}-0\n\n".encode())
    chunks, done = chunks_of(client)
    assert done
    assert chunks[0] == {"type": "start", "messageId": "m1"}
    assert text_of(chunks) == "Hello, 東京!"
    assert [event.last_event_id for event in client.events][-2:] == [
        f"{epoch}-{len(chunks)}",
        f"{epoch}-{len(chunks)}-end",
    ]


@of_both
async def test_a_get_resumes(response_class):
    """Law 3, for each number of chunks that a client may have."""
    async with Streams() as streams:
        whole, _ = chunks_of(
            await Client(method="POST").get(response_class(streams, "a", ui_message(pieces())))
        )

        async def get(query="", **headers):
            return await Client(query, **headers).get(response_class(streams, "a"))

        assert (await get()).status == 204
        for index in range(len(whole)):
            client = await get(f"startIndex={index}")
            assert chunks_of(client) == (whole[index:], True)
            tail = client.headers["x-workflow-stream-tail-index"]
            assert tail == [str(len(whole) - 1)]
        assert chunks_of(await get("startIndex=-2")) == (whole[-2:], True)
        assert chunks_of(await get("startIndex=-99")) == (whole, True)
        over = await get(f"startIndex={len(whole)}")
        assert (over.status, over.body, over.complete) == (204, b"", True)
        # An event id says more than a number.
        place = client.events[-2].last_event_id
        resumed = await get("startIndex=0", last_event_id=place)
        assert chunks_of(resumed) == ([], True)


@of_both
async def test_what_cannot_be_resumed(response_class):
    """204 for who has nothing; who has a part is told that it stays one."""
    async with Streams() as streams:
        for query, status in {
            "": 204,
            "startIndex=0": 204,
            "startIndex=1": 410,
            "startIndex=-1": 410,
            "last_event_id=a-1": 410,
            "startIndex=": 400,
            "startIndex=one": 400,
            "startIndex=9999999999999999": 400,
        }.items():
            client = await Client(query).get(response_class(streams, "unknown"))
            assert (query, client.status) == (query, status)
        post = await Client(method="POST").get(response_class(streams, "unknown"))
        assert post.status == 404
        head = await Client(method="HEAD").get(response_class(streams, "unknown"))
        assert head.status == 404
        assert [each async for each in streams.scan()] == []


@of_both
async def test_http_1_0_is_refused(response_class):
    """Law 2: there a response that is cut off looks complete."""
    async with hasty() as streams:
        await streams.start("a", sleep_forever)
        client = Client()
        client.scope["http_version"] = "1.0"
        assert (await client.get(response_class(streams, "a"))).status == 400


@of_both
async def test_a_failure_is_told_whenever_one_asks(response_class):
    async def failing():
        yield "half an "
        raise SourceError("too hot")

    async with Streams() as streams:
        first = await Client(method="POST").get(response_class(streams, "a", ui_message(failing())))
        later = await Client().get(response_class(streams, "a"))
        for client in (first, later):
            chunks, done = chunks_of(client)
            assert done
            assert text_of(chunks) == "half an "
            assert chunks[-1] == {"type": "error", "errorText": "SourceError: too hot"}
        index = len(chunks) - 1
        assert chunks_of(await Client(f"startIndex={index}").get(response_class(streams, "a")))[
            0
        ] == [chunks[-1]]
        over = await Client(f"startIndex={index + 1}").get(response_class(streams, "a"))
        assert over.status == 204


@of_both
async def test_a_trimmed_answer_is_no_answer(response_class):
    """Law 2: the first chunks are missing, so what follows makes no message."""
    async with Streams(retention=Retention(count=2)) as streams:
        async with streams.produce("a") as out:
            async for chunk in ui_message(pieces()):
                await out.send(chunk)
                await out.flush()
        client = await Client("startIndex=0").get(response_class(streams, "a"))
        (error,), done = chunks_of(client)
    assert not done
    assert error == {"type": "error", "errorText": "a part of the answer is missing: trimmed"}


@of_both
async def test_draining_never_looks_like_the_end(response_class):
    """Law 2: the response is cut off, and new ones are refused."""

    async def endless():
        yield "some"
        await sleep_forever()

    async with hasty() as streams:
        async with create_task_group() as tasks:
            client = Client(method="POST")
            response = response_class(streams, "a", ui_message(endless()))
            tasks.start_soon(client.get, response)
            await wait_all_tasks_blocked()
            streams.shutdown.begin()
        assert text_of(chunks_of(client)[0]) == "some"
        assert (client.cut, client.complete) == (True, False)
        assert (await Client().get(response_class(streams, "a"))).status == 503


# Answers that follow each other


async def test_an_answer_takes_the_place_of_the_one_before():
    async with Streams() as streams:
        for n in range(3):
            subscription = await start_answer(streams, "chat", [str(n)], metadata={"n": n})
            assert [event.data async for event in subscription] == [str(n)]
            assert (await streams.state("chat")).metadata == {"n": n}


async def test_an_answer_that_still_goes_on_is_stopped_by_the_next():
    cancelled = Event()

    async def endless():
        try:
            yield "first"
            await sleep_forever()
        finally:
            cancelled.set()

    async with Streams() as streams:
        first = await start_answer(streams, "chat", endless)
        assert [each.data for each in await first.receive()] == ["first"]
        second = await start_answer(streams, "chat", ["second"])
        (end,) = await first.receive()
        assert (end.outcome, end.error) == (Outcome.STOPPED, ai_sdk.SUPERSEDED)
        assert [event.data async for event in second] == ["second"]
        await cancelled.wait()


@pytest.mark.parametrize("overtaken", [Stop, Claim])
async def test_two_answers_at_once_are_one(overtaken):
    """Law 4: whoever comes second is refused, its source is closed, and the first's goes on."""

    class Racing(MemoryBackend):
        meanwhile = None

        async def apply(self, stream_id, change):
            if self.meanwhile is not None and isinstance(change, overtaken):
                somebody_else, self.meanwhile = self.meanwhile, None
                await somebody_else()
            return await super().apply(stream_id, change)

    async def endless():
        yield await sleep_forever()

    async def somebody_else():
        await start_answer(streams, "chat", endless)

    backend, source = Racing(), Closable()
    async with hasty(backend) as streams:
        await start_answer(streams, "chat", endless)
        backend.meanwhile = somebody_else
        with pytest.raises(StreamExists):
            await start_answer(streams, "chat", source)
        assert (source.used, source.closed) == (0, 1)
        assert (await streams.state("chat")).outcome is None


async def test_an_answer_that_cannot_be_started_closes_its_source():
    source = Closable()
    async with Streams() as streams:
        with pytest.raises(ValueError, match="stream id"):
            await start_answer(streams, "", source)
    assert source.closed


async def test_a_message_that_is_left_early_closes_what_it_is_written_from():
    closed = Event()

    async def left():
        try:
            yield "a"
            yield "b"
        finally:
            closed.set()

    message = ui_message(left())
    assert (await anext(message))["type"] == "start"
    await message.aclose()
    assert closed.is_set()


async def test_a_message_can_be_written_from_any_async_iterable():
    class Pieces:
        def __init__(self):
            self.left = ["a", "b"]

        def __aiter__(self):
            return self

        async def __anext__(self):
            if not self.left:
                raise StopAsyncIteration
            return self.left.pop(0)

    assert text_of([chunk async for chunk in ui_message(Pieces())]) == "ab"


@pytest.mark.parametrize(
    ("query", "index"),
    [("", None), ("startIndex=0", 0), ("startIndex=-7", -7), ("startIndex=0012", 12)],
)
def test_a_start_index_is_a_number(query, index):
    assert start_index(Client(query).scope) == index


@pytest.mark.parametrize("text", ["", "-", "1.0", "+1", " 1", "٣", "1" * 17])
def test_a_start_index_that_is_none_is_refused(text):
    with pytest.raises(InvalidPosition):
        start_index(Client(f"startIndex={text}").scope)
