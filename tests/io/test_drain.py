"""What draining does where no server is; under servers, see tests/servers/test_shutdown.py."""

import signal
import subprocess
import sys

import anyio
import pytest
from anyio import create_task_group, current_time, sleep, to_thread

from resumable_core import Fenced, Outcome
from resumable_io import MemoryBackend, Streams
from resumable_io.asgi import drain_on_sigterm
from resumable_io.testing import Fault, FaultyBackend
from tests.io.scripted import Script

UNHANDLED = """
import anyio, signal
from resumable_io import Streams
from resumable_io.asgi import drain_on_sigterm

async def main():
    async with Streams() as streams:
        with drain_on_sigterm(streams):
            signal.raise_signal(signal.SIGTERM)
            await anyio.sleep_forever()

anyio.run(main)
"""


async def test_in_another_thread_there_is_no_signal_to_wait_for():
    """As under a client for tests, which runs the app's lifespan in a thread."""
    before = signal.getsignal(signal.SIGTERM)

    async def lifespan():
        async with Streams() as streams:
            with drain_on_sigterm(streams):
                assert signal.getsignal(signal.SIGTERM) is before
            return await streams.start("x", ["text"])

    assert (await to_thread.run_sync(anyio.run, lifespan)).stream_id == "x"


def test_a_signal_that_nobody_handled_ends_the_process_as_before():
    ended = subprocess.run([sys.executable, "-c", UNHANDLED], check=False, timeout=60)
    assert ended.returncode == -signal.SIGTERM


@pytest.mark.virtual_time
@pytest.mark.parametrize("hurried_at", [0, 3], ids=["before-draining", "while-draining"])
async def test_what_hurry_leaves_unfinished_is_recorded_as_lost(hurried_at):
    backend = MemoryBackend()
    async with Streams(backend) as elsewhere, create_task_group() as group:

        async def get_impatient(streams):
            await sleep(hurried_at)
            streams.shutdown.hurry()

        async with Streams(backend, grace=100) as streams:
            await streams.start("x", Script("one"))
            group.start_soon(get_impatient, streams)
            if not hurried_at:
                await sleep(0.5)
            start = current_time()
        assert current_time() - start == pytest.approx(hurried_at)
        state = await elsewhere.state("x")
        assert (state.outcome, state.error) == (Outcome.LOST, "the producer was shut down")


@pytest.mark.virtual_time
@pytest.mark.parametrize("how", ["start", "produce"])
async def test_hurry_does_not_wait_until_the_streams_are_left(how):
    """A server that is in a hurry itself may cut that short."""
    async with Streams(grace=100) as streams, create_task_group() as group:

        async def produce():
            async with streams.produce("x") as out:
                await out.send("one")
                await sleep(1.1)
                with pytest.raises(Fenced, match="shut down"):
                    await out.send("two")

        if how == "start":
            await streams.start("x", Script("one"))
        else:
            group.start_soon(produce)
        await sleep(1)
        streams.shutdown.begin()
        streams.shutdown.hurry()
        await sleep(0.2)
        state = await streams.state("x")
        assert (state.outcome, state.error) == (Outcome.LOST, "the producer was shut down")


@pytest.mark.virtual_time
async def test_a_claim_that_is_under_way_when_there_is_hurry_gets_no_grace():
    backend = FaultyBackend(MemoryBackend(), {"apply": Fault.DELAY}.get, delay=2)
    async with Streams(backend) as elsewhere, create_task_group() as group:
        script = Script("one")
        async with Streams(backend, grace=100) as streams:
            group.start_soon(streams.start, "x", script)
            await sleep(1)
            streams.shutdown.begin()
            streams.shutdown.hurry()
            await sleep(1.5)
            start = current_time()
        assert current_time() - start <= 5
        assert script.started == script.closed
        assert (await elsewhere.state("x")).outcome is Outcome.LOST


def test_handlers_are_put_back_when_the_streams_have_been_left():
    """Not before: until then, somebody may get impatient."""

    async def lifespan():
        async with Streams() as streams:
            with drain_on_sigterm(streams):
                handled = signal.getsignal(signal.SIGTERM)
            assert signal.getsignal(signal.SIGTERM) is handled is not before
        assert signal.getsignal(signal.SIGTERM) is before

    before = signal.getsignal(signal.SIGTERM)
    anyio.run(lifespan)
