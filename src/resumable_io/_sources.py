"""What a source may be, and what it may yield.

A source is an async iterable, an iterable (run in a worker thread), or a callable that returns one
or an awaitable of one. A callable with a required parameter gets the events that are already in the
log, so that it can continue after a takeover. It yields text, bytes, a `Message`, or anything that
the stream's encoder takes.
"""

from __future__ import annotations

import inspect
import json
import math
import threading
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import asynccontextmanager
from typing import Final, Protocol, Self, TypeAlias, TypeGuard, cast

from anyio import CapacityLimiter, current_effective_deadline, move_on_after, to_thread
from anyio.lowlevel import cancel_shielded_checkpoint

from resumable_core import (
    BackendError,
    Event,
    InvalidInput,
    InvalidMessage,
    Message,
    ResumableError,
)

Items: TypeAlias = AsyncIterable[object] | Iterable[object]
Source: TypeAlias = (
    Items
    | Callable[[], Items | Awaitable[Items]]
    | Callable[[Sequence[Event]], Items | Awaitable[Items]]
)
"""Whatever can produce a stream."""

Encoder: TypeAlias = Callable[[object], str | bytes | Message]
"""Turns what a source yields, and is not text, bytes or a `Message`, into one of them."""

CLEANUP_SECONDS: Final = 5.0
"""How long a source may take to clean up once it is not wanted any more."""


class SourceError(ResumableError):
    """Fail a stream with a message that is safe to show: raise it in a source.

    Of any other exception, consumers see the class name alone.
    """


def safe_reason(error: BaseException) -> str:
    """Return what consumers may be told about an exception of a source."""
    name = type(error).__name__
    if isinstance(error, BackendError):
        return f"{name}: {error.safe_reason}"
    return f"{name}: {error}" if isinstance(error, ResumableError) else name


async def is_fault(error: BaseException) -> bool:
    """Say whether an exception of a source is no more than its own failure.

    It is not when the program is to end, or when this task is cancelled. A cancellation that nobody
    asked this task for, of another one that the source has waited for, is a failure.
    """
    if BaseExceptionGroup("", [error]).subgroup((KeyboardInterrupt, SystemExit)) is not None:
        return False
    if isinstance(error, Exception):
        return True
    # asyncio.run cancels all tasks one by one when it ends, and this one's turn may come before
    # that of the task which then tells this one that it is shut down.
    await cancel_shielded_checkpoint()
    return not is_cancelled()


def is_cancelled() -> bool:
    """Say whether this task is cancelled."""
    return current_effective_deadline() == -math.inf


