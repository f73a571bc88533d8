"""Answers over real sockets: whole, cut and resumed, shared, refused, stopped, failed."""

import json
import random
from contextlib import ExitStack

import pytest

from tests.servers.apps.answers import SHORT, STORY
from tests.servers.serving import eventually

CUT = "resumable_io.asgi.ResponseCut"


def text_of(events):
    return "".join(event.data for event in events if event.type == "message")


def end_of(event):
    assert event.type == "end"
    return json.loads(event.data)


@pytest.mark.smoke
def test_whole_answer(server, new_id):
    """An event stream brings every event once, in order, each with its id, and then the end."""
    with server.request(f"/answers/{new_id('story')}/events") as response:
        *events, end = response.events()

    assert response.status == 200
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-store, no-transform"
    assert response.headers["x-accel-buffering"] == "no"
    assert response.complete
    assert [event.data for event in events] == STORY
    epoch = end.last_event_id.partition("-")[0]
    assert [event.last_event_id for event in events] == [
        f"{epoch}-{seq}" for seq in range(1, len(STORY) + 1)
    ]
    assert end.last_event_id == f"{epoch}-{len(STORY)}-end"
    assert end_of(end) == {"outcome": "done", "error": None}


@pytest.mark.smoke
@pytest.mark.parametrize("by", ["header", "query"])
def test_cut_and_resumed(server, new_id, by):
    """Resume: cut off anywhere, again and again, a client gets the whole, and nothing twice."""
    draw = random.Random(f"{server.kind} {by}")
    path = f"/answers/{new_id('story')}/events"
    received, last_event_id, cuts = [], "", 0
    while True:
        if not last_event_id:
            request = server.request(path)
        elif by == "header":
            request = server.request(path, last_event_id=last_event_id)
        else:
            request = server.request(f"{path}?last_event_id={last_event_id}")
        with request as response:
            for _ in range(draw.randrange(40)):
                if (event := response.event()) is None:
                    break
                received.append(event)
            last_event_id = response.last_event_id or last_event_id
            if response.complete:
                break
            response.cut()
            cuts += 1

    assert cuts > 3
    *events, end = received
    assert [event.data for event in events] == STORY
    assert end_of(end)["outcome"] == "done"


def test_cut_before_the_first_event(server, new_id):
    """One producer: a client that has received nothing yet comes back with an id all the same."""
    answer = new_id("tap")
    with server.request(f"/answers/{answer}/events") as response:
        while not response.last_event_id:
            response.read_some()
        response.cut()
    assert response.last_event_id.endswith("-0")
    server.post(f"/answers/{answer}/give", b"all of it")
    server.post(f"/answers/{answer}/give")

    with server.request(
        f"/answers/{answer}/events", last_event_id=response.last_event_id
    ) as response:
        assert text_of(response.events()) == "all of it"
    assert server.debug()["calls"][answer] == 1


@pytest.mark.smoke
def test_many_at_once(server, new_id):
    """One producer: however many ask at once, the source runs once, and all get the whole."""
    answer = new_id("story")
    with ExitStack() as stack:
        asked = [  # all of them, before the first answer is looked at
            stack.enter_context(server.request(f"/answers/{answer}/events")) for _ in range(5)
        ]
        assert [text_of(response.events()) for response in asked] == ["".join(STORY)] * 5
    assert server.debug()["calls"][answer] == 1


def test_second_client_follows_live(server, new_id):
    """A client that comes later gets what it missed, and then what happens, as it happens."""
    answer = new_id("tap")
    with (
        server.request(f"/answers/{answer}/events") as first,
        server.request(f"/answers/{answer}/events") as second,
    ):
        server.post(f"/answers/{answer}/give", b"one")
        assert first.event().data == "one"
        assert second.event().data == "one"
        server.post(f"/answers/{answer}/give", b"two")
        assert second.event().data == "two"
        first.cut()
        server.post(f"/answers/{answer}/give", b"three")
        assert second.event().data == "three"
        server.post(f"/answers/{answer}/give")
        assert end_of(second.event())["outcome"] == "done"


def test_text_from_every_offset(server, new_id):
    """Resume: from every character on, the text is the rest of the text, to the code point."""
    answer, text = new_id("short"), "".join(SHORT)
    assert server.get(f"/answers/{answer}/text").body.decode() == text
    for offset in range(len(text) + 1):
        response = server.get(f"/answers/{answer}/text?resume_at={offset}")
        assert response.status == 200
        assert response.headers["content-type"] == "text/plain; charset=utf-8"
        assert response.complete
        assert response.body.decode() == text[offset:]


def test_text_cut_and_resumed(server, new_id):
    """Resume: a text that is cut off goes on behind the characters that have arrived."""
    draw = random.Random(server.kind)
    answer, received, cuts = new_id("story"), "", 0
    while True:
        with server.request(f"/answers/{answer}/text?resume_at={len(received)}") as response:
            for _ in range(draw.randrange(1, 20)):
                response.read_some()
            received += response.body.decode(errors="ignore")  # half a character is none
            if response.complete:
                break
            response.cut()
            cuts += 1
    assert cuts > 3
    assert received == "".join(STORY)


