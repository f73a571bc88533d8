"""The port to a Redis client: all that the backend asks of one."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar, cast

from resumable_core import BackendError, BackendUnavailable

E = TypeVar("E", bound=BaseException)

REPLY_TIMEOUT: Final = 5.0
"""Seconds for which Redis may take to answer, or to accept a connection."""

SCAN_COUNT: Final = 100
"""Keys that Redis looks at for one page of a scan."""

WAIT_TIMEOUT: Final = 1_000
"""Milliseconds for which replicas may take to get a write that waits for them."""

Argument: TypeAlias = str | bytes | int
Command: TypeAlias = Sequence[Argument]
"""A command and its arguments."""
Address: TypeAlias = tuple[str, int]
"""A host and a port."""


class UnknownScript(BackendUnavailable):
    """Say that Redis does not remember a script: load it."""


class Moved(BackendUnavailable):
    """Say that what was listened to is at another node of a cluster by now: that is no outage."""


class Redirected(Moved):
    """Say that another node of a cluster has what was asked for.

    `moved`: from now on; else a slot is on its way there, and this one thing is there already.
    """

    def __init__(self, slot: int, address: Address, *, moved: bool) -> None:
        super().__init__(
            f"this is a node of a Redis Cluster, and slot {slot} is at {address[0]}:{address[1]}: "
            "a cluster's URL begins with redis+cluster:// or rediss+cluster://"
        )
        self.slot = slot
        self.address = address
        self.moved = moved


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


class Call(NamedTuple):
    """Ask for one run of a script."""

    script: Script
    keys: Sequence[str]
    arguments: Sequence[Argument]

    @property
    def command(self) -> Command:
        """Return the command that runs it."""
        return ("EVALSHA", self.script.sha, len(self.keys), *self.keys, *self.arguments)


class Confirmed(NamedTuple):
    """Say that a subscription to a channel is in force, for the first time or again."""

    channel: str


class Published(NamedTuple):
    """Carry what was published on a channel."""

    channel: str
    payload: bytes


class Ended(NamedTuple):
    """Say that a subscription to a channel is not in force any more, asked for or not."""

    channel: str


Heard: TypeAlias = Confirmed | Published | Ended | None
"""What a listener hears; None for what does not matter."""


class Listener(ABC):
    """Hold one connection that listens to channels; in a cluster, one for each master."""

    @abstractmethod
    async def subscribe(self, channels: Sequence[str], *, sharded: bool = False) -> None:
        """Ask for channels; `receive` tells when the subscription is in force."""

    @abstractmethod
    async def unsubscribe(self, channels: Sequence[str], *, sharded: bool = False) -> None:
        """Give channels up."""

    def reaches(self, channel: str) -> bool:
        """Say whether the server of a channel is listened to; of one on all servers, all of them.

        In a cluster one of them may be away.
        """
        return True

    @abstractmethod
    async def receive(self) -> Heard:
        """Wait for what comes next. Raises `BackendUnavailable`."""


class Driver(ABC):
    """Drive one Redis client. Raises `BackendUnavailable` for all that a retry may cure."""

    publish: str = "PUBLISH"
    """The command with which scripts publish."""

    @abstractmethod
    def connected(self) -> AbstractAsyncContextManager[None]:
        """Open the client, and close it, if it is ours; connections are made when needed."""

    @abstractmethod
    async def pipeline(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands in one round trip and return their replies, with strings as bytes.

        An error of a command stands in the place of its reply.
        """

    @abstractmethod
    def listening(self) -> AbstractAsyncContextManager[Listener]:
        """Open a connection that listens, to a server that takes commands.

        One that loads its data lets everybody listen, and refuses all the rest.
        """

    @abstractmethod
    async def scan(self, pattern: str, cursor: object) -> tuple[object, Sequence[str]]:
        """Return a page of the keys that match a glob pattern, and the cursor of the next one.

        The cursor is None at the beginning, and after the last page. Keys may come twice.
        """

    async def evaluate(
        self, calls: Sequence[Call], *, replicas: int = 0, asking: bool = False
    ) -> list[Any]:
        """Run scripts in one round trip and return their replies; an error stands in its place.

        With `replicas`, wait until so many have got what was written, for `WAIT_TIMEOUT`. With
        `asking`, say that a slot of a cluster may be on its way here.
        """
        replies = await self._evaluate(calls, replicas, asking=asking)
        unknown = [i for i, reply in enumerate(replies) if isinstance(reply, UnknownScript)]
        if unknown:
            sources = {calls[index].script.source for index in unknown}
            await self.pipeline([("SCRIPT", "LOAD", source) for source in sources])
            again = [calls[index] for index in unknown]
            for index, reply in zip(
                unknown, await self._evaluate(again, replicas, asking=asking), strict=True
            ):
                replies[index] = reply
        return replies

    async def _evaluate(self, calls: Sequence[Call], replicas: int, *, asking: bool) -> list[Any]:
        commands: list[Command] = []
        for call in calls:
            commands += [("ASKING",), call.command] if asking else [call.command]
        if replicas:
            commands.append(("WAIT", replicas, WAIT_TIMEOUT))
        replies = await self.pipeline(commands)
        if replicas:
            reached = replies.pop()
            if isinstance(reached, Exception):
                raise reached
            if reached < replicas:
                raise BackendUnavailable(
                    f"only {reached} of {replicas} replicas have got what was written"
                )
        return replies[1::2] if asking else replies

    async def check(self) -> None:
        """Raise `BackendError` when what answers is not what this driver is for."""
        (hello,) = await self.pipeline([("HELLO",)])
        if server_mode(hello) == "cluster":
            raise BackendError(
                "this is a node of a Redis Cluster: "
                "its URL begins with redis+cluster:// or rediss+cluster://"
            )

    async def eviction_policy(self) -> str:
        """Return by which policy keys are thrown away when memory is full; nothing if none are."""
        (info,) = await self.pipeline([("INFO", "memory")])
        return eviction_policy(info)

    # Where a client does not know one server, but several

    def shard_of(self, key: str) -> Hashable:
        """Return the name of the server that has a key."""
        return None


def server_mode(hello: object) -> str:
    """Return what a server says that it is: standalone, sentinel, cluster; or nothing."""
    return _said(hello, b"mode")


def server_version(hello: object) -> tuple[int, ...]:
    """Return the version of a server, as (7, 0, 15); nothing when it does not tell."""
    return tuple(int(part) for part in _said(hello, b"version").split(".") if part.isdecimal())


def eviction_policy(info: object) -> str:
    """Return what the memory section of INFO says of it; nothing when that is refused."""
    if not isinstance(info, bytes):
        return ""
    said = dict(line.split(b":", 1) for line in info.splitlines() if b":" in line)
    policy = said.get(b"maxmemory_policy", b"").decode()
    evicts = policy != "noeviction" and said.get(b"maxmemory", b"0") != b"0"
    return policy if evicts else ""


def _said(hello: object, name: bytes) -> str:
    match hello:
        case dict():
            said = cast("dict[bytes, object]", hello)
        case list():
            parts = iter(cast("list[bytes]", hello))
            said = dict(zip(parts, parts, strict=False))
        case _:  # a proxy that does not know the command
            return ""
    value = said.get(name, b"")
    return value.decode() if isinstance(value, bytes) else ""


def first_of(errors: BaseExceptionGroup[E]) -> E:
    """Return one of the exceptions that came in a group."""
    first: object = errors
    while isinstance(first, BaseExceptionGroup):
        first = cast("BaseExceptionGroup[BaseException]", first).exceptions[0]
    return cast("E", first)
