"""`resumable publish`: standard input becomes a resumable stream."""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from json import dumps
from typing import Annotated, Final, Self, cast

import typer
from anyio import create_task_group, open_signal_receiver
from rich.console import Console

from resumable_core import (
    Event,
    Fenced,
    InvalidMessage,
    Live,
    Outcome,
    ProducerLimits,
    Sentinel,
    State,
    StreamExists,
    Takeover,
)
from resumable_io import Production, SourceError, Streams
from resumable_io.cli._exits import EXIT_STREAM, complain, fail, run
from resumable_io.cli._input import Cut, pieces, read
from resumable_io.cli._store import (
    Debug,
    Json,
    Prefix,
    Redis,
    SQLite,
    StreamId,
    described,
    store_of,
    write,
)

PATIENT: Final = ProducerLimits(idle=366 * 86400.0, total=366 * 86400.0)
"""A pipe may be silent for as long as it likes."""

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def publish(
    stream: StreamId,
    *,
    redis: Redis = None,
    sqlite: SQLite = None,
    prefix: Prefix = None,
    lines: Annotated[bool, typer.Option("--lines", help="One event a line.")] = False,
    chunks: Annotated[
        bool, typer.Option("--chunks", help="One event for what arrives together (default).")
    ] = False,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="One event a line of JSON.")] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--continue",
            help="Go on where a publisher died: the same input again, without what is there.",
        ),
    ] = False,
    lease: Annotated[
        float,
        typer.Option(help="Seconds until a silent publisher counts as dead.", min=1, max=3600),
    ] = 15.0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Make standard input a stream; Ctrl-C stops it, and a signal to end makes it fail."""
    if lines + chunks + jsonl > 1:
        fail("choose one of --lines, --chunks and --jsonl")
    if cast("object", sys.stdin) is None:
        fail("the input cannot be read: stdin is closed", EXIT_STREAM)
    cut = Cut.LINES if lines else Cut.JSONL if jsonl else Cut.CHUNKS
    store = store_of(redis, sqlite, prefix)

    async def command() -> int:
        async with Streams(store, lease=lease, limits=PATIENT) as streams:
            had = await _left_behind(streams, stream, cut) if resume else None
            try:
                await _publish(streams, stream, cut, had)
            except StreamExists:
                if had is not None:
                    raise
                raise StreamExists(_TAKEN) from None
            state = await streams.state(stream)
        if state is None or state.outcome is not Outcome.DONE:
            why = "it was deleted" if state is None else state.error or f"it was {state.state}"
            complain(f"the stream is not complete: {why}")
        if json and state is not None:
            write(dumps(described(stream, state)) + "\n")
        return 0 if state is not None and state.outcome is Outcome.DONE else EXIT_STREAM

    run(command, debug=debug)


_TAKEN = (
    "there is a stream of this id already: publish under another one, or remove it before by "
    "`resumable delete`; if its publisher has died, --continue goes on with it"
)


async def _left_behind(streams: Streams, stream_id: str, cut: Cut) -> Sentinel | None:
    """Return the state of a stream whose publisher died; wait until that is certain."""
    state = await streams.state(stream_id)
    if state is not None and state.state is State.ACTIVE:
        async with await streams.resume(stream_id, Live()) as others:
            async for record in others.records():
                if isinstance(record, Event):
                    raise StreamExists("the stream is being published by somebody else")
        state = await streams.state(stream_id)
    if state is not None and state.state is not State.LOST:
        raise StreamExists(f"the stream is {state.state}: there is nothing to go on with")
    if state is not None and state.metadata.get("cut") != cut:
        raise StreamExists(f"the stream was published with --{state.metadata.get('cut')}")
    return state


async def _publish(streams: Streams, stream_id: str, cut: Cut, had: Sentinel | None) -> None:
    """Publish to the end, whichever it is; the stream's state tells which."""
    on_lost = Takeover.REFUSE if had is None else Takeover.CONTINUE
    production = streams.produce(stream_id, metadata={"cut": cut.value}, on_lost=on_lost)
    with suppress(SourceError, InvalidMessage):
        async with production:
            failure = await _copy(production, streams, cut, had)
            if failure is not None:
                raise failure


async def _copy(
    production: Production, streams: Streams, cut: Cut, had: Sentinel | None
) -> SourceError | InvalidMessage | None:
    """Copy the input into the stream, and return what ended it early."""
    failure: SourceError | InvalidMessage | None = None

    async def obey_signals() -> None:
        nonlocal failure
        with open_signal_receiver(*SIGNALS) as signals:
            async for number in signals:
                if number == signal.SIGINT:
                    await streams.stop(production.stream_id, "stopped by the publisher")
                else:
                    failure = SourceError("the publisher was told to end")
                tasks.cancel_scope.cancel()

    async def obey_others() -> None:
        """End when the stream was ended elsewhere, even while the input is silent."""
        async with await streams.resume(production.stream_id, Live()) as ours:
            async for _ in ours.records():
                pass
        tasks.cancel_scope.cancel()

    async with create_task_group() as tasks:
        tasks.start_soon(obey_signals)
        tasks.start_soon(obey_others)
        try:
            await _send(production, _rest(pieces(read(sys.stdin.fileno()), cut), cut, had))
        except (SourceError, InvalidMessage) as error:
            failure = error
        except Fenced:
            pass  # stopped or taken over: its state says so
        tasks.cancel_scope.cancel()
    return failure


async def _send(production: Production, messages: AsyncGenerator[str]) -> None:
    console = Console(stderr=True)
    count = 0
    with console.status("waiting for input") if console.is_terminal else _Quiet() as status:
        async with aclosing(messages):
            async for message in messages:
                await production.send(message)
                count += 1
                status.update(f"{count} events")
    await production.flush()


class _Quiet:
    """Show nothing: there is no terminal."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def update(self, status: str) -> None:
        """Do nothing."""


async def _rest(
    messages: AsyncGenerator[str], cut: Cut, had: Sentinel | None
) -> AsyncGenerator[str]:
    """Pass messages on without those that the stream has: by number, or by characters."""
    skip = 0
    if had is not None:
        skip = had.characters if cut is Cut.CHUNKS else had.last_seq
    async with aclosing(messages):
        async for message in messages:
            if cut is Cut.CHUNKS:
                rest = message[skip:]
                skip -= len(message) - len(rest)
                if rest:
                    yield rest
            elif skip > 0:
                skip -= 1
            else:
                yield message
