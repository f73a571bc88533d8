"""Workload 9: how long it takes to start."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from statistics import median

from tests.bench.model import Case, Goal, Measured, Of, Setting, Workload

IMPORT = "import time; t = time.perf_counter(); import {0}; print(time.perf_counter() - t)"
COMPILED = os.environ | {"PYTHONDONTWRITEBYTECODE": ""}
"""Modules are compiled once, as an installed package is, whatever is set here."""

PEERS = {
    "resumable-sse": "resumable_sse.factory",
    "resumable-stream": "resumable_stream",
    "sse-starlette": "sse_starlette",
    "assistant-stream": "assistant_stream.resumable",
}
"""What their users import."""


def import_ms(modules: list[str], times: int) -> dict:
    """Return how long it takes to import each of some modules, in processes of their own."""
    return {f"{module} ms": median(_once(module) for _ in range(times)) for module in modules}


def _once(module: str) -> float:
    command = [sys.executable, "-c", IMPORT.format(module)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=COMPILED)
    return 1000 * float(done.stdout)


def ours(times: int) -> dict:
    said = import_ms(["resumable_core", "resumable_io", "anyio"], times)
    allowed = said["resumable_core ms"] + 1.5 * said["anyio ms"]
    return said | {"resumable_io, of what it may take": said["resumable_io ms"] / allowed}


def demo() -> dict:
    """Start the demo, ask it something, and wait for the first event."""
    command = [sys.executable, "-m", "resumable_io", "demo", "--port", "0", "--rate", "0"]
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=COMPILED) as running:
        try:
            url = _url_told_by(running)
            told = time.monotonic()
            head = {"content-type": "application/json"}
            asked = urllib.request.Request(f"{url}api/chats", b'{"prompt": "Hello"}', head)
            with urllib.request.urlopen(asked) as answer:
                chat = json.load(answer)["id"]
            with urllib.request.urlopen(f"{url}api/chats/{chat}/events") as events:
                while not events.readline().startswith(b"data:"):
                    pass
            first = time.monotonic()
        finally:
            running.kill()
    return {"says its address ms": 1000 * (told - began), "first event ms": 1000 * (first - began)}


def _url_told_by(running: subprocess.Popen) -> str:
    for line in running.stdout:
        if found := re.search(r"http://\S+/", line):
            return found[0]
    raise RuntimeError("the demo did not say where it is")


def starting(setting: Setting) -> Workload:
    """Return the workload."""

    def contender(part, **options):
        return lambda: Measured(setting.processes.run(part, **options))

    times = setting.scaled(5, 1)
    case, may = "import", "resumable_io, of what it may take"
    return Workload(
        9,
        "Start",
        (
            Case(
                case,
                {
                    "ours": contender(ours, times=times),
                    **{
                        name: contender(import_ms, peer=True, modules=[module], times=times)
                        for name, module in PEERS.items()
                    },
                },
            ),
            Case("demo", {"ours": contender(demo)}),
        ),
        (
            Goal("40 ms for the core", Of(case, "ours", "resumable_core ms"), 40, at_most=True),
            Goal("core + 1.5 × anyio", Of(case, "ours", may), 1, at_most=True),
        ),
        "From a warm disk. The demo: from the start of its process to the first event of an "
        "answer that a client has.",
    )
