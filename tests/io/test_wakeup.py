"""Who waits is woken by the next call, and by no other."""

import pytest
from anyio import CancelScope, create_task_group, current_time, wait_all_tasks_blocked

from resumable_io._wakeup import Wakeup


class Sleepers:
    """Tasks that wait for one wake-up call after the other, and count them."""

    def __init__(self, tasks, wakeup, number):
        self.calls = [0] * number
        self.scopes = [CancelScope() for _ in range(number)]
        for index in range(number):
            tasks.start_soon(self._sleep, wakeup, index)

    async def _sleep(self, wakeup, index):
        with self.scopes[index]:
            while True:
                await wakeup.wait()
                self.calls[index] += 1


async def test_a_call_wakes_all_who_wait_and_each_of_them_once():
    wakeup = Wakeup()
    async with create_task_group() as tasks:
        sleepers = Sleepers(tasks, wakeup, 3)
        for called in range(1, 4):
            await wait_all_tasks_blocked()
            wakeup.wake()
            wakeup.wake()
            await wait_all_tasks_blocked()
            assert sleepers.calls == [called] * 3
        tasks.cancel_scope.cancel()


async def test_a_call_that_nobody_waits_for_is_forgotten():
    wakeup = Wakeup()
    wakeup.wake()
    async with create_task_group() as tasks:
        sleepers = Sleepers(tasks, wakeup, 1)
        await wait_all_tasks_blocked()
        assert sleepers.calls == [0]
        tasks.cancel_scope.cancel()


async def test_who_leaves_takes_no_call_from_others():
    wakeup = Wakeup()
    async with create_task_group() as tasks:
        sleepers = Sleepers(tasks, wakeup, 3)
        await wait_all_tasks_blocked()
        sleepers.scopes[0].cancel()
        await wait_all_tasks_blocked()
        wakeup.wake()
        await wait_all_tasks_blocked()
        assert sleepers.calls == [0, 1, 1]
        tasks.cancel_scope.cancel()


async def test_who_leaves_as_the_call_comes_leaves_nothing_behind():
    """Others may wake for nothing, once for each who left; then all is as before."""
    wakeup = Wakeup()
    async with create_task_group() as tasks:
        leaving = Sleepers(tasks, wakeup, 5)
        await wait_all_tasks_blocked()
        wakeup.wake()
        for scope in leaving.scopes:
            scope.cancel()
        await wait_all_tasks_blocked()
        staying = Sleepers(tasks, wakeup, 1)
        await wait_all_tasks_blocked()
        already = staying.calls[0]
        for called in range(1, 4):
            wakeup.wake()
            await wait_all_tasks_blocked()
            assert staying.calls == [already + called]
        tasks.cancel_scope.cancel()


@pytest.mark.virtual_time
async def test_a_deadline_ends_the_waiting():
    wakeup = Wakeup()
    until = current_time() + 5
    await wakeup.wait(until)
    assert current_time() == pytest.approx(until)
    await wakeup.wait(until - 1)
    assert current_time() == pytest.approx(until)


async def test_those_are_woken_who_would_sleep_for_too_long():
    wakeup = Wakeup()
    async with create_task_group() as tasks:
        sleepers = Sleepers(tasks, wakeup, 1)
        await wait_all_tasks_blocked()
        wakeup.wake_by(None)
        await wait_all_tasks_blocked()
        assert sleepers.calls == [0]
        wakeup.wake_by(current_time() + 5)
        await wait_all_tasks_blocked()
        assert sleepers.calls == [1]
        tasks.cancel_scope.cancel()
