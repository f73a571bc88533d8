"""Commands as the bytes that Redis reads: arrays of strings, each behind its length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Final

from ._port import Argument, Command


def packed(commands: Sequence[Command]) -> bytes:
    """Return `commands` one after the other, as one request."""
    return b"".join([_pack(tuple(command)) for command in commands])


def packed_in_python(command: tuple[Argument, ...]) -> bytes:
    """Return one command, packed without hiredis."""
    pieces: list[int | bytes] = [len(command)]
    for argument in command:
        data = argument if isinstance(argument, bytes) else str(argument).encode()
        pieces += (len(data), data)
    return (_COUNT + _STRING * len(command)) % tuple(pieces)


_COUNT: Final = b"*%d\r\n"
_STRING: Final = b"$%d\r\n%b\r\n"


def _packer() -> Any:
    try:
        return import_module("hiredis").pack_command
    except ImportError:  # redis-py works without it, but takes longer
        return packed_in_python


_pack: Final[Callable[[tuple[Argument, ...]], bytes]] = _packer()
