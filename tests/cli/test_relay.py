"""`resumable relay`: the upstream is called once, and whoever comes back goes on."""

import json
import signal
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from types import SimpleNamespace

import httpx2
import pytest
from openai import APIError, OpenAI

from resumable_core import Decoder, read_notice
from tests.cli import http
from tests.cli.commands import PATIENCE, eventually, resumable, running
from tests.cli.provider import FLOOD, RECORDING, TEXT, provider
from tests.redis.server import RedisServer, free_port

CHAT = {"model": "m", "messages": [{"role": "user", "content": "a question"}], "stream": True}
EVENTS = {"Accept": "text/event-stream"}
SECRET = "sk-a-secret-of-mine"


@pytest.fixture
def upstream():
    with provider() as running_provider:
        yield running_provider


@pytest.fixture
def relay(tmp_path, upstream):
    """Start a relay: a context manager that yields it; its URL stays the same."""
    port = free_port()

    @contextmanager
    def started(*options):
        options = ("--upstream", upstream.url, "--port", str(port), "--lease", "1", *options)
        with running(tmp_path, "relay", *options, errors=True) as process:
            eventually(lambda: is_healthy(started.url))
            yield process

    started.url = f"http://127.0.0.1:{port}"
    return started


def is_healthy(url):
    with suppress(httpx2.TransportError):
        return http.get(f"{url}/resumable/health").status_code == 204
    return False


def post(relay, name, path="/v1/chat/completions", headers=None):
    return http.post(
        f"{relay.url}{path}",
        json=CHAT,
        headers={"Resumable-Stream": name, **(headers or {})},
    )


def events_of(body):
    return Decoder().feed(body)


def data_of(body):
    return [event.data for event in events_of(body) if read_notice(event) is None]


def end_of(body):
    return read_notice(events_of(body)[-1])


def state(relay, name):
    return http.get(f"{relay.url}/resumable/streams/{name}/state").json()


def read_events(relay, name, count, last_event_id=""):
    """Read some events as a browser does, then leave."""
    headers = EVENTS | ({"Last-Event-ID": last_event_id} if last_event_id else {})
    got, decoder = [], Decoder()
    url = f"{relay.url}/v1/chat/completions"
    with http.stream("GET", url, params={"resumable_stream": name}, headers=headers) as response:
        for piece in response.iter_raw():
            got += decoder.feed(piece)
            if len(got) >= count:
                break
    return got[:count]


def test_the_upstream_is_asked_what_the_client_asks(relay, upstream):
    with relay():
        answer = post(
            relay,
            "chat",
            "/v1/chat/completions?a=%2F&last_event_id=&b",
            {
                "Authorization": f"Bearer {SECRET}",
                "Connection": "X-Hop",
                "X-Hop": "1",
                "X-Own": "2",
            },
        )
    assert answer.headers["x-request-id"] == "req-1"
    ((method, path, query, headers, body),) = upstream.calls
    assert (method, path, query) == ("POST", "/v1/chat/completions", {"a": "/"})
    assert headers["host"] == upstream.url.removeprefix("http://")
    assert headers["authorization"] == f"Bearer {SECRET}"
    assert headers["x-own"] == "2"
    assert not {"x-hop", "connection", "resumable-stream"} & headers.keys()
    assert json.loads(body) == CHAT


def test_a_providers_client_gets_what_the_provider_sent(relay, upstream):
    """Law 4: over a reload from the start, too, and through a stream without a name."""
    sent = "".join(f"data: {data}\n\n" for data in RECORDING)
    with relay():
        first, again = (post(relay, "chat") for _ in range(2))
        plain = http.post(f"{relay.url}/v1/chat/completions", json=CHAT)
    assert first.text == again.text == plain.text == sent
    assert first.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert len(upstream.calls) == 2


def test_the_client_of_openai_reads_it(relay, upstream):
    with relay(), OpenAI(api_key=SECRET, base_url=f"{relay.url}/v1", max_retries=0) as client:

        def texts(name):
            chunks = client.chat.completions.create(
                model="m", messages=[], stream=True, extra_headers={"Resumable-Stream": name}
            )
            return [chunk.choices[0].delta.content for chunk in chunks]

        assert [texts("chat"), texts("chat")] == [TEXT, TEXT]
        assert len(upstream.calls) == 1
        upstream.hold()
        upstream.allow(3)
        read_events(relay, "other", 3)
        http.post(f"{relay.url}/resumable/streams/other/stop", params={"reason": "enough"})
        with pytest.raises(APIError, match="enough"):
            texts("other")


