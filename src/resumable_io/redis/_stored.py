"""What Redis holds of a stream in the terms of core: calls of the scripts, and their replies."""

from __future__ import annotations

import json
import math
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from anyio import current_time

from resumable_core import (
    ABSENT,
    PAGE_BYTES,
    TOP,
    Appended,
    BackendError,
    Changed,
    Effect,
    FeedItem,
    ForeignData,
    Interrupted,
    Page,
    Sentinel,
    State,
    decode_batch,
    decode_sentinel,
    encode_batch,
    encode_sentinel,
    is_told,
    page_of,
)

from ._errors import FOREIGN
from ._keys import Keys, is_live
from ._port import Call, Script

COMMIT: Final = Script.load("commit.lua")
READ: Final = Script.load("read.lua")

PAGE_BATCHES: Final = 512
"""Batches in one page at most: Redis does nothing else while it reads them."""

NO_KEY: Final = -2
"""What PTTL says of a key that is not there."""


_NOTHING: Final[Mapping[str, int]] = {}


class Stored(NamedTuple):
    """Hold a sentinel as the store had it, and the token by which the store recognises it."""

    sentinel: Sentinel
    token: str
    clock: float
    """Seconds that the store's clock is ahead of the event loop's."""
    store: str = ""
    """What the server's memory goes back to; asked for where something is published."""
    published: Mapping[str, int] = _NOTHING
    """At which seqs a channel holds what was published under some keys."""

    def now(self) -> float:
        """Return what the store's clock shows now."""
        return current_time() + self.clock


def commit_call(
    keys: Keys,
    before: Stored,
    token: str,
    effect: Effect,
    *,
    now: float,
    publish: str,
    wanted: Sequence[str] = (),
) -> Call:
    """Return the call that puts `effect` in the place of what was there `before`.

    `publish` is the command with which the script tells of it. `wanted` are the keys under which
    something is published to a channel.
    """
    sentinel, batch = effect.sentinel, effect.batch
    old, gone, kept = before.sentinel, sentinel.state is State.ABSENT, sentinel.retention
    changed = is_told(old, sentinel)
    return Call(
        COMMIT,
        _names(keys, channel=bool(wanted) or old.state is State.OPEN),
        (
            before.token,
            token,
            b"" if gone else encode_sentinel(sentinel),
            0 if gone else _milliseconds(sentinel.lease_until - now),
            0 if gone else _milliseconds(sentinel.expires_at - now),
            "1" if effect.clear else "",
            encode_batch(batch) if batch else b"",
            batch.first_seq if batch else "",
            batch.last_seq if batch else "",
            batch.size if batch else "",
            max(0, sentinel.last_seq - kept.count + 1),
            kept.bytes,
            "" if kept.age is None else _milliseconds(kept.age),
            publish,
            keys.live if batch else "",
            keys.state if changed and not gone else "",
            before.store,
            _json(
                [
                    (key, str(before.published.get(key, "")), str(effect.keys.get(key, "")))
                    for key in wanted
                ]
            ),
        ),
    )


def read_call(keys: Keys, after: int, limit: int) -> Call:
    """Return the call that reads the sentinel and at most `limit` events after the seq `after`."""
    most = 0 if after == TOP else limit
    return Call(READ, _names(keys), (after, most, PAGE_BYTES, PAGE_BATCHES, ""))


def look_call(keys: Keys, wanted: Sequence[str] = ()) -> Call:
    """Return the call that reads the sentinel alone, and of a channel, the seqs of some keys."""
    return Call(READ, _names(keys, channel=bool(wanted)), (TOP, 0, 0, 0, _json(wanted)))


def clock_ahead(now: int) -> float:
    """Return how far the store's clock is ahead of ours, which shows `now`, in milliseconds."""
    return now / 1000 - current_time()


def stored(keys: Keys, found: Sequence[Any], wanted: Sequence[str] = ()) -> Stored:
    """Return what the scripts have found, asked for the keys `wanted`.

    Raises `BackendError` for what is not ours.
    """
    now, token, record, lease, ttl, store, seqs = found
    clock = clock_ahead(now)
    asked = zip(wanted, seqs, strict=True) if store else ()
    with _reading(keys.published):
        of_channel = (store.decode(), {key: int(seq) for key, seq in asked if seq})
    if ttl == NO_KEY:
        return Stored(ABSENT, "", clock, *of_channel)
    expires_at = math.inf if ttl < 0 else (now + ttl) / 1000
    with _reading(keys.sentinel):
        if not token:
            raise ValueError("it has no token")
        sentinel = decode_sentinel(record, lease_until=int(lease) / 1000, expires_at=expires_at)
        return Stored(sentinel, token.decode(), clock, *of_channel)


def page_read(keys: Keys, sentinel: Sentinel, found: Sequence[Any], after: int, limit: int) -> Page:
    """Return the page that a read has found. Raises `BackendError` for what is not ours."""
    first, blobs = found
    with _reading(keys.log):
        first_seq = int(first) if first else sentinel.last_seq + 1
        events, offset = page_of([decode_batch(blob) for blob in blobs], after, limit)
    return Page(sentinel, after, first_seq, events, offset if events else sentinel.characters)


def news(channel: str, payload: bytes) -> FeedItem:
    """Return what was published on one of a stream's channels."""
    try:
        if is_live(channel):
            return Appended(decode_batch(payload))
        return Changed(decode_sentinel(payload, lease_until=0.0, expires_at=math.inf))
    except ForeignData:
        return Interrupted()


@contextmanager
def _reading(key: str) -> Generator[None]:
    """Report what is not ours under the name of its key."""
    try:
        yield
    except (ForeignData, ValueError) as error:
        raise BackendError(f"foreign data in {key}: {error}: {FOREIGN}") from error


def _names(keys: Keys, *, channel: bool = False) -> Sequence[str]:
    """Return what is to be named to a script.

    While a slot of a cluster moves, a key that is not there would keep a script from running.
    """
    return (keys.sentinel, keys.log, *([keys.published] if channel else ()))


def _json(things: Sequence[object]) -> bytes:
    """Return what a script reads as JSON; nothing where there is nothing to read."""
    return json.dumps(things, ensure_ascii=False).encode() if things else b""


def _milliseconds(seconds: float) -> int:
    return max(0, math.ceil(seconds * 1000))
