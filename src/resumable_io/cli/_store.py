"""The options that all commands share: which store, how to print."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from resumable_core import Sentinel
from resumable_io import Streams
from resumable_io.cli._exits import EXIT_STORE, fail

StreamId: TypeAlias = Annotated[str, typer.Argument(metavar="STREAM", help="Id of the stream.")]
Redis: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="URL", help="The store: Redis, at a URL such as redis://localhost:6379."),
]
SQLite: TypeAlias = Annotated[
    # `readable=False`: that it is not is for us to say, in one line.
    Path | None,
    typer.Option(metavar="PATH", help="The store: an SQLite file.", readable=False),
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]
Debug: TypeAlias = Annotated[
    bool, typer.Option("--debug", help="Show the traceback of what goes wrong.")
]


def store_url(redis: str | None, sqlite: Path | None) -> str:
    """Return the URL of the one store that is named."""
    if (redis is None) is (sqlite is None):
        fail("name the store, one of --redis URL and --sqlite PATH")
    return redis if redis is not None else f"sqlite:///{sqlite}"


def looking_at(redis: str | None, sqlite: Path | None) -> Streams:
    """Return the streams of a store that is there: looking creates nothing, no file either."""
    if sqlite is not None and redis is None:
        try:
            sqlite.stat()
        except OSError as error:
            fail(f"no store at {sqlite}: {error.strerror}", EXIT_STORE)
    return Streams(store_url(redis, sqlite))


def described(stream_id: str, sentinel: Sentinel) -> dict[str, Any]:
    """Return a stream's state as JSON has it."""
    return {
        "id": stream_id,
        "state": sentinel.state.value,
        "epoch": sentinel.epoch,
        "last_seq": sentinel.last_seq,
        "characters": sentinel.characters,
        "outcome": sentinel.outcome.value if sentinel.outcome else None,
        "error": sentinel.error,
        "metadata": dict(sentinel.metadata),
    }


def write(data: str | bytes) -> None:
    """Write to stdout at once, whatever its encoding: streams are UTF-8."""
    out = sys.stdout.buffer
    out.write(data.encode(errors="replace") if isinstance(data, str) else data)
    out.flush()
