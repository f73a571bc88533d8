"""One stream on the wire: its names, its sentinel, and who listens to its requests."""

from __future__ import annotations

import uuid
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final

from resumable_core import SENTINEL_DONE, SENTINEL_FREE, ResumeRequest

from ._pubsub import Channels, Inbox, Publisher, to_text

SPREAD: Final = 0.1
"""Seconds over which those spread who find out about a dead producer at the same time."""


@dataclass(frozen=True, slots=True)
class Options:
    """Hold the times of a context, in seconds; see there."""

    ttl: int
    ack_timeout: float
    watchdog: float


@dataclass(frozen=True, slots=True)
class Wire:
    """Speak the protocol for one stream."""

    publisher: Publisher
    channels: Channels
    prefix: str
    stream_id: str
    options: Options

    # The sentinel

    async def sentinel(self) -> str | None:
        """Return the sentinel; None when there is no such stream, or its id is free again."""
        value = await self.publisher.get(self._sentinel)
        return None if value is None or to_text(value) == SENTINEL_FREE else to_text(value)

    async def count(self) -> int | None:
        """Count who has asked for the stream: 1 is to produce it; None: it has ended."""
        try:
            return int(await self.publisher.incr(self._sentinel))
        except Exception as error:
            if "not an integer" in str(error):
                return None
            raise

    async def in_progress(self) -> None:
        """Set the sentinel, or renew it."""
        await self.publisher.set(self._sentinel, "1", ex=self.options.ttl)

    async def done(self) -> None:
        """Set the sentinel of a stream that is complete."""
        await self.publisher.set(self._sentinel, SENTINEL_DONE, ex=self.options.ttl)

    async def free(self) -> None:
        """Make the id usable again, at once; in a second the sentinel is gone."""
        await self.publisher.set(self._sentinel, SENTINEL_FREE, ex=1)

    # Requests: a producer is who listens to them, as long as it is connected

    def requests(self) -> AbstractAsyncContextManager[Inbox]:
        """Listen to requests."""
        return self.channels.subscribed(self._requests)

    async def request(self, message: str) -> int | None:
        """Publish a request and return how many have received it."""
        return await self.publisher.publish(self._requests, message)

    async def producers(self) -> int:
        """Return how many listen to requests; 1 when that is not known."""
        receivers = await self.request(ResumeRequest(new_listener()).encode())
        return 1 if receivers is None else receivers

    # Chunks

    def chunks(self, listener: str) -> AbstractAsyncContextManager[Inbox]:
        """Listen to what is sent to a listener."""
        return self.channels.subscribed(self._chunks(listener))

    async def send(self, listener: str, text: str) -> int | None:
        """Publish a message to a listener and return how many have received it."""
        return await self.publisher.publish(self._chunks(listener), text)

    @property
    def _sentinel(self) -> str:
        return f"{self.prefix}:sentinel:{self.stream_id}"

    @property
    def _requests(self) -> str:
        return f"{self.prefix}:request:{self.stream_id}"

    def _chunks(self, listener: str) -> str:
        return f"{self.prefix}:chunk:{listener}"


def new_listener() -> str:
    """Return an id that nobody has used before."""
    return str(uuid.uuid4())
