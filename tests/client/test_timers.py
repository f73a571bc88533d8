"""Every timer of the client, in virtual time: sockets have none, so the transport is in memory."""

import itertools

import anyio
import httpx2
import pytest

from resumable_io.client import ConnectionLost, ReconnectLimits, connect

pytestmark = pytest.mark.virtual_time


class Script(httpx2.AsyncBaseTransport):
    """Answer each request by the next step: an exception, or chunks with pauses between."""

    def __init__(self, *steps):
        self.steps = itertools.chain(steps, itertools.repeat(steps[-1]))
        self.times = []

    async def handle_async_request(self, request):
        self.times.append(anyio.current_time())
        step = next(self.steps)
        if isinstance(step, Exception):
            raise step
        if step == "silence":
            await anyio.sleep_forever()
        return httpx2.Response(
            200, headers={"content-type": "text/event-stream"}, stream=Body(step)
        )


class Body(httpx2.AsyncByteStream):
    def __init__(self, pieces):
        self.pieces = pieces

    async def __aiter__(self):
        for piece in self.pieces:
            if isinstance(piece, bytes):
                yield piece
            else:
                await anyio.sleep(piece)


def source(script, **limits):
    client = httpx2.AsyncClient(transport=script)
    return connect("http://x", client=client, limits=ReconnectLimits(**limits))


async def take(events, count):
    return [(await anext(events)).data for _ in range(count)]


def approximately(times):
    return [pytest.approx(each, abs=1e-3) for each in times]


async def test_after_the_end_of_a_connection_it_waits_for_the_reconnection_time():
    script = Script([b"data: a\n\n", 10], [b"retry: 7000\ndata: b\n\n"], [b"data: c\n\n"])
    async with source(script, retry=3) as events:
        assert await take(events, 3) == ["a", "b", "c"]
    assert script.times == approximately([0, 13, 20])


async def test_silence_counts_as_a_dead_connection():
    script = Script([b"data: a\n\n", 1000], [b"data: b\n\n"])
    async with source(script, retry=1, idle=60) as events:
        assert await take(events, 2) == ["a", "b"]
    assert script.times == approximately([0, 61])


async def test_comments_end_the_silence():
    script = Script([b"data: a\n\n", *[59, b":\n"] * 100, b"data: b\n\n"])
    async with source(script, idle=60) as events:
        assert await take(events, 2) == ["a", "b"]
    assert script.times == approximately([0])


async def test_a_server_that_accepts_and_says_nothing_is_left():
    script = Script("silence", [b"data: a\n\n"])
    async with source(script, retry=2, idle=60) as events:
        assert await take(events, 1) == ["a"]
    assert script.times == approximately([0, 62])


async def test_failures_make_it_wait_longer_up_to_a_cap(monkeypatch):
    monkeypatch.setattr("random.random", lambda: 1.0)
    script = Script(*[httpx2.ConnectError("no")] * 6, [b"data: a\n\n"], [b"data: b\n\n"])
    async with source(script, retry=1, longest_backoff=10) as events:
        assert await take(events, 2) == ["a", "b"]
    pauses = [later - earlier for earlier, later in itertools.pairwise(script.times)]
    assert pauses == approximately([1, 2, 4, 8, 11, 11, 1])


async def test_it_gives_up_when_its_patience_is_over():
    script = Script(httpx2.ConnectError("no"))
    async with source(script, retry=1, patience=60) as events:
        with pytest.raises(ConnectionLost, match="cannot be reached"):
            await anext(events)
    assert 0 < anyio.current_time() <= 60
    assert len(script.times) > 4


async def test_a_consumer_may_take_its_time():
    script = Script([b"data: a\n\ndata: b\n\n", b"data: c\n\n"])
    async with source(script, idle=60) as events:
        assert await take(events, 1) == ["a"]
        await anyio.sleep(1000)
        assert await take(events, 2) == ["b", "c"]
    assert script.times == approximately([0])
