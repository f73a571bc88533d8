"""The publisher machine: what a process publishes to a channel, gathered and sent in order.

One attempt is under way at a time, and what gathers meanwhile is the next one: so the writers of a
process share a round trip, and compete with other processes as one. An attempt whose outcome is
unknown is made again with the same keys, by which the store knows what it has already; with a new
epoch, since the store may be another one by then.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ._changes import Publication, Publish
from ._errors import BackendFull, BackendUnavailable, InvalidMessage
from ._ids import EventId
from ._lane import LONGEST_RETRY, Lane
from ._limits import PublisherLimits
from ._retention import Retention

BATCH_COUNT: Final = 256
BATCH_BYTES: Final = 2**20
"""Publications, and bytes, in one attempt at most (and one publication)."""


@dataclass(eq=False, slots=True)
class Ticket:
    """Stand for a publication until it is settled: with an id, or an error."""

    publication: Publication
    since: float
    id: EventId | None = None
    error: Exception | None = None


class Publisher:
    """Decide what is asked of the store. Times are seconds of the caller's own clock."""

    def __init__(self, retention: Retention, limits: PublisherLimits, now: float) -> None:
        self._retention = retention
        self._limits = limits
        self._lane = Lane(now)
        self._waiting: deque[Ticket] = deque()
        self._bytes = 0
        self._sent = 0  # how many of the oldest are under way

    @property
    def idle(self) -> bool:
        """Say whether nothing waits."""
        return not self._waiting

    @property
    def full(self) -> bool:
        """Say whether a writer has to wait before it may hand in more."""
        limits = self._limits
        return len(self._waiting) >= limits.buffer_count or self._bytes >= limits.buffer_bytes

    @property
    def deadline(self) -> float:
        """Return when to ask again although nothing happened."""
        return math.inf if self._sent or not self._waiting else self._lane.at

    def offer(self, publication: Publication, now: float) -> Ticket:
        """Take a publication, however `full` it is. Raises `InvalidMessage` when it is too long."""
        if publication.message.size > self._limits.message_bytes:
            raise InvalidMessage(
                f"a message has at most {self._limits.message_bytes} bytes, "
                f"got {publication.message.size}"
            )
        ticket = Ticket(publication, now)
        self._waiting.append(ticket)
        self._bytes += publication.size
        return ticket

    def withdraw(self, ticket: Ticket) -> None:
        """Forget a publication for which nobody waits any more, unless it is under way."""
        for index, each in enumerate(self._waiting):
            if each is ticket and index >= self._sent:
                del self._waiting[index]
                self._bytes -= ticket.publication.size
                return

    def next_command(self, now: float, epoch: str) -> Publish | None:
        """Return the attempt to make, or None while there is none; `epoch` is newly drawn."""
        if self._sent or not self._waiting or now < self._lane.at:
            return None
        size = 0
        for ticket in self._waiting:
            self._sent += 1
            size += ticket.publication.size
            if self._sent >= BATCH_COUNT or size >= BATCH_BYTES:
                break
        self._lane.ask(now)
        publications = tuple(self._waiting[index].publication for index in range(self._sent))
        return Publish(epoch, publications, self._retention)

    def answered(self, ids: Sequence[EventId]) -> Sequence[Ticket]:
        """Take the ids of what was published; return the tickets that are settled."""
        self._lane.answered()
        settled = self._settle(self._sent, None)
        for ticket, id in zip(settled, ids, strict=True):
            ticket.id = id
        return settled

    def failed(self, error: Exception, now: float, jitter: float) -> Sequence[Ticket]:
        """Take that the attempt failed; return the tickets that are settled by that.

        It is made again after a pause while the store is unavailable or full, unless that has
        lasted for an outage; `jitter` is from 0 to 1.
        """
        if not isinstance(error, BackendUnavailable | BackendFull):
            self._lane.answered()
            return self._settle(self._sent, error)
        self._lane.failed(now, jitter, LONGEST_RETRY, error)
        overdue = 0
        while overdue < self._sent and now >= self._waiting[overdue].since + self._limits.outage:
            overdue += 1
        return self._settle(overdue, error)

    def abandon(self, error: Exception) -> Sequence[Ticket]:
        """Give up all that waits; return the tickets, which are settled."""
        return self._settle(len(self._waiting), error)

    def _settle(self, count: int, error: Exception | None) -> Sequence[Ticket]:
        settled = [self._waiting.popleft() for _ in range(count)]
        for ticket in settled:
            self._bytes -= ticket.publication.size
            ticket.error = error
        self._sent = 0
        return settled
