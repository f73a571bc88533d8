"""`resumable serve`: a ready HTTP server for streams."""

from __future__ import annotations

from typing import Annotated

import typer

from resumable_io import Streams
from resumable_io.abc import Backend
from resumable_io.cli._exits import check
from resumable_io.cli._service import service_app
from resumable_io.cli._serving import Host, Port, Tokens, reach, run_server, who_may_come
from resumable_io.cli._store import Debug, Json, Prefix, redis_at


def serve(
    *,
    backend: Annotated[
        str,
        typer.Option(
            metavar="URL", help="Where streams are kept: memory://, redis://…, sqlite:///path."
        ),
    ] = "memory://",
    prefix: Prefix = None,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    tokens: Tokens = None,
    grace: Annotated[
        float,
        typer.Option(help="Seconds that publishers get to finish at the end.", min=0, max=86400),
    ] = 10.0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Serve streams over HTTP: POST a body in, GET events out, from any place on."""
    known, hosts = who_may_come(host, tokens)

    def store() -> str | Backend:
        return backend if prefix is None else redis_at(backend, prefix)

    check(lambda: reach(store()), debug=debug)
    app = service_app(Streams(store(), grace=grace), tokens=known, allowed_hosts=hosts)
    run_server(app, host, port, grace=grace, greeting="Serving streams at", json=json)
