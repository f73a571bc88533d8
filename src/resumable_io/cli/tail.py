"""`resumable tail`: follow a stream of a store, or any event stream on the web."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator
from json import dumps
from typing import Annotated, Any

import typer

from resumable_core import (
    Beginning,
    End,
    Event,
    Gap,
    Live,
    Outcome,
    Position,
    Reset,
    ServerSentEvent,
    Unreadable,
    parse_last_event_id,
)
from resumable_io import Streams
from resumable_io.cli._exits import EXIT_STREAM, complain, fail, run
from resumable_io.cli._store import Debug, Json, Prefix, Redis, SQLite, looking_at, write
from resumable_io.client import ReconnectLimits, connect


def tail(
    stream: Annotated[str, typer.Argument(metavar="STREAM|URL", help="Id of a stream, or a URL.")],
    *,
    redis: Redis = None,
    sqlite: SQLite = None,
    prefix: Prefix = None,
    after: Annotated[
        str | None, typer.Option(metavar="ID", help="Go on behind this event id.")
    ] = None,
    from_start: Annotated[
        bool, typer.Option("--from-start", help="Begin with the first event, not with the next.")
    ] = False,
    lines: Annotated[
        bool | None,
        typer.Option(help="End each event with a newline if it has none (default for URLs)."),
    ] = None,
    header: Annotated[
        list[str] | None, typer.Option(metavar="NAME:VALUE", help="Send a header to the URL.")
    ] = None,
    patience: Annotated[
        float, typer.Option(help="Seconds of failures before a URL is given up.", min=0)
    ] = 300.0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Print the events of a stream as they come, through drops and restarts of the server."""
    if after is not None and from_start:
        fail("choose one of --after and --from-start")
    printer = _Printer(json, lines)
    if stream.startswith(("http://", "https://")):
        if redis is not None or sqlite is not None or prefix is not None:
            fail("a URL needs no store: leave --redis, --sqlite and --prefix out")
        headers = _headers(header or [])
        run(lambda: _tail_url(stream, after, headers, patience, printer), debug=debug)
    if header:
        fail("--header is for URLs")
    streams, position = looking_at(redis, sqlite, prefix), _position(after, from_start)
    run(lambda: _tail_store(streams, stream, position, printer), debug=debug)


async def _tail_url(
    url: str, after: str | None, headers: dict[str, str], patience: float, printer: _Printer
) -> int:
    # A server behind a proxy that starts again is gone for a moment, not for good.
    limits = ReconnectLimits(patience=patience, retry_statuses=frozenset({429, 502, 503, 504}))
    if printer.lines is None:
        printer.lines = True
    async with connect(url, headers=headers, last_event_id=after or "", limits=limits) as events:
        return await printer.print_all(events.records())


async def _tail_store(
    streams: Streams, stream_id: str, position: Position, printer: _Printer
) -> int:
    async with streams:
        state = await streams.state(stream_id)
        async with await streams.resume(stream_id, position) as subscription:
            if state is not None and state.outcome is not None and isinstance(position, Live):
                complain("the stream has ended before: --from-start prints it")
            if printer.lines is None:
                printer.lines = state is not None and state.metadata.get("cut") == "jsonl"
            return await printer.print_all(subscription.records())


def _position(after: str | None, from_start: bool) -> Position:  # noqa: FBT001
    if after is None:
        return Beginning() if from_start else Live()
    position = parse_last_event_id(after)
    if isinstance(position, Unreadable):
        fail("--after is no id of an event: expected one that --json has printed")
    return position


def _headers(given: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for each in given:
        name, colon, value = each.partition(":")
        if not colon:
            fail(f"a header is NAME:VALUE, got {each!r}")
        headers[name.strip()] = value.strip()
    return headers


class _Printer:
    """Print records, and keep in mind whether they are the whole."""

    def __init__(self, json: bool, lines: bool | None) -> None:  # noqa: FBT001
        self.lines = lines
        self._json = json
        self._code = 0

    async def print_all(self, records: AsyncIterator[Any]) -> int:
        """Print to the end and return the exit code."""
        async for record in records:
            if self._json:
                write(dumps(_as_json(record), ensure_ascii=False) + "\n")
            match record:
                case Event(data=data) | ServerSentEvent(data=data):
                    if not self._json:
                        write(data)
                        if self.lines and data[-1:] not in {"\n", b"\n"}:
                            write("\n")
                case Gap(id, reason):
                    self._warn(f"events are missing before {id}: {reason}")
                case Reset(_, reason):
                    self._warn(f"what was printed before is not part of the stream: {reason}")
                case End(outcome=Outcome.DONE):
                    pass
                case End(outcome=outcome, error=error):
                    self._warn(error or f"the stream is {outcome}")
                case _:
                    pass
        return self._code

    def _warn(self, text: str) -> None:
        complain(text)
        self._code = EXIT_STREAM


def _as_json(record: Any) -> dict[str, Any]:
    match record:
        case Event(id, bytes(data), type):
            return {"id": str(id), "type": type, "base64": b64encode(data).decode()}
        case Event(id, data, type):
            return {"id": str(id), "type": type, "data": data}
        case ServerSentEvent(type, data, id):
            return {"id": id, "type": None if type == "message" else type, "data": data}
        case Gap(id, reason):
            return {"id": str(id), "gap": reason}
        case Reset(id, reason):
            return {"id": str(id), "reset": reason}
        case End(id, outcome, error):
            return {"id": f"{id}-end", "end": outcome, "error": error}
        case _:
            raise TypeError(f"no record: {record!r}")
