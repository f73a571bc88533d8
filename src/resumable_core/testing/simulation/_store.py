"""The store: one stream, or channel, in an `EventLog`, and whatever can happen to a store.

Live messages and sentinels go through the codec, as they would between processes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from resumable_core import (
    ABSENT,
    Appended,
    Batch,
    Change,
    Changed,
    Effect,
    EventId,
    EventLog,
    FeedItem,
    Observe,
    Page,
    Publish,
    Sentinel,
    decode_batch,
    decode_sentinel,
    encode_batch,
    encode_sentinel,
    is_told,
)
from resumable_core.testing.changes import copy_of

from ._laws import Ledger, require

REMEMBERED = 24
"""Changes that a failover can lose at most."""


class Store:
    """Hold the stream. Every change is judged by the ledger; followers are told of it."""

    def __init__(
        self, page: int, publish: Callable[[FeedItem], None], excused: Callable[[str], bool]
    ) -> None:
        self.ledger: Ledger = Ledger(excused)
        self.log: EventLog = EventLog()
        self.skew: float = 0.0
        """Seconds by which its clock has jumped ahead of the world's."""
        self._page = page
        self._publish = publish
        self._past: deque[EventLog] = deque(maxlen=REMEMBERED)
        self._memories = 0
        self._remember()

    def apply(self, change: Change, now: float, watched_for: float) -> Sentinel:
        """Apply a change for somebody who has watched the store for some seconds."""
        return self._apply(change, now, watched_for).sentinel

    def publish(self, change: Publish, now: float) -> Sequence[EventId]:
        """Append to a channel, and name what the memory of the store goes back to."""
        return self._apply(replace(change, store=f"m{self._memories}"), now, 0.0).ids

    def _apply(self, change: Change, now: float, watched_for: float) -> Effect:
        before = self.log.sentinel
        now += self.skew
        effect = self.log.apply(change, now)
        self._applied(change, before, effect, now, watched_for)
        return effect

    def read(self, after: int, now: float, connected_for: float, watched_for: float) -> Page:
        """Read a page; the lease is observed by the way."""
        before = self.log.sentinel
        now += self.skew
        page = self.log.read(after, now, limit=self._page, connected_for=connected_for)
        require(before.known or not page.sentinel.known, 9, "a read has created a stream")
        if page.sentinel is not before:
            observed = Effect(page.sentinel)
            self._applied(Observe(connected_for), before, observed, now, watched_for)
        return page

    def _applied(
        self, change: Change, before: Sentinel, effect: Effect, now: float, watched_for: float
    ) -> None:
        after = effect.sentinel
        if after is before:
            return
        self.ledger.applied(change, before, effect, now, watched_for)
        self._remember()
        if effect.batch is not None:
            self._publish(Appended(decode_batch(encode_batch(effect.batch))))
        if is_told(before, after):
            record = encode_sentinel(after)
            told = decode_sentinel(
                record, lease_until=after.lease_until, expires_at=after.expires_at
            )
            self._publish(Changed(told))

    @property
    def held(self) -> tuple[Batch, ...]:
        """Return the batches that are retained."""
        return tuple(self.log.batches)

    def _remember(self) -> None:
        self._past.append(copy_of(self.log))

    def fail_over(self, changes: int) -> None:
        """Lose the newest changes, as an asynchronous replica does that takes over."""
        for _ in range(min(changes, len(self._past) - 1)):
            self._past.pop()
        self.log = copy_of(self._past[-1])
        self._memories += 1
        self.ledger.forgot(self.log.sentinel)

    def wipe(self) -> None:
        """Lose everything."""
        self.log = EventLog()
        self._past.clear()
        self._memories += 1
        self._remember()
        self.ledger.forgot(ABSENT)
