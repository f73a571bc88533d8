"""npm `ai`: what `useChat` consists of, and a page in it, against a chat on a real server."""

import secrets
from pathlib import Path

import pytest

from tests.js.ai_sdk.chat_app import WORDS
from tests.redis.conftest import running
from tests.servers.serving import eventually, serving, watched

CHAT = Path(__file__).with_name("chat.mjs")
APP = "tests.js.ai_sdk.chat_app"
STORY = "".join(WORDS)
CLEAN = [{"isAbort": False, "isDisconnect": False, "isError": False}]
DROPPED = {"isAbort": False, "isDisconnect": True, "isError": True}


def url(server):
    return f"http://127.0.0.1:{server.port}"


@pytest.fixture(scope="module")
def shared_server():
    with serving("uvicorn", APP) as server:
        yield server


@pytest.fixture
def server(shared_server):
    with watched(shared_server) as server:
        yield server


@pytest.fixture
def play(node, server):
    """Play a scenario in a new chat: `play(name, *arguments)`."""
    chat_id = f"chat-{secrets.token_hex(4)}"
    return lambda name, *arguments: node(CHAT, name, url(server), chat_id, *arguments)


def test_an_answer(play):
    seen = play("ask", "story")
    assert (seen["status"], seen["error"], seen["text"]) == ("ready", None, STORY)
    assert seen["roles"] == ["user", "assistant"]
    assert seen["ids"][1].startswith("answer-")
    assert seen["finished"] == CLEAN


def test_every_chunk_that_can_be_written_passes_the_clients_schema(play):
    seen = play("everything")
    message = seen["message"]
    assert message["id"] == "m-all"
    assert message["metadata"] == {"model": "tiny", "tokens": 8}
    parts = [(part["type"], part.get("state")) for part in message["parts"]]
    assert parts == [
        ("step-start", None),
        ("reasoning", "done"),
        ("tool-weather", "output-available"),
        ("step-start", None),
        ("dynamic-tool", "output-error"),
        ("data-progress", None),
        ("source-url", None),
        ("file", None),
        ("text", "done"),
    ]
    assert message["parts"][2]["output"] == {"degrees": 21}
    assert message["parts"][5]["data"] == 100
    assert seen["chunks"][0]["type"] == "start"
    assert seen["chunks"][-1]["type"] == "finish"
    assert len(seen["chunks"]) > 20


def test_a_line_that_breaks_twice(play):
    """Law 3: what breaks off is known to be a part, and the resumed answer is the whole, once."""
    seen = play("dropTwice", [600, 650])
    assert seen["dropped"]["status"] == "error"
    assert seen["dropped"]["finished"] == [DROPPED]
    assert seen["again"]["status"] == "error"
    assert seen["again"]["finished"] == [DROPPED, DROPPED]
    whole = seen["whole"]
    assert (whole["status"], whole["error"]) == ("ready", None)
    expected = "one two three four five six seven eight nine ten eleven twelve end"
    assert whole["text"] == expected
    assert whole["roles"] == ["user", "assistant"]


def test_an_answer_that_is_over_is_not_told_again(play):
    """204: a page that is opened later has the answer from where it is stored."""
    play("ask", "story")
    assert play("reconnect") == "nothing"
    seen = play("open")
    assert (seen["status"], seen["roles"], seen["finished"]) == ("ready", [], [])


def test_an_unknown_chat_has_nothing_to_resume(play):
    assert play("reconnect") == "nothing"
    seen = play("open")
    assert (seen["status"], seen["error"]) == ("ready", None)


def test_an_answer_that_was_over_before_the_client_came_back(play):
    """The SDK takes 204 for the end; a page that asks with `startIndex=0` gets the whole."""
    seen = play("finishedMeanwhile", True)
    assert seen["dropped"]["finished"] == [DROPPED]
    assert seen["dropped"]["text"] != STORY
    assert (seen["resumed"]["status"], seen["resumed"]["text"]) == ("ready", STORY)
    assert seen["resumed"]["roles"] == ["user", "assistant"]


def test_two_tabs(play):
    """Law 10: a second page has the same message under the same id, and the source runs once."""
    first, second = play("twoTabs")
    assert first["text"] == second["text"] == "grüße, 東京 👩‍🚀"
    assert first["ids"] == second["ids"]
    assert first["status"] == second["status"] == "ready"
    assert play("lookAt")["calls"] == 1


def test_an_error_of_the_source(play, server):
    """One end: what there is, and a message that is safe to show; again for a page opened later."""
    server.may_log = ("resumable_io._sources.SourceError: the model is overloaded",)
    seen = play("ask", "broken")
    assert (seen["status"], seen["text"]) == ("error", "half an ")
    assert seen["error"] == "SourceError: the model is overloaded"
    assert seen["finished"] == [{"isAbort": False, "isDisconnect": False, "isError": True}]
    later = play("open")
    assert (later["status"], later["error"]) == ("error", seen["error"])
    assert later["text"] == "half an "


def test_a_dead_producer(play):
    """Law 7: within the lease its readers are told, by an error that is no clean end."""
    seen = play("ask", "orphan")
    assert (seen["status"], seen["text"]) == ("error", "half an ")
    assert "lost" in seen["error"] or "producer" in seen["error"]
    assert play("open")["status"] == "error"


@pytest.fixture
def redis(tmp_path):
    with running(tmp_path) as server:
        yield server


def test_a_producer_that_is_killed(node, redis, start_server):
    """Law 7: who reads from another process is told, and the chat can go on there."""
    producer, other = (start_server(APP, BACKEND=redis.url) for _ in range(2))
    seen = node(CHAT, "killed", url(producer), "chat", url(other), producer.process.pid)
    assert (seen["first"]["status"], seen["first"]["finished"]) == ("error", [DROPPED])
    assert (seen["second"]["status"], seen["second"]["text"]) == ("error", "half an ")
    assert seen["second"]["finished"] == [DROPPED | {"isDisconnect": False}]
    assert (seen["later"]["status"], seen["later"]["text"]) == ("ready", STORY)


def test_stop(play):
    """Leaving stops nothing; who stays when the answer is stopped gets an abort chunk."""
    seen = play("stop")
    assert seen["left"]["outcome"] is None
    assert seen["chunks"][-1] == {"type": "abort", "reason": "stopped by the user"}
    assert seen["other"]["status"] == "ready"
    assert seen["other"]["roles"] == []


def test_a_question_while_the_answer_before_still_goes_on(play):
    """It takes the place of the other, whose readers are told."""
    seen = play("askAgain")
    assert seen["first"]["text"] == "some"
    assert seen["second"]["text"] == STORY
    assert seen["second"]["status"] == "ready"


@pytest.mark.parametrize("kind", ["bad", "no_json"])
def test_what_is_no_chunk_is_an_error_to_the_user(play, kind):
    seen = play("ask", kind)
    assert seen["status"] == "error"
    assert seen["finished"][0]["isError"]


def test_a_server_that_drains(node, start_server):
    """Law 2: the connection breaks, so that the client knows that it has but a part."""
    server = start_server(APP)
    server.may_log = ("resumable_io.asgi.ResponseCut", "ExceptionGroup:")
    seen = node(CHAT, "drain", url(server), "chat", server.process.pid)
    assert (seen["status"], seen["text"]) == ("error", "some")
    assert seen["finished"] == [DROPPED]
    eventually(lambda: server.process.poll() is not None)
