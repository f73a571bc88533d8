"""Drive a Redis Cluster: one driver for each of its masters, and a map of who has which slot.

    key ──▶ hash tag ──▶ slot ──▶ master ──▶ driver of that one server

The map is asked for at first, after a node has failed, and for each new live feed. What a node
redirects is learned at once. All this is the same for both clients, and not left to theirs for
clusters: in a pipeline whose errors are looked at one by one they keep to a map that is old.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, TypeAlias, cast

from anyio import (
    TASK_STATUS_IGNORED,
    Event,
    Lock,
    create_task_group,
    fail_after,
    move_on_after,
    sleep,
)
from anyio.abc import TaskGroup, TaskStatus

from resumable_core import BackendError, BackendUnavailable

from ._cluster_feed import listening_to
from ._port import Address, Call, Command, Driver, Listener, Redirected, server_version
from ._slots import SLOTS, read_slots, slot_of

REDIRECTIONS: Final = 5
"""Times that something is passed on before it is left to be repeated."""

NODE_TIMEOUT: Final = 1.0
"""Seconds for which one node may take to tell the map, or to let itself be listened to.

Less where all together may take less than four times that.
"""

RETRY: Final = 1.0
"""Seconds between two attempts at a master that is away."""

SHARDED_SINCE: Final = (7, 0)
"""The version from which on a message need not go to all nodes."""

Run: TypeAlias = Callable[[Driver, Sequence[int]], Awaitable[Sequence[Any]]]
"""Carries out what is meant for one node: those with the given indices."""


class _Node:
    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.gone = Event()


class ClusterDriver(Driver):
    """Drive a cluster.

    `start` is where to ask for the map at first, `driver_of` makes the driver of one node.
    `timeout` is for how many seconds all together may take to answer.
    """

    def __init__(
        self, start: Sequence[Address], driver_of: Callable[[Address], Driver], timeout: float
    ) -> None:
        self._start = start
        self._driver_of = driver_of
        self._patience = min(NODE_TIMEOUT, timeout / 4)
        self._nodes: dict[Address, _Node] = {}
        self._owners: list[Address | None] = [None] * SLOTS
        self._masters: set[Address] = set()
        self._stale = True
        self._was_whole = False
        self._mapping = Lock()
        self._opening = Lock()
        self._tasks: TaskGroup

    @asynccontextmanager
    async def connected(self) -> AsyncGenerator[None, None]:
        async with create_task_group() as self._tasks:
            try:
                yield
            finally:
                for node in self._nodes.values():
                    node.gone.set()

    async def pipeline(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands, each where the first of its arguments is: a key or a channel."""

        def run(driver: Driver, which: Sequence[int]) -> Awaitable[Sequence[Any]]:
            return driver.pipeline([commands[index] for index in which])

        return await self._routed([slot_of(str(command[1])) for command in commands], run)

    async def evaluate(
        self, calls: Sequence[Call], *, replicas: int = 0, asking: bool = False
    ) -> list[Any]:
        def run(driver: Driver, which: Sequence[int]) -> Awaitable[Sequence[Any]]:
            return driver.evaluate([calls[index] for index in which], replicas=replicas)

        replies = await self._routed([slot_of(call.keys[0]) for call in calls], run)
        for index, reply in enumerate(replies):
            if isinstance(reply, Redirected):  # the slot is on its way
                node = await self._node(reply.address)
                (replies[index],) = await node.driver.evaluate(
                    [calls[index]], replicas=replicas, asking=True
                )
        return replies

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator[Listener, None]:
        self._stale = True
        await self._ask_for_map()
        nodes = {address: (await self._node(address)).driver for address in sorted(self._masters)}
        sharded = self.publish == "SPUBLISH"
        owner_of = self._owners.__getitem__
        # At the start all have to be there, for whose sake whoever enters waits.
        patience = self._patience if self._was_whole else math.inf
        async with listening_to(nodes, owner_of, self._back, patience, sharded=sharded) as listener:
            if listener.away and not self._was_whole:
                raise next(iter(listener.away.values()))
            self._was_whole = True
            yield listener

    async def _back(self, away: AbstractSet[Address]) -> None:
        """Wait until one of some masters is back, or the map names others in their place."""
        while True:
            await sleep(RETRY)
            self._stale = True
            with suppress(BackendUnavailable):
                await self._ask_for_map()
            if away - self._masters:
                return
            for address in away:
                if await self._can_be_listened_to(address):
                    return

    async def _can_be_listened_to(self, address: Address) -> bool:
        try:
            with move_on_after(self._patience):
                async with (await self._node(address)).driver.listening():
                    return True
        except* BackendUnavailable:
            pass
        return False

    async def scan(self, pattern: str, cursor: object) -> tuple[object, Sequence[str]]:
        """Scan one master after the other. What moves meanwhile may come twice, or not."""
        if cursor is None:
            await self._ask_for_map()
            cursor = (tuple(sorted(self._masters)), None)
        (address, *others), place = cast("tuple[Sequence[Address], object]", cursor)
        place, keys = await (await self._node(address)).driver.scan(pattern, place)
        if place is not None:
            return ((address, *others), place), keys
        return ((others, None) if others else None), keys

    async def check(self) -> None:
        """Do nothing: who tells its slots is a node of a cluster."""

    async def eviction_policy(self) -> str:
        """Return that of a master that evicts."""
        for address in sorted(self._masters):
            if policy := await (await self._node(address)).driver.eviction_policy():
                return policy
        return ""

    def shard_of(self, key: str) -> Hashable:
        return self._owners[slot_of(key)]

    # Inside

    async def _routed(self, slots: Sequence[int], run: Run) -> list[Any]:
        """Have each thing done where its slot is; follow where that has moved to."""
        replies: list[Any] = [None] * len(slots)
        todo = list(range(len(slots)))
        for _ in range(REDIRECTIONS):
            if self._stale:
                await self._ask_for_map()
            by_node: dict[Address, list[int]] = {}
            for index in todo:
                owner = self._owners[slots[index]]
                if owner is None:
                    self._stale = True
                    raise BackendUnavailable(f"slot {slots[index]} of the cluster is nobody's")
                by_node.setdefault(owner, []).append(index)
            try:
                for address, which in by_node.items():
                    node = await self._node(address)
                    for index, reply in zip(which, await run(node.driver, which), strict=True):
                        replies[index] = reply
            except BaseException:
                self._stale = True
                raise
            todo = [index for index in todo if self._has_moved(replies[index])]
            if not todo:
                break
        return replies

    def _has_moved(self, reply: Any) -> bool:
        """Say whether a reply tells that a slot is another node's, and learn that."""
        if not (isinstance(reply, Redirected) and reply.moved):
            return False
        self._owners[reply.slot] = reply.address
        self._masters.add(reply.address)
        return True

    async def _ask_for_map(self) -> None:
        """Have one of the nodes tell the map, if nobody else has meanwhile."""
        async with self._mapping:
            if not self._stale:
                return
            failure: BackendError = BackendUnavailable("no node of the cluster is known")
            for address in dict.fromkeys((*self._nodes, *self._start)):
                try:
                    with fail_after(self._patience):
                        node = await self._node(address)
                        (reply,) = await node.driver.pipeline([("CLUSTER", "SLOTS")])
                        owners = read_slots(reply, address)
                except TimeoutError:
                    failure = BackendUnavailable(f"{address[0]}:{address[1]} did not answer")
                except BackendError as error:
                    failure = error
                else:
                    await self._adopt(owners)
                    return
                if address in self._nodes:  # the next time, it is asked last
                    self._nodes[address] = self._nodes.pop(address)
            raise failure

    async def _adopt(self, owners: list[Address | None]) -> None:
        """Take a map, and part with those who are no masters any more."""
        first = not self._masters
        self._owners[:] = owners
        self._masters = {owner for owner in owners if owner is not None}
        for address in self._nodes.keys() - self._masters:
            self._nodes.pop(address).gone.set()
        if first and await self._oldest_version() >= SHARDED_SINCE:
            self.publish = "SPUBLISH"
        self._stale = False

    async def _oldest_version(self) -> tuple[int, ...]:
        versions: list[tuple[int, ...]] = []
        for address in self._masters:
            (hello,) = await (await self._node(address)).driver.pipeline([("HELLO",)])
            versions.append(server_version(hello))
        return min(versions, default=())

    async def _node(self, address: Address) -> _Node:
        if address not in self._nodes:
            async with self._opening:
                if address not in self._nodes:
                    self._nodes[address] = await self._tasks.start(self._serve, address)
        return self._nodes[address]

    async def _serve(
        self, address: Address, *, task_status: TaskStatus[_Node] = TASK_STATUS_IGNORED
    ) -> None:
        """Keep the client of a node open as long as it is needed, in one task from end to end."""
        node = _Node(self._driver_of(address))
        async with node.driver.connected():
            task_status.started(node)
            await node.gone.wait()
