"""The port to a Redis client: all that the backend asks of one."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final, TypeVar, cast

E = TypeVar("E", bound=BaseException)

REPLY_TIMEOUT: Final = 5.0
"""Seconds for which Redis may take to answer, or to accept a connection."""

SCAN_COUNT: Final = 100
"""Keys that Redis looks at for one page of a scan."""


@dataclass(frozen=True, slots=True)
class Script:
    """Hold a Lua script and the name under which a server remembers it."""

    source: str
    sha: str

    @classmethod
    def load(cls, name: str) -> Script:
        """Return the script in the file `name` beside this module."""
        source = resources.files("resumable_io.redis").joinpath(name).read_text("utf-8")
        return cls(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


@dataclass(frozen=True, slots=True)
class Call:
    """Ask for one run of a script."""

    script: Script
    keys: Sequence[str]
    arguments: Sequence[str | bytes | int]


@dataclass(frozen=True, slots=True)
class Confirmed:
    """Say that a subscription to a channel is in force, for the first time or again."""

    channel: str


@dataclass(frozen=True, slots=True)
class Published:
    """Carry what was published on a channel."""

    channel: str
    payload: bytes


class Listener(ABC):
    """Hold one connection that listens to channels."""

    @abstractmethod
    async def subscribe(self, channels: Sequence[str]) -> None:
        """Ask for channels; `receive` tells when the subscription is in force."""

    @abstractmethod
    async def unsubscribe(self, channels: Sequence[str]) -> None:
        """Give channels up."""

    @abstractmethod
    async def receive(self) -> Confirmed | Published | None:
        """Wait for what comes next; None for what does not matter. Raises `BackendUnavailable`."""


class Driver(ABC):
    """Drive one Redis client. Raises `BackendUnavailable` for all that a retry may cure."""

    @abstractmethod
    def connected(self) -> AbstractAsyncContextManager[None]:
        """Open the client, and close it, if it is ours; connections are made when needed."""

    @abstractmethod
    async def evaluate(self, calls: Sequence[Call]) -> Sequence[Any]:
        """Run scripts in one round trip and return their replies; an error stands in its place."""

    @abstractmethod
    def listening(self) -> AbstractAsyncContextManager[Listener]:
        """Open a connection that listens."""

    @abstractmethod
    async def scan(self, pattern: str, cursor: object) -> tuple[object, Sequence[str]]:
        """Return a page of the keys that match a glob pattern, and the cursor of the next one.

        The cursor is None at the beginning, and after the last page. Keys may come twice.
        """


def is_full(error: Exception) -> bool:
    """Say whether Redis refuses to write because it has no memory left, and has changed nothing."""
    return "used memory > 'maxmemory'" in str(error)


def first_of(errors: BaseExceptionGroup[E]) -> E:
    """Return one of the exceptions that came in a group."""
    first: object = errors
    while isinstance(first, BaseExceptionGroup):
        first = cast("BaseExceptionGroup[BaseException]", first).exceptions[0]
    return cast("E", first)
