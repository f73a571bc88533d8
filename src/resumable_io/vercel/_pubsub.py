"""What carries the protocol: somebody who publishes, and channels that can be listened to."""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Protocol, TypeAlias

from anyio import CancelScope, current_time

from resumable_core import BackendError, Interrupted
from resumable_io._sources import CLEANUP_SECONDS
from resumable_io._wakeup import Wakeup

logger: Final = logging.getLogger("resumable_io.vercel")

MAILBOX_MESSAGES: Final = 1024
"""Messages that wait in one mailbox at most; who overflows it asks for the text anew."""

Item: TypeAlias = str | Interrupted
Callback: TypeAlias = Callable[[str], Coroutine[Any, Any, None]]


class Publisher(Protocol):
    """Publish, and keep a few keys: what a Redis client does. Bring your own, if you like.

    All that is published for one stream must arrive in the order in which it was published.
    """

    async def connect(self) -> object:
        """Connect; called once, when the context is entered."""
        ...

    async def publish(self, channel: str, message: str) -> int | None:
        """Publish a message and return how many have received it; None when that is not known.

        0 is taken at its word: nobody is there. In a cluster, only None is true.
        """
        ...

    async def set(self, key: str, value: str, *, ex: int | None = None) -> object:
        """Set a key, to expire after `ex` seconds."""
        ...

    async def get(self, key: str) -> str | bytes | int | None:
        """Return the value of a key, or None."""
        ...

    async def incr(self, key: str) -> int:
        """Add 1 to a key, which counts as 0 when it is missing, and return the result.

        Raises an exception that says "not an integer", as Redis does, for any other value.
        """
        ...


class Subscriber(Protocol):
    """Listen to channels. Bring your own, if you like."""

    async def connect(self) -> object:
        """Connect; called once, when the context is entered."""
        ...

    async def subscribe(self, channel: str, callback: Callback) -> object:
        """Listen to a channel; return when that is in force.

        The callback is done when it returns; it may be awaited, and need not be.
        """
        ...

    async def unsubscribe(self, channel: str) -> object:
        """Give a channel up."""
        ...


class Inbox(Protocol):
    """Receive what comes on one channel."""

    async def receive(self) -> Sequence[Item]:
        """Wait for messages and return all there are; `Interrupted`: some may be missing here."""
        ...


class Channels(ABC):
    """Listen to channels."""

    @abstractmethod
    def subscribed(self, channel: str) -> AbstractAsyncContextManager[Inbox]:
        """Listen to a channel; entered when that is in force. Raises `BackendError`."""


class Mailbox:
    """Hold what came on one channel until it is received."""

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._news = Wakeup()

    def put(self, item: Item) -> None:
        """Add an item; what is full forgets all it holds, and says so."""
        if len(self._items) >= MAILBOX_MESSAGES:
            self._items.clear()
            item = Interrupted()
        self._items.append(item)
        self._news.wake()

    async def receive(self) -> Sequence[Item]:
        """Wait for messages and return all there are."""
        while not self._items:
            await self._news.wait()
        items = tuple(self._items)
        self._items.clear()
        return items


class CallbackChannels(Channels):
    """Listen to the channels of a `Subscriber`."""

    def __init__(self, subscriber: Subscriber) -> None:
        self._subscriber = subscriber

    @asynccontextmanager
    async def subscribed(self, channel: str) -> AsyncGenerator[Inbox, None]:
        """Listen to a channel; raises what the subscriber raises."""
        mailbox = Mailbox()

        def take(message: str | bytes) -> _Handled:
            mailbox.put(to_text(message))
            return _Handled()

        try:
            await self._subscriber.subscribe(channel, take)
            yield mailbox
        finally:
            with CancelScope(deadline=current_time() + CLEANUP_SECONDS, shield=True):
                try:
                    await self._subscriber.unsubscribe(channel)
                except Exception:
                    logger.exception("a channel could not be given up: %r", channel)


class _Handled(Coroutine[None, None, None]):
    """Be a coroutine that has nothing left to do: some subscribers await callbacks, some don't."""

    def __await__(self) -> _Handled:
        return self

    def __iter__(self) -> _Handled:
        return self

    def __next__(self) -> None:
        raise StopIteration

    def send(self, value: None) -> None:
        raise StopIteration

    def throw(self, *error: Any) -> None:
        raise error[0]

    def close(self) -> None:
        pass


class MemoryPubSub:
    """Be publisher and subscriber within one process: for tests, and for a single server.

    It lives in one event loop.
    """

    def __init__(self) -> None:
        self._values: dict[str, tuple[str, float]] = {}
        self._callbacks: dict[str, list[Callback]] = {}

    async def connect(self) -> None:
        """Do nothing."""

    async def publish(self, channel: str, message: str) -> int:
        """Hand a message to all who listen, and return how many they are."""
        callbacks = tuple(self._callbacks.get(channel, ()))
        for callback in callbacks:
            await callback(message)
        return len(callbacks)

    async def subscribe(self, channel: str, callback: Callback) -> None:
        """Listen to a channel."""
        self._callbacks.setdefault(channel, []).append(callback)

    async def unsubscribe(self, channel: str) -> None:
        """Give up what was subscribed to last."""
        callbacks = self._callbacks.get(channel, [])
        if callbacks:
            callbacks.pop()
        if not callbacks:
            self._callbacks.pop(channel, None)

    async def set(self, key: str, value: str, *, ex: int | None = None) -> None:
        """Set a key; those that have expired are removed."""
        now = current_time()
        self._values = {name: kept for name, kept in self._values.items() if kept[1] > now}
        self._values[key] = (value, math.inf if ex is None else now + ex)

    async def get(self, key: str) -> str | None:
        """Return the value of a key."""
        return self._kept(key)[0]

    async def incr(self, key: str) -> int:
        """Add 1 to a key. Raises `BackendError` when it holds no integer."""
        value, until = self._kept(key)
        try:
            number = int(value or "0") + 1
        except ValueError:
            raise BackendError("value is not an integer or out of range") from None
        self._values[key] = (str(number), until)
        return number

    def _kept(self, key: str) -> tuple[str | None, float]:
        value, until = self._values.get(key, (None, math.inf))
        return (value, until) if until > current_time() else (None, math.inf)


def to_text(value: object) -> str:
    """Return what a client answers as text."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
