"""`resumable list`, `state`, `stop` and `delete`: look at a store, and act on it."""

from __future__ import annotations

from json import dumps
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from resumable_core import Sentinel, StreamNotFound
from resumable_io.cli._exits import run
from resumable_io.cli._progress import printable
from resumable_io.cli._store import (
    Debug,
    Json,
    Prefix,
    Redis,
    SQLite,
    StreamId,
    described,
    looking_at,
    write,
)


def list_streams(
    *,
    redis: Redis = None,
    sqlite: SQLite = None,
    prefix: Prefix = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """List the streams of a store: id, state and number of the last event, separated by tabs."""

    async def command() -> int:
        console = Console()
        table = Table("stream", "state", "last event", box=None)
        async with looking_at(redis, sqlite, prefix) as streams:
            async for stream_id, sentinel in streams.scan():
                if json:
                    write(dumps(described(stream_id, sentinel), ensure_ascii=False) + "\n")
                elif console.is_terminal:
                    name = printable(stream_id)
                    table.add_row(name, sentinel.state.value, str(sentinel.last_seq))
                else:
                    write(f"{stream_id}\t{sentinel.state.value}\t{sentinel.last_seq}\n")
        if console.is_terminal and not json:
            console.print(table, markup=False)
        return 0

    run(command, debug=debug)


def state(
    stream: StreamId,
    *,
    redis: Redis = None,
    sqlite: SQLite = None,
    prefix: Prefix = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show the state of a stream; nothing is created by looking."""

    async def command() -> int:
        async with looking_at(redis, sqlite, prefix) as streams:
            sentinel = await streams.state(stream)
        if sentinel is None:
            raise StreamNotFound(_UNKNOWN)
        _show(stream, sentinel, json=json)
        return 0

    run(command, debug=debug)


def stop(
    stream: StreamId,
    *,
    redis: Redis = None,
    sqlite: SQLite = None,
    prefix: Prefix = None,
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What consumers are told.")
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Stop a stream, wherever it is produced; one that has ended stays as it is."""

    async def command() -> int:
        async with looking_at(redis, sqlite, prefix) as streams:
            sentinel = await streams.stop(stream, reason)
        _show(stream, sentinel, json=json)
        return 0

    run(command, debug=debug)


def delete(
    stream: StreamId,
    *,
    redis: Redis = None,
    sqlite: SQLite = None,
    prefix: Prefix = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Remove a stream at once; if it is being produced, its producer stops."""

    async def command() -> int:
        async with looking_at(redis, sqlite, prefix) as streams:
            if await streams.state(stream) is None:
                raise StreamNotFound(_UNKNOWN)
            await streams.delete(stream)
        if json:
            write(dumps({"id": stream, "state": "deleted"}, ensure_ascii=False) + "\n")
        return 0

    run(command, debug=debug)


_UNKNOWN = "no such stream: it was never started, has expired, or was deleted"


def _show(stream_id: str, sentinel: Sentinel, *, json: bool) -> None:
    facts = described(stream_id, sentinel)
    if json:
        write(dumps(facts, ensure_ascii=False) + "\n")
        return
    for name, value in facts.items():
        shown = value if isinstance(value, str) else dumps(value, ensure_ascii=False)
        write(f"{name}\t{printable(shown)}\n")
