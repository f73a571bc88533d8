"""Begin to drain when the server is told to stop, before it waits for open responses.

Servers wait for responses to end before they run the lifespan's shutdown, and a live stream does
not end by itself. So the signal has to reach the streams directly: chained in front of the handler
that the server has installed, or through the trigger that hypercorn's `serve` accepts.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from types import FrameType

from anyio import from_thread, open_signal_receiver
from anyio.lowlevel import current_token

from ._streams import Streams


@contextmanager
def drain_on_sigterm(streams: Streams) -> Generator[None]:
    """Drain on SIGTERM and SIGINT, and let the handlers that were installed before do their work.

    For servers that install Python signal handlers before the lifespan starts, as uvicorn does:
    enter it inside of the lifespan. Signals reach the main thread alone: in another one, as under a
    client for tests, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    token = current_token()

    def drain() -> None:
        from_thread.run_sync(streams.responses.drain, token=token)

    def handle(number: int, frame: FrameType | None) -> None:
        # A handler may run between any two instructions, so the event loop is entered as from
        # another thread, which is safe on every loop.
        threading.Thread(target=drain, name="drain", daemon=True).start()
        before = previous[signal.Signals(number)]
        if callable(before):
            before(number, frame)
        elif before == signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    previous = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


def shutdown_trigger(streams: Streams) -> Callable[[], Awaitable[None]]:
    """Return a trigger for hypercorn: `serve(app, config, shutdown_trigger=…)`.

    It waits for SIGTERM or SIGINT, ends the open responses, and returns.
    """

    async def triggered() -> None:
        with open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for _ in signals:
                streams.responses.drain()
                return

    return triggered
