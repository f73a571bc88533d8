"""Streams: start, resume, stop. Owns the producers and the followers of a process."""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Final, Self

from anyio import (
    CapacityLimiter,
    create_task_group,
    get_cancelled_exc_class,
)
from anyio.abc import TaskGroup

from resumable_core import (
    ABSENT,
    TOP,
    Beginning,
    Claim,
    Delete,
    FollowerLimits,
    InvalidInput,
    ProducerLimits,
    Retention,
    Sentinel,
    Stop,
    StreamExists,
    StreamExpired,
    StreamNotFound,
    Takeover,
    check_seconds,
    check_stream_id,
    has_received,
    is_channel,
    is_startable,
)

from ._backends import open_backend
from ._channels import CHANNEL_RETENTION, Channel, Channels
from ._followers import LEFT, Followers, StreamsClosed
from ._frames import SharedFrames
from ._positions import PositionLike, to_position
from ._producer import ProducerDriver
from ._producers import Producers
from ._production import Production
from ._shelter import sheltered
from ._shutdown import Shutdown
from ._sources import Encoder, Source, check_source, close, encode_json
from ._subscription import RecordIterator, Subscription
from .abc import Backend

logger: Final = logging.getLogger("resumable_io")

GONE: Final = (
    "the stream is gone, and whoever asks has received a part of it: "
    "tell the user, and start a new answer under a new id"
)

WORKER_THREADS: Final = 100
"""Sources that may block in a worker thread at once."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Count what this process does at the moment."""

    producers: int
    """Streams that are being produced here."""
    followers: int
    """Streams that somebody here waits for."""
    subscriptions: int
    """Subscriptions that wait for something new."""
    responses: int
    """Open HTTP responses."""
    draining: bool
    """Whether this process is about to stop."""


