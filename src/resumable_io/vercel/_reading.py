"""Listen to a stream that is produced elsewhere: drive core's machine for a listener.

One task carries out what the machine wants, and one per channel hears what comes there: two while
a former channel is not given up yet. Text waits until it is read. Meanwhile nothing more is heard,
and a channel that overflows is interrupted, so that the text is asked for anew.
"""

from __future__ import annotations

import logging
import random
import weakref
from collections import deque
from typing import Final

from anyio import TASK_STATUS_IGNORED, CancelScope, create_task_group, current_time, sleep
from anyio.abc import TaskGroup, TaskStatus

from resumable_core import (
    SENTINEL_DONE,
    BackendUnavailable,
    HandshakeListener,
    HandshakeStep,
    Interrupted,
    StreamLost,
)
from resumable_io._wakeup import Wakeup

from ._streams import TextStream
from ._wire import SPREAD, Wire, new_listener

logger: Final = logging.getLogger("resumable_io.vercel")

ATTEMPTS: Final = 4
ATTEMPT_AFTER: Final = 0.25
"""Times that a request is published while Redis does not answer, and seconds between them."""


class Reading:
    """Receive one stream for its reader, until the reader is garbage."""

    def __init__(self, wire: Wire, skip: int, reader: TextStream) -> None:
        options = wire.options
        self.machine: HandshakeListener = HandshakeListener(
            skip, ack_timeout=options.ack_timeout, watchdog=options.watchdog
        )
        self.pieces: deque[str] = deque()
        self.progress: Wakeup = Wakeup()
        """Wakes who reads."""
        self.over: bool = False
        self.error: Exception | None = None
        self._wire = wire
        self._reader = weakref.ref(reader)
        self._closed = False
        self._work = Wakeup()
        self._hearing: dict[str, CancelScope] = {}
        self._failures = 0

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Receive until it is over; started once the producer has answered, or it is known why not.

        Raises nothing: what goes wrong becomes the `error`.
        """
        self.error = StreamLost("the context was left before the stream was complete")
        try:
            async with create_task_group() as tasks:
                try:
                    await self._drive(tasks, task_status)
                    self.error = self.machine.error
                except Exception as error:  # noqa: BLE001
                    self.error = error
                tasks.cancel_scope.cancel()
            if self.machine.dead:
                await self._free()
        finally:
            self.over = True
            self.progress.wake()
        if not self.machine.attached:
            task_status.started()

    def room(self) -> None:
        """Take that text was read."""
        self._work.wake()

    def close(self) -> None:
        """Take that nobody reads any more."""
        self._closed = True
        self._work.wake()

    @property
    def _left(self) -> bool:
        return self._closed or self._reader() is None

    async def _drive(self, tasks: TaskGroup, task_status: TaskStatus[None]) -> None:
        machine = self.machine
        started = False
        while not self._left:
            if machine.attached and not started:
                started = True
                task_status.started()
            if self.pieces:
                await self._work.wait(current_time() + self._wire.options.watchdog)
                machine.paused(current_time())
                continue
            match machine.next(current_time()):
                case HandshakeStep.ASK:
                    await self._ask(tasks)
                case HandshakeStep.ASK_AGAIN:
                    await self._publish(machine.asking_again())
                case HandshakeStep.LOOK:
                    machine.looked(await self._wire.sentinel(), current_time())
                case HandshakeStep.WAIT:
                    await self._work.wait(machine.deadline)
                case HandshakeStep.STOP:
                    return
            for listener in self._hearing.keys() - set(machine.listeners):
                self._hearing.pop(listener).cancel()

    async def _ask(self, tasks: TaskGroup) -> None:
        listener = new_listener()
        await tasks.start(self._hear, listener)
        logger.debug("stream %r is asked for by listener %s", self._wire.stream_id, listener)
        await self._publish(self.machine.asking(listener))

    async def _publish(self, request: str) -> None:
        try:
            receivers = await self._wire.request(request)
        except BackendUnavailable:
            # It may have arrived or not: as the same listener, it would be answered twice.
            self._failures += 1
            if self._failures >= ATTEMPTS:
                raise
            for listener in self.machine.listeners:
                self.machine.interrupted(listener)
            await sleep(ATTEMPT_AFTER)
        else:
            self._failures = 0
            self.machine.asked(receivers, current_time())

    async def _hear(
        self, listener: str, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED
    ) -> None:
        with CancelScope() as scope:
            async with self._wire.chunks(listener) as inbox:
                self._hearing[listener] = scope
                task_status.started()
                while True:
                    for item in await inbox.receive():
                        match item:
                            case Interrupted():
                                self.machine.interrupted(listener)
                            case message:
                                self._take(listener, message)
                    self._work.wake()
                    while self.pieces:
                        await self._work.wait()

    def _take(self, listener: str, message: str) -> None:
        if text := self.machine.received(listener, message, current_time()):
            self.pieces.append(text)
            self.progress.wake()

    async def _free(self) -> None:
        """Make the id of a dead producer usable again, unless somebody uses it already."""
        await sleep(random.random() * SPREAD)
        try:
            async with self._wire.requests():
                if await self._wire.producers() > 1:
                    return  # somebody produces it, or is about to free it
                if await self._wire.sentinel() not in (None, SENTINEL_DONE):
                    await self._wire.free()
        except Exception:
            logger.exception("the id of dead stream %r could not be freed", self._wire.stream_id)


class ResumedStream(TextStream):
    """Read a stream that is produced elsewhere."""

    def __init__(self, wire: Wire, skip: int) -> None:
        self.reading: Reading = Reading(wire, skip, self)

    async def __anext__(self) -> str:
        """Return the next piece of the text. Raises `Interruption` and `BackendError`."""
        reading = self.reading
        while not reading.pieces:
            if reading.over:
                if reading.error is not None:
                    raise reading.error
                raise StopAsyncIteration
            await reading.progress.wait()
        piece = reading.pieces.popleft()
        reading.room()
        return piece

    async def aclose(self) -> None:
        """Stop reading."""
        self.reading.pieces.clear()
        self.reading.close()
