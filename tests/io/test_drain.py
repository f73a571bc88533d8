"""`drain_on_sigterm` where there is no server that has installed a handler before."""

import signal
import subprocess
import sys

import anyio
from anyio import to_thread

from resumable_io import Streams
from resumable_io.asgi import drain_on_sigterm

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
