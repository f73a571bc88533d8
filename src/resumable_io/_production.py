"""Produce a stream by hand, from inside an `async with` block."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from anyio import get_cancelled_exc_class

from resumable_core import Outcome

from ._producer import ProducerDriver
from ._sources import safe_reason


class Production:
    """Send messages into a stream; made by `Streams.produce`.

    Left normally, the stream is done. Left by an exception, it has failed with that exception's
    class name (a `SourceError`'s text is shown too); cancelled, it is lost at once.
    """

    def __init__(self, driver: ProducerDriver, begin: Callable[[], Awaitable[None]]) -> None:
        self._driver = driver
        self._begin = begin

    @property
    def stream_id(self) -> str:
        """Return the id of the stream."""
        return self._driver.stream_id

    async def __aenter__(self) -> Self:
        """Claim the stream. Raises what `Streams.start` raises."""
        await self._begin()
        return self

    async def send(self, item: object) -> None:
        """Send text, bytes, a `Message`, or what the encoder takes; wait while there is no room.

        Raises `Fenced` when the stream was stopped, deleted or taken over, and `InvalidMessage` for
        what cannot be a message; the stream goes on then. Cancelled, it has not sent the item.
        """
        await self._driver.send(item)

    async def flush(self) -> None:
        """Wait until everything that was sent is in the log.

        Raises `Fenced` or `BackendError` when that will not happen any more.
        """
        await self._driver.flush()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the stream, and wait until its end is recorded."""
        if exc is None:
            self._driver.end(Outcome.DONE)
        elif isinstance(exc, get_cancelled_exc_class()):
            self._driver.end(Outcome.LOST, "the producer was cancelled")
        else:
            self._driver.end(Outcome.FAILED, safe_reason(exc))
        await self._driver.finished()
