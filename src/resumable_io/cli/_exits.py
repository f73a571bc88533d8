"""How commands end: an exit code for each kind of failure, and one line that says what happened."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, NoReturn, cast

import anyio
import typer
from rich.console import Console

from resumable_core import (
    BackendError,
    Interruption,
    InvalidInput,
    InvalidMessage,
    ResumableError,
    StreamError,
)
from resumable_io.cli._progress import printable
from resumable_io.client import ClientError

EXIT_STREAM: Final = 1
"""The stream ended otherwise than as done, or what came or was printed is not the whole."""
EXIT_USAGE: Final = 2
EXIT_ADDRESS: Final = 3
EXIT_STORE: Final = 4
EXIT_STATE: Final = 5
"""There is no such stream, or its state does not allow it."""
EXIT_SERVER: Final = 6
"""The server cannot be reached, or answered with something else."""
EXIT_INTERRUPTED: Final = 130


class OutputError(Exception):
    """What was to be printed is not: the disk is full, say."""


def fail(message: str, code: int = EXIT_USAGE) -> NoReturn:
    """End the command with one line on stderr."""
    complain(message)
    raise typer.Exit(code)


def complain(message: str) -> None:
    """Write one line to stderr, if it takes one: the exit code tells the same."""
    console = Console(stderr=True)
    line = f"resumable: {printable(message)}"
    with suppress(OSError):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def run(command: Callable[[], Awaitable[int]], *, debug: bool) -> NoReturn:
    """Run a command and end with its exit code; what goes wrong is one line on stderr.

    With `debug` it is a traceback.
    """
    raise typer.Exit(_code_of(command, debug=debug))


def check(command: Callable[[], Awaitable[int]], *, debug: bool) -> None:
    """Do the same, but go on when all is well."""
    if code := _code_of(command, debug=debug):
        raise typer.Exit(code)


def _code_of(command: Callable[[], Awaitable[int]], *, debug: bool) -> int:
    try:
        return anyio.run(command)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except Exception as error:
        cause = _innermost(error)
        if isinstance(cause, BrokenPipeError):
            close_stdout()
            return 0  # whoever reads our output has seen enough, as `head` does
        if isinstance(cause, OutputError):
            close_stdout()
        code = exit_code(cause)
        if debug or code is None:
            raise
        complain(str(cause) or type(cause).__name__)
        return code


def close_stdout() -> None:
    """Keep Python from flushing to what takes nothing, once more, at its exit."""
    if cast("object", sys.stdout) is not None:  # it is None when it was closed from the beginning
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def exit_code(error: BaseException) -> int | None:
    """Return the exit code for a failure; None for a bug."""
    match error:
        case InvalidMessage() | Interruption() | OutputError():
            return EXIT_STREAM
        case InvalidInput():
            return EXIT_USAGE
        case StreamError():
            return EXIT_STATE
        case BackendError() | ImportError() | sqlite3.Error():
            return EXIT_STORE
        case ClientError():
            return EXIT_SERVER
        case ResumableError():
            return EXIT_STREAM
        case _:
            return None


def _innermost(error: BaseException) -> BaseException:
    group: object = error
    if isinstance(group, BaseExceptionGroup):
        inner = cast("BaseExceptionGroup[BaseException]", group).exceptions
        if len(inner) == 1:
            return _innermost(inner[0])
    return error
