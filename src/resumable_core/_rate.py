"""The token bucket: how often something may happen, at once and in the long run.

A bucket holds up to `burst` tokens and gets `rate` of them a second; what happens takes one. Nobody
fills it: how many it holds follows from how many it held when one was last taken.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

from ._errors import InvalidInput

K = TypeVar("K", bound=Hashable)

EARLY: Final = 1e-6
"""Seconds by which a token may be taken too early: the rounding of a clock that ran for years."""


class TokenBucket:
    """Grant `rate` a second, and up to `burst` at once. Times are seconds of the caller's clock.

    Within any t seconds it grants at most `burst + rate * t`. Raises `InvalidInput` unless the rate
    is finite and above 0, and the burst finite and at least 1.
    """

    def __init__(self, rate: float, burst: float) -> None:
        check_rate(rate, burst)
        self._rate = rate
        self._burst = burst
        self._tokens = burst  # at this moment:
        self._at = -math.inf

    @property
    def full_at(self) -> float:
        """Return when it is full again: from then on it need not be kept."""
        return self._at + (self._burst - self._tokens) / self._rate

    def take(self, now: float) -> float:
        """Take a token and return 0.0; or take none, and return in how many seconds there is one.

        Whoever is refused may ask again at no cost. A clock that goes back stands still here.
        """
        now = max(now, self._at)
        tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        wait = (1 - tokens) / self._rate
        if wait > EARLY:
            return wait
        self._tokens, self._at = tokens - 1, now
        return 0.0


class TokenBuckets(Generic[K]):
    """Hold a bucket for everybody who has taken from theirs a short while ago.

    One that is full again is forgotten, no later than `burst / rate` seconds after the last token
    was taken from it and somebody asks for another: memory is bounded by the tokens of that time.
    Raises what `TokenBucket` raises.
    """

    def __init__(self, rate: float, burst: float) -> None:
        check_rate(rate, burst)
        self._rate = rate
        self._burst = burst
        self._buckets: dict[K, TokenBucket] = {}  # whoever was granted last comes last

    def __len__(self) -> int:
        """Return how many are held."""
        return len(self._buckets)

    def take(self, key: K, now: float) -> float:
        """Take a token of somebody's, as `TokenBucket.take` does."""
        self._forget(now)
        bucket = self._buckets.get(key) or TokenBucket(self._rate, self._burst)
        wait = bucket.take(now)
        if not wait:
            self._buckets.pop(key, None)
            self._buckets[key] = bucket
        return wait

    def _forget(self, now: float) -> None:
        """Forget those that are full, from the one on that was used the longest time ago."""
        while self._buckets:
            key = next(iter(self._buckets))
            if self._buckets[key].full_at > now:
                return
            del self._buckets[key]


def check_rate(rate: float, burst: float) -> None:
    """Raise `InvalidInput` for what a bucket cannot be made of."""
    if not 0 < rate < math.inf:
        raise InvalidInput(f"a rate is finite and above 0 a second, got {rate!r}")
    if not 1 <= burst < math.inf:
        raise InvalidInput(f"a burst is finite and at least 1, got {burst!r}")
