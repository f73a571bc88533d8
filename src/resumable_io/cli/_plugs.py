"""Cut open responses in the middle, as a bad network would."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import anyio
from starlette.types import Receive, Scope, Send

from resumable_io import Streams
from resumable_io.starlette import EventStreamResponse

RETRY: Final = 1_000  # Milliseconds: short, but long enough to see "reconnecting".


class Plugs:
    """The open responses of each stream, so that they can be cut from the server's side."""

    def __init__(self) -> None:
        self._open: dict[str, set[anyio.CancelScope]] = {}

    @contextmanager
    def plug(self, stream_id: str) -> Generator[None]:
        """Leave the block early when the stream's plug is pulled."""
        with anyio.CancelScope() as scope:
            scopes = self._open.setdefault(stream_id, set())
            scopes.add(scope)
            try:
                yield
            finally:
                scopes.discard(scope)
                if not scopes:
                    self._open.pop(stream_id, None)

    def pull(self, stream_id: str) -> int:
        """Cut every open response of a stream and return how many there were."""
        scopes = list(self._open.get(stream_id, ()))
        for scope in scopes:
            scope.cancel()
        return len(scopes)


class PluggedResponse(EventStreamResponse):
    """Events until the end, or until somebody pulls the plug.

    Pulled, it returns in the middle of the body. The server is left with a response that has no
    end and can only close the connection: to the browser that is a broken network.
    """

    def __init__(self, streams: Streams, stream_id: str, plugs: Plugs) -> None:
        super().__init__(streams, stream_id, retry=RETRY)
        self._id = stream_id
        self._plugs = plugs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        with self._plugs.plug(self._id):
            await super().__call__(scope, receive, send)
