"""The tests of the tests' own machinery."""

import asyncio
import threading
import time

import anyio
import pytest
from anyio import from_thread, lowlevel, to_thread
from hypothesis import given
from hypothesis import strategies as st

HOUR = 3600


@pytest.fixture
def _soon():
    """Fail a test that really waits."""
    start = time.monotonic()
    yield
    assert time.monotonic() - start < HOUR / 100


# -- Event loops --------------------------------------------------------------------------------


@pytest.mark.smoke
async def test_async_tests_run_on_the_loop_they_are_named_after(request, anyio_backend_name):
    expected = {"asyncio": "asyncio", "uvloop": "uvloop", "trio": "trio"}[request.node.callspec.id]
    if anyio_backend_name == "asyncio":
        assert type(asyncio.get_running_loop()).__module__.partition(".")[0] == expected
    else:
        assert anyio_backend_name == expected


@pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)
async def test_a_test_can_be_about_a_single_loop(anyio_backend_name):
    assert anyio_backend_name == "trio"


# -- Virtual time -------------------------------------------------------------------------------


@pytest.mark.smoke
@pytest.mark.virtual_time
@pytest.mark.usefixtures("_soon")
async def test_an_hour_passes_at_once():
    start = anyio.current_time()
    await anyio.sleep(HOUR)
    assert anyio.current_time() - start == HOUR


@pytest.mark.virtual_time
@pytest.mark.parametrize("_again", [1, 2])
async def test_every_test_starts_at_zero(_again):
    assert anyio.current_time() == 0
    await anyio.sleep(HOUR)


@pytest.mark.virtual_time
async def test_time_stands_still_while_anything_can_run():
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.sleep, 0.001)
        for _ in range(1000):
            await lowlevel.checkpoint()
        assert anyio.current_time() == 0


@pytest.mark.virtual_time
@given(delays=st.lists(st.floats(0, 1e8), max_size=8))
async def test_sleepers_wake_up_in_order_and_on_time(delays):
    woken = []

    async def sleeper(delay):
        deadline = anyio.current_time() + delay
        await anyio.sleep(delay)
        woken.append(delay)
        assert anyio.current_time() == pytest.approx(deadline, abs=1e-6)

    async with anyio.create_task_group() as tasks:
        for delay in delays:
            tasks.start_soon(sleeper, delay)
    assert woken == pytest.approx(sorted(delays), abs=1e-6)


@pytest.mark.virtual_time
async def test_deadlines_pass():
    with anyio.move_on_after(HOUR) as scope:
        await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert anyio.current_time() == HOUR


@pytest.mark.virtual_time
async def test_a_thread_at_work_is_not_overtaken():
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.sleep, HOUR)
        await to_thread.run_sync(time.sleep, 0.05)
        assert anyio.current_time() == 0
        await to_thread.run_sync(time.sleep, 0.05)
        assert anyio.current_time() == 0
    assert anyio.current_time() == HOUR


@pytest.mark.virtual_time
async def test_a_thread_that_waits_for_the_loop_lets_time_pass():
    def work():
        from_thread.run(anyio.sleep, HOUR)
        time.sleep(0.05)
        return from_thread.run_sync(anyio.current_time)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.sleep, 2 * HOUR)
        assert await to_thread.run_sync(work) == HOUR


@pytest.mark.virtual_time(wait_for_threads=False)
async def test_a_thread_that_is_stuck_can_be_left_behind():
    free = threading.Event()
    with anyio.move_on_after(HOUR) as scope:
        await to_thread.run_sync(free.wait, abandon_on_cancel=True)
    free.set()
    assert scope.cancelled_caught
    assert anyio.current_time() == HOUR
