"""Commands as the bytes that Redis reads: arrays of strings, each behind its length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ._port import Command


def packed(commands: Sequence[Command]) -> bytes:
    """Return `commands` one after the other, as one request."""
    requests: list[bytes] = []
    for command in commands:
        pieces: list[int | bytes] = [len(command)]
        for argument in command:
            data = argument if isinstance(argument, bytes) else str(argument).encode()
            pieces += (len(data), data)
        requests.append((_COUNT + _STRING * len(command)) % tuple(pieces))
    return b"".join(requests)


_COUNT: Final = b"*%d\r\n"
_STRING: Final = b"$%d\r\n%b\r\n"