class Streams:
    """Start streams, and resume them: an async context manager that owns every producer.

    In a web app it is the lifespan's business: streams live as long as it is entered. It may be
    entered again when it was left, as tests of an app do; what a URL names is then opened anew.

    `backend`          a URL (`memory://`, `sqlite:///path`, `redis://`, …) or a `Backend`
    `retention`        how much of each stream is kept, and for how long
    `lease`            seconds after which a silent producer counts as dead (15)
    `check_interval`   seconds of silence after which a follower asks the store (5)
    `limits`           of each producer: buffers, message size, idle and total time
    `grace`            seconds that producers get to finish when it is left (10)
    `encode`           turns what sources yield, and is neither text, bytes nor `Message`, into
                       text; compact JSON unless told otherwise

    A dead producer is noticed within `lease` and one `check_interval`. Raises `InvalidInput` for
    what is none of this.
    """

    def __init__(
        self,
        backend: str | Backend = "memory://",
        *,
        retention: Retention | None = None,
        lease: float = 15.0,
        check_interval: float = 5.0,
        limits: ProducerLimits | None = None,
        grace: float = 10.0,
        encode: Encoder = encode_json,
    ) -> None:
        check_seconds("lease", lease)
        check_seconds("check_interval", check_interval)
        check_seconds("grace", grace, zero=True)
        self.shutdown: Shutdown = Shutdown()
        """What ends the responses of transports, and counts them."""
        self.frames: SharedFrames = SharedFrames()
        """What transports have framed lately."""
        self._given = backend
        self._backend = open_backend(backend) if isinstance(backend, str) else backend
        self._retention = Retention() if retention is None else retention
        self._lease = lease
        self._check_interval = check_interval
        self._limits = ProducerLimits() if limits is None else limits
        _check_kind("backend", self._backend, Backend)
        _check_kind("retention", self._retention, Retention)
        _check_kind("limits", self._limits, ProducerLimits)
        if not callable(encode):
            raise InvalidInput(f"encode is a function, got {type(encode).__name__}")
        self._grace = grace
        self._encode = encode
        self._threads = CapacityLimiter(WORKER_THREADS)
        self._tasks: TaskGroup
        self._followers: Followers
        self._producers: Producers
        self._channels: Channels
        self._stack: AsyncExitStack | None = None
        self._left = False

    async def __aenter__(self) -> Self:
        """Open the backend.

        Raises `BackendUnavailable` when the store cannot be reached.
        """
        if self._stack is not None:
            raise RuntimeError("these Streams are entered already: leave them before")
        if self._left:
            self._left, self.shutdown = False, Shutdown()
            self._threads = CapacityLimiter(WORKER_THREADS)  # which belongs to an event loop
            if isinstance(self._given, str):
                self._backend = open_backend(self._given)
        async with AsyncExitStack() as stack:
            stack.enter_context(self.shutdown.at_end)
            await stack.enter_async_context(sheltered(self._backend))
            self._tasks = await stack.enter_async_context(create_task_group())
            if not self._backend.may_forget:
                self._limits = replace(self._limits, linger=0.0)
            limits = FollowerLimits(
                check_interval=self._check_interval,
                # Longer than producers: who waits for one of ours hears of the end from it.
                outage=self._limits.outage + self._lease,
            )
            self._followers = Followers(self._backend, limits, self._tasks)
            self._producers = Producers(self._followers, self.shutdown, self._tasks, self._threads)
            self._channels = Channels(self._followers, self._tasks, self._encode)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Drain, then end what is left: unfinished streams are recorded as lost.

        Left with an exception, or cancelled, it gives producers no grace.
        """
        stack = self._open()
        self.shutdown.begun = True
        try:
            if exc_type is None:
                await self.drain()
        finally:
            self._left = True
            self._followers.close()
            self._channels.close()
            self._producers.close()
            self._tasks.cancel_scope.cancel()
            try:
                # The block's own exception is not the task group's: it would come back in a group.
                if isinstance(exc, get_cancelled_exc_class()):
                    await stack.__aexit__(exc_type, exc, traceback)
                else:
                    await stack.aclose()
            finally:
                self._producers.left()
                self._stack = None

    # Starting and resuming

    async def start(
        self,
        stream_id: str,
        source: Source,
        *,
        metadata: Mapping[str, object] | None = None,
        on_lost: Takeover | str = Takeover.REFUSE,
        replaces: str | None = None,
    ) -> Subscription:
        """Start a stream and return a subscription from its beginning.

        `metadata` is small JSON that comes back with the state. `on_lost` says what to do when the
        stream was started before and its producer died: `refuse`, `restart`, or `continue` behind
        what is there. `replaces` restarts a stream that has ended, if that epoch is still its own.

        Raises `StreamExists` when the stream is being produced, or has ended and is not replaced;
        `InvalidInput`; `StreamsClosed` while draining; `BackendError`. The source is then closed
        without having been used. Cancelled, it has not started the stream: a claim under way is
        taken back in the background, or is lost after one lease if the store doesn't answer. Who
        has found it by then is told that the stream was deleted.
        """
        try:
            check_source(source)
            driver = self._driver(stream_id, metadata, on_lost, replaces)
            await self._producers.begin(driver, source)
        except BaseException:
            await self.discard(source)
            raise
        return Subscription(self._followers, stream_id, Beginning())

    async def resume(self, stream_id: str, position: PositionLike = None) -> Subscription:
        """Return a subscription that goes on at `position`.

        Raises `StreamNotFound` for an unknown stream, `InvalidInput`, and `BackendError`.
        """
        self._open()
        check_stream_id(stream_id)
        subscription = Subscription(self._followers, stream_id, to_position(position))
        await subscription.open()
        return subscription

    async def start_or_resume(
        self,
        stream_id: str,
        source: Source,
        position: PositionLike = None,
        *,
        metadata: Mapping[str, object] | None = None,
        on_lost: Takeover | str = Takeover.REFUSE,
    ) -> Subscription:
        """Return a subscription that goes on at `position`; start the stream if there is none.

        However many ask at once, in however many processes, the source is used once. A consumer
        that has received something before never starts a stream again: for it, an unknown stream
        raises `StreamExpired`. With `on_lost`, a consumer without a position takes over a stream
        whose producer died.

        Raises what `start` and `resume` raise, but for `StreamExists` and `StreamNotFound`. A
        source that is not needed is closed.
        """
        used = False
        try:
            check_source(source)
            place, choice = to_position(position), Takeover(on_lost)
            while True:
                with suppress(StreamExists):  # somebody else was faster: theirs is as good
                    if not has_received(place) and await self._is_startable(stream_id, choice):
                        driver = self._driver(stream_id, metadata, choice, None)
                        await self._producers.begin(driver, source)
                        used = True
                try:
                    return await self.resume(stream_id, place)
                except StreamNotFound:
                    if has_received(place):
                        raise StreamExpired(GONE) from None
                    if used:
                        raise
                    # Whoever was faster has taken the claim back.
        finally:
            if not used:
                await self.discard(source)

    def produce(
        self,
        stream_id: str,
        *,
        metadata: Mapping[str, object] | None = None,
        on_lost: Takeover | str = Takeover.REFUSE,
        replaces: str | None = None,
    ) -> Production:
        """Produce a stream by hand: `async with streams.produce(id) as out: await out.send(…)`.

        The arguments and errors are those of `start`.
        """
        driver = self._driver(stream_id, metadata, on_lost, replaces)
        return Production(driver, lambda: self._producers.begin(driver, None))

    def channel(self, name: str, *, retention: Retention = CHANNEL_RETENTION) -> Channel:
        """Return a channel, to publish to and to subscribe to; nothing is created by asking.

        `retention` is what it keeps from the next event on that is published through what is
        returned. Raises `InvalidInput` for a name that is empty, over 255 bytes of UTF-8, or holds
        control characters.
        """
        self._open()
        return Channel(self._channels, name, retention)

    # Looking and acting

    async def state(self, stream_id: str) -> Sentinel | None:
        """Return the stream's state record, or None when there is no such stream.

        Nothing is created by looking; a producer whose lease ran out is recorded as lost.
        """
        self._open()
        check_stream_id(stream_id)
        page = await self._followers.read(stream_id, TOP)
        return page.sentinel if page.sentinel.known else None

    async def stop(
        self, stream_id: str, reason: str | None = None, *, epoch: str | None = None
    ) -> Sentinel:
        """End a stream as stopped, wherever it is produced; its source is cancelled.

        `reason` is shown to consumers: text of at most 4,096 bytes of UTF-8. Where ids are used
        again, `epoch` (of the state, or of an event's id) says which stream is meant: one that has
        been started in its place goes on. Returns the state; a stream that has ended stays as it
        is. Raises `StreamNotFound` and `InvalidInput`.
        """
        self._open()
        check_stream_id(stream_id)
        return await self._backend.apply(stream_id, Stop(reason, epoch))

    async def delete(self, stream_id: str) -> None:
        """Remove a stream at once; if it is being produced, its source is cancelled.

        Does nothing when there is no such stream.
        """
        self._open()
        check_stream_id(stream_id)
        await self._backend.apply(stream_id, Delete())

    def scan(self) -> AsyncIterator[tuple[str, Sentinel]]:
        """Iterate over the ids and states of all streams that are known, in any order."""
        self._open()
        scan = self._backend.scan()

        async def next_stream() -> tuple[str, Sentinel] | None:
            async for log_id, sentinel in scan:
                if not is_channel(log_id):
                    return log_id, sentinel
            return None

        return RecordIterator(next_stream)

    def statistics(self) -> Statistics:
        """Return what this process does at the moment."""
        self._open()
        return Statistics(
            producers=len(self._producers),
            followers=len(self._followers),
            subscriptions=self._followers.subscriptions,
            responses=self.shutdown.responses,
            draining=self.shutdown.begun,
        )

    # Shutting down

    async def drain(self) -> None:
        """End open HTTP responses, then wait until producers have finished or `grace` is over."""
        self._open()
        self.shutdown.begin()
        with self.shutdown.grace(self._grace):
            await self._producers.finished()

    async def discard(self, source: Source) -> None:
        """Close a source that is not needed; what it raises is logged."""
        try:
            await close(source, self._threads)
        except Exception:
            logger.exception("a source that was not needed could not be closed")

    # Inside

    async def _is_startable(self, stream_id: str, on_lost: Takeover) -> bool:
        return is_startable(await self.state(stream_id) or ABSENT, on_lost)

    def _driver(
        self,
        stream_id: str,
        metadata: Mapping[str, object] | None,
        on_lost: Takeover | str,
        replaces: str | None,
    ) -> ProducerDriver:
        self._open()
        if self.shutdown.begun:
            raise StreamsClosed("this process is draining: start the stream in another one")
        check_stream_id(stream_id)
        if metadata is not None:
            _check_kind("metadata", metadata, Mapping)
        claim = Claim(
            secrets.token_hex(8),
            self._lease,
            self._retention,
            metadata=dict(metadata or {}),
            on_lost=Takeover(on_lost),
            replaces=replaces,
            connected_for=self._followers.reads.watched_for(stream_id),
        )
        return ProducerDriver(self._backend, stream_id, claim, self._limits, self._encode)

    def _open(self) -> AsyncExitStack:
        if self._left:
            raise StreamsClosed(LEFT)
        if self._stack is None:
            raise RuntimeError("these Streams are not entered: use `async with streams:`")
        return self._stack


def _check_kind(name: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):
        raise InvalidInput(f"{name} is a {kind.__name__}, got {type(value).__name__}")
