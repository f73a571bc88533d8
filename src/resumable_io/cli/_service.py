"""The web application of `resumable serve`: streams over HTTP, for those who know a token.

POST    /streams/{id}         the body becomes the stream; 201 with its state when it has ended
GET     /streams/{id}         the stream, as server-sent events; as text with ?format=text
GET     /streams/{id}/state   its state
POST    /streams/{id}/stop    stop it
DELETE  /streams/{id}         remove it
GET     /streams              the states of all, one JSON object a line
POST    /channels/{name}      publish to a channel: JSON in, 202 with the event id
GET     /channels/{name}      subscribe, without an end; as a recipient with ?as=
DELETE  /channels/{name}      forget what it holds
GET     /health               204 while requests are welcome, 503 while draining; no token
"""

from __future__ import annotations

import hmac
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from resumable_core import Fenced, InvalidMessage, StreamExists, StreamNotFound
from resumable_io import SourceError, Streams
from resumable_io.cli._channel_routes import channel_routes
from resumable_io.cli._input import Cut, pieces
from resumable_io.cli._serving import lifespan_of
from resumable_io.cli._store import described
from resumable_io.starlette import EventStreamResponse, TextStreamResponse, exception_handlers

NO_STORE: Final = {"Cache-Control": "no-store"}


class Service:
    """The endpoints."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    def routes(self) -> list[Route]:
        """Return the routes of all endpoints."""
        return [
            Route("/health", self.health),
            Route("/streams", self.scan),
            # Those that end in a word come first: an id may hold slashes.
            Route("/streams/{id:path}/state", self.state),
            Route("/streams/{id:path}/stop", self.stop, methods=["POST"]),
            Route("/streams/{id:path}", self.publish, methods=["POST"]),
            Route("/streams/{id:path}", self.delete, methods=["DELETE"]),
            Route("/streams/{id:path}", self.follow),
            *channel_routes(self._streams),
        ]

    async def health(self, request: Request) -> Response:
        """Say whether requests are welcome."""
        draining = self._streams.statistics().draining
        return Response(status_code=503 if draining else 204, headers=NO_STORE)

    async def publish(self, request: Request) -> Response:
        """Make the body a stream, as it arrives; a body that breaks off makes the stream fail."""
        stream_id: str = request.path_params["id"]
        try:
            cut = Cut(request.query_params.get("cut", "chunks"))
        except ValueError:
            raise HTTPException(400, "cut is one of lines, chunks and jsonl") from None
        try:
            async with self._streams.produce(stream_id, metadata={"cut": cut.value}) as production:
                try:
                    async for message in pieces(request.stream(), cut):
                        await production.send(message)
                except ClientDisconnect:
                    raise SourceError("the publisher broke off") from None
                except Fenced:
                    pass  # stopped or deleted: its state says so
        except StreamExists:
            raise StreamExists(
                "there is a stream of this id already: POST under another one, or DELETE it before"
            ) from None
        except (SourceError, InvalidMessage) as error:
            raise HTTPException(400, f"the stream has failed: {error}") from None
        return await self._state(stream_id, 201)

    async def follow(self, request: Request) -> Response:
        """Send the stream from where the client was."""
        stream_id: str = request.path_params["id"]
        match request.query_params.get("format", "events"):
            case "events":
                return EventStreamResponse(self._streams, stream_id)
            case "text":
                return TextStreamResponse(self._streams, stream_id)
            case _:
                raise HTTPException(400, "format is one of events and text")

    async def state(self, request: Request) -> Response:
        """Tell a stream's state."""
        return await self._state(request.path_params["id"], 200)

    async def stop(self, request: Request) -> Response:
        """Stop a stream, wherever it is produced."""
        stream_id: str = request.path_params["id"]
        sentinel = await self._streams.stop(stream_id, request.query_params.get("reason"))
        return JSONResponse(described(stream_id, sentinel), headers=NO_STORE)

    async def delete(self, request: Request) -> Response:
        """Remove a stream."""
        stream_id: str = request.path_params["id"]
        if await self._streams.state(stream_id) is None:
            raise StreamNotFound("no such stream")
        await self._streams.delete(stream_id)
        return Response(status_code=204)

    async def scan(self, request: Request) -> Response:
        """Tell the states of all streams, however many."""

        async def lines() -> AsyncGenerator[str]:
            async for stream_id, sentinel in self._streams.scan():
                yield json.dumps(described(stream_id, sentinel)) + "\n"

        return StreamingResponse(lines(), media_type="application/x-ndjson", headers=NO_STORE)

    async def _state(self, stream_id: str, status: int) -> Response:
        sentinel = await self._streams.state(stream_id)
        if sentinel is None:
            raise StreamNotFound("no such stream: it was never started, or is no longer kept")
        return JSONResponse(described(stream_id, sentinel), status, headers=NO_STORE)


class BearerTokens:
    """Let in who brings one of the tokens; everybody may ask for the health."""

    def __init__(self, app: ASGIApp, tokens: Sequence[bytes], health: str) -> None:
        self._app = app
        self._tokens = tokens
        self._health = health

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it by a 401."""
        if scope["type"] == "http" and scope["path"] != self._health and not self._knows(scope):
            refusal = Response("a bearer token is needed\n", 401, {"WWW-Authenticate": "Bearer"})
            await refusal(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _knows(self, scope: Scope) -> bool:
        scheme, _, given = dict(scope["headers"]).get(b"authorization", b"").partition(b" ")
        # All of them are compared, each in constant time: the time tells nothing about any.
        known = [hmac.compare_digest(given.strip(), token) for token in self._tokens]
        return scheme.lower() == b"bearer" and any(known)


def service_app(
    streams: Streams, *, tokens: Sequence[bytes] = (), allowed_hosts: Sequence[str] = ("*",)
) -> Starlette:
    """Return the ASGI application, whose lifespan runs the streams. No tokens: all are let in."""
    routes = Service(streams).routes()
    return guarded_app(streams, routes, tokens=tokens, allowed_hosts=allowed_hosts)


def guarded_app(
    streams: Streams,
    routes: Sequence[BaseRoute],
    *,
    tokens: Sequence[bytes],
    allowed_hosts: Sequence[str],
    health: str = "/health",
    using: AbstractAsyncContextManager[object] | None = None,
) -> Starlette:
    """Return an application of these routes for those who know a token; no tokens: for all.

    Its lifespan runs the streams, and around them what they are `using`.
    """
    middleware = [Middleware(TrustedHostMiddleware, allowed_hosts=list(allowed_hosts))]
    if tokens:
        middleware.append(Middleware(BearerTokens, tokens=tokens, health=health))
    return Starlette(
        routes=routes,
        exception_handlers=exception_handlers,
        middleware=middleware,
        lifespan=lifespan_of(streams, using),
    )
