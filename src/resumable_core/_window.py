"""The window: the contiguous recent part of a log that a process holds for all its consumers.

    log         [1 2 3] [4] [5 6 7] [8]
    window                  [5 6 7] [8]    bounded: the oldest batches go when it gets too large
    top                              8     where it ends, also when it holds nothing

What it does not hold is read from the log.
"""

from __future__ import annotations

from collections.abc import Sequence

from ._ids import EventId
from ._limits import FollowerLimits
from ._pages import PAGE_EVENTS, Page
from ._records import Event, byte_length
from ._sentinel import Sentinel


class Window:
    """Hold consecutive events up to the top of a log.

    At most `window_count` events and `window_bytes` bytes are held, or one batch.
    """

    def __init__(self, limits: FollowerLimits) -> None:
        self.top: int = 0
        """The seq at which the window ends."""
        self.events: list[Event] = []
        self._limits = limits
        self._batches: list[tuple[int, int]] = []  # what was added together: last seq, bytes
        self._bytes = 0

    @property
    def newest(self) -> EventId | None:
        """Return the id of the newest event that is held."""
        return self.events[-1].id if self.events else None

    def page(self, after: int, sentinel: Sentinel) -> Page | None:
        """Return the events after the seq `after`; None when the window begins behind it."""
        first = self.top + 1 - len(self.events)
        if after < first - 1:
            return None
        start = after + 1 - first
        return Page(sentinel, after, first, events=tuple(self.events[start : start + PAGE_EVENTS]))

    def anchor(self, top: int) -> None:
        """Begin anew behind the seq `top`, and leave what lies before to the log."""
        self.top = top
        self.events.clear()
        self._batches.clear()
        self._bytes = 0

    def extend(self, events: Sequence[Event], size: int) -> None:
        """Add the events that follow the top, `size` bytes in all; let the oldest batches go."""
        if not events:
            return
        self.events += events
        self.top += len(events)
        self._bytes += size
        self._batches.append((self.top, size))
        start, limits = self.top - len(self.events), self._limits
        end = start
        while self.top - end > limits.window_count or self._bytes > limits.window_bytes:
            if len(self._batches) == 1:
                break
            end, size = self._batches.pop(0)
            self._bytes -= size
        del self.events[: end - start]


def size_of(events: Sequence[Event]) -> int:
    """Return the bytes that events take in a window."""
    return sum(byte_length(event.data) + byte_length(event.type or "") for event in events)
