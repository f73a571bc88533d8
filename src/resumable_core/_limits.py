"""What producers, publishers and followers may hold at most, and for how long they wait."""

from __future__ import annotations

import math

from ._frozen import frozen
from ._numbers import check_count, check_seconds


@frozen
class ProducerLimits:
    """State the limits of one producer.

    `buffer_count`   messages that wait to be appended, or are kept for repair, at most (256 each)
    `buffer_bytes`   the same in bytes (1 MiB each, and one message)
    `message_bytes`  bytes of one message at most (1 MiB)
    `idle`           seconds without a message after which the source is given up (10 minutes)
    `total`          seconds after which it is given up in any case (1 hour)
    `outage`         seconds for which the store may not answer (30)
    `linger`         seconds to stand by after the end, in case the store loses it (0: none)

    `idle`, `total` and `outage` may be `math.inf`. Raises `InvalidInput` for what is none of this.
    """

    buffer_count: int = 256
    buffer_bytes: int = 2**20
    message_bytes: int = 2**20
    idle: float = 600.0
    total: float = 3600.0
    outage: float = 30.0
    linger: float = 0.0

    def __post_init__(self) -> None:
        """Refuse limits with which nothing could be produced."""
        check_count("buffer_count", self.buffer_count)
        check_count("buffer_bytes", self.buffer_bytes)
        check_count("message_bytes", self.message_bytes)
        for name in ("idle", "total", "outage"):
            seconds = getattr(self, name)
            if seconds != math.inf:
                check_seconds(name, seconds, hint=", or math.inf")
        check_seconds("linger", self.linger, zero=True)


@frozen
class PublisherLimits:
    """State the limits of what a process publishes to one channel.

    `buffer_count`    publications that wait at most (1,024)
    `buffer_bytes`    the same in bytes (4 MiB, and one publication)
    `message_bytes`   bytes of one message at most (1 MiB)
    `outage`          seconds for which the store may not answer (30)
    """

    buffer_count: int = 1024
    buffer_bytes: int = 4 * 2**20
    message_bytes: int = 2**20
    outage: float = 30.0


@frozen
class FollowerLimits:
    """State the limits of one follower.

    `window_count`     events in the window at most (1,024), and one batch
    `window_bytes`     bytes in the window at most (1 MiB), and one batch
    `pending`          batches in the merge buffer at most (256); more are read from the log
    `check_interval`   seconds of silence after which the store is asked (5)
    `outage`           seconds for which the store may not answer (45)
    """

    window_count: int = 1024
    window_bytes: int = 2**20
    pending: int = 256
    check_interval: float = 5.0
    outage: float = 45.0
