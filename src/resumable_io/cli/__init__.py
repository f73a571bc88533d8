"""The `resumable` command; each of its subcommands is a module of this package.

    publish.py      `resumable publish`: standard input becomes a stream
    tail.py         `resumable tail`: follow a stream, or any event stream on the web
    store.py        `resumable list`, `state`, `stop`, `delete`
    serve.py        `resumable serve`: an HTTP server for streams
    _service.py     its web application
    relay.py        `resumable relay`: resumption in front of a server that has none
    _relay.py       its web application
    _forwarding.py  one request to that server
    _provider_wire  a stream as that server would send it
    _serving.py     running a web application
    _store.py       the options that these share
    _about.py       `resumable --version`
    _input.py       input in pieces
    _exits.py       exit codes, and one line that says what went wrong
    demo.py         `resumable demo`: a chat page whose answers survive anything
    _app.py         the demo's web application
    _lobby.py       its channel
    _plugs.py       cutting open responses in the middle
    _answers.py     where its answers come from: a recording, the built-in text, a real model
    _providers.py   which part of a model provider's chunk is text
    _progress.py    what the terminal shows of running answers
    page/           what the browser gets

It needs the extra `cli`: `pip install "resumable-io[cli]"`.
"""

from __future__ import annotations

import errno
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import typer

EXTRA: Final = frozenset({"typer", "rich", "starlette", "uvicorn", "httpx2"})


def main() -> None:
    """Run the `resumable` command."""
    try:
        app = _command()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in EXTRA:
            raise
        sys.exit(f'resumable: {missing} is missing; try: pip install "resumable-io[cli]"')
    from resumable_io.cli._exits import EXIT_STREAM, OutputError, close_stdout, complain

    try:
        app()
    except OutputError as error:  # outside of what `run` runs
        said = str(error)
    except OSError as error:  # by what prints without us, as the help is
        if error.errno != errno.ENOSPC:
            raise
        said = f"the output cannot be written: {error.strerror}"
    else:
        return
    close_stdout()
    complain(said)
    sys.exit(EXIT_STREAM)


def _command() -> typer.Typer:
    import typer

    from resumable_io.cli._about import about
    from resumable_io.cli.demo import demo
    from resumable_io.cli.publish import publish
    from resumable_io.cli.relay import relay
    from resumable_io.cli.serve import serve
    from resumable_io.cli.store import delete, list_streams, state, stop
    from resumable_io.cli.tail import tail

    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback()(about)
    app.command("list")(list_streams)
    for command in (publish, tail, state, stop, delete, serve, relay, demo):
        app.command()(command)
    return app
