"""The JavaScript client of the documentation in a real browser: it survives a reload."""

import json

import pytest

from tests.browser.waiting import wait_until
from tests.js.client.client_app import PIECES
from tests.servers.serving import serving, watched


@pytest.fixture(scope="module")
def shared_server():
    with serving("uvicorn", "tests.browser.stream_source_app") as server:
        yield server


@pytest.fixture
def server(shared_server):
    with watched(shared_server):
        yield shared_server


def test_a_reload_in_the_middle_and_after_the_end(server, open_page):
    """Resume: what the page had comes from the session's storage, the rest from the server, once.

    In between the connection breaks, too, and the browser's own kind of error is understood.
    """
    page = open_page(f"http://127.0.0.1:{server.port}/#/answers/one?kind=slow&cuts=411,99999")
    wait_until(page, "received.length > 20")
    page.reload()
    wait_until(page, "closes.length")
    received = page.evaluate("received")
    assert [data for data, _ in received] == PIECES
    assert 20 < sum(replayed for _, replayed in received) < len(PIECES)
    assert page.evaluate("closes[0].outcome") == "done"

    page.reload()
    wait_until(page, "closes.length")
    assert page.evaluate("received") == [[data, True] for data in PIECES]

    (_, first, _), (_, second, _), (_, third, _) = json.loads(server.get("/requests/one").body)
    assert first is None
    assert second.partition("-")[0] == third.partition("-")[0]
    assert int(second.partition("-")[2]) < int(third.partition("-")[2])
