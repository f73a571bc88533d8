"""The options that all commands share: which store, how to print."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, TypeAlias, cast

import typer

from resumable_core import Sentinel
from resumable_io import Streams
from resumable_io.abc import Backend
from resumable_io.cli._exits import EXIT_STORE, OutputError, fail
from resumable_io.redis import RedisBackend
from resumable_io.sqlite import SQLiteBackend

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
Prefix: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Begins the names of all keys in Redis (resumable)."),
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]
Debug: TypeAlias = Annotated[
    bool, typer.Option("--debug", help="Show the traceback of what goes wrong.")
]


def store_of(redis: str | None, sqlite: Path | None, prefix: str | None) -> Backend:
    """Return the one store that is named, not opened yet."""
    if redis is not None and sqlite is None:
        return redis_at(redis, prefix)
    if redis is not None or sqlite is None:
        fail("name the store, one of --redis URL and --sqlite PATH")
    if prefix is not None:
        fail("--prefix is for --redis: an SQLite file has none")
    return SQLiteBackend(sqlite)


def redis_at(url: str, prefix: str | None) -> RedisBackend:
    """Return the store in a Redis; what is no URL of one shows when it is opened."""
    return RedisBackend(url) if prefix is None else RedisBackend(url, prefix=prefix)


def looking_at(redis: str | None, sqlite: Path | None, prefix: str | None) -> Streams:
    """Return the streams of a store that is there: looking creates nothing, no file either."""
    if sqlite is not None and redis is None:
        try:
            sqlite.stat()
        except OSError as error:
            fail(f"no store at {sqlite}: {error.strerror}", EXIT_STORE)
    return Streams(store_of(redis, sqlite, prefix))


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
    if cast("object", sys.stdout) is None:
        raise OutputError("the output cannot be written: stdout is closed")
    out = sys.stdout.buffer
    try:
        out.write(data.encode(errors="replace") if isinstance(data, str) else data)
        out.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"the output cannot be written: {error.strerror}") from error
