"""Clients that are killed, by the hundred, and clients that stop reading: nobody else notices."""

import sys
import time
from contextlib import ExitStack

import pytest

from tests.servers.apps.answers import FLOOD, SEND_TIMEOUT
from tests.servers.serving import eventually

MEGABYTE = 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_thousand_killed_connections(server, new_id):
    """Independence: 1,000 clients are killed mid-answer, and leave nothing behind.

    Open files and tasks return to what they were, and memory to nearly that. The producer and
    another client go on undisturbed.
    """
    before = server.debug()
    answer = new_id("steady")
    path = f"/answers/{answer}/events"

    def kill_a_hundred():
        with ExitStack() as stack:
            killed = [stack.enter_context(server.request(path)) for _ in range(100)]
            for response in killed:
                assert response.event() is not None
            for response in killed:
                response.cut()
        eventually(lambda: server.debug()["responses"] == 1)

    with server.request(path) as witness:
        witness.event()
        kill_a_hundred()  # whatever a process gets once and keeps, it has now
        tasks, open_files, memory = server.debug()["tasks"], server.open_files, server.memory
        for _ in range(10):
            kill_a_hundred()
        eventually(lambda: server.debug()["tasks"] <= tasks)
        eventually(lambda: server.open_files <= open_files)
        assert server.memory - memory < 8 * MEGABYTE

        server.post(f"/answers/{answer}/stop")
        *events, end = witness.events()
    assert [event.data for event in events] == [f"{n}\n" for n in range(1, len(events) + 1)]
    assert end.type == "end"
    assert server.debug()["calls"][answer] == 1
    # Fewer, when there were some before that had just been about to end.
    eventually(lambda: server.debug()["producers"] <= before["producers"])
    eventually(lambda: server.debug()["followers"] <= before["followers"])


def test_client_that_stops_reading(server, new_id):
    """Bounded: who does not read is dropped at the send timeout; the others get everything."""
    server.may_log = ("resumable_io.asgi.ResponseCut",)
    path = f"/answers/{new_id('flood')}/events"
    with (
        server.request(path, receive_buffer=4096) as stalled,
        server.request(path) as other,
    ):
        assert stalled.event().data == FLOOD[0]
        *events, end = other.events()
        assert [event.data for event in events] == FLOOD
        assert end.type == "end"
        if server.kind == "hypercorn-trio":
            # It shields what it sends from cancellation: only the client can end that, by leaving.
            stalled.cut()
        eventually(lambda: server.debug()["responses"] == 0)

        rest = [event.data for event in stalled.events()]
        assert not stalled.complete
        assert rest == FLOOD[1 : len(rest) + 1]
        assert len(rest) < len(FLOOD) / 2


@pytest.mark.parametrize("server", ["uvicorn-fastapi", "hypercorn-asgi"], indirect=True)
def test_client_that_reads_slowly(server, new_id):
    """The send timeout is for clients that refuse to read, not for those on a thin line.

    On a machine so busy that nothing arrives for long, this one cannot be told from the others, and
    tries again.
    """
    for _ in range(10):
        path = f"/answers/{new_id('flood')}/events"
        with server.request(path, receive_buffer=65_536) as response:
            longest_pause = read_slowly(response, 700_000)
            response.cut()
        if len(response.body) >= 700_000:
            return
        assert longest_pause > SEND_TIMEOUT / 2, "it was dropped although it read"
        server.may_log = ("resumable_io.asgi.ResponseCut",)
    raise AssertionError("this machine is too busy to read slowly")


def read_slowly(response, size):
    """Read that much, 320 kB/s at most; return for how long nothing was read, at the longest.

    So a page of the log takes longer than the send timeout.
    """
    longest_pause, last = 0.0, time.monotonic()
    while len(response.body) < size and not response.ended:
        response.read_some(16_384)
        now = time.monotonic()
        longest_pause, last = max(longest_pause, now - last), now
        time.sleep(0.05)
    return longest_pause
