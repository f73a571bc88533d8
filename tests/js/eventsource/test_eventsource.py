"""The EventSources of npm: however often the connection breaks, the whole answer, once."""

import json
from pathlib import Path

import pytest

from tests.servers.apps.dropping_app import BUDGETS, PIECES
from tests.servers.serving import serving, watched

LISTEN = Path(__file__).with_name("listen.mjs")


@pytest.fixture(scope="module")
def shared_server():
    with serving("uvicorn", "tests.servers.apps.dropping_app") as server:
        yield server


@pytest.fixture
def server(shared_server):
    with watched(shared_server) as server:
        yield server


@pytest.mark.parametrize("client", ["eventsource", "undici", "microsoft"])
def test_dropped_connections(server, node, client):
    """Resume, then stop: after the end they come back once, are told 204, and are content."""
    seen = node(LISTEN, client, f"http://127.0.0.1:{server.port}/answers/{client}")
    received, ends = seen["received"], seen["ends"]
    epoch = received[0][0].partition("-")[0]
    assert received == [[f"{epoch}-{n}", piece] for n, piece in enumerate(PIECES, start=1)]
    assert ends == [[f"{epoch}-{len(PIECES)}-end", {"outcome": "done", "error": None}]]

    first, *others = json.loads(server.get(f"/requests/{client}").body)
    assert first is None
    assert len(others) == len(BUDGETS) + 1
    assert all(each.startswith(f"{epoch}-") for each in others[1:])
    assert others[-1] == f"{epoch}-{len(PIECES)}-end"


def test_a_post(server, node):
    """What EventSource itself cannot: a POST that starts the answer, and resumes it."""
    seen = node(LISTEN, "microsoft", f"http://127.0.0.1:{server.port}/answers/post", "POST")
    assert [data for _, data in seen["received"]] == PIECES
    assert len(seen["ends"]) == 1
