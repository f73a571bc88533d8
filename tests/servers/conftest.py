"""Real servers: each example app runs as a subprocess, under a server that people deploy it with.

A test that takes `server` runs once for each of the pairs below. The servers are shared by all
tests, so every test asks for answers of its own (`new_id`). What a server wrote during a test is
shown when the test fails, and a traceback in it that the test did not allow is an error.
"""

import secrets
import sys
from contextlib import ExitStack

import pytest

from tests.servers.serving import serving, watched

if sys.platform == "win32":
    collect_ignore_glob = ["test_*.py"]  # sockets cannot be handed over, nor processes terminated

PAIRS = {
    "uvicorn-fastapi": ("uvicorn", "fastapi"),
    "uvloop-starlette": ("uvloop", "starlette"),
    "hypercorn-asgi": ("hypercorn", "asgi"),
    "hypercorn-trio-starlette": ("hypercorn-trio", "starlette"),
}


@pytest.fixture(scope="session")
def shared_servers():
    """Start each server when it is first wanted; all end with the session."""
    with ExitStack() as stack:
        running = {}

        def get(pair):
            if pair not in running:
                running[pair] = stack.enter_context(serving(*pair))
            return running[pair]

        yield get


@pytest.fixture(params=PAIRS)
def server(request, shared_servers):
    """A server that is shared with other tests."""
    with watched(shared_servers(PAIRS[request.param])) as server:
        yield server
        server.settle()


@pytest.fixture
def start_server():
    """Start a server for one test alone: `start_server(kind, app, GRACE="1")`."""
    with ExitStack() as stack:
        yield lambda kind, app, **environment: stack.enter_context(
            watched(stack.enter_context(serving(kind, app, **environment)))
        )


@pytest.fixture
def new_id():
    """Return ids for answers of a kind, as no other test has them."""
    return lambda kind: f"{kind}-{secrets.token_hex(4)}"
