"""The feeds of a store that tells its own process what happens."""

from __future__ import annotations

from resumable_core import Appended, FeedItem

from .abc import Tell


class Feed:
    """One feed; with `events`, batches are among what it tells."""

    __slots__ = ("events", "tell")

    def __init__(self, tell: Tell, *, events: bool) -> None:
        self.tell: Tell = tell
        self.events: bool = events


class Feeds:
    """Hold the feeds of a process, by their streams."""

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
        feeds = self._feeds.get(stream_id, set())
        feeds.discard(feed)
        if not feeds:
            self._feeds.pop(stream_id, None)

    def tell(self, stream_id: str, item: FeedItem) -> None:
        """Tell an item to all who want it."""
        for feed in tuple(self._feeds.get(stream_id, ())):  # who is told may leave
            if feed.events or not isinstance(item, Appended):
                feed.tell(item)
