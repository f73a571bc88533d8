"""One response: its body in slices, as it comes, and how it is let go."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import suppress
from typing import Any, Final

from anyio import CancelScope, move_on_after

from resumable_io._sources import CLEANUP_SECONDS

from ._content import decoder_of

BEGINNING_BYTES: Final = 2000  # of an answer that is refused: enough to understand it
BEGINNING_SECONDS: Final = 2.0


class Response:
    """Read a response of httpx2 or httpx, which has sent its headers.

    Raises what the library raises, and `zlib.error` for a compressed body that is damaged.
    """

    def __init__(self, response: Any) -> None:
        self.coding: str = response.headers.get("content-encoding", "")
        """How the body is compressed."""
        self._response = response
        self._decode = decoder_of(self.coding)
        self._chunks: AsyncGenerator[bytes, None] | None = None  # the body as it comes
        self._slices: Iterator[bytes] = iter(())  # of the chunk that came last

    @property
    def readable(self) -> bool:
        """Say whether its compression is known here; if not, nothing of it is to be read."""
        return self._decode is not None

    def next_slice(self) -> bytes | None:
        """Return the next slice of what has come, or None when more has to be received."""
        return next(self._slices, None)

    async def receive(self) -> bool:
        """Wait for more of the body; return False when it has ended."""
        assert self._decode is not None  # noqa: S101 - it is readable
        chunks: AsyncGenerator[bytes, None] = self._chunks or self._response.aiter_raw()
        self._chunks = chunks
        chunk = await anext(chunks, None)
        if chunk is None:
            return False
        self._slices = self._decode(chunk)
        return True

    async def beginning(self) -> bytes:
        """Return the beginning of the body: what of it comes soon, and can be read."""
        body = b""
        if not self.readable:
            return body
        with move_on_after(BEGINNING_SECONDS), suppress(Exception):
            while len(body) < BEGINNING_BYTES and await self.receive():
                for slice_ in self._slices:
                    body += slice_[: BEGINNING_BYTES - len(body)]
                    if len(body) >= BEGINNING_BYTES:
                        break
        return body

    async def aclose(self) -> None:
        """Let it go, with its connection; shielded from cancellation, for at most five seconds."""
        if self._chunks is not None:
            await _unwind(self._chunks)
        with move_on_after(CLEANUP_SECONDS, shield=True):
            await self._response.aclose()


async def _unwind(chunks: AsyncGenerator[bytes, None]) -> None:
    """Finish an iterator that is read no further, with all the generators that it is made of.

    To close it would leave the inner ones to the garbage collector, which can't wait. Cancelled
    at their next wait, they all come to their ends.
    """
    with CancelScope(shield=True) as scope, suppress(Exception):
        scope.cancel()
        while await anext(chunks, None) is not None:
            pass
