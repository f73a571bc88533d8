"""SIGTERM: open responses end at once, producers get their grace, and the process exits."""

from signal import SIGINT, SIGTERM

import pytest

from tests.servers.serving import KINDS, eventually

APPS = {"uvicorn": "fastapi", "uvloop": "starlette", "hypercorn": "asgi"}


def exit_code(server, number):
    """Return what the server exits with after a signal: uvicorn lets it have its usual effect."""
    return -number if server.kind in ("uvicorn", "uvloop") and number == SIGTERM else 0


@pytest.fixture
def start(start_server):
    return lambda kind, grace: start_server(kind, APPS.get(kind, "starlette"), GRACE=str(grace))


@pytest.mark.smoke
@pytest.mark.parametrize("kind", KINDS)
def test_drain(start, kind):
    """Draining: clients may go elsewhere at once, while what is being produced is completed."""
    server = start(kind, grace=30)
    server.may_log = ("resumable_io.asgi.ResponseCut",)
    with (
        server.request("/answers/patient-1/events") as one,
        server.request("/answers/patient-1/events") as two,
        server.request("/answers/patient-1/text") as text,
    ):
        assert one.event().data == two.event().data == "0\n"
        text.read_some()
        server.signal(SIGTERM)
        for response in (one, two):
            assert {event.type for event in response.events()} <= {"message"}
            assert response.complete
            assert 100 <= response.retry < 1000
        text.read()
        assert not text.complete
        assert "patient-1 is" not in server.log  # the producer is still at it

    assert server.wait() == exit_code(server, SIGTERM)
    assert "patient-1 is complete" in server.log


@pytest.mark.parametrize("kind", KINDS)
def test_grace_is_limited(start, kind):
    """Liveness: a producer that does not finish within the grace does not keep the process.

    Here the signal is what Ctrl+C sends.
    """
    server = start(kind, grace=0.3)
    with server.request("/answers/steady-1/events") as response:
        response.event()
        server.signal(SIGINT)
        response.read()
        assert response.complete
    assert server.wait() == exit_code(server, SIGINT)
    assert "steady-1 is cancelled" in server.log


@pytest.mark.parametrize("first", [SIGTERM, SIGINT])
@pytest.mark.parametrize("kind", KINDS)
def test_second_sigint_ends_the_grace(start, kind, first):
    """Liveness: who presses Ctrl+C once more does not want to wait for producers."""
    server = start(kind, grace=600)
    with server.request("/answers/steady-1/events") as response:
        response.event()
        server.signal(first)
        response.read()  # so it drains
        assert response.complete
    if server.kind in ("uvicorn", "uvloop"):  # until then, it would end all by itself
        eventually(lambda: "Waiting for application shutdown" in server.log)
    assert "steady-1 is" not in server.log
    server.signal(SIGINT)
    assert server.wait() == exit_code(server, first)
    assert "steady-1 is cancelled" in server.log


@pytest.mark.parametrize("kind", KINDS)
def test_repeated_sigterm_leaves_the_grace_as_it_is(start, kind):
    """Safety: supervisors send SIGTERM more than once, or behind the SIGINT of a terminal."""
    server = start(kind, grace=30)
    with server.request("/answers/patient-1/events") as response:
        response.event()
        server.signal(SIGINT)
        response.read()
    for _ in range(2):
        server.signal(SIGTERM)
    server.wait()
    assert "patient-1 is complete" in server.log


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_to_drain(start, kind):
    """A server with an idle connection alone exits as it would without us."""
    server = start(kind, grace=30)
    server.get("/answers/short-1/events")
    server.debug()
    server.signal(SIGTERM)
    assert server.wait() == exit_code(server, SIGTERM)


# Only where the server can limit how long it waits for connections. Hypercorn cannot: on trio, and
# on asyncio from Python 3.12 on, it waits until the client reads or leaves, whatever its options.
@pytest.mark.parametrize("kind", ["uvicorn", "uvloop"])
def test_client_that_stops_reading(start, kind):
    """Liveness: a client that does not read does not keep the process."""
    server = start(kind, grace=30)
    server.may_log = ("resumable_io.asgi.ResponseCut",)
    with (
        server.request("/answers/flood-1/events", receive_buffer=4096) as stalled,
        server.request("/answers/flood-1/events") as other,
    ):
        stalled.event()
        other.read()
        server.signal(SIGTERM)
        assert server.wait() == exit_code(server, SIGTERM)


@pytest.mark.parametrize("kind", ["hypercorn", "hypercorn-trio"])
def test_third_sigint_ends_the_process(start, kind):
    """Liveness: hypercorn may wait for a client that does not read, and for nothing else."""
    server = start(kind, grace=600)
    server.may_log = ("resumable_io.asgi.ResponseCut", "asyncio.exceptions.CancelledError")
    with (
        server.request("/answers/flood-1/events", receive_buffer=4096) as stalled,
        server.request("/answers/steady-1/events") as other,
    ):
        stalled.event()
        other.event()
        server.signal(SIGINT)
        other.read()
        # The kernel makes one of those that it could not deliver yet.
        eventually(lambda: server.signal(SIGINT) or server.process.poll() is not None)
    assert server.wait() in (0, -SIGINT)  # on asyncio it may have ended by itself
