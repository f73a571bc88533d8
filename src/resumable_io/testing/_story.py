"""What a program has done to a stream, by the reference, and what a feed has told of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

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
        """All that was to be told."""
        self.begun = 0
        """How much of it is told when the change is through that was begun last."""

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
        return effect


class Ear:
    """Hold a feed to what was to be told.

    It may tell things again, although no older state after a newer one. Of several changes of state
    that follow each other at once, the last is enough. Whatever else it leaves out it reports, not
    before it has happened.
    """

    def __init__(self, story: Story, *, events: bool) -> None:
        self._inbox = Inbox()
        self._events = events
        self._story = story
        self._place = len(story.told)  # up to where it has told, or reported, what was to be told
        self._state = -1  # the place of the state that it has told last
        self._reports = deque[int]()  # up to where each `Interrupted` counts, when it was told
        self.unfollow: Unfollow

    def tell(self, item: FeedItem) -> None:
        """Hear what the feed tells."""
        if isinstance(item, Interrupted):
            self._reports.append(self._story.begun)
        self._inbox.tell(item)

    @property
    def missing(self) -> Sequence[FeedItem]:
        """Return what is still to be told."""
        return [item for item in self._story.told[self._place :] if self._wants(item)]

    async def hear(self) -> None:
        """Receive once. Raises `AssertionError`."""
        for item in await self._inbox.receive():
            self._take(item)

    def _wants(self, item: FeedItem) -> bool:
        return self._events or not isinstance(item, Appended)

    def _take(self, item: FeedItem) -> None:
        match item:
            case Interrupted():
                self._place = max(self._place, self._reports.popleft())
                return
            case Appended(batch):
                item = Appended(replace(batch, time=0.0))
            case Changed(sentinel):
                item = Changed(timeless(sentinel))
        told = self._story.told
        ensure(item in told, f"a feed tells what has happened, which {item} has not")
        ensure(self._wants(item), f"a feed without events tells the states alone, not {item}")
        if item in told[self._place :]:
            place = told.index(item, self._place)
            for missing in filter(self._wants, told[self._place : place]):
                last_is_enough = isinstance(missing, Changed) and isinstance(item, Changed)
                ensure(last_is_enough, f"a feed reports what it loses: {missing} is missing")
            self._place = place + 1
        else:
            place = self._place - 1 - told[: self._place][::-1].index(item)
        if isinstance(item, Changed):
            ensure(self._state <= place, f"states are told in order, but after a newer one {item}")
            self._state = place
