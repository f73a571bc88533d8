"""What the example apps serve: answers of several kinds, and a look inside the process.

The id of an answer begins with its kind: `story-1`, `silent-2`. Each app makes one `Answers`, and
what tells the apps apart is how their routes return the responses.
"""

import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from resumable_io import Streams
from resumable_io.asgi import drain_on_sigterm

STORY = [f"{n}: grüße, 東京 👩‍🚀\n" for n in range(150)]
SHORT = ["Ein ", "kurzer", " Text 👋", "🏽 – ", "für 東京\n", "🎉!"]
FLOOD = [f"{n:09}\n" * 1_600 for n in range(150)]  # 16 kB each, 2.4 MB in all

HEARTBEAT = 0.2
SEND_TIMEOUT = 1.0


class Answers:
    """Sources of answers, and what has become of them."""

    def __init__(self) -> None:
        self.streams = Streams(lease=2.0, grace=float(os.environ.get("GRACE", "5")))
        self.calls = Counter()
        self._taps = {}

    @asynccontextmanager
    async def lifespan(self, app=None):
        async with self.streams:
            with drain_on_sigterm(self.streams):
                yield

    def source(self, answer_id):
        """Return the source for an answer; None when there is no such kind."""
        kind = getattr(self, f"_{answer_id.partition('-')[0]}", None)
        return kind and (lambda: self._watched(answer_id, kind(answer_id)))

    def give(self, answer_id, piece):
        """Let an answer of the kind `tap` go on by a piece; an empty one ends it."""
        self._tap_of(answer_id)[0].send_nowait(piece)

    def debug(self):
        """Say what a test cannot see from outside."""
        statistics = self.streams.statistics()
        return {
            "tasks": len(anyio.get_running_tasks()),
            "producers": statistics.producers,
            "followers": statistics.followers,
            "responses": statistics.responses,
            "calls": self.calls,
        }

    async def _watched(self, answer_id, pieces: AsyncIterator[str]):
        self.calls[answer_id] += 1
        ended = "cancelled"
        try:
            async for piece in pieces:
                yield piece
            ended = "complete"
        except ValueError:
            ended = "broken"
            raise
        finally:
            sys.stdout.write(f"{answer_id} is {ended}\n")
            sys.stdout.flush()

    async def _story(self, answer_id):
        for piece in STORY:
            yield piece
            await anyio.sleep(0.002)

    async def _short(self, answer_id):
        for piece in SHORT:
            yield piece

    async def _tap(self, answer_id):
        async for piece in self._tap_of(answer_id)[1]:
            if not piece:
                break
            yield piece

    async def _silent(self, answer_id):
        await anyio.sleep_forever()
        yield "never"

    async def _broken(self, answer_id):
        yield "half an "
        yield "answer"
        raise ValueError("a secret of the source")

    async def _flood(self, answer_id):
        for piece in FLOOD:
            yield piece

    async def _patient(self, answer_id):
        """Take a while: longer than open responses may take to end, shorter than the grace."""
        for n in range(15):
            yield f"{n}\n"
            await anyio.sleep(0.1)

    async def _steady(self, answer_id):
        for n in range(1_000_000):
            yield f"{n}\n"
            await anyio.sleep(0.1)

    def _tap_of(self, answer_id):
        if answer_id not in self._taps:
            self._taps[answer_id] = anyio.create_memory_object_stream[str](1_000)
        return self._taps[answer_id]