def test_seen_the_end(server, new_id):
    """A client that has seen the end is told to stay away; one that has not yet gets the end."""
    path = f"/answers/{new_id('short')}/events"
    with server.request(path) as response:
        *_, last, end = response.events()

    assert server.get(path, last_event_id=end.last_event_id).status == 204
    assert server.get(f"{path}?last_event_id={end.last_event_id}").status == 204
    with server.request(path, last_event_id=last.last_event_id) as response:
        assert [event.type for event in response.events()] == ["end"]


def test_head(server, new_id):
    """HEAD answers headers only, starts nothing, and leaves the connection usable."""
    answer = new_id("short")
    for view in ("events", "text"):
        response = server.get(f"/answers/{answer}/{view}", method="HEAD")
        assert (response.status, response.body) == (200, b"")
        assert "charset=utf-8" in response.headers["content-type"]
    assert answer not in server.debug()["calls"]
    assert server.get("/answers/unknown-1/events", method="HEAD").status == 404


@pytest.mark.smoke
def test_refused(server, new_id):
    """What cannot be granted gets its status and a sentence, and never runs a source."""
    running, new, done = new_id("tap"), new_id("short"), new_id("short")
    assert server.post(f"/answers/{running}").status == 201
    server.get(f"/answers/{done}/events")

    def refusal(path, *, method="GET", **headers):
        response = server.get(path, method=method, **headers)
        assert response.body
        assert b"Traceback" not in response.body
        return response.status

    assert refusal(f"/answers/{new_id('unknown')}/events") == 404
    assert refusal(f"/answers/{new_id('unknown')}/stop", method="POST") == 404
    assert refusal(f"/answers/{running}", method="POST") == 409
    assert refusal(f"/answers/{done}", method="POST") == 409
    assert refusal(f"/answers/{new}/events", last_event_id="0123456789abcdef-3") == 410
    assert refusal(f"/answers/{new}/events", last_event_id="not an id") == 410
    assert refusal(f"/answers/{new}/text?resume_at=3") == 410
    assert refusal(f"/answers/{new}/text?resume_at=-1") == 400
    assert refusal(f"/answers/{new}/text?resume_at=one") == 400
    assert refusal(f"/answers/short-{'x' * 300}/events") == 400
    assert refusal(f"/answers/{done}/text?resume_at=1000") == 416
    calls = server.debug()["calls"]
    assert (calls[running], calls.get(new), calls[done]) == (1, None, 1)


@pytest.mark.parametrize(
    ("last_event_id", "reason"),
    [
        ("nonsense", "malformed"),
        ("0123456789abcdef-3", "unknown"),
        ("0123456789abcdef-3-end", "unknown"),
        ("x" * 257, "oversized"),
    ],
)
def test_reset(server, new_id, last_event_id, reason):
    """No silent loss: an id that is not of this stream is told so, and then gets all of it."""
    path = f"/answers/{new_id('short')}/events"
    server.get(path)
    with server.request(path, last_event_id=last_event_id) as response:
        reset, *events, end = response.events()
    assert (reset.type, json.loads(reset.data)) == ("reset", {"reason": reason})
    assert [event.data for event in events] == SHORT
    assert end.type == "end"


@pytest.mark.smoke
def test_source_that_never_yields(server, new_id):
    """Liveness: heartbeats flow while nothing happens, and stop works."""
    answer = new_id("silent")
    with server.request(f"/answers/{answer}/events") as response:
        while response.body.count(b"\n:") < 3:
            response.read_some()
        assert server.post(f"/answers/{answer}/stop").status == 200
        (end,) = response.events()
    assert response.complete
    assert end_of(end)["outcome"] == "stopped"
    eventually(lambda: f"{answer} is cancelled" in server.log)


@pytest.mark.smoke
def test_failed_source(server, new_id):
    """One end: a failure is told, without its secrets; text has no room for it and is cut off."""
    server.may_log = ("ValueError: a secret of the source", CUT)
    answer = new_id("broken")
    with server.request(f"/answers/{answer}/events") as response:
        *events, end = response.events()
    assert response.complete
    assert text_of(events) == "half an answer"
    assert end_of(end) == {"outcome": "failed", "error": "ValueError"}
    assert "a secret of the source" in server.log

    response = server.get(f"/answers/{answer}/text")
    assert response.status == 200
    assert response.body == b"half an answer"
    assert not response.complete


def test_stopped_text_is_cut_off(server, new_id):
    """One end: a text that somebody stopped does not look like the whole."""
    server.may_log = (CUT,)
    answer = new_id("tap")
    with server.request(f"/answers/{answer}/text") as response:
        server.post(f"/answers/{answer}/give", b"some")
        assert response.read_some() == b"some"
        server.post(f"/answers/{answer}/stop")
        assert response.read() == b"some"
        assert not response.complete
