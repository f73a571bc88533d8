"""`resumable serve`: streams over HTTP, for those who know a token, through restarts."""

import json
import signal
import socket
from urllib.parse import quote, unquote

import httpx2
import pytest

from resumable_core import Outcome
from tests.cli import http
from tests.cli.commands import PATIENCE, eventually, kept, resumable, running
from tests.redis.server import free_port

TOKEN = "a-token-that-is-long"


@pytest.fixture
def serve(tmp_path):
    """Start a server: a context manager that yields it; its URL stays the same."""
    port = free_port()

    def started(*options):
        return running(tmp_path, "serve", "--port", str(port), *options)

    started.url = f"http://127.0.0.1:{port}"
    return started


def ready(url):
    def healthy():
        try:
            return http.get(f"{url}/health").status_code == 204
        except httpx2.TransportError:
            return False

    eventually(healthy)


def test_a_body_in_and_events_out(serve):
    with serve() as server:
        ready(serve.url)
        url = f"{serve.url}/streams/chat"
        created = http.post(url, params={"cut": "lines"}, content=b"a\nb\n")
        assert (created.status_code, created.json()["outcome"]) == (201, "done")
        assert resumable("tail", url) == (0, "a\nb\n", [])
        assert http.get(url, params={"format": "text"}).text == "a\nb\n"
        assert http.get(f"{url}/state").json()["last_seq"] == 2
        listed = http.get(f"{serve.url}/streams").text.splitlines()
        assert [json.loads(line)["id"] for line in listed] == ["chat"]
        taken = http.post(url, content=b"x")
        assert (taken.status_code, "DELETE it" in taken.text) == (409, True)
        assert http.post(f"{url}2", params={"cut": "jsonl"}, content=b"x").status_code == 400
        assert http.post(f"{url}3", params={"cut": "x"}).status_code == 400
        assert http.get(url, params={"format": "x"}).status_code == 400
        assert http.delete(url).status_code == 204
        assert [http.get(url).status_code, http.delete(url).status_code] == [404, 404]
        server.interrupt(signal.SIGTERM)
        assert server.wait() == 0


def test_an_id_of_an_app_may_hold_slashes(serve):
    """Quoted, as in `encodeURIComponent`, or as they are."""
    with serve():
        ready(serve.url)
        for path in (quote("user/42 ü%", safe=""), "user/43"):
            url = f"{serve.url}/streams/{path}"
            assert http.post(url, content=b"x").json()["id"] == unquote(path)
            assert http.get(url, params={"format": "text"}).text == "x"
            assert http.get(f"{url}/state").json()["outcome"] == "done"
            assert http.post(f"{url}/stop").status_code == 200
            assert http.delete(url).status_code == 204
        url = f"{serve.url}/channels/user%2F42"
        assert http.post(url, json={"data": "x"}).status_code == 202
        assert http.delete(url).status_code == 204


def test_only_who_knows_a_token_comes_in(serve, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{TOKEN}\nanother-token-also-long\n", encoding="ascii")
    with serve("--tokens", str(tokens)):
        ready(serve.url)
        url = f"{serve.url}/streams"
        for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": f"Basic {TOKEN}"}):
            refused = http.get(url, headers=headers)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert http.get(url, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


@pytest.mark.parametrize("content", ["", "short"])
def test_tokens_that_protect_nothing_are_refused(tmp_path, content):
    tokens = tmp_path / "tokens"
    tokens.write_text(content, encoding="ascii")
    code, _, errors = resumable("serve", "--tokens", str(tokens))
    assert (code, len(errors)) == (2, 1)


def test_other_names_are_not_answered(serve):
    with serve():
        ready(serve.url)
        assert http.get(f"{serve.url}/health", headers={"Host": "evil.example"}).status_code == 400


def test_a_tail_survives_the_restart_of_the_server(serve, tmp_path, store):
    """Law 3: the server is killed and comes back; what tail prints is the stream, once."""
    kind, where = store
    backend = where if kind == "--redis" else f"sqlite:///{where}"
    lines = [f"line {number}\n" for number in range(20)]
    with running(tmp_path, "publish", "chat", *store, "--lines") as publisher:
        publisher.write("".join(lines[:10]))
        with serve("--backend", backend) as server:
            ready(serve.url)
            url = f"{serve.url}/streams/chat"
            eventually(lambda: http.get(f"{url}/state").status_code == 200)
            with running(tmp_path, "tail", url) as tail:
                eventually(lambda: tail.printed.count(b"\n") == 10)
                server.kill()
                publisher.write("".join(lines[10:]))
                with serve("--backend", backend):
                    eventually(lambda: tail.printed.count(b"\n") == 20)
                    publisher.close_input()
                    assert publisher.wait() == 0
                    assert tail.wait() == 0
                assert tail.printed.decode() == "".join(lines)


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_second_interrupt_ends_the_grace_without_a_traceback(tmp_path, first):
    """What is unfinished is recorded as lost, although the server does not wait for that."""
    file = tmp_path / "streams.db"
    options = ["serve", "--port", str(free_port()), "--grace", "600"]
    options += ["--backend", f"sqlite:///{file}"]
    url = f"http://127.0.0.1:{options[2]}"
    with running(tmp_path, *options, errors=True) as server:
        ready(url)
        with socket.create_connection(("127.0.0.1", int(options[2]))) as publisher:
            publisher.sendall(
                b"POST /streams/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nabc"
            )
            eventually(lambda: http.get(f"{url}/streams/chat/state").status_code == 200)
            server.interrupt(first)
            eventually(lambda: is_draining(url))
            server.interrupt(signal.SIGINT)
            assert server.wait() == 0
    assert server.printed.decode() == f"Serving streams at {url}/\n"
    state = kept(("--sqlite", file))
    assert (state.outcome, state.error) == (Outcome.LOST, "the producer was shut down")


def test_a_demo_that_is_interrupted_twice_prints_no_traceback(tmp_path):
    """While its server still waits for responses, and while the streams are left."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with running(tmp_path, "demo", "--port", str(port), errors=True) as demo:
        eventually(lambda: f"Open {url}" in demo.printed.decode())
        eventually(lambda: is_there(f"{url}/api"))
        chat = http.post(f"{url}/api/chats", json={"prompt": "hello"}).json()["id"]
        with socket.create_connection(("127.0.0.1", port)) as reader:
            reader.sendall(
                f"GET /api/chats/{chat}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
            )
            read_until(b"data:", reader)
            demo.interrupt()
            read_until(b"\r\n0\r\n\r\n", reader)  # the end of the response
            demo.interrupt()
            assert demo.wait() == 0
    assert "Traceback" not in demo.printed.decode()


def read_until(wanted, reader):
    reader.settimeout(PATIENCE)
    read = b""
    while wanted not in read:
        more = reader.recv(65_536)
        assert more, read
        read += more


def is_there(url):
    try:
        return http.get(url).status_code == 200
    except httpx2.TransportError:
        return False


def is_draining(url):
    try:
        return http.get(f"{url}/health").status_code == 503
    except httpx2.TransportError:
        return True


def test_a_body_that_breaks_off_makes_the_stream_fail(serve):
    with serve():
        ready(serve.url)
        host, port = serve.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(
                b"POST /streams/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nabc"
            )
            url = f"{serve.url}/streams/chat/state"
            eventually(lambda: http.get(url).status_code == 200)
        eventually(lambda: http.get(url).json()["outcome"] == "failed")
        assert http.get(url).json()["error"] == "SourceError: the publisher broke off"
