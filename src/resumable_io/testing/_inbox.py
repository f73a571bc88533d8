"""What a feed has told, until somebody asks for it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from resumable_core import TOP, FeedItem, Sentinel
from resumable_io._wakeup import Wakeup
from resumable_io.abc import Backend


class Inbox:
    """Hold what is told. It is not bounded: tests know what they have told."""

    def __init__(self) -> None:
        self.told: list[FeedItem] = []
        """All that was ever told."""
        self._received = 0
        self._changed = Wakeup()

    def tell(self, item: FeedItem) -> None:
        """Add an item."""
        self.told.append(item)
        self._changed.wake()

    async def receive(self) -> Sequence[FeedItem]:
        """Wait for items, and return all there are. Cancelled, it has taken none."""
        while self._received == len(self.told):
            await self._changed.wait()
        items = tuple(self.told[self._received :])
        self._received = len(self.told)
        return items


class Following(Inbox):
    """Hold what is told of a stream, and read what was not."""

    def __init__(self, backend: Backend, stream_id: str) -> None:
        super().__init__()
        self._backend = backend
        self._stream_id = stream_id

    async def look(self) -> Sentinel:
        """Return what the store says, as whoever was interrupted asks it."""
        page = await self._backend.read(self._stream_id, TOP, 1, connected_for=0.0)
        return page.sentinel


@asynccontextmanager
async def following(
    backend: Backend, stream_id: str, *, events: bool = True
) -> AsyncGenerator[Following, None]:
    """Follow a stream, and collect what is told."""
    inbox = Following(backend, stream_id)
    unfollow = await backend.follow(stream_id, inbox.tell, events=events)
    try:
        yield inbox
    finally:
        unfollow()
