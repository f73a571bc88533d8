"""Begin to drain when the server is told to stop, before it waits for open responses.

Servers wait for responses to end before they run the lifespan's shutdown, and a live stream does
not end by itself. So the signal has to reach the streams directly: chained in front of the handler
that the server has installed, or through the trigger that hypercorn's `serve` accepts.

It goes on to do so until the streams have been left, since then somebody may get impatient. That is
said by SIGINT alone: supervisors repeat a SIGTERM, or send it behind the SIGINT of a terminal.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from functools import partial
from types import FrameType

from anyio import Event, from_thread
from anyio.lowlevel import current_token

from ._streams import Streams


@contextmanager
def drain_on_sigterm(streams: Streams) -> Generator[None]:
    """Drain on SIGTERM and SIGINT, and let the handlers that were installed before do their work.

    A SIGINT that comes after one of them ends the grace, too: what is unfinished is recorded as
    lost. The handlers stay until `streams` have been left.

    For servers that install Python signal handlers before the lifespan starts, as uvicorn does:
    enter it inside of the lifespan. Signals reach the main thread alone: in another one, as under a
    client for tests, it does nothing.
    """
    if threading.current_thread() is threading.main_thread():
        _handle_signals(streams, chained=True)
    yield


def shutdown_trigger(streams: Streams) -> Callable[[], Awaitable[None]]:
    """Return a trigger for hypercorn: `serve(app, config, shutdown_trigger=…)`.

    It waits for SIGTERM or SIGINT, ends the open responses, and returns. A SIGINT that comes after
    that ends the grace, too: what is unfinished is recorded as lost. One more ends the process
    as it is: the server may wait for a client that does not read.
    """

    async def triggered() -> None:
        await _handle_signals(streams, chained=False).wait()

    return triggered


def _handle_signals(streams: Streams, *, chained: bool) -> Event:
    """Handle signals until the streams have been left; return what is set by the first one."""
    token = current_token()
    told = Event()
    heard: list[int] = []

    def drain() -> None:
        streams.shutdown.begin()
        told.set()

    def handle(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        impatience = heard[1:].count(signal.SIGINT)
        # A handler may run between any two instructions, so the event loop is entered as from
        # another thread, which is safe on every loop.
        act = streams.shutdown.hurry if impatience else drain
        enter = partial(from_thread.run_sync, act, token=token)
        threading.Thread(target=enter, name="drain", daemon=True).start()
        before = previous[signal.Signals(number)] if chained else None
        if callable(before):
            before(number, frame)
        elif before == signal.SIG_DFL or impatience > 1:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    def restore() -> None:
        for number, before in previous.items():
            if signal.getsignal(number) is handle:
                signal.signal(number, before)

    previous = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    streams.shutdown.at_end.callback(restore)
    return told
