"""Memory backends that are slow, or that fail when they are told to."""

from __future__ import annotations

import math
from contextlib import asynccontextmanager

from anyio import current_time
from anyio.lowlevel import checkpoint

from resumable_core import BackendUnavailable, Interrupted
from resumable_io import MemoryBackend


class SlowBackend(MemoryBackend):
    """Answers late: whoever is cancelled meanwhile does not learn that it was done."""

    async def __aenter__(self):
        await checkpoint()
        return await super().__aenter__()

    async def __aexit__(self, *exc_info):
        await checkpoint()
        await super().__aexit__(*exc_info)

    async def apply(self, *args):
        sentinel = await super().apply(*args)
        await checkpoint()
        return sentinel

    async def read(self, *args, **kwargs):
        page = await super().read(*args, **kwargs)
        await checkpoint()
        return page

    @asynccontextmanager
    async def follow(self, *args, **kwargs):
        async with super().follow(*args, **kwargs) as feed:
            await checkpoint()
            yield feed


class FaultyBackend(MemoryBackend):
    """Fails in each call that it is told to fail in: `apply`, `read`, `follow`.

    `refused` calls do nothing. Of `unanswered` ones nobody learns that they were done.
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.refused: set[str] = set()
        self.unanswered: set[str] = set()
        self.failures = 0
        self._connected_since = -math.inf

    def break_down(self) -> None:
        """Let nobody reach the store."""
        self.refused = {"apply", "read", "follow"}

    def recover(self) -> None:
        """Let it be reached again, which is what all feeds tell."""
        self.refused = set()
        self._connected_since = current_time()
        for feeds in self._feeds.values():
            for feed in feeds:
                feed.put(Interrupted())

    @property
    def connected_since(self) -> float:
        return self._connected_since

    async def apply(self, *args):
        await self._fail("apply", self.refused)
        sentinel = await super().apply(*args)
        await self._fail("apply", self.unanswered)
        return sentinel

    async def read(self, *args, **kwargs):
        await self._fail("read", self.refused)
        return await super().read(*args, **kwargs)

    @asynccontextmanager
    async def follow(self, *args, **kwargs):
        await self._fail("follow", self.refused)
        async with super().follow(*args, **kwargs) as feed:
            yield feed

    async def _fail(self, call: str, failing: set[str]) -> None:
        await checkpoint()
        if call in failing:
            self.failures += 1
            raise BackendUnavailable(f"{call} fails, as it was told to")
