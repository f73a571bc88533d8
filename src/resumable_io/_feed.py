"""Feeds: who is called about what happens, until they leave."""

from __future__ import annotations

import logging
from typing import Final

from resumable_core import Appended, FeedItem

from .abc import Tell

logger: Final = logging.getLogger("resumable_io")


class Feed:
    """Call one who follows; with `events`, batches are among what is told."""

    __slots__ = ("_tell", "events")

    def __init__(self, tell: Tell, *, events: bool = True) -> None:
        self.events: bool = events
        self._tell: Tell | None = tell

    def tell(self, item: FeedItem) -> None:
        """Tell an item. What that raises is logged: whoever made it happen is not to blame."""
        if self._tell is None:
            return  # they have left while others were told
        try:
            self._tell(item)
        except Exception:
            logger.exception("somebody who follows a stream broke down")

    def leave(self) -> None:
        """Tell nothing any more."""
        self._tell = None


class Feeds:
    """Hold the feeds of a store that tells its own process what happens, by their streams."""

    def __init__(self) -> None:
        self._feeds: dict[str, set[Feed]] = {}

    def __contains__(self, stream_id: str) -> bool:
        """Say whether anybody follows a stream."""
        return stream_id in self._feeds

    def __len__(self) -> int:
        """Return the number of streams that are followed."""
        return len(self._feeds)

    def add(self, stream_id: str, tell: Tell, *, events: bool) -> Feed:
        """Return a new feed, which is told what happens from now on."""
        feed = Feed(tell, events=events)
        self._feeds.setdefault(stream_id, set()).add(feed)
        return feed

    def discard(self, stream_id: str, feed: Feed) -> None:
        """Tell a feed nothing any more."""
        feed.leave()
        feeds = self._feeds.get(stream_id, set())
        feeds.discard(feed)
        if not feeds:
            self._feeds.pop(stream_id, None)

    def tell(self, stream_id: str, item: FeedItem) -> None:
        """Tell an item to all who want it."""
        for feed in tuple(self._feeds.get(stream_id, ())):  # who is told may leave
            if feed.events or not isinstance(item, Appended):
                feed.tell(item)
