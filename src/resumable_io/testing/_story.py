"""What a program has done to a stream, by the reference, and what a feed has told of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from resumable_core import (
    Appended,
    Change,
    Changed,
    Effect,
    EventLog,
    FeedItem,
    Interrupted,
)
from resumable_io.abc import Unfollow

from ._inbox import Inbox
from ._stage import ensure, timeless


class Story:
    """Keep one stream as it should be, and what was to be told of it."""

    def __init__(self, stream_id: str) -> None:
        self.stream_id = stream_id
        self.log = EventLog()
        self.epochs: set[str] = set()
        """All that were ever claimed."""
        self.last: Change | None = None
        self.told: list[FeedItem] = []
        self.states: list[FeedItem] = []
        """The changes of state among them."""

    def apply(self, change: Change) -> Effect:
        """Apply a change to the reference, and note what is to be told of it."""
        before = self.log.sentinel
        effect = self.log.apply(change, 0.0)
        after = effect.sentinel
        self.epochs.add(after.epoch)
        if effect.batch is not None:
            self.told.append(Appended(effect.batch))
        if (before.state, before.epoch) != (after.state, after.epoch):
            self.told.append(Changed(timeless(after)))
            self.states.append(Changed(timeless(after)))
        return effect


@dataclass(slots=True)
class Ear:
    """Hold a feed to what was to be told.

    It may tell things again. Of several changes of state that follow each other at once, the last
    is enough. Whatever else it leaves out it reports.
    """

    inbox: Inbox
    unfollow: Unfollow
    told: list[FeedItem]
    place: int
    """Up to where it has told them."""

    def take(self, item: FeedItem) -> None:
        """Take what the feed tells. Raises `AssertionError`."""
        match item:
            case Interrupted():
                self.place = len(self.told)
                return
            case Appended(batch):
                item = Appended(replace(batch, time=0.0))
            case Changed(sentinel):
                item = Changed(timeless(sentinel))
        if item in self.told[self.place :]:
            following = self.told.index(item, self.place)
            for missing in self.told[self.place : following]:
                if not (isinstance(missing, Changed) and isinstance(item, Changed)):
                    ensure(None, f"a feed reports what it loses: {missing} is missing")
            self.place = following + 1
        elif item not in self.told:
            ensure(None, f"a feed tells what has happened, which {item} has not")
