"""Sources that begin when they are told to, for parts that produce several streams."""

from __future__ import annotations

import asyncio
import time

from tests.bench.check import texts

SETTLING = 1.0
"""Seconds until sources with a rate begin: by then whoever follows them does.

It is the pace that is measured, and not the start of hundreds of subscriptions at once.
"""


class Sources:
    """The sources of so many streams of so many messages.

    With a rate, in messages a second, each stream keeps an even pace, none at the same moment as
    the next one, and behind each text is the time at which it was yielded, in nanoseconds.
    """

    def __init__(self, streams: int, count: int, rate: float | None = None) -> None:
        self._texts = [texts(count, stream) for stream in range(streams)]
        self._rate = rate
        self._open = asyncio.Event()
        self._running = streams
        self._done = asyncio.Event()
        self._began = 0.0

    async def run(self) -> dict:
        """Let them flow, and return when they were to begin, once the last has ended."""
        self._began = time.monotonic() + (0 if self._rate is None else SETTLING)
        self._open.set()
        await self._done.wait()
        return {"began": self._began}

    async def source(self, stream: int):
        """Yield the messages of a stream."""
        await self._open.wait()
        if self._rate is None:
            for text in self._texts[stream]:
                yield text
        else:
            due = self._began + stream / self._rate / len(self._texts)
            for text in self._texts[stream]:
                if (left := due - time.monotonic()) > 0:
                    await asyncio.sleep(left)
                yield f"{text}{time.monotonic_ns():020}"
                due += 1 / self._rate
        self._running -= 1
        if not self._running:
            self._done.set()
