"""What it ran on, and when."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

import psutil

from tests.bench import peers


def machine() -> dict:
    """Return what a reader of figures has to know of the machine, as JSON has it."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory GiB": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "load at the start": round(psutil.getloadavg()[0], 2),
    }


def versions(python_of_peers: str, redis: tuple[int, ...]) -> dict:
    """Return the versions of what took part, and which peers could not be installed."""
    return {
        "redis-server": ".".join(map(str, redis)),
        "ours": peers.versions(sys.executable),
        "peers": peers.versions(python_of_peers),
        "not installed": peers.problems_of_peers(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = info.read_text().splitlines() if info.exists() else []
    found = (line.partition(":")[2].strip() for line in names if line.startswith("model name"))
    return next(found, platform.processor() or platform.machine())
