"""The body of a response: sent in slices, with a time limit, and never ended by mistake."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from anyio import move_on_after

from ._http import Message, Send, response_start

SLICE_BYTES: Final = 64 * 1024
"""Bytes that a server is given at once: what a slow line can take within the send timeout, and what
a client that has stopped reading makes the server hold."""

UNKNOWN_MESSAGE: Final = {"type": "resumable.response.cut"}
"""Makes whoever receives it fail, which breaks the connection.

To raise is not enough: Starlette's BaseHTTPMiddleware ends the body cleanly when what is behind it
raises, but not when it fails itself.
"""


class Body:
    """Send the body of a response, and know whether a piece of it was left half sent."""

    def __init__(self, send: Send, timeout: float) -> None:
        self.intact = True
        self.unwanted = False
        """Whether the server has said that the client is gone."""
        self._send = send
        self._timeout = timeout

    async def start(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Send what comes before the body; the same holds as for a piece of it."""
        await self._deliver(response_start(200, headers))

    async def send(self, piece: bytes, *, more: bool = True) -> None:
        """Send a piece; leaves the body not `intact` when it took too long, or was cancelled."""
        last = max(0, len(piece) - 1) // SLICE_BYTES * SLICE_BYTES
        for start in range(0, last, SLICE_BYTES):
            part = piece[start : start + SLICE_BYTES]
            await self._deliver({"type": "http.response.body", "body": part, "more_body": True})
        rest = piece[last:]
        await self._deliver({"type": "http.response.body", "body": rest, "more_body": more})

    async def complete(self) -> None:
        """Mark the body as complete."""
        await self.send(b"", more=False)

    @property
    def stalled(self) -> bool:
        """Say whether the client has refused to read for too long."""
        return not self.intact and not self.unwanted

    async def cut(self, *, patience: float) -> None:
        """Have the connection broken; to be followed by an exception, for those who ignore it.

        What is asked to break it may not listen before the client reads: wait for `patience`
        seconds.
        """
        with move_on_after(patience), suppress(Exception):
            await self._send(dict(UNKNOWN_MESSAGE))

    async def _deliver(self, message: Message) -> None:
        if not self.intact:
            return
        self.intact = False
        with move_on_after(self._timeout) as timer:
            try:
                await self._send(message)
            except OSError:  # the ASGI specification, "Disconnected Client"
                self.unwanted = True
                return
        self.intact = not timer.cancelled_caught
