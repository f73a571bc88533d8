"""The backend contract of `abc.py`, on Redis: what holds for every backend, and more."""

import secrets

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from resumable_core import Interrupted
from resumable_io.redis._feed import FEED_ITEMS
from resumable_io.testing import SCENARIOS, backend_machine, check_backend
from tests.redis.conftest import CLUSTER_PAIRS, PAIRS
from tests.redis.steps import hear, started, texts

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


async def test_a_feed_that_overflows_says_so(shared):
    """Laws 2 and 8: a feed is bounded, and reports what it had to drop before anything else."""
    async with (
        shared() as one,
        shared() as other,
        other.follow("x", events=True) as slow,
        other.follow("x", events=True) as quick,
    ):
        await started(one, "x")
        last, heard = FEED_ITEMS + 10, 0
        for seq in range(1, last + 1):
            await one.apply("x", texts(seq, str(seq)))
            if seq % 50 == 0:
                heard += len(await hear(quick, 1))
        heard += len(await hear(quick, last + 1 - heard))
        assert heard == last + 1  # a slow one costs only itself
        first, *others = await hear(slow, last + 1 - FEED_ITEMS)
        assert first == Interrupted()
        kept = [item.batch.first_seq for item in others]
        assert kept == [*range(last + 1 - len(kept), last + 1)]
        await one.apply("x", texts(last + 1, "next"))
        (item,) = await hear(slow)
        assert item.batch.events[0].data == "next"
