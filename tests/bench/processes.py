"""Start processes for the parts of a measurement, and end them, whatever they do."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Timer

import psutil

ROOT = Path(__file__).parents[2]

LAST_LINES, LAST_CHARACTERS = 3, 300
"""How much is told of what a process has written about its end."""


class Failed(Exception):
    """A contender did not do the work: it raised, or took longer than it may."""


class Child:
    """One process, which says something and then waits to be told to go on: see child.py."""

    def __init__(self, python: str, part: Callable, arguments: dict, limit: float) -> None:
        self.limit = limit
        self._late = False
        self._reason = ""
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        self._process = subprocess.Popen(
            [
                *(python, "-m", "tests.bench.child"),
                *(part.__module__, part.__name__, json.dumps(arguments)),
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self._process_info = psutil.Process(self._process.pid)
        self._timer = Timer(limit, self._cut_off)
        self._timer.start()

    def hear(self) -> dict:
        """Wait for what it says next. Raises `Failed`."""
        line = self._process.stdout.readline()
        if self._late or not line:
            raise Failed(self._reason or self._last_words())
        said = json.loads(line) or {}
        if "failed" in said:
            self._reason = said["failed"]
            raise Failed(self._reason)
        return said

    def blame(self) -> None:
        """Raise `Failed` if it has crashed: others have waited for it in vain."""
        while not self._late and self._process.poll():
            self.hear()

    def tell(self) -> None:
        """Tell it to go on. One that has ended is told of when it is heard."""
        with suppress(BrokenPipeError):
            self._process.stdin.write("\n")
            self._process.stdin.flush()

    def cpu(self) -> float:
        """Return the seconds of CPU that it has used."""
        if sys.platform == "linux":  # exact, where psutil counts ticks: clock_getcpuclockid(3)
            return time.clock_gettime(~self._process.pid << 3 | 2)
        times = self._process_info.cpu_times()
        return times.user + times.system

    def memory(self) -> int:
        """Return the bytes that it holds in memory."""
        return self._process_info.memory_info().rss

    def files(self) -> int:
        """Return the number of its open file descriptors."""
        return self._process_info.num_fds()

    def connections(self, port: int) -> int:
        """Return the number of its connections to a port."""
        connections = self._process_info.net_connections("tcp")
        return sum(bool(each.raddr) and each.raddr.port == port for each in connections)

    def end(self) -> None:
        """End it, if it has not ended by itself."""
        self._timer.cancel()
        self._process.kill()
        self._process.wait()
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._errors.close()

    def _last_words(self) -> str:
        """Return how it came to its end, and the last that it wrote about that."""
        how = f"cut off after {self.limit:g} s" if self._late else "its process ended"
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        last = " / ".join([line.strip() for line in lines if line.strip()][-LAST_LINES:])
        return f"{how}: {last[-LAST_CHARACTERS:]}" if last else how

    def _cut_off(self) -> None:
        if self._process.poll() is None:
            self._late = True
            self._process.kill()


class Processes:
    """Start parts, ours in this environment and those of peers in theirs."""

    def __init__(
        self, python_of_peers: str, limit: float, limit_of_peers: float | None = None
    ) -> None:
        self.limit = limit
        """Seconds that a process may take."""
        self._limit_of_peers = limit_of_peers or limit
        self._python_of_peers = python_of_peers

    @contextmanager
    def start(
        self, part: Callable, *, peer: bool = False, limit: float | None = None, **arguments: object
    ) -> Iterator[Child]:
        """Run a part for the length of a block."""
        python = self._python_of_peers if peer else sys.executable
        usual = self._limit_of_peers if peer else self.limit
        child = Child(python, part, arguments, limit or usual)
        try:
            yield child
        except psutil.Error as error:
            child.blame()
            raise Failed(f"its process ended: {error}") from error
        except Failed:
            child.blame()
            raise
        finally:
            child.end()

    def run(self, part: Callable, *, peer: bool = False, **arguments: object) -> dict:
        """Run a part that says one thing, and return that. Raises `Failed`."""
        with self.start(part, peer=peer, **arguments) as child:
            return child.hear()

    def pair(
        self,
        produce: Callable,
        consume: Callable,
        port: int,
        *,
        peer: bool = False,
        limit: float | None = None,
        **arguments: object,
    ) -> dict:
        """Run a producer and a consumer, in a process each, and return what they said and used.

        The producer says when its streams exist, is told to go, and says what it has done; the
        consumer says when it has connected, subscribes when told, says so, receives when told, and
        says what it has got. `port` is the store's, to which their connections are counted.
        """
        options = {"peer": peer, "limit": limit, **arguments}
        with (
            self.start(produce, **options) as producer,
            self.start(consume, **options) as consumer,
        ):
            producer.hear()
            consumer.hear()
            consumer.tell()
            consumer.hear()
            before = producer.cpu(), consumer.cpu()
            consumer.tell()
            producer.tell()
            said = producer.hear() | consumer.hear()
            return said | {
                "producer CPU": producer.cpu() - before[0],
                "consumer CPU": consumer.cpu() - before[1],
                "connections": max(each.connections(port) for each in (producer, consumer)),
            }
