"""How much may be asked of one process: connections, publishes, bytes."""

from __future__ import annotations

import math
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from typing import ClassVar, Final

from anyio import current_time

from resumable_core import InvalidInput, TokenBuckets
from resumable_io._http import RequestRefused

RETRY_AFTER: Final = 3
"""Seconds after which who found everything taken may ask again."""


@dataclass(frozen=True, slots=True)
class ChannelLimits:
    """State the limits of an endpoint, in this process.

    `connections_per_principal`   open subscriptions of one principal (20); beyond: 429
    `connections_per_channel`     open subscriptions of one channel (10,000); beyond: 503
    `connections`                 open subscriptions in all (20,000); beyond: 503
    `publish_rate`                publish requests a second of one principal, on average (10)
    `publish_burst`               the same at once (50); beyond: 429
    `message_bytes`               bytes of the JSON that a publish request may have (64 KiB);
                                  beyond: 413
    `replay`                      events a subscriber may be behind (10,000); beyond: a gap

    Raises `InvalidInput` for a limit that is not finite, or below 1; the rate may be below 1.
    """

    connections_per_principal: int = 20
    connections_per_channel: int = 10_000
    connections: int = 20_000
    publish_rate: float = 10.0
    publish_burst: int = 50
    message_bytes: int = 64 * 1024
    replay: int = 10_000

    def __post_init__(self) -> None:
        """Refuse limits that are none."""
        for name in self.__slots__:
            least = 0 if name == "publish_rate" else 1
            value = getattr(self, name)
            if not least <= value < math.inf or not value:
                raise InvalidInput(f"{name} is a finite limit, at least 1, got {value!r}")


class TooMany(RequestRefused):
    """Refuse somebody who asks for too much: 429."""

    status: ClassVar[int] = 429

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = max(1, math.ceil(retry_after))


class Busy(RequestRefused):
    """Refuse somebody because of what others have taken: 503."""

    status: ClassVar[int] = 503

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.retry_after = RETRY_AFTER


class Usage:
    """Count what is in use. Holds nothing of anybody who has not asked for a while."""

    def __init__(self, limits: ChannelLimits) -> None:
        self._limits = limits
        self._connections = 0
        self._channels: Counter[str] = Counter()
        self._principals: Counter[str] = Counter()
        self._publishes = TokenBuckets[str](limits.publish_rate, limits.publish_burst)

    def connect(self, channel: str, principal: str) -> ExitStack:
        """Count an open connection until what is returned is left. Raises `TooMany` and `Busy`."""
        limits, channels, principals = self._limits, self._channels, self._principals
        if principals[principal] >= limits.connections_per_principal:
            raise TooMany("too many connections: close one", RETRY_AFTER)
        if channels[channel] >= limits.connections_per_channel:
            raise Busy("this channel has too many subscribers here: ask again later")
        if self._connections >= limits.connections:
            raise Busy("there are too many subscribers here: ask again later")
        self._connections += 1
        channels[channel] += 1
        principals[principal] += 1
        connection = ExitStack()
        connection.callback(self._disconnect, channel, principal)
        return connection

    def publishes(self, principal: str) -> None:
        """Count a publish. Raises `TooMany`."""
        wait = self._publishes.take(principal, current_time())
        if wait:
            raise TooMany("too many messages: slow down", wait)

    def _disconnect(self, channel: str, principal: str) -> None:
        self._connections -= 1
        for counter, key in ((self._channels, channel), (self._principals, principal)):
            counter[key] -= 1
            if not counter[key]:
                del counter[key]
