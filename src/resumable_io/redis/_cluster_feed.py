"""Listen to a Redis Cluster: one connection to each master, and what they carry as one.

A channel with a hash tag is sharded, where the cluster can do so, and listened to at the master
that has its slot. One without is listened to everywhere, so that its confirmation says that all
connections stand; what is published on it is taken from one of them.

When a connection breaks, all are made anew: with a new map, whatever was the reason.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from anyio import create_memory_object_stream, create_task_group
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from resumable_core import BackendUnavailable

from ._port import Address, Confirmed, Driver, Ended, Heard, Listener, Published
from ._slots import slot_of, tag_of

WAITING: int = 64
"""Messages of all masters that wait to be taken; then the connections wait."""


@asynccontextmanager
async def listening_to(
    nodes: Mapping[Address, Driver], owner_of: Callable[[int], Address | None], *, sharded: bool
) -> AsyncGenerator[Listener, None]:
    """Open a connection to each of `nodes`; `owner_of` says which of them has a slot."""
    send, receive = create_memory_object_stream[Heard](WAITING)
    async with AsyncExitStack() as stack:
        stack.enter_context(send)
        stack.enter_context(receive)
        listeners = {
            address: await stack.enter_async_context(driver.listening())
            for address, driver in nodes.items()
        }
        tasks = await stack.enter_async_context(create_task_group())
        stack.callback(tasks.cancel_scope.cancel)
        cluster = _ClusterListener(listeners, owner_of, receive, sharded=sharded)
        for address in listeners:
            tasks.start_soon(cluster.pass_on, address, send)
        yield cluster


class _ClusterListener(Listener):
    def __init__(
        self,
        listeners: Mapping[Address, Listener],
        owner_of: Callable[[int], Address | None],
        heard: MemoryObjectReceiveStream[Heard],
        *,
        sharded: bool,
    ) -> None:
        self._listeners = listeners
        self._owner_of = owner_of
        self._heard = heard
        self._sharded = sharded
        self._unconfirmed: dict[str, set[Address]] = {}
        """Of channels without a tag, the masters that are still to confirm them."""

    async def subscribe(self, channels: Sequence[str], *, sharded: bool = False) -> None:
        tagged, untagged = _divided(channels)
        # Those without a tag come last: their confirmation tells that there is none to come before.
        for slot, together in tagged.items():
            await self._at(slot).subscribe(together, sharded=self._sharded)
        if untagged:
            for channel in untagged:
                self._unconfirmed[channel] = set(self._listeners)
            for listener in self._listeners.values():
                await listener.subscribe(untagged)

    async def unsubscribe(self, channels: Sequence[str], *, sharded: bool = False) -> None:
        tagged, untagged = _divided(channels)
        for slot, together in tagged.items():
            await self._at(slot).unsubscribe(together, sharded=self._sharded)
        if untagged:
            for listener in self._listeners.values():
                await listener.unsubscribe(untagged)

    async def receive(self) -> Heard:
        return await self._heard.receive()

    async def pass_on(self, address: Address, send: MemoryObjectSendStream[Heard]) -> None:
        """Hand over what one of the masters says."""
        listener = self._listeners[address]
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

    def _at(self, slot: int) -> Listener:
        owner = self._owner_of(slot)
        if owner is None or owner not in self._listeners:
            raise BackendUnavailable(f"slot {slot} of the cluster has moved")
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
