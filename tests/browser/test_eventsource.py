"""The browser's own EventSource: it reconnects by itself, and knows when to stop."""

import json

import pytest

from tests.browser.waiting import wait_until
from tests.servers.apps.dropping_app import BUDGETS, PIECES
from tests.servers.serving import KINDS, serving, watched

LISTEN = """([url, closes]) => {
    window.received = [];
    window.ends = [];
    window.source = new EventSource(url);
    source.onmessage = ({data, lastEventId}) => received.push([lastEventId, data]);
    for (const type of ["gap", "reset"])
        source.addEventListener(type, ({data}) => received.push([type, data]));
    source.addEventListener("end", ({data, lastEventId}) => {
        ends.push([lastEventId, JSON.parse(data)]);
        if (closes) source.close();
    });
}"""


@pytest.fixture(scope="module", params=KINDS)
def shared_server(request):
    with serving(request.param, "tests.servers.apps.dropping_app") as server:
        yield server


@pytest.fixture
def server(shared_server):
    with watched(shared_server):
        yield shared_server


@pytest.mark.parametrize("closes", [True, False], ids=["page-closes", "page-does-not-close"])
def test_dropped_connections(server, open_page, closes):
    """Resume: however often the connection breaks, the page gets the whole answer, once.

    A page that does not close its EventSource at the end comes back once, is told that there is
    nothing more, and stops.
    """
    page = open_page(f"http://127.0.0.1:{server.port}/")
    page.evaluate(LISTEN, [f"/answers/{closes}", closes])
    wait_until(page, "source.readyState === EventSource.CLOSED")

    received, ends = page.evaluate("received"), page.evaluate("ends")
    epoch = received[0][0].partition("-")[0]
    assert received == [[f"{epoch}-{n}", piece] for n, piece in enumerate(PIECES, start=1)]
    assert ends == [[f"{epoch}-{len(PIECES)}-end", {"outcome": "done", "error": None}]]

    requests = json.loads(server.get(f"/requests/{closes}").body)
    first, second, *others = requests
    assert first is None
    # Cut off before the first event, but it has been here. (Chromium may drop what it had not
    # handled yet when the connection broke.)
    assert second in (f"{epoch}-0", None)
    assert all(request is None or request.startswith(f"{epoch}-") for request in others)
    assert requests.count(f"{epoch}-{len(PIECES)}-end") == (0 if closes else 1)
    assert len(requests) == len(BUDGETS) + (1 if closes else 2)