def encode_json(item: object) -> str:
    """Return `item` as compact JSON: the default encoder.

    Raises `InvalidMessage` for what JSON cannot say, NaN and infinity included.
    """
    try:
        return json.dumps(item, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidMessage(
            f"a source yields text, bytes, a Message, or what JSON can say; "
            f"a {type(item).__name__} is none: {error}; for others, give Streams an `encode`"
        ) from error


_DATA: Final = (str, bytes)


def to_message(item: object, encode: Encoder) -> Message:
    """Return `item` as a message.

    Raises `InvalidMessage`, or whatever `encode` raises.
    """
    if isinstance(item, _DATA):
        return Message(item)
    if isinstance(item, Message):
        return item
    if item is None:  # what a provider's SDK has in place of text where there is none
        raise InvalidMessage(
            "None is no message: leave out what has no text, or yield 'null' where that is meant"
        )
    encoded = encode(item)
    return encoded if isinstance(encoded, Message) else Message(encoded)


def check_source(source: object) -> None:
    """Raise `InvalidInput` when `source` is nothing that can produce a stream."""
    if isinstance(source, str | bytes) or not (
        callable(source) or isinstance(source, AsyncIterable | Iterable)
    ):
        raise InvalidInput(
            "a source is an async iterable, an iterable, or a callable that returns one; "
            f"got {type(source).__name__}"
        )


def wants_history(source: Source) -> bool:
    """Say whether `source` is a callable that asks for what is already in the log."""
    if isinstance(source, AsyncIterable | Iterable):
        return False
    try:
        parameters = inspect.signature(source).parameters.values()
    except ValueError:
        return False
    return any(
        parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        for parameter in parameters
    )


@asynccontextmanager
async def opened(
    source: Source, history: Sequence[Event] | None, limiter: CapacityLimiter
) -> AsyncGenerator[AsyncIterator[object], None]:
    """Open a source and close it again, whatever happens.

    `history` is handed to a callable that asks for it; `limiter` bounds the worker threads. Closing
    is shielded from cancellation for at most five seconds.
    """
    items = await _called(source, history)
    iterator: AsyncIterator[object] | None = None
    try:
        if _is_async(items):
            iterator = aiter(items)
        else:
            iterator = _Threaded(cast("Iterable[object]", items), limiter)
        yield iterator
    finally:
        if iterator is not None:
            await close(iterator, limiter)
        if _is_async(items) and items is not iterator:
            await close(items, limiter)


async def close(source: object, limiter: CapacityLimiter) -> None:
    """Close a source that is not needed, or not any more; one without a `close` is left alone.

    Shielded from cancellation for at most five seconds. Raises what the source raises.
    """
    with move_on_after(CLEANUP_SECONDS, shield=True):
        if inspect.iscoroutine(source):
            source.close()
        elif _is_async(source):
            method = getattr(source, "aclose", None) or getattr(source, "close", None)
            closing = method() if callable(method) else None
            if inspect.isawaitable(closing):
                await closing
        elif _is_items(source):
            await _Threaded(source, limiter).aclose()


def _is_async(items: object) -> TypeGuard[AsyncIterable[object]]:
    return isinstance(items, AsyncIterable)


def _is_items(items: object) -> TypeGuard[Iterable[object]]:
    return isinstance(items, AsyncIterable | Iterable) and not isinstance(items, str | bytes)


async def _called(source: Source, history: Sequence[Event] | None) -> Items:
    if _is_items(source):
        return source
    if history is None:
        made = cast("Callable[[], Items | Awaitable[Items]]", source)()
    else:
        made = cast("Callable[[Sequence[Event]], Items | Awaitable[Items]]", source)(history)
    items: object = await made if inspect.isawaitable(made) else made
    if not _is_items(items):
        raise InvalidInput(
            f"a source that is called returns an (async) iterable, got {type(items).__name__}"
        )
    return items


class _Threaded:
    """Iterate in worker threads, so that a source that blocks holds up nobody else.

    Cancelled, it abandons the step under way: the thread goes on until the source yields again,
    and closes it then.
    """

    def __init__(self, items: Iterable[object], limiter: CapacityLimiter) -> None:
        self._items = items
        self._limiter = limiter
        self._iterator: Iterator[object] | None = None
        self._busy = threading.Lock()
        self._left = threading.Event()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> object:
        item = await to_thread.run_sync(self._step, limiter=self._limiter, abandon_on_cancel=True)
        if item is _EXHAUSTED:
            raise StopAsyncIteration
        return item

    async def aclose(self) -> None:
        self._left.set()
        if not self._busy.locked() and (_closes(self._iterator) or _closes(self._items)):
            await to_thread.run_sync(self._close, limiter=self._limiter, abandon_on_cancel=True)

    def _step(self) -> object:
        with self._busy:
            if self._left.is_set():
                return _EXHAUSTED
            if self._iterator is None:
                self._iterator = iter(self._items)
            item = next(self._iterator, _EXHAUSTED)
        if self._left.is_set():
            self._close()
        return item

    def _close(self) -> None:
        with self._busy:
            for each in {id(each): each for each in (self._iterator, self._items)}.values():
                if _closes(each):
                    each.close()


def _closes(source: object) -> TypeGuard[_Closable]:
    return callable(getattr(source, "close", None))


class _Closable(Protocol):
    def close(self) -> object: ...


_EXHAUSTED: Final = object()