def test_a_client_that_reloads_in_the_middle_gets_the_whole(relay, upstream):
    """Law 3."""
    upstream.hold()
    with relay():
        upstream.allow(4)
        first = read_events(relay, "chat", 3)
        upstream.allow(4)
        second = read_events(relay, "chat", 4, first[-1].last_event_id)
        upstream.go_on()
        *rest, end = events_of(
            http.get(
                f"{relay.url}/resumable/streams/chat",
                headers={"Last-Event-ID": second[-1].last_event_id},
            ).content
        )
        assert [event.data for event in [*first, *second, *rest]] == RECORDING
        assert read_notice(end).outcome == "done"
        whole = post(relay, "chat", headers=EVENTS)
        assert data_of(whole.content) == RECORDING
        gone = post(relay, "chat", headers={"Last-Event-ID": end.last_event_id})
        assert gone.status_code == 204
    assert len(upstream.calls) == 1


def test_many_clients_at_once_are_one_call(relay, upstream):
    """Law 4."""
    upstream.hold()
    with relay(), ThreadPoolExecutor(5) as threads:
        answers = [threads.submit(post, relay, "chat") for _ in range(5)]
        eventually(lambda: upstream.calls)
        upstream.go_on()
        assert all(data_of(answer.result().content) == RECORDING for answer in answers)
    assert len(upstream.calls) == 1


def test_several_relays_are_one_call(relay, upstream, store, tmp_path):
    """Law 4, across processes."""
    port = free_port()
    other = SimpleNamespace(url=f"http://127.0.0.1:{port}")
    options = ("--upstream", upstream.url, "--port", str(port))
    upstream.hold()
    with relay(*store), running(tmp_path, "relay", *options, *store), ThreadPoolExecutor(4) as pool:
        eventually(lambda: is_healthy(other.url))
        answers = [pool.submit(post, each, "chat") for each in (relay, other) * 2]
        eventually(lambda: upstream.calls)
        upstream.go_on()
        assert all(data_of(answer.result().content) == RECORDING for answer in answers)
    assert len(upstream.calls) == 1


def test_a_name_means_one_answer_whatever_else_is_asked(relay, upstream):
    with relay():
        post(relay, "chat")
        other = http.get(f"{relay.url}/v1/busy", headers={"Resumable-Stream": "chat"})
        assert data_of(other.content) == RECORDING
    assert len(upstream.calls) == 1


def test_a_status_passes_through_and_leaves_the_name_free(relay, upstream):
    with relay() as process:
        for _ in range(2):
            answer = post(relay, "chat", "/v1/busy")
            assert (answer.status_code, answer.json()) == (429, {"error": "slow down"})
            assert answer.headers["retry-after"] == "7"
        assert state(relay, "chat")["outcome"] == "failed"
        assert data_of(post(relay, "chat").content) == RECORDING
        assert len(upstream.calls) == 3
        lines = process.printed.decode().splitlines()
        assert len(lines) == 3
        assert lines[1].startswith("resumable: the source of stream 'chat' failed: ")


def test_what_is_no_event_stream_passes_through(relay, upstream):
    with relay():
        named = post(relay, "chat", "/v1/plain")
        assert (named.status_code, named.json()) == (200, {"choices": []})
        assert "set-cookie" not in named.headers
        plain = http.get(f"{relay.url}/v1/plain")
        assert (plain.json(), plain.headers["set-cookie"]) == ({"choices": []}, "a=b")
        head = http.head(f"{relay.url}/v1/plain", headers={"Resumable-Stream": "other"})
        assert head.status_code == 200
        post(relay, "chat", "/v1/plain")
    assert not any("cookie" in headers for _, _, _, headers, _ in upstream.calls)
    assert [call[0] for call in upstream.calls] == ["POST", "GET", "HEAD", "POST"]


def test_what_would_fill_the_memory_is_refused_with_a_name_alone(relay, upstream):
    large = bytes(64 * 2**20 + 1)
    with relay():
        assert post(relay, "chat", "/v1/large").status_code == 502
        assert len(http.get(f"{relay.url}/v1/large").content) == 20_000_000
        for name, status in ({"Resumable-Stream": "chat"}, 413), ({}, 200):
            url = f"{relay.url}/v1/plain"
            answer = http.post(url, content=large, headers=name)
            assert answer.status_code == status
    assert upstream.calls[-1][4] == large


def test_an_upstream_that_cannot_be_reached_is_a_bad_gateway(relay, upstream):
    with relay("--upstream", f"http://127.0.0.1:{free_port()}"):
        assert [post(relay, "chat").status_code for _ in range(2)] == [502, 502]
        assert http.get(relay.url).status_code == 502


