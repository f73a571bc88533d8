"""The channels of `resumable serve`: publish, subscribe, targeted messages, forget."""

import json
from contextlib import closing

import httpx2
import pytest

from resumable_core import Decoder
from tests.cli import http
from tests.cli.commands import PATIENCE, eventually, running
from tests.redis.server import free_port

TOKEN = "a-token-that-is-long"


@pytest.fixture
def url(tmp_path):
    """Serve with a token, and return the URL of a channel."""
    port = free_port()
    tokens = tmp_path / "tokens"
    tokens.write_text(TOKEN, encoding="ascii")
    with running(tmp_path, "serve", "--port", str(port), "--tokens", str(tokens)):
        eventually(lambda: ready(port))
        yield f"http://127.0.0.1:{port}/channels/news"


def ready(port):
    try:
        return http.get(f"http://127.0.0.1:{port}/health").status_code == 204
    except httpx2.TransportError:
        return False


def first(url, count, **kwargs):
    """Return the first events of a subscription."""
    events, decoder = [], Decoder()
    with (
        httpx2.Client(headers={"Authorization": f"Bearer {TOKEN}"}, timeout=PATIENCE) as client,
        client.stream("GET", url, **kwargs) as response,
        closing(response),
    ):
        assert response.status_code == 200
        for chunk in response.iter_bytes():
            events += decoder.feed(chunk)
            if len(events) >= count:
                return events
    raise AssertionError("the response has ended")


def test_who_knows_a_token_may_do_everything(url):
    headers = {"Authorization": f"Bearer {TOKEN}"}
    for message in ({"data": "one"}, {"data": "for ann", "to": "ann"}, {"data": {"n": 2}}):
        published = http.post(url, json=message, headers=headers)
        assert published.status_code == 202
    seen = first(url, 2)
    assert [event.data for event in seen] == ["one", '{"n":2}']
    assert seen[-1].last_event_id == published.json()["id"]
    as_ann = first(url, 3, params=[("as", "ann"), ("as", "bob")])
    assert [event.data for event in as_ann] == ["one", "for ann", '{"n":2}']
    rest = first(url, 1, headers={"Last-Event-ID": seen[0].last_event_id})
    assert [event.data for event in rest] == ['{"n":2}']

    assert http.post(url, content=json.dumps({"data": "x"}), headers=headers).status_code == 415
    assert http.get(f"{url}?as=", headers=headers).status_code == 400
    for method in ("GET", "POST", "DELETE"):
        assert http.request(method, url).status_code == 401

    assert http.delete(url, headers=headers).status_code == 204
    http.post(url, json={"data": "anew"}, headers=headers)
    again = first(url, 2, headers={"Last-Event-ID": seen[0].last_event_id})
    assert [event.type for event in again] == ["reset", "message"]
    assert again[-1].data == "anew"
