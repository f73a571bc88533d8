"""Backends whose channels are broken, each in one way that the kit has to find."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from anyio import current_time
from anyio.lowlevel import checkpoint

from resumable_core import (
    Delete,
    EventId,
    Message,
    Publication,
    Retention,
    State,
    Stop,
    StreamExists,
)
from resumable_core.testing import copy_of
from resumable_io import MemoryBackend


def changed(change, **fields):
    """Return a change whose publications are others."""
    return replace(
        change, publications=tuple(replace(each, **fields) for each in change.publications)
    )


class Racing(MemoryBackend):
    """Reads, and stores a little later."""

    async def publish(self, log_id, change):
        if (log := self._logs.get(log_id)) is None:
            return await super().publish(log_id, change)
        before = copy_of(log)
        await checkpoint()
        self._logs[log_id] = before
        return self._apply(log_id, change, current_time()).ids


class Repetitive(MemoryBackend):
    """Looks up no keys."""

    async def publish(self, log_id, change):
        if (log := self._logs.get(log_id)) is not None:
            log.keys.clear()
        return await super().publish(log_id, change)


class Nostalgic(MemoryBackend):
    """Remembers keys for ever, whatever becomes of their events."""

    def __init__(self):
        super().__init__()
        self.keys = {}

    async def publish(self, log_id, change):
        ids = await super().publish(log_id, change)
        keys = self.keys.setdefault(log_id, {})
        self._logs[log_id].keys = keys | self._logs[log_id].keys
        keys |= self._logs[log_id].keys
        return ids


class Loyal(MemoryBackend):
    """Opens a channel under the epoch that it had before."""

    def __init__(self):
        super().__init__()
        self.epochs = {}

    async def publish(self, log_id, change):
        epoch = self.epochs.setdefault(log_id, change.epoch)
        if (log := self._logs.get(log_id)) and log.sentinel.state is State.DELETED:
            del self._logs[log_id]
        return await super().publish(log_id, replace(change, epoch=epoch))


class Clinging(MemoryBackend):
    """Leaves what was deleted where it was."""

    async def apply(self, stream_id, change):
        log = self._logs.get(stream_id)
        if isinstance(change, Delete) and log and log.sentinel.state is State.OPEN:
            await checkpoint()
            return log.sentinel
        return await super().apply(stream_id, change)


class Blabbing(MemoryBackend):
    """Tells everybody what is for some."""

    async def publish(self, log_id, change):
        return await super().publish(log_id, changed(change, to=None))


class Everlasting(MemoryBackend):
    """Forgets no channel."""

    async def publish(self, log_id, change):
        return await super().publish(log_id, replace(change, retention=Retention(keep=1e9)))


class Intruding(MemoryBackend):
    """Says that it has published to a stream."""

    async def publish(self, log_id, change):
        with suppress(StreamExists):
            return await super().publish(log_id, change)
        return [EventId(change.epoch, 1) for _ in change.publications]


class Stoppable(MemoryBackend):
    """Lets anybody stop a channel."""

    async def apply(self, stream_id, change):
        log = self._logs.get(stream_id)
        if isinstance(change, Stop) and log and log.sentinel.state is State.OPEN:
            await checkpoint()
            return log.sentinel
        return await super().apply(stream_id, change)


class Splitting(MemoryBackend):
    """Publishes one message after the other."""

    async def publish(self, log_id, change):
        ids = []
        for each in change.publications:
            ids += await super().publish(log_id, replace(change, publications=(each,)))
        return ids


class Sorting(MemoryBackend):
    """Returns ids in the order of the log."""

    async def publish(self, log_id, change):
        return sorted(await super().publish(log_id, change), key=lambda each: each.seq)


class Folding(MemoryBackend):
    """Takes keys for the same that differ in case alone."""

    async def publish(self, log_id, change):
        publications = tuple(
            Publication(each.message, each.key.lower(), each.to) for each in change.publications
        )
        return await super().publish(log_id, replace(change, publications=publications))


class Shortening(MemoryBackend):
    """Has room for so many messages in one change."""

    async def publish(self, log_id, change):
        first = replace(change, publications=change.publications[:256])
        ids = [*await super().publish(log_id, first)]
        return ids + [ids[-1]] * (len(change.publications) - len(ids))


class Translating(MemoryBackend):
    """Writes to a file in an encoding of the last century, as it were."""

    async def publish(self, log_id, change):
        publications = tuple(
            Publication(_in_latin_1(each.message), each.key, each.to)
            for each in change.publications
        )
        return await super().publish(log_id, replace(change, publications=publications))


def _in_latin_1(message):
    if not isinstance(message.data, str):
        return message
    return Message(message.data.encode("latin-1", "replace").decode("latin-1"), message.type)


BROKEN_CHANNELS = [
    *(Racing, Repetitive, Nostalgic, Loyal, Clinging, Blabbing, Everlasting, Intruding),
    *(Stoppable, Splitting, Sorting, Folding, Shortening, Translating),
]

FOUND_BY_CHANCE = [
    *(Repetitive, Nostalgic, Loyal, Clinging, Blabbing, Intruding, Sorting, Translating),
]
