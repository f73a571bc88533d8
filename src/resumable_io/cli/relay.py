"""`resumable relay`: put resumption in front of an event stream that has none."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Final

import httpx2
import typer

from resumable_core import ResumableError
from resumable_io import Streams
from resumable_io.abc import Backend
from resumable_io.cli._exits import check, fail
from resumable_io.cli._forwarding import Upstream
from resumable_io.cli._progress import printable
from resumable_io.cli._relay import relay_app
from resumable_io.cli._serving import Host, Port, Tokens, reach, run_server, who_may_come
from resumable_io.cli._store import Debug, Json, Prefix, Redis, SQLite, store_of

CALLS: Final = httpx2.Limits(max_connections=10_000, max_keepalive_connections=100)
"""An answer holds its connection for as long as it takes: nobody is to wait for another's."""


def relay(
    *,
    upstream: Annotated[
        str, typer.Option(metavar="URL", help="What is asked; the path of a request is put behind.")
    ],
    redis: Redis = None,
    sqlite: SQLite = None,
    prefix: Prefix = None,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    tokens: Tokens = None,
    key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A key that is sent upstream, as a bearer token.", readable=False
        ),
    ] = None,
    lease: Annotated[
        float, typer.Option(help="Seconds until a silent relay counts as dead.", min=1, max=3600)
    ] = 15.0,
    grace: Annotated[
        float, typer.Option(help="Seconds that answers get to finish at the end.", min=0, max=86400)
    ] = 10.0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Relay requests to a server, and make its event streams resumable."""
    known, hosts = who_may_come(host, tokens)
    if key is not None and not known:
        fail("--key is for those who know a token: --tokens FILE")  # or any site could spend it
    in_memory = redis is None and sqlite is None and prefix is None

    def store() -> str | Backend:
        return "memory://" if in_memory else store_of(redis, sqlite, prefix)

    asked = Upstream(
        httpx2.AsyncClient(limits=CALLS),
        _base(upstream),
        key=None if key is None else _read_key(key),
        guarded=bool(known),
    )
    check(lambda: reach(store()), debug=debug)
    if not debug:
        _log_in_lines()
    app = relay_app(
        Streams(store(), lease=lease, grace=grace), asked, tokens=known, allowed_hosts=hosts
    )
    run_server(app, host, port, grace=grace, greeting=f"Relaying {asked.url.host} at", json=json)


def _base(upstream: str) -> httpx2.URL:
    try:
        url = httpx2.URL(upstream)
    except httpx2.InvalidURL as error:
        fail(f"--upstream is no URL: {error}")
    if url.scheme not in {"http", "https"} or not url.host:
        fail("--upstream must be a URL that begins with http:// or https://")
    if url.query or url.fragment:
        fail("--upstream must be a URL without a query")
    return url


def _read_key(path: Path) -> str:
    try:
        key = path.read_text(encoding="ascii").strip()
    except OSError as error:
        fail(f"cannot read {path}: {error.strerror}")
    except UnicodeDecodeError:
        key = ""
    if not key or not key.isprintable():
        fail(f"{path} holds no key: one line of ASCII was expected")
    return key


def _log_in_lines() -> None:
    handler = logging.StreamHandler()
    handler.addFilter(_in_one_line)
    logging.getLogger("resumable_io").addHandler(handler)


def _in_one_line(record: logging.LogRecord) -> bool:
    """Shorten what needs no traceback: the upstream has failed, not this program."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, ResumableError):
        record.msg = f"resumable: {printable(record.getMessage())}: {printable(str(error))}"
        record.args = record.exc_info = record.exc_text = None
    return True
