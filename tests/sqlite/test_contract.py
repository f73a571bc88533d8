"""The backend contract of `abc.py`, on SQLite."""

from functools import partial

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from resumable_io.sqlite import SQLiteBackend
from resumable_io.testing import (
    PROCESSES,
    SCENARIOS,
    backend_machine,
    check_backend,
    check_processes,
)

SETTINGS = settings(
    max_examples=settings.default.max_examples // 2,
    stateful_step_count=30,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_it_passes(open_backend, scenario):
    await check_backend(open_backend, [scenario])


@pytest.mark.parametrize("event_loop", ["asyncio", "trio"])
def test_it_does_what_the_log_does(open_backend, event_loop):
    with backend_machine(open_backend, event_loop=event_loop) as machine:
        run_state_machine_as_test(machine, settings=SETTINGS)


@pytest.mark.parametrize("scenario", PROCESSES, ids=lambda scenario: scenario.__name__)
async def test_it_passes_in_several_processes(path, scenario, anyio_backend_name):
    await check_processes(partial(SQLiteBackend, path), [scenario], event_loop=anyio_backend_name)
