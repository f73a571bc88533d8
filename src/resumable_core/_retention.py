"""How much of a log to keep: by count, bytes and age while it grows, by time after its end.

Retention is a floor. The oldest batch goes when one of the limits is reached without it, so that a
log holds at least the newest events that all limits ask for, and at most one batch more.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Protocol

from ._frozen import frozen
from ._numbers import check_count, check_seconds


class Batchlike(Protocol):
    """What retention looks at in one batch of a log."""

    @property
    def count(self) -> int:
        """Number of events."""
        ...

    @property
    def size(self) -> int:
        """Bytes of data."""
        ...

    @property
    def time(self) -> float:
        """When it was appended, in seconds of the store's clock."""
        ...


@frozen
class Retention:
    """State how much of a stream is kept.

    `count`   newest events of a growing log that are kept (100,000)
    `bytes`   newest bytes of data that are kept (64 MiB)
    `age`     seconds for which an event is kept; None: no limit by age
    `keep`    seconds for which an ended or abandoned stream can still be read (1 hour);
              never less than its lease, in which whoever ended it may have to ask again

    A batch goes as soon as one of `count`, `bytes` and `age` no longer asks for it. Raises
    `InvalidInput` for a count or bytes that are no whole number, 1 at least, and for seconds that
    are not above 0 (`keep` may be 0) and a hundred years at most.
    """

    count: int = 100_000
    bytes: int = 64 * 2**20
    age: float | None = None
    keep: float = 3600.0

    def __post_init__(self) -> None:
        """Refuse limits that are none."""
        check_count("retention: count", self.count)
        check_count("retention: bytes", self.bytes)
        if self.age is not None:
            check_seconds("retention: age", self.age)
        check_seconds("retention: keep", self.keep, zero=True)

    def excess(self, batches: Iterable[Batchlike], count: int, size: int, now: float) -> int:
        """Return how many of the oldest batches may go.

        `batches` come oldest first and hold `count` events and `size` bytes in all; `now` is in
        seconds of the store's clock. The newest batch always stays.
        """
        oldest_allowed = -math.inf if self.age is None else now - self.age
        drop = 0
        for batch in batches:
            count -= batch.count
            size -= batch.size
            if count == 0:
                break
            if count < self.count and size < self.bytes and batch.time >= oldest_allowed:
                break
            drop += 1
        return drop
