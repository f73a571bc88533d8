"""JavaScript clients, as npm has them, against real servers: `nox -s js` installs and runs it all.

A scenario is a function that a module exports. It runs in a process of its own, is handed the
server's address, and returns what it has seen as JSON.
"""

import json
import os
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.servers.serving import serving, watched

HERE = Path(__file__).parent
SECONDS = 60  # for a scenario: nothing waits for ever


@pytest.fixture(scope="session")
def node():
    """Run a scenario: `node(module, name, *arguments)`."""
    program = os.environ.get("NODE") or shutil.which("node")
    assert program, "these tests need node 20 or newer: install it, or say where it is with NODE=…"
    assert (HERE / "node_modules").is_dir(), f"run `npm ci` in {HERE}, or `nox -s js`"

    def run(module, name, *arguments):
        command = [program, str(HERE / "scenario.mjs"), str(module), name, json.dumps(arguments)]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        assert ran.returncode == 0, f"{name}: {ran.stdout}\n{ran.stderr}"
        return json.loads(ran.stdout.strip().rpartition("\n")[2])

    return run


@pytest.fixture
def start_server():
    """Serve the `app` of a module under uvicorn, for one test."""
    with ExitStack() as stack:
        yield lambda module, **environment: stack.enter_context(
            watched(stack.enter_context(serving("uvicorn", module, **environment)))
        )