def test_a_path_does_not_lead_out_of_the_upstream(relay, upstream):
    with relay("--upstream", f"{upstream.url}/v1/"):
        assert http.get(f"{relay.url}/plain").status_code == 200
        with httpx2.Client(timeout=PATIENCE) as client:
            for path in (b"/../admin", b"@evil.example/", b"/" + b"a" * 70_000):
                url = httpx2.URL(relay.url)
                request = httpx2.Request(
                    "GET", url, extensions={"target": path}, headers={"Host": "localhost"}
                )
                # Which, is up to the HTTP parser that uvicorn finds: httptools lets less through.
                assert client.send(request).status_code in {400, 404}
    assert [call[1] for call in upstream.calls] == ["/v1/plain"]


def test_an_upstream_that_breaks_off_is_a_failed_stream(relay, upstream):
    """Law 5, in both wires: no part looks like the whole."""
    with relay():
        with pytest.raises(httpx2.RemoteProtocolError):
            post(relay, "chat", "/v1/breaks")
        answer = post(relay, "chat", headers=EVENTS)
        assert data_of(answer.content) == RECORDING[:5]
        end = end_of(answer.content)
        assert end.outcome == "failed"
        assert end.error == "SourceError: the connection to the upstream broke"
    assert len(upstream.calls) == 1


def test_without_a_name_it_breaks_off_as_the_upstream_does(relay):
    with relay() as process:
        with pytest.raises(httpx2.RemoteProtocolError):
            http.post(f"{relay.url}/v1/breaks", json=CHAT)
        assert len(process.printed.splitlines()) == 1


SCRIPTS = {
    "cut": ('data: {"choices": [{"finish_reason": null}]}\n\n', "failed"),
    "finished": ('data: {"choices": [{"finish_reason": "stop"}]}\n\n', "done"),
    "other": ("data: any\n\ndata: other\n\n", "done"),
    "error": ('event: error\ndata: {"error": {"message": "overloaded"}}\n\n', "failed"),
    "reserved": ("data: a\n\nevent: end\ndata: b\n\n", "failed"),
    "ours": (
        'data: a\n\nevent: end\nid: a-1-end\ndata: {"outcome":"done","error":null}\n\n',
        "done",
    ),
    "gap": ('event: gap\nid: a-1\ndata: {"reason":"trimmed"}\n\ndata: a\n\n', "failed"),
}


def test_how_the_upstreams_stream_ends_is_how_ours_does(relay, upstream):
    ends = {}
    with relay():
        for name, (script, _) in SCRIPTS.items():
            upstream.script = script.encode()
            ends[name] = end_of(post(relay, name, "/scripted", EVENTS).content).outcome
    assert ends == {name: outcome for name, (_, outcome) in SCRIPTS.items()}


def test_types_reach_both_kinds_of_clients(relay, upstream):
    upstream.script = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    with relay():
        assert post(relay, "chat", "/scripted").content == upstream.script
        assert events_of(post(relay, "chat", headers=EVENTS).content)[0].type == "message_stop"


def test_only_a_stop_stops_the_upstream(relay, upstream):
    """Law 10."""
    upstream.hold()
    with relay():
        upstream.allow(2)
        assert len(read_events(relay, "chat", 1)) == 1
        upstream.allow(3)
        eventually(lambda: state(relay, "chat")["last_seq"] == 5)
        assert upstream.broken_off == 0
        stopped = http.post(f"{relay.url}/resumable/streams/chat/stop", params={"reason": "why"})
        assert stopped.json()["outcome"] == "stopped"
        eventually(lambda: upstream.broken_off == 1)
        answer = post(relay, "chat", headers=EVENTS)
        assert data_of(answer.content) == RECORDING[:5]
        assert (end_of(answer.content).outcome, end_of(answer.content).error) == ("stopped", "why")
    assert len(upstream.calls) == 1


def test_a_client_without_a_name_that_leaves_stops_the_upstream(relay, upstream):
    upstream.hold()
    with relay():
        upstream.allow(1)
        with http.stream("POST", f"{relay.url}/v1/x", json=CHAT) as response:
            next(response.iter_raw())
        eventually(lambda: upstream.broken_off == 1)


def test_the_upstream_is_read_as_fast_as_the_store_takes_it(relay, upstream, tmp_path):
    """Law 8: while the store stands still, so does the upstream."""
    server = RedisServer(tmp_path / "redis")
    server.start()
    try:
        with relay("--redis", server.url), ThreadPoolExecutor(1) as threads:
            answer = threads.submit(post, relay, "chat", "/flood")
            eventually(lambda: upstream.flood)
            with server.frozen():
                eventually(lambda: stands_still(upstream))
                assert upstream.flood < FLOOD
            assert len(data_of(answer.result().content)) == FLOOD
    finally:
        server.kill()


def stands_still(upstream):
    """Say whether nothing was sent for a second."""
    before = upstream.flood
    time.sleep(1)
    return upstream.flood == before


