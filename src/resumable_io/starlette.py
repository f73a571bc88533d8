"""Streams as Starlette and FastAPI responses: a route simply returns one.

    @app.get("/answers/{answer_id}")
    async def answer(answer_id: str) -> EventStreamResponse:
        return EventStreamResponse(streams, answer_id, lambda: ask_model(…))

Needs the extra `starlette`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, Unpack

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from resumable_core import ResumableError

from . import ai_sdk, asgi, channels
from ._http import headers_of, reason_of
from ._sources import Source
from ._streams import Streams

__all__ = [
    "EventStreamResponse",
    "TextStreamResponse",
    "UIMessageStreamResponse",
    "channel_endpoint",
    "exception_handlers",
]


class _StarletteResponse(asgi.StreamResponse, Response):
    """Give an ASGI response what Starlette expects: headers, cookies, a background task."""

    def _become_response(self, background: BackgroundTask | None) -> None:
        self.status_code = 200
        self.background = background
        self.init_headers(self._sent_headers)

    def raw_response_headers(self) -> Iterable[tuple[bytes, bytes]]:
        """Return the headers, as the application has left them."""
        return self.raw_headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, then run the background task."""
        await super().__call__(scope, receive, send)
        if self.background is not None:
            await self.background()


class EventStreamResponse(_StarletteResponse, asgi.EventStreamResponse):
    """Answer with server-sent events; see `resumable_io.asgi.EventStreamResponse`."""

    def __init__(
        self,
        streams: Streams,
        stream_id: str,
        source: Source | None = None,
        *,
        retry: int = 2000,
        background: BackgroundTask | None = None,
        **options: Unpack[asgi.ResponseOptions],
    ) -> None:
        super().__init__(streams, stream_id, source, retry=retry, **options)
        self._become_response(background)


class TextStreamResponse(_StarletteResponse, asgi.TextStreamResponse):
    """Answer with plain text; see `resumable_io.asgi.TextStreamResponse`."""

    def __init__(
        self,
        streams: Streams,
        stream_id: str,
        source: Source | None = None,
        *,
        background: BackgroundTask | None = None,
        **options: Unpack[asgi.ResponseOptions],
    ) -> None:
        super().__init__(streams, stream_id, source, **options)
        self._become_response(background)


class UIMessageStreamResponse(_StarletteResponse, ai_sdk.UIMessageStreamResponse):
    """Answer a client of the AI SDK; see `resumable_io.ai_sdk.UIMessageStreamResponse`."""

    def __init__(
        self,
        streams: Streams,
        stream_id: str,
        source: Source | None = None,
        *,
        background: BackgroundTask | None = None,
        **options: Unpack[asgi.ResponseOptions],
    ) -> None:
        super().__init__(streams, stream_id, source, **options)
        self._become_response(background)


class _ChannelResponse(Response):
    """Leave the whole answer to the endpoint of channels."""

    def __init__(self, endpoint: channels.ChannelEndpoint) -> None:
        super().__init__()
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._endpoint(scope, receive, send)
        if self.background is not None:
            await self.background()


def channel_endpoint(
    streams: Streams,
    authorize: channels.Authorize,
    *,
    authorize_publish: channels.Authorize | None = None,
    **options: Unpack[channels.EndpointOptions],
) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint of channels for a route; see `resumable_io.channels.channel_endpoint`.

        Route("/channels/{channel}", endpoint, methods=["GET", "POST"])
        app.add_api_route("/channels/{channel}", endpoint, methods=["GET", "HEAD", "POST"])

    Without `authorize_publish` the route needs no POST.
    """
    endpoint = channels.channel_endpoint(
        streams, authorize, authorize_publish=authorize_publish, **options
    )

    async def channel(request: Request) -> Response:
        del request  # all of it is in the scope that the response is called with
        return _ChannelResponse(endpoint)

    return channel


def _refuse(_: Request, error: ResumableError) -> Response:
    headers = {"cache-control": "no-store", **headers_of(error)}
    return PlainTextResponse(reason_of(error), asgi.status_of(error), headers)


exception_handlers: Final[dict[Any, Any]] = {ResumableError: _refuse}
"""Turns what a route's own calls raise into statuses: `FastAPI(exception_handlers=…)`."""
