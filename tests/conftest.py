"""How tests run: on which event loops, in which time, with how many examples.

**Event loops.** Every async test runs three times: on asyncio, on asyncio with uvloop, and on trio.
One that is about a single loop says so:

    @pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)

**Virtual time.** A test that is marked `@pytest.mark.virtual_time` runs twice instead, on asyncio
and on trio, each with a clock of its own that jumps over all waiting: see virtual_time.py. (uvloop
keeps its time in C, out of reach.)

**Smoke.** `pytest -m smoke` runs a selection that takes seconds: everything in tests/core, and
every test that is marked `@pytest.mark.smoke`.

**Examples.** HYPOTHESIS_PROFILE names one of the profiles below.
"""

import os
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import settings
from trio.testing import MockClock

from tests.virtual_time import VirtualTimeLoop, threads_hold_the_clock

CORE = Path(__file__).parent / "core"

# No deadlines: a machine that is busy is no bug. What fails shows how to reproduce it.
settings.register_profile("dev", deadline=None, print_blob=True)
settings.register_profile("ci", settings.get_profile("dev"), derandomize=True, database=None)
settings.register_profile("smoke", settings.get_profile("ci"), max_examples=10)
settings.register_profile("nightly", settings.get_profile("dev"), max_examples=10_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))

BACKENDS = {
    "asyncio": lambda: ("asyncio", {}),
    "uvloop": lambda: ("asyncio", {"use_uvloop": True}),
    "trio": lambda: ("trio", {}),
}
if sys.platform == "win32":
    del BACKENDS["uvloop"]

VIRTUAL_BACKENDS = {
    "asyncio-virtual": lambda: ("asyncio", {"loop_factory": VirtualTimeLoop}),
    "trio-virtual": lambda: ("trio", {"clock": MockClock(autojump_threshold=0)}),
}


@pytest.fixture(params=BACKENDS)
def anyio_backend(request):
    """The event loop to run a test on, as anyio's pytest plugin wants it."""
    virtual_time = request.node.get_closest_marker("virtual_time")
    holds = virtual_time and virtual_time.kwargs.get("wait_for_threads", True)
    with threads_hold_the_clock() if holds else nullcontext():
        yield (BACKENDS | VIRTUAL_BACKENDS)[request.param]()


@pytest.hookimpl(tryfirst=True)  # before pytest looks at these markers
def pytest_generate_tests(metafunc):
    test = metafunc.definition
    if test.get_closest_marker("virtual_time") and "anyio_backend" in metafunc.fixturenames:
        test.add_marker(pytest.mark.parametrize("anyio_backend", VIRTUAL_BACKENDS, indirect=True))


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(CORE):
            item.add_marker(pytest.mark.smoke)