def test_a_relay_that_is_killed_leaves_a_lost_stream(relay, upstream, store):
    """Law 7: its clients are told, and nobody asks the upstream a second time."""
    upstream.hold()
    with relay(*store) as process:
        upstream.allow(5)
        got = read_events(relay, "chat", 5)
        process.kill()
    with relay(*store):
        answer = post(relay, "chat", headers={"Last-Event-ID": got[1].last_event_id})
        assert data_of(answer.content) == RECORDING[2:5]
        assert end_of(answer.content).outcome == "lost"
        with pytest.raises(httpx2.RemoteProtocolError):
            post(relay, "chat")
        upstream.go_on()
        assert data_of(post(relay, "other").content) == RECORDING
    assert len(upstream.calls) == 2


def test_a_relay_that_is_told_to_end_lets_answers_finish(relay, upstream, store):
    upstream.hold()
    with relay(*store) as process:
        upstream.allow(5)
        got = read_events(relay, "chat", 5)
        process.interrupt(signal.SIGTERM)
        upstream.go_on()
        assert process.wait() == 0
    with relay(*store):
        answer = post(relay, "chat", headers={"Last-Event-ID": got[-1].last_event_id})
        assert data_of(answer.content) == RECORDING[5:]
        assert end_of(answer.content).outcome == "done"


@pytest.mark.parametrize("headers", [{}, {"Resumable-Stream": "chat"}], ids=["plain", "named"])
def test_a_relay_that_ends_before_the_upstream_answers_prints_no_traceback(
    relay, upstream, headers
):
    """The server says itself, in one line, that it cancels what has taken too long."""
    url = f"{relay.url}/v1/silent"
    with relay("--grace", "0") as process, ThreadPoolExecutor() as pool:
        asked = pool.submit(http.post, url, json=CHAT, headers=headers)
        eventually(lambda: upstream.calls)
        process.interrupt(signal.SIGTERM)
        process.wait()
        assert asked.exception() is not None or asked.result().status_code >= 500
        assert b"timeout graceful shutdown exceeded" in process.printed
        assert b"Traceback" not in process.printed
    eventually(lambda: upstream.broken_off)


def test_tokens_are_for_the_relay_and_a_key_is_for_the_upstream(relay, upstream, tmp_path):
    tokens, key = tmp_path / "tokens", tmp_path / "key"
    tokens.write_text("a-token-that-is-long\n", encoding="ascii")
    key.write_text(f"{SECRET}\n", encoding="ascii")
    ours = {"Authorization": "Bearer a-token-that-is-long"}
    with relay("--tokens", str(tokens), "--key", str(key)):
        for path in ("/v1/plain", "/resumable/streams/chat"):
            assert http.get(f"{relay.url}{path}").status_code == 401
        assert not upstream.calls
        assert http.get(f"{relay.url}/v1/plain", headers=ours).status_code == 200
    assert upstream.calls[0][3]["authorization"] == f"Bearer {SECRET}"
    with relay("--tokens", str(tokens)):
        post(relay, "chat", headers=ours)
    assert "authorization" not in upstream.calls[1][3]


def test_nothing_secret_is_kept_or_logged(relay, upstream, tmp_path):
    path = tmp_path / "streams.db"
    headers = {"Authorization": f"Bearer {SECRET}", "X-Api-Key": SECRET, "Cookie": f"a={SECRET}"}
    with relay("--sqlite", str(path)) as process:
        post(relay, "chat", f"/v1/chat/completions?key={SECRET}", headers)
        post(relay, "other", f"/v1/busy?key={SECRET}", headers)
        process.interrupt(signal.SIGTERM)
        process.wait()
        assert SECRET.encode() not in process.printed
    assert SECRET in str(upstream.calls)
    with sqlite3.connect(path) as database:
        dump = "\n".join(database.iterdump())
    assert SECRET not in dump
    assert not any(SECRET.encode() in each.read_bytes() for each in tmp_path.glob("streams.db*"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--upstream", "ftp://x"],
        ["--upstream", "http://"],
        ["--upstream", "http://x?y"],
        ["--upstream", "http://x", "--tokens", "no-such-file"],
        ["--upstream", "http://x", "--tokens", "tokens", "--key", "no-such-file"],
        ["--upstream", "http://x", "--key", "tokens"],
        ["--upstream", "http://x", "--host", "0.0.0.0"],
        ["--upstream", "http://x", "--redis", "redis://x", "--sqlite", "x.db"],
    ],
    ids=["scheme", "host", "query", "tokens", "key", "unguarded", "beyond", "stores"],
)
def test_arguments_that_make_no_sense(tmp_path, arguments):
    tmp_path.joinpath("tokens").write_text("a-token-that-is-long", encoding="ascii")
    code, out, errors = resumable("relay", *arguments, cwd=tmp_path)
    assert (code, out, len(errors)) == (2, "", 1), errors
