"""The other libraries, from PyPI, in an environment of their own beside ours."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path

PEERS = {
    "resumable-sse": "resumable-sse==0.1.0",
    "resumable-stream": "resumable-stream==0.2.0",
    "assistant-stream": "assistant-stream",
    "sse-starlette": "sse-starlette",
    "httpx-sse": "httpx-sse",
}
"""What is compared, and the requirement by which it is installed."""

ALSO = ("redis[hiredis]", "httpx", "uvicorn", "httptools")
"""What they need to do the same work in the same way as ours does."""

TOLD = ("redis", "hiredis", "uvicorn", "httptools", "anyio", "starlette", "h11", "uvloop")
"""Other distributions whose version makes a difference."""

FOLDER = Path(sys.prefix, "peers")
RECORD = FOLDER / "tried.json"
"""By requirement why it could not be installed, or nothing where it could."""

VERSIONS = """
import json, sys
from importlib.metadata import PackageNotFoundError, version
found = {}
for name in sys.argv[1:]:
    try: found[name] = version(name)
    except PackageNotFoundError: pass
print(json.dumps(found))
"""


def python_of_peers() -> str:
    """Make the environment if need be, and return the path of its Python."""
    python = FOLDER / "bin" / "python"
    if not python.exists():
        venv.create(FOLDER, with_pip=True)
    # One by one: a peer that cannot be installed is no reason to leave out the others.
    tried = _tried()
    for each in (*ALSO, *PEERS.values()):
        if tried.get(each, "not yet"):
            tried[each] = _install(python, each)
    RECORD.write_text(json.dumps(tried))
    return str(python)


def problems_of_peers() -> dict[str, str]:
    """Return why a requirement could not be installed, for those for which that is so."""
    return {each: problem for each, problem in _tried().items() if problem}


def versions(python: str) -> dict[str, str]:
    """Return what an environment has of peers and of what makes a difference."""
    names = ("resumable-io", *PEERS, *TOLD)
    found = subprocess.run(
        [python, "-c", VERSIONS, *names], capture_output=True, text=True, check=True
    )
    return json.loads(found.stdout)


def _tried() -> dict[str, str]:
    return json.loads(RECORD.read_text()) if RECORD.exists() else {}


def _install(python: Path, requirement: str) -> str:
    """Return the last line of the error, or nothing."""
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*pip, requirement], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr.strip().splitlines()[-1]
