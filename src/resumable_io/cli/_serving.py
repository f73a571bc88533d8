"""Run a web application until the process is told to end."""

from __future__ import annotations

import contextlib
import logging
import signal
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer
import uvicorn
from anyio import get_cancelled_exc_class
from starlette.applications import Starlette
from starlette.types import ASGIApp

from resumable_io import Streams
from resumable_io.abc import Backend
from resumable_io.asgi import ResponseCut, drain_on_sigterm
from resumable_io.cli._exits import fail
from resumable_io.cli._listening import allowed_hosts, listen, url_of
from resumable_io.cli._store import write

SHORTEST_TOKEN: Final = 16  # bytes

Host: TypeAlias = Annotated[str, typer.Option(help="Address to listen on.")]
Port: TypeAlias = Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)]
Tokens: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Bearer tokens, one a line; needed to listen beyond loopback.",
        readable=False,
    ),
]


def run_server(
    app: ASGIApp, host: str, port: int, *, grace: float, greeting: str, json: bool
) -> None:
    """Listen, say at which URL, and serve until a signal comes; a second Ctrl-C ends the grace."""
    with contextlib.closing(listen(host, port)) as listener:
        url = url_of(host, listener)
        write(f'{{"url": "{url}"}}\n' if json else f"{greeting} {url}\n")
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        logging.getLogger("uvicorn.error").addFilter(_is_news)
        config = uvicorn.Config(
            app, log_level="warning", lifespan="on", timeout_graceful_shutdown=int(grace) + 1
        )
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])


def lifespan_of(
    streams: Streams, using: contextlib.AbstractAsyncContextManager[object] | None = None
) -> Callable[[Starlette], contextlib.AbstractAsyncContextManager[None]]:
    """Return a lifespan that runs the streams, and around them what they are `using`."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        del app
        # By a second Ctrl-C: that is no news for the log.
        with contextlib.suppress(get_cancelled_exc_class()):
            async with using or contextlib.nullcontext(), streams:
                with drain_on_sigterm(streams):
                    yield

    return lifespan


def _is_news(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    # A response is cut off in order to say that it is not the whole; and at the end the server says
    # in a line of its own that it cancels what takes too long.
    return error is None or not isinstance(error, (ResponseCut, get_cancelled_exc_class()))


def who_may_come(host: str, tokens: Path | None) -> tuple[list[bytes], list[str]]:
    """Return the tokens that are let in, and the names under which the server may be asked."""
    known = read_tokens(tokens) if tokens is not None else []
    hosts = allowed_hosts(host)
    if hosts == ["*"] and not known:
        fail("to listen beyond loopback, say who may come in: --tokens FILE")
    return known, hosts


def read_tokens(path: Path) -> list[bytes]:
    """Return the tokens in a file, or end the command."""
    try:
        tokens = path.read_bytes().split()
    except OSError as error:
        fail(f"cannot read {path}: {error.strerror}")
    if not tokens:
        fail(f"{path} holds no token")
    if any(len(token) < SHORTEST_TOKEN for token in tokens):
        fail(f"{path} holds a token of fewer than {SHORTEST_TOKEN} bytes, which can be guessed")
    return tokens


async def reach(backend: str | Backend) -> int:
    """Open a store and close it again, to know before anything else whether it is there."""
    async with Streams(backend):
        return 0
