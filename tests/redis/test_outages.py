"""What the log says of an outage of Redis: when it begins and why, and when it is over."""

import logging
import re

import pytest
from anyio import create_task_group, fail_after, sleep

from resumable_core import BackendUnavailable
from resumable_io import Streams
from tests.redis.traffic import PATIENCE, POLL, QUIET

pytestmark = QUIET

PASSWORD = "not-for-the-log"
TIMEOUT = 1.0  # longer than a busy machine takes to answer, or that is an outage, too
OUTAGE = 1.5


@pytest.fixture
def lines(caplog):
    """Return what has been logged so far, if it is more than is told in between."""
    caplog.set_level(logging.INFO, "resumable_io")
    return lambda: [
        (record.levelname, record.getMessage())
        for record in caplog.records
        if record.name == "resumable_io"
    ]


async def logged(lines, number):
    """Wait for a number of lines."""
    with fail_after(PATIENCE):
        while len(lines()) < number:
            await sleep(POLL)


async def test_an_outage_is_two_lines(start_redis, make_backend, lines):
    """However many streams there are, and however often it is tried to connect again."""
    server = start_redis(requirepass=PASSWORD, appendonly="yes", appendfsync="always")
    async with (
        make_backend(server.url, timeout=TIMEOUT) as backend,
        Streams(backend, grace=0) as streams,
        create_task_group() as tasks,
    ):

        async def read(subscription):
            async for _ in subscription.records():
                pass

        for number in range(20):
            tasks.start_soon(read, await streams.start(f"stream {number}", forever))
        for outage in (1, 2):
            server.kill()
            await sleep(OUTAGE)  # in which it is tried again, and reads and appends fail
            assert len(lines()) == 2 * outage - 1
            server.restart()
            await logged(lines, 2 * outage)
            (lost_at, lost), (back_at, back) = lines()[-2:]
            assert (lost_at, back_at) == ("WARNING", "WARNING")
            assert lost.startswith("Redis is lost, and asked again until it is back: Redis ")
            took = re.fullmatch(r"Redis is back, after (\d+\.\d) s", back)
            assert took
            assert OUTAGE - 0.1 <= float(took[1]) < PATIENCE
        await sleep(2 * TIMEOUT)
        tasks.cancel_scope.cancel()
    assert len(lines()) == 4
    assert PASSWORD not in repr(lines())


async def test_a_redis_that_is_silent_is_lost_too(start_redis, open_backend, lines):
    server = start_redis()
    async with open_backend(server.url, timeout=TIMEOUT):
        with server.frozen():
            await logged(lines, 1)
        await logged(lines, 2)
    (_, lost), (_, back) = lines()
    assert re.search(r"Redis( does not answer: \w+| is silent)$", lost)
    assert back.startswith("Redis is back")


async def test_a_redis_that_loads_its_data_is_not_back(start_redis, open_backend, lines):
    """It lets everybody listen, and refuses all the rest. Who enters meanwhile is told that."""
    server = start_redis(save=("3600", "1"))
    if server.version < (7,):
        pytest.skip("an older server cannot be told to answer while it loads a little")
    async with open_backend(server.url, timeout=TIMEOUT) as backend:
        with server.loading():
            await sleep(2 * TIMEOUT)
            assert len(lines()) == 1
            with pytest.raises(BackendUnavailable, match="loading the dataset") as told:
                async with open_backend(server.url, timeout=TIMEOUT):
                    pass
            assert "address" not in str(told.value)
        await logged(lines, 2)
        assert [each async for each in backend.scan()] == []
    (_, lost), (_, back) = lines()
    assert "Redis does not answer" in lost
    assert back.startswith("Redis is back")


async def test_without_an_outage_there_is_nothing_to_say(redis_server, open_backend, lines):
    """Not when it is opened and closed, nor when it cannot be opened: that is raised."""
    async with open_backend(redis_server.url, timeout=TIMEOUT):
        await sleep(2 * TIMEOUT)
    with pytest.raises(Exception, match="Redis"):
        async with open_backend("redis://127.0.0.1:1", timeout=TIMEOUT):
            pass
    assert lines() == []


async def forever():
    while True:
        yield "something"
        await sleep(POLL)
