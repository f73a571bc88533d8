"""Which node of a Redis Cluster has which key: slots, and the map of them.

After https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/.
"""

from __future__ import annotations

from binascii import crc_hqx
from typing import Any, Final

from resumable_core import BackendError

from ._port import Address

SLOTS: Final = 16384


def slot_of(key: str) -> int:
    """Return the slot of a key or channel: that of its hash tag, if it has one."""
    tag = tag_of(key) or key
    return crc_hqx(tag.encode(), 0) % SLOTS  # CRC-16/XMODEM


def tag_of(key: str) -> str:
    """Return what stands between the first pair of braces; nothing where there is none."""
    return key.partition("{")[2].partition("}")[0] if "}" in key.partition("{")[2] else ""


def read_slots(reply: Any, asked: Address) -> list[Address | None]:
    """Return the master of each slot, of what CLUSTER SLOTS replies.

    `asked` is who replied: a node that does not know its own name leaves it out. Raises
    `BackendError` for anything else.
    """
    if isinstance(reply, BackendError):
        raise reply
    masters: list[Address | None] = [None] * SLOTS
    try:
        for first, last, (host, port, *_), *_ in reply:
            address = (host.decode() if host else asked[0], int(port))
            masters[first : last + 1] = [address] * (last + 1 - first)
    except (AttributeError, TypeError, ValueError) as error:
        raise BackendError(f"{asked[0]}:{asked[1]} does not tell its slots: {error}") from error
    return masters
