"""Run for long, while consumers come and go and Redis dies: `nox -s soak -- --minutes 30`.

One process produces, another one consumes. Streams of random length follow one another at the pace
of real life; each has consumers that leave anywhere and go on later from where they were. Every few
minutes Redis (append-only, appendfsync always) is killed and started again. So nothing may be lost:
each consumer expects every event of every stream, once and in order, and its end.

Ends with 1 when a law was broken, or when memory, tasks or file descriptors have grown.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from statistics import median

from tests.bench.machine import machine
from tests.bench.processes import Child, Failed, Processes
from tests.bench.workloads.soaking import consume, produce
from tests.redis.server import RedisServer

DOWN = 2.0
"""Seconds for which Redis is away."""
SETTLED = 3
"""Of the reports of a process, the first third is of how it warms up."""
JITTER = {"MiB": 8, "tasks": 20, "files": 5}
"""What a process holds, and how much more of it than a tenth more is no growth."""


class Watch:
    """Collect what a process reports, and what it holds at that time."""

    def __init__(self, name: str, child: Child) -> None:
        self.name = name
        self.reports: list[dict] = []
        self._child = child
        self._began = time.monotonic()

    def hear(self) -> None:
        said = self._child.hear()
        self._child.tell()
        holds = {"MiB": self._child.memory() / 2**20, "files": self._child.files()}
        self.reports.append(said | holds | {"at": time.monotonic()})

    def line(self) -> str:
        """Say how it is, and how much it has done since the last time."""
        before, last = ([{"events": 0, "at": self._began}, *self.reports])[-2:]
        rate = (last["events"] - before["events"]) / (last["at"] - before["at"])
        return (
            f"{self.name}: {last['events']:,} events, {rate:,.0f}/s, {last['streams']:,} streams, "
            f"{last['retries']:,} retries, {last['MiB']:.0f} MiB, {last['tasks']:,} tasks, "
            f"{last['files']} files"
        )

    def halves(self, what: str) -> tuple[float, float]:
        """Return what it held in the first half of the time since it was warm, and in the second.

        The medians: when Redis dies everybody holds more for some seconds.
        """
        held = [each[what] for each in self.reports[len(self.reports) // SETTLED :]]
        middle = (len(held) + 1) // 2
        return median(held[:middle]), median(held[middle:] or held)

    def growth(self) -> str:
        """Say what it held before and after the middle of the time since it was warm."""
        held = {what: self.halves(what) for what in JITTER}
        told = (f"{what} {before:.0f}, then {after:.0f}" for what, (before, after) in held.items())
        return f"{self.name}: {'; '.join(told)}"

    def complaints(self) -> list[str]:
        """Return what was broken, and what has grown: by a tenth, and more than it jitters."""
        found = [f"{self.name}: {broken}" for broken in self.reports[-1]["broken"]]
        for what, jitter in JITTER.items():
            before, after = self.halves(what)
            if after > 1.1 * before + jitter:
                found.append(f"{self.name}: {what} have grown from {before:.0f} to {after:.0f}")
        if self.reports[-1]["events"] == self.reports[len(self.reports) // 2]["events"]:
            found.append(f"{self.name}: nothing happens any more")
        return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="how long (30)")
    parser.add_argument("--streams", type=int, default=500, help="streams at once (500)")
    parser.add_argument(
        "--restart-every", type=float, default=5.0, help="minutes between deaths of Redis (5)"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(folder), appendonly="yes", appendfsync="always")
        server.start()
        try:
            complaints = watch(options, server)
        finally:
            server.stop()
    print(*complaints, sep="\n")
    print(f"{len(complaints)} found")
    return 1 if complaints else 0


def watch(options: argparse.Namespace, server: RedisServer) -> list[str]:
    """Let both processes run for the time that is asked for, and return what is wrong."""
    print(machine(), flush=True)
    until = time.monotonic() + 60 * options.minutes
    next_death = time.monotonic() + 60 * options.restart_every
    processes = Processes(sys.executable, limit=60 * options.minutes + 120)
    arguments = {"url": server.url, "slots": options.streams}
    with (
        processes.start(produce, **arguments) as producer,
        processes.start(consume, **arguments) as consumer,
    ):
        watches = Watch("producer", producer), Watch("consumer", consumer)
        with suppress(KeyboardInterrupt):
            while time.monotonic() < until:
                try:
                    for each in watches:
                        each.hear()
                except Failed as failed:
                    return [f"a process has ended: {failed}"]
                memory = server.info("memory")["used_memory"] / 2**20
                print(*(each.line() for each in watches), f"Redis: {memory:.0f} MiB", sep="; ")
                sys.stdout.flush()
                if time.monotonic() > next_death:
                    print("Redis dies", flush=True)
                    server.kill()
                    time.sleep(DOWN)
                    server.start()
                    next_death = time.monotonic() + 60 * options.restart_every
    print(*(each.growth() for each in watches), sep="\n")
    return [complaint for each in watches for complaint in each.complaints()]


if __name__ == "__main__":
    sys.exit(main())
