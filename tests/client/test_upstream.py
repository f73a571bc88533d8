"""A provider's stream as a source: complete at its own end, failed at any other."""

import json

import pytest

from resumable_io import (
    Message,
    SourceError,
    StreamFailed,
    StreamGap,
    StreamReset,
    Streams,
    StreamStopped,
)
from resumable_io.client import ReconnectLimits, upstream
from tests.client.raw_server import STREAM, raw_server

QUICK = ReconnectLimits(retry=0.01, patience=0.1)


def chat(text, finish=None):
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}


def sent(*chunks):
    lines = [chunk if isinstance(chunk, str) else json.dumps(chunk) for chunk in chunks]
    return STREAM + b"".join(f"data: {line}\n\n".encode() for line in lines)


async def collected(server, **options):
    options.setdefault("limits", QUICK)
    return [message async for message in upstream(server.url, json={"stream": True}, **options)]


async def test_a_provider_is_put_behind_resumption_and_called_once():
    """Law 4."""
    with raw_server(sent(chat("a"), chat("b", "stop"), "[DONE]")) as server:
        async with Streams() as streams:
            for _ in range(3):
                answer = upstream(server.url, json={"stream": True})
                async with await streams.start_or_resume("chat", answer) as events:
                    got = [event.data async for event in events]
                assert [json.loads(data) for data in got[:-1]] == [chat("a"), chat("b", "stop")]
                assert got[-1] == "[DONE]"
    (request,) = server.requests
    assert request[0] == "POST / HTTP/1.1"
    assert json.loads(request[2]) == {"stream": True}


async def test_chat_completions_may_lack_the_done():
    with raw_server(sent(chat("a"), chat("", "stop"))) as server:
        assert len(await collected(server)) == 2


@pytest.mark.parametrize(
    "last", [{"type": "message_stop"}, {"type": "response.completed"}], ids=["anthropic", "openai"]
)
async def test_other_providers_have_other_ends(last):
    with raw_server(sent({"type": "delta"}, last)) as server:
        assert len(await collected(server)) == 2


def ours(kind, **members):
    data, end = json.dumps(members).encode(), b"-end" if kind == "end" else b""
    notice = b"event: %s\nid: a-1%s\ndata: %s\n\n" % (kind.encode(), end, data)
    return STREAM + b"id: a-1\ndata: hello\n\n" + notice


async def test_a_stream_of_ours_is_complete_at_its_end():
    """Whatever it holds: it need not look like the answer of a provider."""
    with raw_server(ours("end", outcome="done", error=None)) as server:
        assert await collected(server) == [Message("hello")]
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("notice", "error"),
    [
        (ours("end", outcome="failed", error="overloaded"), StreamFailed),
        (ours("end", outcome="stopped", error=None), StreamStopped),
        (ours("gap", reason="trimmed"), StreamGap),
        (ours("reset", reason="restarted"), StreamReset),
    ],
    ids=["failed", "stopped", "gap", "reset"],
)
async def test_a_part_of_a_stream_of_ours_fails(notice, error):
    """Law 2: what is put behind resumption is the whole, or has failed."""
    with raw_server(notice) as server, pytest.raises(error):
        await collected(server)


async def test_types_are_kept():
    with raw_server(STREAM + b'event: message_stop\ndata: {"type":"message_stop"}\n\n') as server:
        (message,) = await collected(server)
    assert message.type == "message_stop"


async def test_an_answer_that_breaks_off_fails():
    with raw_server(sent(chat("a"))) as server:
        async with Streams() as streams:
            answer = upstream(server.url, json={}, limits=QUICK)
            async with await streams.start("chat", answer) as events:
                await anext(events)
                with pytest.raises(StreamFailed, match="broke off"):
                    await anext(events)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "error",
    [
        {"error": {"message": "overloaded"}},
        {"type": "error", "error": {"message": "overloaded"}},
        {"type": "response.failed", "response": {"error": {"message": "overloaded"}}},
    ],
    ids=["chat", "anthropic", "responses"],
)
async def test_an_error_of_the_provider_fails(error):
    with raw_server(sent(error)) as server, pytest.raises(SourceError, match="overloaded"):
        await collected(server)


async def test_a_refusal_fails_and_its_text_is_a_note():
    refusal = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 7\r\n\r\nbad key"
    with raw_server(refusal) as server, pytest.raises(SourceError, match="401") as caught:
        await collected(server)
    assert "bad key" not in str(caught.value)
    assert caught.value.__notes__ == ["bad key"]


async def test_a_background_response_is_resumed_at_the_provider():
    created = {
        "type": "response.created",
        "sequence_number": 0,
        "response": {"id": "resp_1", "background": True},
    }
    first = sent(created, {"type": "delta", "sequence_number": 1})
    rest = sent({"type": "delta", "sequence_number": 2}, {"type": "response.completed"})
    with raw_server(first, rest) as server:
        assert len(await collected(server)) == 4
    assert server.requests[1][0] == "GET /resp_1?stream=true&starting_after=1 HTTP/1.1"
