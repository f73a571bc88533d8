"""The lineage of a log: the epochs it went through, and which event ids it has ever given out.

Seqs go on when a producer takes over, epochs change. So a seq alone names a place in the log, and
the epoch proves that the place was this log's:

    epochs     (a, 1)          (b, 6)          (c, 9)
    seqs       1 2 3 4 5       6 7 8           9 10 …
    ids        a-0 … a-5       b-6 … b-8       c-9 …

`a-7` is nobody's here: producer a may have appended a sixth event, but the log went on without it.
"""

from __future__ import annotations

from typing import Final

from ._frozen import frozen
from ._ids import EventId

LINEAGE_LIMIT: Final = 100
"""How many epochs a log may go through: a hundred takeovers of one answer are a crash loop."""


@frozen
class Lineage:
    """Hold the epochs of one log, oldest first, each with the seq of its first event."""

    epochs: tuple[tuple[str, int], ...] = ()

    @classmethod
    def starting(cls, epoch: str) -> Lineage:
        """Return the lineage of a log that begins with `epoch`."""
        return cls(((epoch, 1),))

    @property
    def full(self) -> bool:
        """Say whether no further epoch is accepted."""
        return len(self.epochs) >= LINEAGE_LIMIT

    def grown(self, epoch: str, first_seq: int) -> Lineage:
        """Return the lineage after a takeover by `epoch`, whose first event is `first_seq`."""
        return Lineage((*self.epochs, (epoch, first_seq)))

    def id_at(self, seq: int) -> EventId:
        """Return the id of the event at `seq`; seq 0 stands before the first event."""
        for epoch, first in reversed(self.epochs):
            if first <= seq:
                return EventId(epoch, seq)
        return EventId(self.epochs[0][0], seq)

    def contains(self, id: EventId) -> bool:
        """Say whether `id` is one that this log gives, or will give, to one of its events."""
        return bool(self.epochs) and self.id_at(id.seq) == id

    def knows(self, epoch: str) -> bool:
        """Say whether a claim of this epoch has ever held this log."""
        return any(epoch == each for each, _ in self.epochs)

    def same_log(self, other: Lineage) -> bool:
        """Say whether both belong to one log, rather than to one that was started anew."""
        return self.epochs[:1] == other.epochs[:1]
