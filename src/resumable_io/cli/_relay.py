"""The web application of `resumable relay`: what it does not answer itself, the upstream does.

GET     /resumable/streams/{id}         a stream, as `resumable serve` sends it
GET     /resumable/streams/{id}/state   its state
POST    /resumable/streams/{id}/stop    stop it, and the call of the upstream with it
GET     /resumable/health               204 while requests are welcome, 503 while draining; no token
        anything else                   the upstream; a GET or POST that names a stream, once
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import httpx2
from anyio import create_task_group
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Mount, Route, request_response

from resumable_core import ResumableError, Sentinel, State, StreamExists, has_received
from resumable_io import Streams, Subscription
from resumable_io.asgi import last_event_id
from resumable_io.cli._forwarding import STREAM_HEADER, STREAM_PARAMETER, Call, Upstream
from resumable_io.cli._provider_wire import ProviderResponse
from resumable_io.cli._service import Service, guarded_app
from resumable_io.starlette import EventStreamResponse

MAX_BODY: Final = 64 * 2**20
"""Bytes of a request that names a stream: it is held meanwhile, and images are sent inline."""

PREFIX: Final = "/resumable"


class Relay:
    """Call the upstream once for each stream that is named."""

    def __init__(self, streams: Streams, upstream: Upstream) -> None:
        self._streams = streams
        self._upstream = upstream
        self._calls: dict[str, Call] = {}
        """What the upstream has yet to answer."""

    async def answer(self, request: Request) -> Response:
        """Answer with a stream, whose upstream is called if nobody has; or pass the request on."""
        name = request.headers.get(STREAM_HEADER) or request.query_params.get(STREAM_PARAMETER)
        if name is None or request.method not in {"GET", "POST"}:
            return await self._upstream.pass_through(request)
        call: Call | None = None
        resumes = has_received(last_event_id(request.scope))
        if not resumes:  # who has seen a part of it never has it made again
            call = await self._call(name, self._upstream.named(request, await _body(request)))
            if call.refusal is not None:
                return call.refusal
        # An EventSource must say so (WHATWG HTML, section 9.2); the providers' clients say JSON.
        ours = resumes or "text/event-stream" in request.headers.get("accept", "")
        response = (EventStreamResponse if ours else ProviderResponse)(self._streams, name)
        if call is not None:
            response.raw_headers += call.headers
        return response

    async def _call(self, name: str, request: httpx2.Request) -> Call:
        """Return the call of all who ask for this stream now, once it is settled."""
        call = self._calls.get(name)
        if call is not None:
            await call.settled.wait()
            return call
        call = self._calls[name] = Call(self._upstream.client, request)
        try:
            await self._start(name, call)
        finally:
            del self._calls[name]
            call.settled.set()
        return call

    async def _start(self, name: str, call: Call) -> None:
        state = await self._streams.state(name)
        if state is not None and not _is_unused(state):
            return
        replaces = None if state is None else state.epoch
        try:
            subscription = await self._streams.start(name, call.messages, replaces=replaces)
        except StreamExists:
            return  # another process was faster
        async with subscription, create_task_group() as tasks:

            async def wait_for_end() -> None:
                await _end_of(subscription)
                tasks.cancel_scope.cancel()

            tasks.start_soon(wait_for_end)
            await call.answered.wait()
            if call.refusal is None:
                tasks.cancel_scope.cancel()
            # Else until the failure is recorded: from then on the name may be used again.


def _is_unused(state: Sentinel) -> bool:
    """Say whether a stream has failed before its first event."""
    return state.state is State.FAILED and state.last_seq == 0


async def _end_of(subscription: Subscription) -> None:
    with suppress(ResumableError):
        async for _ in subscription.records():
            pass


async def _body(request: Request) -> bytes:
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                raise HTTPException(413, f"the request is longer than {MAX_BODY} bytes")
    except ClientDisconnect:
        raise HTTPException(400, "the request broke off") from None
    return bytes(body)


def relay_app(
    streams: Streams,
    upstream: Upstream,
    *,
    tokens: Sequence[bytes] = (),
    allowed_hosts: Sequence[str] = ("*",),
) -> Starlette:
    """Return the ASGI application, whose lifespan runs the streams. No tokens: all are let in."""
    service = Service(streams)
    own = [
        Route("/health", service.health),
        Route("/streams/{id:path}/state", service.state),
        Route("/streams/{id:path}/stop", service.stop, methods=["POST"]),
        Route("/streams/{id:path}", service.follow),
    ]
    return guarded_app(
        streams,
        [
            Mount(PREFIX, routes=own),
            Mount("/", app=request_response(Relay(streams, upstream).answer)),
        ],
        tokens=tokens,
        allowed_hosts=allowed_hosts,
        health=f"{PREFIX}/health",
        using=upstream.client,
    )
