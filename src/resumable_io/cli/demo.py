"""`resumable demo`: serve a chat page whose answers survive reloads, cut connections and tabs."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
from pathlib import Path
from typing import Annotated, Final

import typer
import uvicorn
from rich.console import Console
from rich.markup import escape
from starlette.applications import Starlette

from resumable_io import Streams
from resumable_io.cli._answers import Answers, Upstream, UpstreamError, built_in, recorded
from resumable_io.cli._app import demo_app
from resumable_io.cli._exits import check, fail
from resumable_io.cli._listening import allowed_hosts, listen, url_of
from resumable_io.cli._progress import Progress, printable
from resumable_io.cli._providers import RecordingError
from resumable_io.cli._serving import reach
from resumable_io.cli._store import write

__all__ = ["demo", "demo_app"]

GRACE: Final = 5  # Seconds that open responses get at the end, should draining not suffice.


def demo(
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 8000,
    replay: Annotated[
        Path | None,
        typer.Option(
            help="Replay a recorded provider stream, one JSON chunk a line.", readable=False
        ),
    ] = None,
    upstream: Annotated[
        str | None,
        typer.Option(
            help="Base URL of an OpenAI-compatible server, such as http://localhost:11434/v1; "
            "OPENAI_API_KEY is sent when set."
        ),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Model to ask for with --upstream.")] = None,
    rate: Annotated[
        float,
        typer.Option(help="Tokens per second of a replay or the built-in text; 0: at once.", min=0),
    ] = 30.0,
    redis: Annotated[
        str | None,
        typer.Option(
            help="Keep the answers and the channel in Redis, at a URL such as "
            "redis://localhost:6379, so that several demos share them."
        ),
    ] = None,
) -> None:
    """Serve a chat page whose answers survive reloads, cut connections and second tabs."""
    answers = _answers(replay, upstream, model, rate)
    write("")  # which tells when nothing can be printed
    streams = None if redis is None else _shared(redis)
    console = Console()
    with contextlib.closing(listen(host, port)) as listener:
        url = url_of(host, listener)
        console.print(f"Serving {escape(answers.about)}", highlight=False, soft_wrap=True)
        console.print(f"Open [bold]{escape(url)}[/]", highlight=False, soft_wrap=True)
        if console.is_terminal:
            console.print("[dim]Press Ctrl+C to quit[/]")
        # uvicorn, once shut down, raises the signal anew; both end the demo in the same tidy way.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with Progress(console) as progress, contextlib.suppress(KeyboardInterrupt):
            _log_to_terminal()
            app = demo_app(
                answers, streams=streams, watch=progress.watch, allowed_hosts=allowed_hosts(host)
            )
            _serve(app, listener)


def _serve(app: Starlette, listener: socket.socket) -> None:
    config = uvicorn.Config(
        app, log_level="warning", lifespan="on", timeout_graceful_shutdown=GRACE
    )
    uvicorn.Server(config).run(sockets=[listener])


def _answers(replay: Path | None, upstream: str | None, model: str | None, rate: float) -> Answers:
    if upstream is not None:
        if replay is not None:
            fail("choose one of --replay and --upstream")
        if model is None:
            fail("--upstream needs --model")
        if not upstream.startswith(("http://", "https://")):
            fail("--upstream must be a URL that begins with http:// or https://")
        return Upstream(upstream, model, os.environ.get("OPENAI_API_KEY"))
    if model is not None:
        fail("--model needs --upstream")
    if replay is None:
        return built_in(rate)
    try:
        return recorded(replay, rate)
    except OSError as error:
        fail(f"cannot read {replay}: {error.strerror}")
    except RecordingError as error:
        fail(f"cannot replay {replay}: {error}")


def _shared(url: str) -> Streams:
    check(lambda: reach(url), debug=False)
    return Streams(url)


def _log_to_terminal() -> None:
    handler = logging.StreamHandler()  # To what is stderr now: it spares the progress lines.
    handler.addFilter(_in_one_line)
    logging.getLogger("resumable_io").addHandler(handler)
    logging.getLogger("uvicorn.error").addFilter(_is_news)


def _in_one_line(record: logging.LogRecord) -> bool:
    """Shorten what needs no traceback: the model's server failed, not this program."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, UpstreamError):
        details = [*getattr(error, "__notes__", []), *filter(None, [error.__cause__])]
        record.msg = printable(": ".join(map(str, [error, *details])))
        record.args = record.exc_info = record.exc_text = None
    return True


def _is_news(record: logging.LogRecord) -> bool:
    # A pulled plug is meant to leave a response without its end.
    return "returned without completing response" not in record.getMessage()
