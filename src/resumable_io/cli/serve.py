"""`resumable serve`: a ready HTTP server for streams."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path
from typing import Annotated, Final

import typer
import uvicorn

from resumable_io import Streams
from resumable_io.cli._exits import check, fail
from resumable_io.cli._listening import allowed_hosts, listen, url_of
from resumable_io.cli._service import service_app
from resumable_io.cli._store import Debug, Json, write

SHORTEST_TOKEN: Final = 16  # bytes


def serve(
    *,
    backend: Annotated[
        str,
        typer.Option(
            metavar="URL", help="Where streams are kept: memory://, redis://…, sqlite:///path."
        ),
    ] = "memory://",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 8000,
    tokens: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Bearer tokens, one a line; needed to listen beyond loopback."
        ),
    ] = None,
    grace: Annotated[
        float, typer.Option(help="Seconds that publishers get to finish at the end.", min=0)
    ] = 10.0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Serve streams over HTTP: POST a body in, GET events out, from any place on."""
    known = _read_tokens(tokens) if tokens is not None else []
    hosts = allowed_hosts(host)
    if hosts == ["*"] and not known:
        fail("to listen beyond loopback, say who may come in: --tokens FILE")

    check(lambda: _reach(backend), debug=debug)
    app = service_app(Streams(backend, grace=grace), tokens=known, allowed_hosts=hosts)
    with contextlib.closing(listen(host, port)) as listener:
        url = url_of(host, listener)
        write(f'{{"url": "{url}"}}\n' if json else f"Serving streams at {url}\n")
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        config = uvicorn.Config(
            app, log_level="warning", lifespan="on", timeout_graceful_shutdown=int(grace) + 1
        )
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])


async def _reach(backend: str) -> int:
    async with Streams(backend):
        return 0


def _read_tokens(path: Path) -> list[bytes]:
    try:
        tokens = path.read_bytes().split()
    except OSError as error:
        fail(f"cannot read {path}: {error.strerror}")
    if not tokens:
        fail(f"{path} holds no token")
    if any(len(token) < SHORTEST_TOKEN for token in tokens):
        fail(f"{path} holds a token of fewer than {SHORTEST_TOKEN} bytes, which can be guessed")
    return tokens
