"""Measure, on this machine and in this run: `nox -s bench`, `nox -s bench -- --quick`.

It prints tables and writes JSON, of which `nox -s bench -- --draw bench.json` makes the plots and
tables of the documentation.

Ends with 1 when one of ours has lost, repeated or reordered an event, or has failed: a run is a
test of that, and no test of the times.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from tests.bench import peers, report, rounds
from tests.bench.machine import machine, versions
from tests.bench.model import Setting
from tests.bench.processes import Processes
from tests.bench.workloads import WORKLOADS
from tests.redis.server import RedisServer


def main() -> int:
    options = arguments()
    if options.draw:
        from tests.bench.drawing import draw  # needs matplotlib

        draw(json.loads(options.draw.read_text(encoding="utf-8")), options.draw)
        return 0
    python = peers.python_of_peers()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        server = RedisServer(Path(folder, "redis"))
        server.start()
        try:
            run = measure(options, python, server, folder)
        finally:
            server.stop()
    print(f"\n{time.monotonic() - began:.0f} s")
    options.json.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
    print(f"written to {options.json}")
    return complain(run)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, one round")
    parser.add_argument("--rounds", type=int, help="rounds of each case (5; quick: 1)")
    parser.add_argument("--only", type=int, nargs="+", help="workloads, by number (all)")
    parser.add_argument("--limit", type=float, help="seconds for one case (60; quick: of a peer 5)")
    parser.add_argument("--json", type=Path, default=Path("bench.json"), help="where to write")
    parser.add_argument("--draw", type=Path, help="measure nothing, but draw plots of this JSON")
    parser.add_argument("--folder", type=Path, help="for files of the stores (temporary)")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 5)
    options.limit = options.limit or 60
    options.limit_of_peers = min(options.limit, 5) if options.quick else options.limit
    return options


def measure(options: argparse.Namespace, python: str, server: RedisServer, folder: str) -> dict:
    """Run the workloads, and return what came out, as JSON has it."""
    with server.client() as redis:
        setting = Setting(
            processes=Processes(python, options.limit, options.limit_of_peers),
            redis_url=server.url,
            redis_port=server.port,
            empty_redis=redis.flushall,
            redis_entries=lambda: sum(map(redis.xlen, redis.scan_iter(_type="stream"))),
            folder=folder,
            quick=options.quick,
        )
        run = {
            "machine": machine(),
            "versions": versions(python, server.version),
            "quick": options.quick,
            "rounds": options.rounds,
            "limit": options.limit,
            "workloads": [],
        }
        print(report.heading(run), flush=True)
        for number, make in WORKLOADS.items():
            if options.only is None or number in options.only:
                run["workloads"].append(rounds.run(make(setting), options.rounds))
                print(report.table(run["workloads"][-1]), flush=True)
        run["machine"]["load at the end"] = machine()["load at the start"]
    return run


def complain(run: dict) -> int:
    """Say what ours did wrong, and return the exit status."""
    complaints = [
        f"{workload['number']}. {case['name']}: {who}: {told['failed'] or told['wrong']}"
        for workload in run["workloads"]
        for case in workload["cases"]
        for who, told in case["contenders"].items()
        if who.startswith("ours") and (told["failed"] or told["wrong"])
    ]
    print(*complaints, sep="\n", file=sys.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
