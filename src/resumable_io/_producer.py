"""Drive core's producer machine: wait for the source, carry out what the machine asks.

    source ──▶ send ──▶ machine ──▶ write lane ──▶ backend.apply
                           │   ▲                        │
                           │   └──── replied, refused, failed
                           └──────▶ renew lane ──▶ backend.apply
    feed (changes of state) ──▶ machine.learned

Nothing is decided here. Every step ends by looking whether the machine still wants the source.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Sequence
from typing import Final

from anyio import (
    CancelScope,
    CapacityLimiter,
    create_task_group,
    current_time,
    sleep,
)

from resumable_core import (
    ABSENT,
    PAGE_EVENTS,
    Appended,
    BackendError,
    Change,
    Changed,
    Claim,
    Command,
    Event,
    FeedItem,
    Fenced,
    Interrupted,
    Message,
    Outcome,
    Phase,
    Producer,
    ProducerLimits,
    Sentinel,
    StreamError,
)

from ._sources import (
    CLEANUP_SECONDS,
    Encoder,
    Source,
    is_cancelled,
    is_fault,
    opened,
    safe_reason,
    to_message,
    wants_history,
)
from ._wakeup import Wakeup
from .abc import Backend, Unfollow

logger: Final = logging.getLogger("resumable_io")

RETRY: Final = 1.0
"""Seconds before a feed that could not be had is asked for again."""


class ProducerDriver:
    """Produce one stream: claim it, then run until its end is recorded."""

    def __init__(
        self,
        backend: Backend,
        stream_id: str,
        claim: Claim,
        limits: ProducerLimits,
        encode: Encoder,
    ) -> None:
        self.stream_id = stream_id
        self._machine = Producer(claim, limits, current_time())
        self._backend = backend
        self._encode = encode
        self._source_scope = CancelScope()
        self._unfollow: Unfollow | None = None
        self._work = Wakeup()
        self._renewal = Wakeup()
        self._progress = Wakeup()
        self._renewing = False

    async def claim(self) -> None:
        """Claim the stream.

        Raises `StreamExists`, or `BackendError` when the store does not answer in time. Whatever it
        raises, and when it is cancelled, it may leave a claim behind: `give_up` takes that back.
        """
        while self._machine.phase is Phase.CLAIMING:
            await self._write_once()
        if self._machine.error is not None:
            raise self._machine.error

    async def give_up(self) -> None:
        """Take back what `claim` may have left behind, so that the id is free at once.

        Shielded from cancellation for at most five seconds. Where the store does not answer in
        time, the claim is lost after one lease.
        """
        change = self._machine.withdrawal
        if change is None:
            return
        with CancelScope(deadline=current_time() + CLEANUP_SECONDS, shield=True):
            try:
                await self._insist(change)
            except StreamError:
                pass  # it was never applied, or is somebody else's by now
            except BackendError as error:
                logger.warning("stream %r could not be given up: %s", self.stream_id, error)
            except Exception:
                logger.exception("stream %r could not be given up", self.stream_id)

    async def _insist(self, change: Change) -> None:
        while True:
            try:
                await self._backend.apply(self.stream_id, change)
            except BackendError as error:
                if not error.may_pass:
                    raise
                await sleep(RETRY)
            else:
                return

    async def run(self, source: Source | None, threads: CapacityLimiter) -> None:
        """Run until the end is recorded, or the stream is somebody else's.

        Without a source, somebody calls `send` and `end`. What goes wrong is logged, never raised.
        Cancelled, it gives the lease up, so that consumers learn of it and others may take over.
        """
        try:
            async with create_task_group() as tasks:
                tasks.start_soon(self._follow)
                tasks.start_soon(self._renew)
                if source is not None:
                    tasks.start_soon(self._pump, source, threads)
                await self._write()
                tasks.cancel_scope.cancel()
        except Exception:
            logger.exception("the producer of stream %r broke down", self.stream_id)
        finally:
            if self._unfollow is not None:
                self._unfollow()
            try:
                await self._release()
            finally:
                self.left()
        if isinstance(self._machine.error, BackendError):
            logger.error("stream %r was given up: %s", self.stream_id, self._machine.error)

    def left(self) -> None:
        """Tell whoever waits that nobody runs this producer any more."""
        self._machine.left()
        self._settle()

    @property
    def abandoned(self) -> tuple[Sentinel, tuple[Event, ...]] | None:
        """Return how the stream has ended and its newest events, if the store couldn't be told."""
        sentinel = self._machine.abandoned
        return None if sentinel is None else (sentinel, self._machine.kept)

    # What a source does

    async def send(self, item: object) -> None:
        """Hand over one item; wait while there is no room for it.

        Raises `Fenced` when the stream is somebody else's or was stopped, and `InvalidMessage` for
        what cannot be a message. Cancelled, it has not taken the item.
        """
        message = to_message(item, self._encode)
        while not self._offer(message):
            await self._progress.wait()

    def _offer(self, message: Message) -> bool:
        """Hand over a message if there is room for it. Raises what `send` raises."""
        machine = self._machine
        if not machine.source_wanted:
            raise self._why_unwanted()
        if not machine.has_room:
            return False
        if machine.offer(message):
            self._work.wake()
        return True

    async def flush(self) -> None:
        """Wait until the store has acknowledged everything that was sent.

        Raises `Fenced` or `BackendError` when that will not happen any more.
        """
        self._machine.hurry()
        self._work.wake()
        while not self._machine.flushed:
            if self._machine.phase is Phase.CLOSED:
                raise self._why_unwanted()
            await self._progress.wait()

    def end(self, outcome: Outcome, reason: str | None = None) -> None:
        """Say how the source has ended; `reason` must be safe to show. The first end counts."""
        self._machine.end(outcome, reason)
        self._work.wake()

    async def finished(self) -> None:
        """Wait until the end is recorded, or the stream is somebody else's."""
        while self._machine.phase in (Phase.CLAIMING, Phase.PRODUCING):
            await self._progress.wait()

    async def _pump(self, source: Source, threads: CapacityLimiter) -> None:
        outcome: Outcome = Outcome.DONE
        reason: str | None = None
        with self._source_scope:
            try:
                history = await self._history() if wants_history(source) else None
                async with opened(source, history, threads) as items:
                    async for item in items:
                        message = to_message(item, self._encode)
                        if not self._offer(message):
                            await self.send(message)
            except BaseException as error:
                if not await is_fault(error):
                    raise
                if not isinstance(error, Fenced):
                    logger.exception("the source of stream %r failed", self.stream_id)
                outcome, reason = Outcome.FAILED, safe_reason(error)
            if not is_cancelled():  # else the source has no say in how its stream ends
                self.end(outcome, reason)

    async def _history(self) -> Sequence[Event]:
        events: list[Event] = []
        last_seq = self._machine.sentinel.last_seq
        while (after := events[-1].id.seq if events else 0) < last_seq:
            page = await self._backend.read(
                self.stream_id, after, PAGE_EVENTS, connected_for=-math.inf
            )
            if not page.events:
                break
            events += page.events
        return events

    # The lanes

    async def _write(self) -> None:
        while self._machine.phase is not Phase.CLOSED:
            await self._write_once()

    async def _write_once(self) -> None:
        command = self._machine.next_write(current_time())
        self._settle()
        if command is not None:
            await self._carry_out(command)
        elif self._machine.phase is not Phase.CLOSED:
            await self._work.wait(self._write_deadline)

    @property
    def _write_deadline(self) -> float | None:
        """Return when the write lane has to wake by itself; None if the renew lane does it before.

        So most messages need no timer of their own.
        """
        mine, others = self._machine.write_deadline, self._machine.renew_deadline
        if self._renewing and others is not None and mine is not None and others <= mine:
            return None
        return mine

    async def _renew(self) -> None:
        self._renewing = True
        try:
            while True:
                command = self._machine.next_renew(current_time())
                if command is not None:
                    self._work.wake()  # until this is answered, the write lane needs its own timer
                    await self._carry_out(command)
                else:
                    await self._renewal.wait(self._machine.renew_deadline)
        finally:
            self._renewing = False

    async def _follow(self) -> None:
        while self._unfollow is None:
            try:
                self._unfollow = await self._backend.follow(
                    self.stream_id, self._tell, events=False
                )
            except BackendError:
                await sleep(RETRY)
        self._tell(Interrupted())  # what happened before, only the store can tell

    def _tell(self, item: FeedItem) -> None:
        match item:
            case Changed(sentinel):
                self._machine.learned(sentinel, current_time())
            case Interrupted():
                self._machine.learned(ABSENT, current_time())
            case Appended():
                return
        self._go_on()

    async def _carry_out(self, command: Command) -> None:
        machine = self._machine
        try:
            sentinel = await self._backend.apply(self.stream_id, command)
        except StreamError as error:
            machine.refused(command, error)
        except BackendError as error:
            machine.failed(command, current_time(), random.random(), error)
        except BaseException:
            machine.failed(command, current_time(), jitter=0.0)
            raise
        else:
            machine.replied(command, sentinel, current_time())
        self._go_on()

    async def _release(self) -> None:
        """Record what the stream ended with, or that it was left alone, if there is still time."""
        with CancelScope(deadline=current_time() + CLEANUP_SECONDS, shield=True):
            self._machine.shut_down()
            try:
                while self._machine.phase is Phase.PRODUCING:
                    await self._write_once()
            except Exception:
                logger.exception("stream %r could not be given up", self.stream_id)

    def _go_on(self) -> None:
        """Wake whoever has something to do, now that the machine has learned something."""
        self._settle()
        self._work.wake()
        self._renewal.wake_by(self._machine.renew_deadline)

    def _settle(self) -> None:
        """Cancel a source that is not wanted any more, and wake whoever waits for progress."""
        if not self._machine.source_wanted:
            self._source_scope.cancel()
        self._progress.wake()

    def _why_unwanted(self) -> Exception:
        machine = self._machine
        if machine.error is not None:
            return machine.error
        return Fenced(f"the stream has ended as {machine.outcome}: {machine.reason}")
