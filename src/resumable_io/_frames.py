"""Frame once what many consumers at one place receive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from resumable_core import Framed, Framing, Record

MOST: Final = 64
"""Framed pieces that are remembered for the consumers who are about to ask for the same."""


class SharedFrames:
    """Remember the newest pieces of a process."""

    def __init__(self) -> None:
        self._frames: dict[int, tuple[Sequence[Record], Framing, Framed]] = {}

    def framed(self, framing: Framing, records: Sequence[Record]) -> Framed:
        """Return `records` as bytes."""
        shared = self._frames.get(id(records))
        if shared is not None and shared[0] is records and shared[1] is framing:
            return shared[2]
        framed = framing.frame(records)
        if len(self._frames) >= MOST:
            self._frames.clear()
        self._frames[id(records)] = (records, framing, framed)
        return framed
