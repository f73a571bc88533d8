"""Whatever goes wrong is one line on stderr, and an exit code of its own."""

import json
import socket
from pathlib import Path

import pytest

from tests.cli.commands import resumable
from tests.client.raw_server import HEAD, STREAM, raw_server

NOWHERE = "redis://127.0.0.1:1"


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        (2, ["list"]),
        (2, ["list", "--redis", NOWHERE, "--sqlite", "x.db"]),
        (2, ["publish", "chat", "--sqlite", "x.db", "--lines", "--jsonl"]),
        (2, ["publish", "", "--sqlite", "x.db"]),
        (2, ["tail", "chat", "--sqlite", "x.db", "--after", "a-1", "--from-start"]),
        (2, ["tail", "http://127.0.0.1:1", "--sqlite", "x.db"]),
        (2, ["tail", "http://127.0.0.1:1", "--header", "x"]),
        (2, ["serve", "--backend", "ftp://x"]),
        (2, ["serve", "--host", "0.0.0.0"]),
        (2, ["serve", "--tokens", "no-such-file"]),
        (4, ["list", "--redis", NOWHERE]),
        (4, ["serve", "--backend", NOWHERE]),
        (4, ["state", "chat", "--sqlite", "no-such-file"]),
        (4, ["list", "--sqlite", str(Path(__file__))]),
        (6, ["tail", "http://127.0.0.1:1", "--patience", "0"]),
    ],
    ids=range(15),
)
def test_it_is_one_line_and_an_exit_code(tmp_path, code, arguments):
    got, out, errors = resumable(*arguments, cwd=tmp_path)
    assert (got, out, len(errors)) == (code, "", 1), errors
    assert errors[0].startswith("resumable: ")


def test_a_port_in_use(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, _, errors = resumable("serve", "--port", port)
    assert code == 3
    assert errors == [
        f"resumable: cannot listen on 127.0.0.1, port {port}: Address already in use; try --port 0"
    ]


def test_debug_shows_the_traceback():
    code, _, errors = resumable("list", "--redis", NOWHERE, "--debug")
    assert code == 1
    assert "Traceback (most recent call last):" in "\n".join(errors)


@pytest.mark.parametrize(
    "script",
    [
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 1\r\n\r\nx",
        HEAD + b"Content-Encoding: br\r\nConnection: close\r\n\r\nx",
        STREAM + b"x" * 9_000_000,
    ],
    ids=["404", "html", "brotli", "endless"],
)
def test_a_server_that_answers_with_something_else(script):
    with raw_server(script) as server:
        code, out, errors = resumable("tail", server.url, "--patience", "1")
    assert (code, out, len(errors)) == (6, "", 1), errors


def test_any_event_stream_can_be_followed():
    body = b"retry: 1\nid: 1\nevent: x\ndata: a\xff\n\nid: 2\ndata: b\n\n"
    stop = b"HTTP/1.1 204 No Content\r\n\r\n"
    with raw_server(STREAM + body, stop) as server:
        assert resumable("tail", server.url, "--header", "X-A: b") == (0, "a\ufffd\nb\n", [])
    assert server.requests[0][1]["x-a"] == "b"
    assert server.requests[1][1]["last-event-id"] == "2"
    with raw_server(STREAM + body, stop) as server:
        _, out, _ = resumable("tail", server.url, "--json", "--after", "0")
    assert json.loads(out.splitlines()[0]) == {"id": "1", "type": "x", "data": "a\ufffd"}
    assert server.requests[0][1]["last-event-id"] == "0"
