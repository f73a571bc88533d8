"""Channels over real sockets: live, in replay, targeted, flooded, not read, drained."""

import json
import secrets
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from signal import SIGTERM

import pytest

from tests.servers.apps.channels_app import BURST, RATE
from tests.servers.serving import KINDS, eventually, serving, watched
from tests.servers.test_shutdown import exit_code

MEGABYTE = 2**20
SERVERS = {**{kind: (kind, {}) for kind in KINDS}, "relayed": ("uvicorn", {"RELAYED": "1"})}


@pytest.fixture(scope="module", params=SERVERS)
def shared_server(request):
    kind, environment = SERVERS[request.param]
    with serving(kind, "channels", **environment) as server:
        yield server


@pytest.fixture
def server(shared_server):
    with watched(shared_server):
        yield shared_server
        shared_server.settle()


@pytest.fixture
def path():
    """The path of a channel that no other test has."""
    return f"/channels/{secrets.token_hex(4)}"


def publish(server, path, message, *, by="ann"):
    """Publish as somebody; return the answer."""
    body = json.dumps(message)
    headers = {"authorization": f"Bearer {by}", "content_type": "application/json"}
    return server.get(path, method="POST", body=body, **headers)


def subscribe(server, path, name, **headers):
    return server.request(path, authorization=f"Bearer {name}", **headers)


def test_live_and_in_replay(server, path):
    """Broadcast and targeted events, live and after a cut; each to whom it is for."""
    with subscribe(server, path, "ann") as ann, subscribe(server, path, "bob") as bob:
        assert ann.status == bob.status == 200
        assert publish(server, path, {"data": "one"}).status == 202
        assert ann.event().data == bob.event().data == "one"
        bob.cut()
        publish(server, path, {"data": "for bob", "to": "bob"})
        last = publish(server, path, {"data": {"two": 2}, "type": "note"})
        event = ann.event()
        assert (event.type, event.data) == ("note", '{"two":2}')
        assert {"id": event.last_event_id} == json.loads(last.body)
    with subscribe(server, path, "bob", last_event_id=bob.last_event_id) as bob:
        assert [bob.event().data for _ in range(2)] == ["for bob", '{"two":2}']
    assert server.get(path).status == 401
    assert publish(server, path, {"data": "x"}, by="reader").status == 403
    eventually(lambda: server.debug()["responses"] == 0)


def test_heartbeats_move_the_place(server, path):
    """By id-only blocks, behind what is for others."""
    publish(server, path, {"data": "one"})
    with subscribe(server, path, "bob") as bob:
        bob.event()
        hidden = json.loads(publish(server, path, {"data": "x", "to": "ann"}).body)["id"]
        while bob.last_event_id != hidden:
            assert bob.read_some()
        assert b"x" not in bob.body.partition(b"one")[2]


def test_a_flood_of_messages(server, path):
    """429 for who floods; what others publish, and other channels, get through meanwhile."""
    flooder = secrets.token_hex(4)
    with subscribe(server, f"{path}-2", "bob") as bob:
        bob.read_some()
        began = time.monotonic()
        statuses = [
            publish(server, path, {"data": "x"}, by=flooder).status for _ in range(4 * BURST)
        ]
        took = time.monotonic() - began
        assert statuses[:BURST] == [202] * BURST
        assert set(statuses) <= {202, 429}
        assert statuses.count(202) <= BURST + RATE * took + 1
        refused = publish(server, path, {"data": "x" * 70_000}, by=secrets.token_hex(4))
        assert refused.status == 413
        other = secrets.token_hex(4)
        assert publish(server, f"{path}-2", {"data": "calm"}, by=other).status == 202
        assert bob.event().data == "calm"


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_client_that_does_not_read(server, path):
    """Bounded: it is dropped at its send timeout, the others get everything, memory stays flat.

    What is published meanwhile, 8 MB, would be 160 MB if it were kept for each of the twenty.
    """
    server.may_log = (
        "resumable_io.asgi.ResponseCut",
        "AssertionError: Unexpected message: {'type': 'http.response.pathsend'",
        "ExceptionGroup:",
    )
    count, size = 100, 16_000
    fill = f"/fill/{path.rpartition('/')[2]}/{count}/{size}"
    for _ in range(12):  # to its retention: from then on the channel itself does not grow
        server.post(fill)
    with ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(1))
        last = json.loads(publish(server, path, {"data": "last"}, by=path).body)["id"]
        bob = stack.enter_context(subscribe(server, path, "bob", last_event_id=last))
        bob.read_some()
        stuck = [
            stack.enter_context(
                subscribe(server, path, f"s{n}", last_event_id=last, receive_buffer=4096)
            )
            for n in range(20)
        ]
        assert {each.status for each in stuck} == {200}
        before = server.memory
        for _ in range(5):
            filled = threads.submit(server.post, fill)  # meanwhile, bob reads
            data = [bob.event().data for _ in range(count)]
            assert filled.result().status == 200
            assert [text.partition(" ")[0] for text in data] == [str(n) for n in range(count)]
        grown = server.memory - before
        if server.kind == "hypercorn-trio":
            for each in stuck:  # it shields what it sends: only the client can end that
                each.cut()
        eventually(lambda: server.debug()["responses"] == 1)
    sys.stdout.write(f"{server.kind}: 20 clients that do not read: {grown / MEGABYTE:.1f} MiB\n")
    assert grown < 40 * MEGABYTE


@pytest.mark.parametrize("kind", KINDS)
def test_drain(start_server, kind):
    """SIGTERM ends subscriptions in such a way that their clients come back soon, and the process
    exits; there is no end in band, since a channel has none.
    """
    server = start_server(kind, "channels")
    with subscribe(server, "/channels/x", "ann") as ann:
        ann.read_some()
        publish(server, "/channels/x", {"data": "one"})
        ann.event()
        server.signal(SIGTERM)
        assert ann.event() is None
        assert ann.complete
        assert 100 <= ann.retry < 1000
    assert server.wait() == exit_code(server, SIGTERM)
