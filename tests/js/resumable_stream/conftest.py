"""A process that runs npm's resumable-stream, and one that runs ours, on one Redis."""

import json
import os
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from tests.vercel.conftest import (
    open_client,
    open_context,
    pair,
    redis_server,
    shared_redis_server,
    start_redis,
)

__all__ = [
    "open_client",
    "open_context",
    "pair",
    "redis_server",
    "shared_redis_server",
    "start_redis",
]

HERE = Path(__file__).parent
SECONDS = 30  # for a call: nothing waits for ever


@pytest.fixture
def anyio_backend(pair):
    """The event loop to run a test on."""
    return pair[1]


class Peer:
    """Call functions of peer.mjs, one at a time."""

    def __init__(self, process):
        self._process = process
        self._received = b""

    async def __call__(self, function, /, **parameters):
        """Return what it answers; what it raises is a `PeerError`."""
        call = json.dumps([function, parameters]) + "\n"
        with anyio.fail_after(SECONDS):
            await self._process.stdin.send(call.encode())
            while b"\n" not in self._received:
                self._received += await self._process.stdout.receive()
        line, _, self._received = self._received.partition(b"\n")
        answer = json.loads(line)
        if "error" in answer:
            raise PeerError(answer["error"])
        return answer["result"]

    def kill(self):
        """End it by SIGKILL."""
        self._process.send_signal(signal.SIGKILL)


class PeerError(Exception):
    """Say what the other library has raised."""


@pytest.fixture
async def peer(redis_server):
    """A process that runs npm's resumable-stream."""
    program = os.environ.get("NODE") or shutil.which("node")
    assert program, "these tests need node 20 or newer: install it, or say where it is with NODE=…"
    environment = os.environ | {"REDIS_URL": redis_server.url}
    async with await anyio.open_process(
        [program, str(HERE / "peer.mjs")], stderr=None, env=environment
    ) as process:
        yield Peer(process)
        with suppress(ProcessLookupError):
            process.kill()


@pytest.fixture
async def producer(redis_server):
    """A process that runs producer.py, and has produced something."""
    environment = os.environ | {"REDIS_URL": redis_server.url}
    async with await anyio.open_process(
        [sys.executable, str(HERE / "producer.py")], stderr=None, env=environment
    ) as process:
        with anyio.fail_after(SECONDS):
            assert await process.stdout.receive() == b"started\n"
        yield process
        with suppress(ProcessLookupError):
            process.kill()
