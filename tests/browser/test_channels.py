"""The browser's own EventSource on channels: cookies, origins, and credentials that expire."""

import json
from contextlib import ExitStack

import pytest

from tests.browser.waiting import wait_until
from tests.servers.serving import serving, watched

LISTEN = """url => {
    window.received = [];
    window.expired = [];
    window.opened = 0;
    window.source = new EventSource(url, {withCredentials: true});
    source.onopen = () => opened++;
    source.onmessage = ({data, lastEventId}) => received.push([lastEventId, data]);
    for (const type of ["gap", "reset"])
        source.addEventListener(type, ({data}) => received.push([type, data]));
    source.addEventListener("expired", ({data}) => expired.push(JSON.parse(data)));
}"""

SEND = """async ([path, message]) => {
    const headers = {"content-type": "application/json"};
    const body = JSON.stringify(message);
    const response = await fetch(path, {method: "POST", headers, body, credentials: "include"});
    return [response.status, await response.text()];
}"""

LOGIN = "path => fetch(path, {method: 'POST'}).then(response => response.status)"


@pytest.fixture(scope="module", params=["uvicorn", "hypercorn"])
def shared_server(request):
    with serving(request.param, "tests.browser.channels_app") as server:
        yield server


@pytest.fixture
def server(shared_server):
    with watched(shared_server):
        yield shared_server


@pytest.fixture
def visit(browser):
    """Open the page for somebody with a browser profile of their own, and log in."""
    with ExitStack() as stack:

        def visit(server, name, *, seconds=600):
            context = stack.enter_context(browser.new_context())
            page = context.new_page()
            page.goto(f"http://127.0.0.1:{server.port}/")
            assert page.evaluate(LOGIN, f"/login/{name}/{float(seconds)}") == 200
            return page

        yield visit


def texts(page):
    return [data for _, data in page.evaluate("received")]


def test_two_browsers(server, visit):
    """Broadcast and targeted; a reload replays what was missed, to whom it is for."""
    ann, bob = visit(server, "ann"), visit(server, "bob")
    for page in (ann, bob):
        page.evaluate(LISTEN, "/channels/two")
        wait_until(page, "opened === 1")
    for message in ({"data": "all"}, {"data": "for bob", "to": "bob"}, {"data": "all again"}):
        status, body = ann.evaluate(SEND, ["/channels/two", message])
        assert status == 202
    last = json.loads(body)["id"]
    for page in (ann, bob):
        wait_until(page, "received.length && received.at(-1)[0] === argument", last)
    assert texts(ann) == ["all", "all again"]
    assert texts(bob) == ["all", "for bob", "all again"]

    place = bob.evaluate("received[0][0]")
    bob.reload()
    bob.evaluate(LISTEN, f"/channels/two?last_event_id={place}")
    wait_until(bob, "received.length === 2")
    assert texts(bob) == ["for bob", "all again"]


def test_a_session_that_is_renewed_misses_nothing(server, visit):
    """At the expiry the response ends, and the browser comes back with the same cookie."""
    page = visit(server, "ann", seconds=2)
    page.evaluate(LISTEN, "/channels/renewed")
    page.evaluate(SEND, ["/channels/renewed", {"data": "one"}])
    wait_until(page, "received.length === 1")
    assert page.evaluate(LOGIN, "/login/ann/600.0") == 200
    wait_until(page, "expired.length === 1 && opened === 2")
    page.evaluate(SEND, ["/channels/renewed", {"data": "two"}])
    wait_until(page, "received.length === 2")
    assert texts(page) == ["one", "two"]
    assert page.evaluate("expired") == [{"reason": "credentials"}]


def test_a_session_that_is_over_ends_it(server, visit):
    """The page is told why; then it is refused with a 401, at which an EventSource stops."""
    page = visit(server, "ann", seconds=1.5)
    page.evaluate(LISTEN, "/channels/over")
    wait_until(page, "opened === 1")
    wait_until(page, "source.readyState === EventSource.CLOSED")
    assert page.evaluate("expired") == [{"reason": "credentials"}]
    assert page.evaluate(SEND, ["/channels/over", {"data": "x"}])[0] == 401


def test_a_page_of_another_origin_gets_nothing(server, visit):
    """The browser sends the cookie along, for a cookie knows no ports: the origin decides."""
    with serving("uvicorn", "tests.browser.channels_app") as other:
        page = visit(server, "ann")
        page.evaluate(SEND, ["/channels/own", {"data": "secret"}])
        page.goto(f"http://127.0.0.1:{other.port}/")
        url = f"http://127.0.0.1:{server.port}/channels/own"
        page.evaluate(LISTEN, url)
        wait_until(page, "source.readyState === EventSource.CLOSED")
        assert page.evaluate("received") == []
        assert page.evaluate(SEND, [url, {"data": "x"}])[0] == 403
