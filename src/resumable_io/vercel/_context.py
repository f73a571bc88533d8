"""The context: owns the producers of a process, and knows how to reach those of others."""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Final, Literal, Self, TypeAlias

from anyio import (
    TASK_STATUS_IGNORED,
    CapacityLimiter,
    create_task_group,
    get_cancelled_exc_class,
    move_on_after,
    sleep,
)
from anyio.abc import TaskGroup, TaskStatus

from resumable_core import (
    SENTINEL_DONE,
    InvalidInput,
    StreamNotFound,
    check_stream_id,
)
from resumable_io._followers import StreamsClosed
from resumable_io._sources import Source, check_source, close

from ._production import ProducedStream, Production
from ._pubsub import CallbackChannels, Channels, MemoryPubSub, Publisher, Subscriber
from ._reading import Reading, ResumedStream
from ._streams import TextStream
from ._wire import SPREAD, Options, Wire

logger: Final = logging.getLogger("resumable_io.vercel")

WORKER_THREADS: Final = 100
"""Sources that may block in a worker thread at once."""

TRIES: Final = 5
"""Times that a stream is started or resumed which comes and goes in between."""

CLAIMS: Final = 5
"""Times that a stream is claimed by who is the first to count."""

_Start: TypeAlias = Callable[[Wire], Awaitable[TextStream | None]]


