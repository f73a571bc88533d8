"""Produce one stream: run its source, answer requests, publish what listeners are owed.

The subscription to the channel of requests is the producer's claim: it ends with the producer, and
whoever publishes there learns how many there are. Nobody sets the sentinel before the subscription
is confirmed and found to be the only one.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Coroutine
from typing import Any, Final

from anyio import (
    TASK_STATUS_IGNORED,
    CancelScope,
    CapacityLimiter,
    Lock,
    create_task_group,
    current_time,
    sleep,
)
from anyio.abc import TaskStatus

from resumable_core import Delivery, HandshakeProducer, Interrupted, InvalidMessage, StreamFailed
from resumable_io._sources import CLEANUP_SECONDS, Source, is_fault, opened, safe_reason
from resumable_io._wakeup import Wakeup

from ._pubsub import Inbox
from ._streams import TextStream
from ._wire import Wire

logger: Final = logging.getLogger("resumable_io.vercel")

LINGER: Final = 5.0
"""Seconds for which a producer answers after the end, for listeners that were interrupted."""


class Production:
    """Run one source, and own its text until the last listener has it."""

    def __init__(self, wire: Wire, source: Source, threads: CapacityLimiter) -> None:
        self.machine: HandshakeProducer = HandshakeProducer()
        """What came, and who is owed what."""
        self.progress: Wakeup = Wakeup()
        """Wakes who reads, and who waits for the end."""
        self.stream_id: str = wire.stream_id
        self._wire = wire
        self._source = source
        self._threads = threads
        self._publishing = Lock()
        self._recording = Lock()
        self._ending = False
        self._finished = False

    async def run(self, *, task_status: TaskStatus[bool] = TASK_STATUS_IGNORED) -> None:
        """Claim the stream, and say whether that has worked; if so, produce it.

        Raises what the publisher and the subscriber raise, but only until the stream is claimed.
        """
        async with self._wire.requests() as requests:
            if await self._wire.producers() > 1:
                logger.debug("stream %r is produced by somebody else", self.stream_id)
                task_status.started(False)  # noqa: FBT003
                return
            await self._wire.in_progress()
            logger.debug("stream %r is produced here", self.stream_id)
            task_status.started(True)  # noqa: FBT003
            try:
                async with create_task_group() as tasks:
                    tasks.start_soon(self._answer, requests)
                    tasks.start_soon(self._renew)
                    await self._pump()
                    if self.machine.failure is None:
                        await sleep(LINGER)
                    tasks.cancel_scope.cancel()
            except Exception:
                logger.exception("the producer of stream %r broke down", self.stream_id)
            finally:
                await self._release()

    async def finished(self) -> None:
        """Wait until the end is recorded, and told to all who listen."""
        while not self._finished:
            await self.progress.wait()

    async def _pump(self) -> None:
        try:
            async with opened(self._source, None, self._threads) as items:
                async for item in items:
                    self.machine.append(_text(item))
                    self.progress.wake()
                    await self._publish()
        except BaseException as error:
            if not await is_fault(error):
                raise
            logger.exception("the source of stream %r failed", self.stream_id)
            await self._finish(safe_reason(error))
        else:
            await self._finish()

    async def _answer(self, requests: Inbox) -> None:
        while True:
            for item in await requests.receive():
                match item:
                    case Interrupted():  # whoever has not been heard asks again
                        logger.debug("requests for %r were interrupted", self.stream_id)
                    case message:
                        logger.debug("request for %r: %.200r", self.stream_id, message)
                        self.machine.requested(message)
            await self._publish()

    async def _renew(self) -> None:
        while True:
            await sleep(self._wire.options.ttl / 3)
            async with self._recording:
                if not self._ending:
                    await self._tried(self._wire.in_progress())

    async def _publish(self) -> None:
        """Publish all that is owed, in order: one message at a time."""
        async with self._publishing:
            while owed := deque(self.machine.deliveries()):
                try:
                    while owed:
                        delivery = owed.popleft()
                        if not await self._sent(delivery):
                            self.machine.forget(delivery.listener)
                            owed = deque(it for it in owed if it.listener != delivery.listener)
                finally:  # cancelled: whoever did not get this must not get what follows
                    for unsent in owed:
                        self.machine.forget(unsent.listener)

    async def _sent(self, delivery: Delivery) -> bool:
        """Publish a message, and say whether its listener is to get more."""
        try:
            return await self._wire.send(delivery.listener, delivery.text) != 0
        except BaseException as error:
            # It may have arrived or not: more would leave a hole, or come twice.
            self.machine.forget(delivery.listener)
            if not isinstance(error, Exception):
                raise
            logger.exception("a listener of %r is given up", self.stream_id)
            return False

    async def _finish(self, failure: str | None = None) -> None:
        """Record the end, then tell it: who has heard of it finds it recorded."""
        self._ending = True
        async with self._recording:
            await self._tried(self._wire.done() if failure is None else self._wire.free())
        self.machine.end(failure)
        self.progress.wake()
        await self._publish()
        logger.debug("stream %r has ended", self.stream_id)
        self._finished = True
        self.progress.wake()

    async def _release(self) -> None:
        """Say that the stream was left alone, if it was."""
        if not self._finished:
            with CancelScope(deadline=current_time() + CLEANUP_SECONDS, shield=True):
                await self._finish("the producer was shut down")
            self.machine.end("the producer was shut down")
            self._finished = True
            self.progress.wake()

    async def _tried(self, setting: Coroutine[Any, Any, None]) -> None:
        try:
            await setting
        except Exception:
            logger.exception("the sentinel of stream %r could not be set", self.stream_id)


class ProducedStream(TextStream):
    """Read the text of a stream that is produced here."""

    def __init__(self, production: Production) -> None:
        self._production = production
        self._next = 0
        self._closed = False

    async def __anext__(self) -> str:
        """Return the next chunk. Raises `StreamFailed` when the source has failed."""
        machine = self._production.machine
        while not self._closed:
            if self._next < len(machine.text.pieces):
                self._next += 1
                return machine.text.pieces[self._next - 1]
            if machine.ended:
                if machine.failure is not None:
                    raise StreamFailed(machine.failure)
                break
            await self._production.progress.wait()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Stop reading; the stream goes on."""
        self._closed = True
        self._production.progress.wake()


def _text(item: object) -> str:
    if isinstance(item, str):
        return item
    raise InvalidMessage(f"a source yields text here, got {type(item).__name__}")
