"""More pairs of app and server than those that all the other tests run with."""

import time

import pytest

from tests.servers.apps.answers import FLOOD, SEND_TIMEOUT, SHORT
from tests.servers.serving import eventually

PAIRS = [
    ("uvicorn", "asgi"),
    ("uvicorn", "starlette"),
    ("hypercorn", "starlette"),
    ("hypercorn-trio", "asgi"),
    ("uvicorn", "middleware"),  # which is FastAPI, too
    ("uvloop", "middleware"),
    ("hypercorn", "middleware"),
    ("hypercorn-trio", "middleware"),
]

LOGGED = (
    "ValueError: a secret of the source",
    "resumable_io.asgi.ResponseCut",
    "AssertionError: Unexpected message: {'type': 'http.response.",  # the middlewares'
    "RuntimeError: Expected ASGI message 'http.response.body', but got 'http.response.pathsend'",
    "hypercorn.utils.UnexpectedMessageError",
    "ExceptionGroup:",  # in which an older Starlette's has it
)


@pytest.mark.parametrize(("kind", "app"), PAIRS)
def test_app_under_server(start_server, kind, app):
    """An answer arrives whole, and can be resumed; half a text never ends like a whole one.

    The app called `middleware` relays every response through Starlette's BaseHTTPMiddleware, twice,
    each of which ends the body cleanly when the app behind it raises.
    """
    server = start_server(kind, app)
    server.may_log = LOGGED

    with server.request("/answers/short-1/events") as response:
        first = response.event()
        response.cut()
    with server.request("/answers/short-1/events", last_event_id=first.last_event_id) as response:
        *rest, end = response.events()
        assert response.complete
    assert [event.data for event in [first, *rest]] == SHORT
    assert end.type == "end"
    assert server.get("/answers/short-1/events", last_event_id=end.last_event_id).status == 204

    text = server.get("/answers/short-1/text")
    assert (text.body.decode(), text.complete) == ("".join(SHORT), True)
    assert text.headers["x-relayed"] == ("yes" if app == "middleware" else None)

    broken = server.get("/answers/broken-1/text")
    assert (broken.body, broken.complete) == (b"half an answer", False)

    with server.request("/answers/tap-1/text") as stopped:
        server.post("/answers/tap-1/give", b"some")
        stopped.read_some()
        server.post("/answers/tap-1/stop")
        stopped.read()
    assert (stopped.body, stopped.complete) == (b"some", False)


@pytest.mark.parametrize(
    ("kind", "app"),
    [("uvicorn", "middleware"), ("hypercorn", "middleware"), ("uvloop", "starlette")],
)
def test_text_that_nobody_read_for_too_long(start_server, kind, app):
    """One end: nor does half a text end like a whole one for a client that paused, then read on."""
    server = start_server(kind, app)
    server.may_log = LOGGED
    with (
        server.request("/answers/flood-1/text", receive_buffer=4096) as paused,
        server.request("/answers/flood-1/text", receive_buffer=4096) as gone,
    ):
        paused.read_some()
        gone.read_some()
        assert server.get("/answers/flood-1/text").complete
        time.sleep(1.5 * SEND_TIMEOUT)
        server.settle()  # then it has given them up, however busy the machine is
        gone.cut()
        paused.read()
        assert not paused.complete
        assert "".join(FLOOD).startswith(paused.body.decode())
    eventually(lambda: server.debug()["responses"] == 0)
