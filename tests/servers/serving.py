"""Servers as subprocesses: each is handed a listening socket, and ended by its own process id.

The socket listens before the server starts, so a client can connect at once: its request waits in
the socket's queue until the server takes it. Nobody polls, and no port is free one moment and taken
the next.
"""

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import closing, contextmanager
from pathlib import Path

from tests.servers.client import Client

ROOT = Path(__file__).parents[2]
BUFFER = 16 * 1024  # bytes that the kernel holds for a connection: a stalled client is noticed soon
LAST_CONNECTIONS = 1  # seconds that servers wait at the end for connections that do not

KINDS = ("uvicorn", "uvloop", "hypercorn", "hypercorn-trio")


def command(kind, module, listener):
    """Return how to serve the `app` of a module on a socket."""
    number = str(listener.fileno())
    match kind:
        case "uvicorn" | "uvloop":
            # "auto" is httptools where that is installed.
            loop, http = ("uvloop", "auto") if kind == "uvloop" else ("asyncio", "h11")
            options = ["--fd", number, "--loop", loop, "--http", http, "--no-access-log"]
            options += ["--timeout-graceful-shutdown", str(LAST_CONNECTIONS)]
            return [sys.executable, "-m", "uvicorn", f"{module}:app", *options]
        case "hypercorn" | "hypercorn-trio":
            worker = "trio" if kind == "hypercorn-trio" else "asyncio"
            runner = "tests.servers.apps.run_hypercorn"
            return [sys.executable, "-m", runner, worker, module, number, str(LAST_CONNECTIONS)]


def listen():
    """Return a listening socket on a free port of the loopback."""
    listener = socket.socket()
    # What is set here, the connections inherit.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # not set by `uvicorn --fd`
    listener.bind(("127.0.0.1", 0))
    listener.listen(2048)
    return listener


class Server(Client):
    """A running server, and a client of it."""

    def __init__(self, kind, process, port, log):
        super().__init__(port)
        self.kind = kind
        self.process = process
        self.may_log = ()
        """How the last lines of tracebacks begin that the test expects in the log."""
        self._log = log

    @property
    def log(self):
        """What the server has written so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def signal(self, number):
        self.process.send_signal(number)

    def settle(self):
        """Let it do, and log, what is due by now."""
        for _ in range(5):
            self.debug()

    def wait(self, timeout=20):
        """Return the exit code; raises when the server takes longer than `timeout` to exit."""
        return self.process.wait(timeout)

    def tracebacks(self, start=0):
        """Return the last lines of all tracebacks in the log after `start` characters."""
        lines = [re.sub(r"^[\s|+-]*", "", line) for line in self.log[start:].splitlines()]
        return [
            line
            for line in lines
            if re.match(
                r"[\w.]+(Error|Exception|Group|Cut|Cancelled|Timeout|Exit|Interrupt)\b", line
            )
            or re.search(r"never (retrieved|awaited)|was destroyed but it is pending", line)
        ]

    # What the operating system knows

    @property
    def open_files(self):
        return sum(1 for _ in Path(f"/proc/{self.process.pid}/fd").iterdir())

    @property
    def memory(self):
        """Return the resident memory in bytes."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def serving(kind, app, **environment):
    """Serve one of the example apps, or another module's; the server is killed at the end."""
    module = app if "." in app else f"tests.servers.apps.{app}_app"
    with listen() as listener:
        arguments, port = command(kind, module, listener), listener.getsockname()[1]
        with process(arguments, listener, **environment) as (running, log):
            listener.close()  # if no server starts, connections are refused instead of waiting
            with closing(Server(kind, running, port, log)) as server:
                yield server


@contextmanager
def process(arguments, *sockets, **environment):
    """Run a process, which is killed at the end unless it has exited; yield it and its log."""
    with tempfile.NamedTemporaryFile(suffix=".log") as log:
        running = subprocess.Popen(
            arguments,
            cwd=ROOT,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=[each.fileno() for each in sockets],
        )
        try:
            yield running, Path(log.name)
        finally:
            running.kill()
            running.wait()


@contextmanager
def watched(server):
    """Show the server's log if the test fails, and look for tracebacks in it at the end."""
    start = len(server.log)
    server.may_log = ()
    yield server
    sys.stdout.write(f"--- log of {server.kind}:\n{server.log[start:]}")
    unexpected = [line for line in server.tracebacks(start) if not line.startswith(server.may_log)]
    assert not unexpected, f"{server.kind} logged what this test did not expect"


def eventually(condition, *, timeout=60.0):
    """Wait until `condition()` is true, and return what it returned."""
    deadline = time.monotonic() + timeout
    while not (result := condition()):
        assert time.monotonic() < deadline, "it did not become true in time"
        time.sleep(0.02)
    return result
