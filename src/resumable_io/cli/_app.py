"""The demo's web application: a chat in which every answer is a stream, and a channel."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncGenerator, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Final, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from resumable_io import Event, StreamNotFound, Streams
from resumable_io.cli._answers import Answers, Turn
from resumable_io.cli._lobby import lobby_routes
from resumable_io.cli._plugs import PluggedResponse, Plugs
from resumable_io.cli._serving import lifespan_of
from resumable_io.starlette import exception_handlers

if TYPE_CHECKING:
    from starlette.requests import Request

PAGE: Final = {
    "index.html": "text/html; charset=utf-8",
    "lobby.html": "text/html; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "chat.js": "text/javascript; charset=utf-8",
    "answer.js": "text/javascript; charset=utf-8",
    "status.js": "text/javascript; charset=utf-8",
    "lobby.js": "text/javascript; charset=utf-8",
    "markdown.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
PAGE_HEADERS: Final = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
MAX_BODY: Final = 64 * 1024  # A prompt is typed or pasted by a person.
MAX_PROMPT: Final = 8_000  # Characters: metadata is small by contract.
MAX_TURNS: Final = 20  # How far back the model is told of a conversation.
GRACE: Final = 0.5  # Seconds at the end: what is kept in memory is gone a moment later anyhow.


class Watch(Protocol):
    """Pass an answer's pieces on while showing that something happens."""

    def __call__(self, prompt: str, pieces: AsyncGenerator[str]) -> AsyncGenerator[str]:
        """Return the same pieces."""
        ...


class Chats:
    """The endpoints of the chat. Whoever knows an answer's random id may read and stop it."""

    def __init__(self, streams: Streams, answers: Answers, watch: Watch | None) -> None:
        self._streams = streams
        self._answers = answers
        self._watch = watch
        self._plugs = Plugs()

    def routes(self) -> list[Route]:
        """Return the routes of all endpoints."""
        return [
            Route("/api", self.about),
            Route("/api/chats", self.create, methods=["POST"]),
            Route("/api/chats/{id}", self.state),
            Route("/api/chats/{id}/events", self.events),
            Route("/api/chats/{id}/stop", self.stop, methods=["POST"]),
            Route("/api/chats/{id}/unplug", self.unplug, methods=["POST"]),
        ]

    async def about(self, request: Request) -> Response:
        """Say where the answers come from."""
        del request
        return JSONResponse({"answers": self._answers.about})

    async def create(self, request: Request) -> Response:
        """Start an answer; its producer goes on whether or not anybody reads."""
        prompt, previous = await _read_prompt(request)
        conversation = [*await self._conversation(previous), Turn("user", prompt)]
        pieces = self._answers.answer(conversation)
        if self._watch is not None:
            pieces = self._watch(prompt, pieces)
        answer_id = secrets.token_hex(8)
        metadata = {"prompt": prompt, "previous": previous}
        subscription = await self._streams.start(answer_id, pieces, metadata=metadata)
        await subscription.aclose()
        return JSONResponse({"id": answer_id}, status_code=201)

    async def state(self, request: Request) -> Response:
        """Tell an answer's state, and what it answers."""
        answer_id: str = request.path_params["id"]
        state = await self._streams.state(answer_id)
        if state is None:
            raise StreamNotFound("no such answer: it was never asked for, or is no longer kept")
        return JSONResponse(
            {
                "id": answer_id,
                "state": state.state.value,
                "epoch": state.epoch,
                "last_seq": state.last_seq,
                "outcome": state.outcome.value if state.outcome else None,
                "error": state.error,
                **state.metadata,
            },
            headers={"Cache-Control": "no-store"},
        )

    async def events(self, request: Request) -> Response:
        """Stream an answer from where the browser was."""
        return PluggedResponse(self._streams, request.path_params["id"], self._plugs)

    async def stop(self, request: Request) -> Response:
        """Stop an answer for everybody."""
        await self._streams.stop(request.path_params["id"])
        return Response(status_code=204)

    async def unplug(self, request: Request) -> Response:
        """Cut every connection that reads an answer, as a bad network would."""
        return JSONResponse({"cut": self._plugs.pull(request.path_params["id"])})

    async def _conversation(self, answer_id: str | None) -> list[Turn]:
        """Return what was said so far; the log of each answer is all the memory there is."""
        turns: list[Turn] = []
        while answer_id is not None and len(turns) < 2 * MAX_TURNS:
            state = await self._streams.state(answer_id)
            if state is None:
                break
            if state.outcome is None:
                raise HTTPException(409, "the previous answer is still being written")
            async with await self._streams.resume(answer_id) as answer:
                pieces = [str(r.data) async for r in answer.records() if isinstance(r, Event)]
            prompt, previous = state.metadata["prompt"], state.metadata["previous"]
            turns += [Turn("assistant", "".join(pieces)), Turn("user", str(prompt))]
            answer_id = previous if isinstance(previous, str) else None
        return turns[::-1]


def demo_app(
    answers: Answers,
    *,
    streams: Streams | None = None,
    watch: Watch | None = None,
    allowed_hosts: Sequence[str] = ("*",),
) -> Starlette:
    """Return the demo as an ASGI application, whose lifespan runs the streams.

    Without `streams`, everything is kept in memory.
    """
    service = Streams(grace=GRACE) if streams is None else streams
    return Starlette(
        routes=[
            Route("/", _chat_page),
            Route("/lobby", _lobby_page),
            Route("/page/{name}", _page),
            *Chats(service, answers, watch).routes(),
            *lobby_routes(service),
        ],
        exception_handlers=exception_handlers,
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(allowed_hosts))],
        lifespan=lifespan_of(service),
    )


async def _chat_page(request: Request) -> Response:
    del request
    return _file("index.html")


async def _lobby_page(request: Request) -> Response:
    del request
    return _file("lobby.html")


async def _page(request: Request) -> Response:
    return _file(request.path_params["name"])


def _file(name: str) -> Response:
    if name not in PAGE:
        raise HTTPException(404)
    content = files("resumable_io.cli").joinpath("page", name).read_bytes()
    return Response(content, headers={**PAGE_HEADERS, "Content-Type": PAGE[name]})


async def _read_prompt(request: Request) -> tuple[str, str | None]:
    # Asking for JSON also keeps other sites out: a browser sends it across origins only with leave.
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "send application/json")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise HTTPException(413, f"the request is longer than {MAX_BODY} bytes")
    try:
        asked: object = json.loads(body)
    except (ValueError, RecursionError):
        raise HTTPException(400, "the request is not JSON") from None
    match asked:
        case {"prompt": str(prompt)} if prompt.strip() and len(prompt) <= MAX_PROMPT:
            # JSON can escape half of a surrogate pair, which no other encoding can say.
            prompt = prompt.encode(errors="replace").decode()
            match asked:
                case {"previous": str(previous)}:
                    return prompt, previous
                case _:
                    return prompt, None
        case _:
            raise HTTPException(400, f"`prompt` must be text of 1 to {MAX_PROMPT} characters")
