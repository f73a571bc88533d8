"""The body of a response: sent in slices, kept alive, and never ended by mistake.

One task sends pieces. Another keeps watch: it sends a heartbeat when there was nothing to send for
some time, and gives up when the client does not read. So a piece needs no timer, nor even the time:
it costs what the server makes of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Final

from anyio import CancelScope, Event, current_time, move_on_after, sleep_until
from anyio.lowlevel import checkpoint_if_cancelled

from resumable_core import Then

from ._http import Message, Send, response_start

SLICE_BYTES: Final = 64 * 1024
"""Bytes that a server is given at once: what a slow line can take within the send timeout, and what
a client that has stopped reading makes the server hold."""

BREAK: Final = {"type": "http.response.pathsend", "path": "/dev/null/to-break-the-connection"}
"""Makes a server fail, which breaks the connection: a file, within a body that is none.

To raise is not enough: Starlette's BaseHTTPMiddleware ends the body cleanly when what is behind it
raises. This message, of an extension of ASGI, it hands on, however many of them there are.
"""


class Body:
    """Send the body of a response, and know whether a piece of it was left half sent."""

    def __init__(self, send: Send, timeout: float) -> None:
        self.intact: bool = True
        """Whether no piece is half sent: none is under way, and none was broken off."""
        self.unwanted: bool = False
        """Whether the server has said that the client is gone."""
        self.then: Then = Then.GO_ON
        """What is to become of the body after the last record that was sent."""
        self.patience: CancelScope = CancelScope()
        """To be entered by the task that sends; cancelled when the client refuses to read."""
        self._send = send
        self._timeout = timeout
        self._pieces = 0
        self._heartbeat_ended: Event | None = None  # while one is under way

    async def start(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Send what comes before the body; the same holds as for a piece of it."""
        await self._deliver(response_start(200, headers))

    def send(self, piece: bytes, *, more: bool = True) -> Awaitable[None]:
        """Send a piece; leaves the body not `intact` when it is broken off."""
        if self._heartbeat_ended is not None or len(piece) > SLICE_BYTES:
            return self._send_in_turn(piece, more=more)
        return self._deliver({"type": "http.response.body", "body": piece, "more_body": more})

    async def finish(self, piece: bytes = b"") -> None:
        """Send a last piece, which completes the body. Needs nobody to keep watch."""
        with move_on_after(self._timeout):
            await self.send(piece, more=False)

    async def keep_watch(self, heartbeat: Callable[[], bytes], interval: float) -> None:
        """Send a heartbeat whenever there was no piece for `interval` seconds, or for half of it.

        Returns when a piece was under way for the timeout, or half as long again, and is cancelled
        otherwise: who looks twice in that time knows no better how old a piece is.
        """
        step = min(interval, self._timeout) / 2
        seen, since = self._pieces, current_time()
        while True:
            due = since + (interval if self.intact else self._timeout)
            looked = current_time()
            if looked < due:
                await sleep_until(min(due, looked + step))
                await checkpoint_if_cancelled()  # asyncio may be late: begin no heartbeat then
                if self._pieces != seen:
                    seen, since = self._pieces, looked if self.intact else current_time()
                continue
            if self.intact:
                await self._beat(heartbeat())
                seen, since = self._pieces, current_time()
            if not self.intact:
                self.patience.cancel()
                return

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
            await self._send(dict(BREAK))

    async def _send_in_turn(self, piece: bytes, *, more: bool) -> None:
        """Send a piece behind a heartbeat that is under way, in slices."""
        while self._heartbeat_ended is not None:
            await self._heartbeat_ended.wait()
        while len(piece) > SLICE_BYTES:
            part, piece = piece[:SLICE_BYTES], piece[SLICE_BYTES:]
            await self._deliver({"type": "http.response.body", "body": part, "more_body": True})
        await self._deliver({"type": "http.response.body", "body": piece, "more_body": more})

    async def _beat(self, heartbeat: bytes) -> None:
        """Send a heartbeat, while pieces wait. Nothing is under way when it begins."""
        message = {"type": "http.response.body", "body": heartbeat, "more_body": True}
        self._heartbeat_ended = Event()
        try:
            with move_on_after(self._timeout):
                await self._deliver(message)
        finally:
            self._heartbeat_ended.set()
            self._heartbeat_ended = None

    async def _deliver(self, message: Message) -> None:
        if not self.intact:
            return
        self.intact = False
        self._pieces += 1
        try:
            await self._send(message)
        except OSError:  # the ASGI specification, "Disconnected Client"
            self.unwanted = True
            return
        self.intact = True
