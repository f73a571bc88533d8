"""Run the `resumable` command as a process of its own, ended by its own pid."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import anyio

from resumable_core import ABSENT
from resumable_io import Streams

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
"""Seconds for which anything may take that is waited for."""

PROGRAM = [sys.executable, "-m", "resumable_io"]


def resumable(*arguments, stdin=b"", cwd=None, stdout=subprocess.PIPE):
    """Run a command to its end: its exit code, what it printed, and its lines of stderr."""
    done = subprocess.run(
        [*PROGRAM, *arguments],
        input=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
        timeout=PATIENCE,
        cwd=cwd or ROOT,
        check=False,
    )
    return done.returncode, (done.stdout or b"").decode(), done.stderr.decode().splitlines()


class Running:
    """A command that runs; what it prints is read as it comes."""

    def __init__(self, process, output):
        self.process = process
        self._output = output

    @property
    def printed(self):
        return self._output.read_bytes()

    @property
    def events(self):
        """The events that `tail --json` has printed whole."""
        lines = self.printed.split(b"\n")[:-1]
        return [event for event in map(json.loads, lines) if "data" in event]

    def write(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def close_input(self):
        self.process.stdin.close()

    def kill(self):
        self.process.kill()
        self.process.wait(PATIENCE)

    def interrupt(self, number=signal.SIGINT):
        self.process.send_signal(number)

    def wait(self):
        return self.process.wait(PATIENCE)


@contextmanager
def running(folder, *arguments, **environment):
    """Start a command; it is killed at the end unless it has ended."""
    output = Path(folder, f"out-{time.monotonic_ns()}")
    with output.open("wb") as file:
        process = subprocess.Popen(
            [*PROGRAM, *arguments],
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.STDOUT if environment.pop("errors", False) else subprocess.DEVNULL,
            cwd=ROOT,
            env=os.environ | environment,
        )
    try:
        yield Running(process, output)
    finally:
        process.kill()
        process.wait()
        if process.stdin and not process.stdin.closed:
            with suppress(BrokenPipeError):
                process.stdin.close()


def kept(store, stream_id="chat"):
    """Look at a stream's state from here: for those who ask often, as no process is started."""
    kind, where = store

    async def look():
        async with Streams(where if kind == "--redis" else f"sqlite:///{where}") as streams:
            return await streams.state(stream_id) or ABSENT

    return anyio.run(look)


def eventually(condition):
    """Wait until another process has done something: `condition()` is true."""
    deadline = time.monotonic() + PATIENCE
    while not (result := condition()):
        assert time.monotonic() < deadline, "it did not become true in time"
        time.sleep(0.05)
    return result
