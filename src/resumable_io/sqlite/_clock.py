"""The clock of the store: that of the host, which all its processes share."""

from __future__ import annotations

import math
import time
from typing import Final

LATE: Final = 1.0
"""Seconds for which the clock may jump, or the file be locked, without anybody taking note."""


class Clock:
    """Tell the time of day, and notice when it can say nothing about who is alive.

    A clock that was set forward, or a host that slept, makes every lease look as if it had run out;
    a file that was locked, or that cannot be written, kept producers from renewing theirs. Both
    count as a new connection: whoever observes from here waits one whole lease first. After a clock
    was set backward, a dead producer is noticed later by so much.
    """

    def __init__(self) -> None:
        self.watching_since = -math.inf
        """In seconds of `time.monotonic`."""
        self._ahead = time.time() - time.monotonic()

    def now(self) -> float:
        """Return the time of day, in seconds."""
        now, steady = time.time(), time.monotonic()
        if now - steady > self._ahead + LATE:
            self.watching_since = steady
        self._ahead = now - steady
        return now

    def waited(self, since: float) -> None:
        """Note that the file was waited for, since a moment of `time.monotonic`."""
        if time.monotonic() - since > LATE:
            self.refused()

    def refused(self) -> None:
        """Note that nothing could be written: for others it may be the same, who have to renew."""
        self.watching_since = time.monotonic()

    @property
    def watching_for(self) -> float:
        """Return for how many seconds nothing of the kind has happened."""
        return time.monotonic() - self.watching_since
