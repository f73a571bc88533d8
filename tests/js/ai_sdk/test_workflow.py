"""npm `@ai-sdk/workflow`: the SDK's client with a cursor, the number of chunks that it has."""

import secrets
from pathlib import Path

import pytest

from tests.js.ai_sdk.chat_app import WORDS
from tests.servers.serving import serving, watched

WORKFLOW = Path(__file__).with_name("workflow.mjs")
STORY = "".join(WORDS)


@pytest.fixture(scope="module")
def shared_server():
    with serving("uvicorn", "tests.js.ai_sdk.chat_app") as server:
        yield server


@pytest.fixture
def server(shared_server):
    with watched(shared_server) as server:
        yield server


@pytest.fixture
def play(node, server):
    """Play a scenario in a new chat: `play(name, *arguments)`."""
    chat_id = f"chat-{secrets.token_hex(4)}"
    url = f"http://127.0.0.1:{server.port}"
    return lambda name, *arguments: node(WORKFLOW, name, url, chat_id, *arguments)


def test_lines_that_break(play):
    """Law 3: it goes on behind the chunks that it has, and gets each of them once."""
    seen = play("send", "story", [500, 700, 1500])
    assert (seen["text"], seen["error"]) == (STORY, None)
    assert seen["chunks"][0]["type"] == "start"
    assert seen["chunks"][-1]["type"] == "finish"
    first, *others = seen["requests"]
    assert first == ""
    assert len(others) == 3
    assert all(each.startswith("?startIndex=") for each in others)


def test_an_answer_that_is_over_goes_on_for_who_has_a_cursor(play):
    """Law 3: what follows the cursor, although the stream has ended meanwhile."""
    whole = play("send", "story")["chunks"]
    has = [chunk["type"] for chunk in whole].index("text-start")
    assert play("resume", has)["chunks"] == whole[has:]
    assert play("resume", len(whole) - 1)["chunks"] == whole[-1:]


def test_the_last_chunks(play):
    """A negative index counts from the end; after a cut, the client goes on in the middle."""
    whole = play("send", "story")["chunks"]
    seen = play("resume", -30, [700])
    assert seen["chunks"][-1] == whole[-1]
    assert seen["requests"][0] == "?startIndex=-30"
    has = int(seen["requests"][1].removeprefix("?startIndex="))
    assert len(whole) - 30 < has < len(whole)
    # It leaves out deltas of parts that began before: only what follows the text is left.
    assert [chunk["type"] for chunk in seen["chunks"]] == ["finish-step", "finish"]


def test_a_failure_is_told_once(play, server):
    """One end: behind the error there is nothing to resume, so that nobody asks for ever."""
    server.may_log = ("resumable_io._sources.SourceError: the model is overloaded",)
    seen = play("send", "broken")
    assert seen["text"] == "half an "
    assert seen["chunks"][-1] == {
        "type": "error",
        "errorText": "SourceError: the model is overloaded",
    }
    assert "204" in seen["error"]
    assert len(seen["requests"]) == 2


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("startIndex=x", 400),
        ("startIndex=", 400),
        ("startIndex=1e3", 400),
        ("startIndex=9999999999999999", 400),
        ("startIndex=99999999999999999999", 400),
        ("startIndex=5", 410),
        ("startIndex=0", 204),
        ("last_event_id=abc-1", 410),
        ("", 204),
    ],
)
def test_cursors_in_an_unknown_chat(server, query, status):
    assert server.get(f"/api/chat/unknown/stream?{query}").status == status


def test_a_last_event_id_is_a_cursor(play, server):
    """Clients with a parser of their own go on behind an id; behind the end there is nothing."""
    play("send", "story")
    chat_id = play("nameOf")
    with server.request(f"/api/chat/{chat_id}/stream?startIndex=0") as response:
        events = list(response.events())
    assert events[-1].data == "[DONE]"
    with server.request(
        f"/api/chat/{chat_id}/stream", last_event_id=events[7].last_event_id
    ) as response:
        assert list(response.events()) == events[8:]
        assert response.headers["x-workflow-stream-tail-index"] == str(len(events) - 2)
    end = server.get(f"/api/chat/{chat_id}/stream", last_event_id=events[-1].last_event_id)
    assert end.status == 204
