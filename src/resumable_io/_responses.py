"""What the open responses of a process share: how it drains, and framed pages."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

from anyio import CancelScope, move_on_after

from resumable_core import Framed, Framing, Record

SHARED_FRAMES: Final = 64
"""Framed pieces that are remembered for the consumers who are about to ask for the same."""


class Responses:
    """Hold the open responses of a process. For transports; `resumable_io.asgi` is one."""

    def __init__(self) -> None:
        self.draining: bool = False
        """Whether this process is about to stop: responses are to end, and none to begin."""
        self.at_end: ExitStack = ExitStack()
        """What is to be undone once the streams have been left."""
        self._open: set[CancelScope] = set()
        self._graces: set[CancelScope] = set()
        self._hurried = False
        self._frames: dict[int, tuple[Sequence[Record], Framing, Framed]] = {}

    def __len__(self) -> int:
        """Return the number of open responses."""
        return len(self._open)

    @contextmanager
    def responding(self, scope: CancelScope) -> Generator[None]:
        """Count a response as open; its scope is cancelled when draining begins."""
        self._open.add(scope)
        if self.draining:
            scope.cancel()
        try:
            yield
        finally:
            self._open.discard(scope)

    def drain(self) -> None:
        """End all open responses, so that their clients reconnect elsewhere at once."""
        self.draining = True
        for scope in tuple(self._open):
            scope.cancel()

    @contextmanager
    def grace(self, seconds: float) -> Generator[None]:
        """Give a block some seconds to finish, and none any more once there is hurry."""
        with move_on_after(0 if self._hurried else seconds) as scope:
            self._graces.add(scope)
            try:
                yield
            finally:
                self._graces.discard(scope)

    def hurry(self) -> None:
        """End the grace now: what is not finished is recorded as lost, at once.

        A server that is told twice to stop may not even leave the streams in order any more.
        """
        self._hurried = True
        for scope in tuple(self._graces):
            scope.cancel()

    def framed(self, framing: Framing, records: Sequence[Record]) -> Framed:
        """Return `records` as bytes; what consumers at one place receive is framed once."""
        shared = self._frames.get(id(records))
        if shared is not None and shared[0] is records and shared[1] is framing:
            return shared[2]
        framed = framing.frame(records)
        if len(self._frames) >= SHARED_FRAMES:
            self._frames.clear()
        self._frames[id(records)] = (records, framing, framed)
        return framed
