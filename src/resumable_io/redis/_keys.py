"""Names of keys and channels: one hash tag for each stream, and no two streams with one name.

A name is `{prefix}:{<id>}:{kind}` with literal braces around the id, which make all keys of a
stream land on one node of a cluster. In ids and prefixes, everything but ASCII letters, digits,
`_`, `-` and `.` is percent-encoded as UTF-8; so neither can hold a colon, a brace or a percent sign
of its own, and the encoding is injective.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, unquote


@dataclass(frozen=True, slots=True)
class Keys:
    """Hold the names that belong to one stream."""

    sentinel: str
    log: str
    published: str
    """The keys under which something was published to a channel."""
    live: str
    """Channel of the batches."""
    state: str
    """Channel of the changes of state."""


@lru_cache(maxsize=1024)
def keys_of(prefix: str, stream_id: str) -> Keys:
    """Return the names of a stream's keys and channels."""
    base = f"{encoded(prefix)}:{{{encoded(stream_id)}}}"
    return Keys(
        *(f"{base}:sentinel", f"{base}:log", f"{base}:keys", f"{base}:live", f"{base}:state")
    )


def encoded(text: str) -> str:
    """Return `text` with everything but letters, digits, `_`, `-` and `.` percent-encoded."""
    return quote(text, safe="").replace("~", "%7E")


def sentinel_pattern(prefix: str) -> str:
    """Return the glob pattern of all sentinels' keys under `prefix`."""
    return f"{encoded(prefix)}:{{*}}:sentinel"


def is_live(channel: str) -> bool:
    """Say whether batches are published on a channel, rather than changes of state."""
    return channel.endswith(":live")


def stream_id_of(prefix: str, key: str) -> str:
    """Return the stream id whose sentinel is kept under `key`."""
    start = len(encoded(prefix)) + 2
    return unquote(key[start : -len("}:sentinel")])
