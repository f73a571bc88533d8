"""A feed that is filled from within this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from resumable_core import FeedItem, Interrupted

from ._wakeup import Wakeup
from .abc import Feed

FEED_ITEMS: Final = 256
"""Items that wait in one feed at most: a follower that is slower reads the log instead."""


class BufferedFeed(Feed):
    """Hold the news of one stream until they are received; `events`: batches are among them."""

    __slots__ = ("_items", "_wakeup", "events")

    def __init__(self, *, events: bool) -> None:
        self.events: bool = events
        self._items: list[FeedItem] = []
        self._wakeup = Wakeup()

    def put(self, item: FeedItem) -> None:
        """Add an item; what is full forgets all it holds, and says so."""
        if len(self._items) >= FEED_ITEMS:
            self._items.clear()
            item = Interrupted()
        self._items.append(item)
        self._wakeup.wake()

    async def receive(self) -> Sequence[FeedItem]:
        """Wait for news and return all there is; see `Feed.receive`."""
        while not self._items:
            await self._wakeup.wait()
        items, self._items = tuple(self._items), []
        return items
