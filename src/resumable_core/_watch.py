"""How long a store has been watched without a break: who may say that a producer is dead.

An observer that has just connected waits one whole lease before it records a lease that ran out as
a loss, since a store that was away has kept everybody from renewing. Three things more hide who is
alive, and count as a new connection:

- the store's clock jumped forward, or ours stood still: each lease looks as if it had run out
- the store had to be waited for: producers may have waited as long
- it could not be written: nor could anybody renew

A clock that is set backward only makes a dead producer known later, by so much.
"""

from __future__ import annotations

import math
from typing import Final

from ._lifecycle import State
from ._producer import RENEWALS_PER_LEASE
from ._sentinel import Sentinel

LATE: Final = 1.0
"""Seconds by which a store's clock may jump, or it may be waited for, without a break."""


class Watch:
    """Notice breaks. `now` is always the time of one clock of the caller's that never goes back."""

    def __init__(self) -> None:
        self.since: float = -math.inf
        """When the last break was noticed, by the caller's clock."""
        self._ahead = math.inf  # the store's clock, of the caller's

    def told(self, time: float, now: float) -> None:
        """Note what the store's clock shows."""
        ahead = time - now
        if ahead > self._ahead + LATE:
            self.broken(now)
        self._ahead = ahead

    def waited(self, asked: float, now: float) -> None:
        """Note that the store was waited for since `asked`."""
        if now - asked > LATE:
            self.broken(now)

    def answered(self, sentinel: Sentinel, asked: float, now: float) -> None:
        """Note an answer about one stream to what was `asked` then.

        It is a break when the stream's producer, waiting as long, would have missed a renewal.
        """
        if sentinel.state is State.ACTIVE and now - asked > sentinel.lease / RENEWALS_PER_LEASE:
            self.broken(now)

    def broken(self, now: float) -> None:
        """Note that nothing could be learned of who is alive, or nothing be written, until now."""
        self.since = now
