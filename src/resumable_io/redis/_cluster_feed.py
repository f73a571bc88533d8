"""Listen to a Redis Cluster: one connection to each master, and what they carry as one.

A channel with a hash tag is sharded, where the cluster can do so, and listened to at the master
that has its slot. One without is listened to everywhere, so that its confirmation says that all
connections stand; what is published on it is taken from one of them.

When a connection breaks, all are made anew: with a new map, whatever was the reason. A master that
is away then is left out, so that it holds up nobody else's streams; when it is back, or another has
taken its place, all are made anew once more.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from anyio import (
    TASK_STATUS_IGNORED,
    create_memory_object_stream,
    create_task_group,
    fail_after,
)
from anyio.abc import TaskStatus
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from resumable_core import BackendUnavailable

from ._port import Address, Confirmed, Driver, Ended, Heard, Listener, Moved, Published, first_of
from ._slots import slot_of, tag_of

WAITING: int = 64
"""Messages of all masters that wait to be taken; then the connections wait."""


BACK: Final = "a master of the Redis Cluster is back, or has a successor"


@asynccontextmanager
async def listening_to(
    nodes: Mapping[Address, Driver],
    owner_of: Callable[[int], Address | None],
    back: Callable[[AbstractSet[Address]], Awaitable[None]],
    patience: float,
    *,
    sharded: bool,
) -> AsyncGenerator[_ClusterListener, None]:
    """Open a connection to each of `nodes`; `owner_of` says which of them has a slot.

    One of them that takes longer than `patience`, in seconds, is away; `back` waits until one that
    is away is there again. Raises `BackendUnavailable` when all of them are away.
    """
    send, receive = create_memory_object_stream[Heard](WAITING)
    async with AsyncExitStack() as stack:
        stack.enter_context(send)
        stack.enter_context(receive)
        tasks = await stack.enter_async_context(create_task_group())
        stack.callback(tasks.cancel_scope.cancel)
        cluster = _ClusterListener(owner_of, receive, sharded=sharded)
        async with create_task_group() as opening:

            async def open_one(address: Address, driver: Driver) -> None:
                try:
                    with fail_after(patience):
                        await tasks.start(cluster.listen, address, driver, send)
                except* TimeoutError:
                    cluster.away[address] = BackendUnavailable(
                        f"{address[0]}:{address[1]} did not answer"
                    )
                except* BackendUnavailable as errors:
                    cluster.away[address] = first_of(errors)

            for address, driver in nodes.items():
                opening.start_soon(open_one, address, driver)
        if len(cluster.away) == len(nodes):
            raise next(iter(cluster.away.values()), BackendUnavailable("it has no masters"))
        if cluster.away:

            async def end_when_back() -> None:
                await back(cluster.away.keys())
                raise BackendUnavailable(BACK)

            tasks.start_soon(end_when_back)
        yield cluster


class _ClusterListener(Listener):
    def __init__(
        self,
        owner_of: Callable[[int], Address | None],
        heard: MemoryObjectReceiveStream[Heard],
        *,
        sharded: bool,
    ) -> None:
        self.away: dict[Address, BackendUnavailable] = {}
        """The masters that could not be listened to, and why."""
        self._listeners: dict[Address, Listener] = {}
        self._owner_of = owner_of
        self._heard = heard
        self._sharded = sharded
        self._unconfirmed: dict[str, set[Address]] = {}
        """Of channels without a tag, the masters that are still to confirm them."""

    def reaches(self, channel: str) -> bool:
        if not tag_of(channel):
            return not self.away
        return self._owner_of(slot_of(channel)) in self._listeners

    async def subscribe(self, channels: Sequence[str], *, sharded: bool = False) -> None:
        tagged, untagged = _divided(channels)
        # Those without a tag come last: their confirmation tells that there is none to come before.
        for slot, together in tagged.items():
            if listener := self._at(slot):
                await listener.subscribe(together, sharded=self._sharded)
        if untagged:
            for channel in untagged:
                self._unconfirmed[channel] = set(self._listeners)
            for listener in self._listeners.values():
                await listener.subscribe(untagged)

    async def unsubscribe(self, channels: Sequence[str], *, sharded: bool = False) -> None:
        tagged, untagged = _divided(channels)
        for slot, together in tagged.items():
            if listener := self._at(slot):
                await listener.unsubscribe(together, sharded=self._sharded)
        if untagged:
            for listener in self._listeners.values():
                await listener.unsubscribe(untagged)

    async def receive(self) -> Heard:
        return await self._heard.receive()

    async def listen(
        self,
        address: Address,
        driver: Driver,
        send: MemoryObjectSendStream[Heard],
        *,
        task_status: TaskStatus[None] = TASK_STATUS_IGNORED,
    ) -> None:
        """Listen to one of the masters, and hand over what it says."""
        async with driver.listening() as listener:
            self._listeners[address] = listener
            task_status.started()
            while True:
                heard = await listener.receive()
                if heard is not None and self._counts(heard, address):
                    await send.send(heard)

    def _counts(self, heard: Confirmed | Published | Ended, address: Address) -> bool:
        if tag_of(heard.channel):
            return True
        if isinstance(heard, Confirmed):
            unconfirmed = self._unconfirmed[heard.channel]
            unconfirmed.discard(address)
            return not unconfirmed
        return address == self._owner_of(slot_of(heard.channel))

    def _at(self, slot: int) -> Listener | None:
        """Return the listener for a slot; None while its master is away."""
        owner = self._owner_of(slot)
        if owner in self.away:
            return None
        if owner is None or owner not in self._listeners:
            raise Moved(f"slot {slot} of the cluster has moved")
        return self._listeners[owner]


def _divided(channels: Sequence[str]) -> tuple[dict[int, list[str]], list[str]]:
    """Return the channels with a tag by their slots, and those without."""
    tagged: dict[int, list[str]] = {}
    untagged: list[str] = []
    for channel in channels:
        if tag_of(channel):
            tagged.setdefault(slot_of(channel), []).append(channel)
        else:
            untagged.append(channel)
    return tagged, untagged
