"""Whatever goes wrong is one line on stderr, and an exit code of its own."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.commands import PATIENCE, resumable
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
        (2, ["list", "--redis", "sqlite:///new.db"]),
        (2, ["list", "--redis", f"{NOWHERE}?prefix=x"]),
        (2, ["list", "--redis", "redis://localhost:port"]),
        (2, ["tail", "chat", "--redis", NOWHERE, "--after", "nonsense"]),
        (2, ["tail", "http://127.0.0.1:1", "--prefix", "x"]),
        (2, ["publish", "chat", "--sqlite", "x.db", "--prefix", "x"]),
        (2, ["serve", "--prefix", "x"]),
    ],
    ids=range(22),
)
def test_it_is_one_line_and_an_exit_code(tmp_path, code, arguments):
    got, out, errors = resumable(*arguments, cwd=tmp_path)
    assert (got, out, len(errors)) == (code, "", 1), errors
    assert errors[0].startswith("resumable: ")


def test_looking_makes_no_file(tmp_path):
    for code, store in (2, ["--redis", "sqlite:///new.db"]), (4, ["--sqlite", "new.db"]):
        for command in ["list"], ["state", "chat"], ["stop", "chat"], ["tail", "chat"]:
            assert resumable(*command, *store, cwd=tmp_path)[0] == code, command
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")  # noqa: PTH110
def test_output_that_cannot_be_written(tmp_path):
    store = ("--sqlite", str(tmp_path / "streams.db"))
    resumable("publish", "chat", *store, stdin=b"a")
    said = "resumable: the output cannot be written: No space left on device"
    for command in (["tail", "chat", "--from-start"], ["list"], ["state", "chat", "--json"]):
        with open("/dev/full", "wb") as full:  # noqa: PTH123
            assert resumable(*command, *store, stdout=full) == (1, "", [said]), command
    printing = ["--version"], ["--help"], ["serve", "--port", "0"], ["demo", "--port", "0"]
    for command in printing:
        with open("/dev/full", "wb") as full:  # noqa: PTH123
            assert resumable(*command, stdout=full) == (1, "", [said]), command


@pytest.mark.skipif(sys.platform == "win32", reason="a shell of Unix closes it")
def test_output_that_is_closed(tmp_path):
    store = f"--sqlite {tmp_path / 'streams.db'}"
    resumable("publish", "chat", *store.split(), stdin=b"a")
    said = "resumable: the output cannot be written: stdout is closed\n"
    commands = f"tail chat --from-start {store}", f"list {store}", "--version", "demo --port 0"
    for command in commands:
        done = in_a_shell(f"{command} >&-")
        assert (done.returncode, done.stderr) == (1, said), command


@pytest.mark.skipif(sys.platform == "win32", reason="a shell of Unix closes it")
def test_input_that_is_closed(tmp_path):
    store = f"--sqlite {tmp_path / 'streams.db'}"
    done = in_a_shell(f"publish chat {store} <&-")
    said = "resumable: the input cannot be read: stdin is closed\n"
    assert (done.returncode, done.stderr) == (1, said)
    assert resumable("publish", "chat", *store.split())[0] == 0  # nothing was started


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")  # noqa: PTH110
def test_a_complaint_that_cannot_be_written_is_an_exit_code_still(tmp_path):
    assert in_a_shell(f"list --sqlite {tmp_path / 'none.db'} 2>/dev/full").returncode == 4
    assert in_a_shell("list 2>/dev/full").returncode == 2


def in_a_shell(line):
    """Run a command of `resumable` with redirections."""
    return subprocess.run(
        f"'{sys.executable}' -m resumable_io {line}",
        shell=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.parametrize(
    ("module", "extra"), [("typer", "cli"), ("rich", "cli"), ("httpx2", "cli"), ("redis", "redis")]
)
def test_an_extra_that_is_missing_is_named(module, extra):
    without = f"import sys; sys.modules[{module!r}] = None; import resumable_io.cli as c; c.main()"
    command = [sys.executable, "-c", without, "list", "--redis", NOWHERE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode != 0
    (line,) = done.stderr.splitlines()
    said = rf"resumable: ({module} is missing; try|No module named .*): pip install ."
    assert re.match(rf"{said}resumable-io\[{extra}\]", line), line


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
