"""The clock of the store: that of the host, which all its processes share."""

from __future__ import annotations

import time

from resumable_core import Watch


class Clock:
    """Tell the time of day, and for how long it has said who is alive; see `Watch`.

    A host that slept is one whose clock jumps. A file that is locked has to be waited for.
    """

    def __init__(self) -> None:
        self._watch = Watch()
        self.now()

    def now(self) -> float:
        """Return the time of day, in seconds."""
        now = time.time()
        self._watch.told(now, time.monotonic())
        return now

    def waited(self, since: float) -> None:
        """Note that the file was waited for, since a moment of `time.monotonic`."""
        self._watch.waited(since, time.monotonic())

    def refused(self) -> None:
        """Note that nothing could be written: for others it may be the same, who have to renew."""
        self._watch.broken(time.monotonic())

    @property
    def watching_for(self) -> float:
        """Return for how many seconds nothing of the kind has happened."""
        return time.monotonic() - self._watch.since