class ResumableStreamContext:
    """Start streams and resume them, together with other processes, in Python or in Node.

    An async context manager that owns every producer; in a web app it is the lifespan's business:
    `FastAPI(lifespan=ctx.lifespan)`. See `create_resumable_stream_context` for its options.
    """

    def __init__(
        self,
        *,
        key_prefix: str,
        redis: object,
        publisher: Publisher | None,
        subscriber: Subscriber | None,
        options: Options,
        grace: float,
    ) -> None:
        self._prefix = f"{key_prefix}:rs"
        self._redis = redis
        self._custom_publisher = publisher
        self._custom_subscriber = subscriber
        self._options = options
        self._grace = grace
        self._threads: CapacityLimiter
        self._publisher: Publisher
        self._channels: Channels
        self._tasks: TaskGroup
        self._stack: AsyncExitStack | None = None
        self._left = False
        self._productions: dict[str, Production] = {}

    # Its lifetime

    async def __aenter__(self) -> Self:
        """Connect. Raises `BackendError` when Redis cannot be reached."""
        if self._stack is not None:
            raise RuntimeError("this context is entered already: make one for each lifespan")
        async with AsyncExitStack() as stack:
            self._threads = CapacityLimiter(WORKER_THREADS)
            await self._connect(stack)
            self._tasks = await stack.enter_async_context(create_task_group())
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give producers time to finish; those that do not fail, and their ids are usable again.

        Left with an exception, or cancelled, it gives them none.
        """
        stack = self._open()
        self._left = True
        try:
            if exc_type is None:
                with move_on_after(self._grace):
                    for production in tuple(self._productions.values()):
                        await production.finished()
        finally:
            self._tasks.cancel_scope.cancel()
            # The block's own exception is not the task group's: it would come back in a group.
            if isinstance(exc, get_cancelled_exc_class()):
                await stack.__aexit__(exc_type, exc, traceback)
            else:
                await stack.aclose()

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncGenerator[None, None]:
        """Be entered as long as an application runs: `FastAPI(lifespan=ctx.lifespan)`."""
        async with self:
            yield

    # Streams

    async def resumable_stream(
        self, stream_id: str, make_stream: Source, skip_characters: int | None = None
    ) -> TextStream | None:
        """Start a stream, or resume it where it has been started; None when it has ended.

        However many ask, in however many processes, `make_stream` is called once. Who resumes gets
        the text after `skip_characters` UTF-16 code units; who starts, all of it. When the producer
        has died, the stream is started again for who has received nothing yet.

        Raises `StreamLost` when the producer died, and `skip_characters` says that a part of its
        text was received, or does not answer; `InvalidInput`; `BackendError`.
        """
        wire, skip = self._wire(stream_id), _checked(skip_characters)
        async with self._offered(make_stream) as start:
            for _ in range(TRIES):
                count = await wire.count()
                if count is None:
                    return None
                for _ in range(CLAIMS if count == 1 else 0):
                    if started := await start(wire):
                        return started
                    # Whoever frees the id of a dead producer stands in the way for a moment.
                    await sleep(random.random() * SPREAD)
                stream, reading = await self._resume(wire, skip)
                if reading.machine.attached:
                    return stream
                if reading.machine.dead and not skip:
                    continue  # the id is free now: who counts as the first may start
                match reading.error:
                    case None:
                        return None
                    case StreamNotFound():
                        pass  # it has failed meanwhile, and may be started again
                    case error:
                        raise error
        raise StreamNotFound(f"stream {stream_id!r} fails again and again: try later")

    async def create_new_resumable_stream(
        self, stream_id: str, make_stream: Source, skip_characters: int | None = None
    ) -> TextStream | None:
        """Start a stream; None when it is being produced, or has ended.

        `skip_characters` is ignored, as it is in the other libraries. A stream whose producer has
        died is started again. Raises `InvalidInput` and `BackendError`.
        """
        wire = self._wire(stream_id)
        async with self._offered(make_stream) as start:
            sentinel = await wire.sentinel()
            if sentinel == SENTINEL_DONE or (sentinel and await wire.producers() > 0):
                return None
            return await start(wire)

    async def resume_existing_stream(
        self, stream_id: str, skip_characters: int | None = None
    ) -> TextStream | Literal["NOT_FOUND"] | None:
        """Resume a stream; None when it has ended, "NOT_FOUND" when there is none.

        Raises `StreamLost` when its producer has died, upon which the id is usable again, or does
        not answer; `InvalidInput`; `BackendError`.
        """
        wire, skip = self._wire(stream_id), _checked(skip_characters)
        sentinel = await wire.sentinel()
        if sentinel is None:
            return "NOT_FOUND"
        if sentinel == SENTINEL_DONE:
            return None
        stream, reading = await self._resume(wire, skip)
        if reading.machine.attached:
            return stream
        match reading.error:
            case None:
                return None
            case StreamNotFound():
                return "NOT_FOUND"
            case error:
                raise error

    async def has_existing_stream(self, stream_id: str) -> Literal["DONE", True] | None:
        """Say whether there is a stream: None, True when it is in progress, or "DONE".

        One whose producer has died counts as in progress until somebody asks for its text.
        """
        match await self._wire(stream_id).sentinel():
            case None:
                return None
            case value:
                return "DONE" if value == SENTINEL_DONE else True

    # Inside

    async def _connect(self, stack: AsyncExitStack) -> None:
        publisher, subscriber = self._custom_publisher, self._custom_subscriber
        for custom in (publisher, subscriber):
            if custom is not None:
                await custom.connect()
        if self._redis == "memory://":
            memory = MemoryPubSub()
            publisher, subscriber = publisher or memory, subscriber or memory
        if publisher is not None and subscriber is not None:
            self._publisher, self._channels = publisher, CallbackChannels(subscriber)
            return
        from ._redis import connected

        connection = connected(self._redis, self._prefix, self._options.ttl)
        redis_publisher, redis_channels = await stack.enter_async_context(connection)
        self._publisher = publisher or redis_publisher
        self._channels = CallbackChannels(subscriber) if subscriber else redis_channels

    def _open(self) -> AsyncExitStack:
        if self._stack is None:
            raise RuntimeError(
                "this context is not entered: use `FastAPI(lifespan=ctx.lifespan)`, "
                "or `async with ctx:`"
            )
        if self._left:
            raise StreamsClosed("this context was left: its process shuts down")
        return self._stack

    def _wire(self, stream_id: str) -> Wire:
        self._open()
        check_stream_id(stream_id)
        return Wire(self._publisher, self._channels, self._prefix, stream_id, self._options)

    @asynccontextmanager
    async def _offered(self, source: Source) -> AsyncGenerator[_Start, None]:
        """Hand out what starts a stream with a source; close the source if nobody does."""
        check_source(source)
        used = False

        async def start(wire: Wire) -> TextStream | None:
            """Produce the stream here; None when it is being produced, here or elsewhere."""
            nonlocal used
            production = Production(wire, source, self._threads)
            used = await self._tasks.start(self._produce, production)
            return ProducedStream(production) if used else None

        try:
            yield start
        finally:
            if not used:
                await self._discard(source)

    async def _produce(
        self, production: Production, *, task_status: TaskStatus[bool] = TASK_STATUS_IGNORED
    ) -> None:
        if production.stream_id in self._productions:
            task_status.started(False)  # noqa: FBT003
            return
        self._productions[production.stream_id] = production
        try:
            await production.run(task_status=task_status)
        finally:
            del self._productions[production.stream_id]

    async def _resume(self, wire: Wire, skip: int) -> tuple[TextStream, Reading]:
        stream = ResumedStream(wire, skip)
        await self._tasks.start(stream.reading.run)
        return stream, stream.reading

    async def _discard(self, source: Source) -> None:
        try:
            await close(source, self._threads)
        except Exception:
            logger.exception("a source that was not needed could not be closed")


def _checked(skip_characters: int | None) -> int:
    if skip_characters is not None and skip_characters < 0:
        raise InvalidInput(f"skip_characters is counted from 0, got {skip_characters}")
    return skip_characters or 0
