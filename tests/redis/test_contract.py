"""The backend contract of `abc.py`, on Redis: what holds for every backend, and more."""

import secrets

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from resumable_io.testing import SCENARIOS, backend_machine, check_backend
from tests.redis.conftest import CLUSTER_PAIRS, PAIRS

pytestmark = pytest.mark.parametrize("pair", [*PAIRS, *CLUSTER_PAIRS], indirect=True)

SETTINGS = settings(
    max_examples=settings.default.max_examples // 2,
    stateful_step_count=30,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def shared(open_backend):
    """Open a backend: all of them share their streams, as processes do."""
    prefix = f"test-{secrets.token_hex(4)}"
    return lambda: open_backend(prefix=prefix)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_it_passes(shared, scenario):
    await check_backend(shared, [scenario])


def test_it_does_what_the_log_does(shared, pair):
    """In a cluster, fewer programs: there it is only a matter of which master is asked."""
    examples = SETTINGS.max_examples // (3 if pair in CLUSTER_PAIRS.values() else 1)
    with backend_machine(shared, event_loop=pair[1][0]) as machine:
        run_state_machine_as_test(machine, settings=settings(SETTINGS, max_examples=examples))
