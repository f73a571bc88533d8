"""`resumable` itself: what it is, and its version."""

from __future__ import annotations

from importlib.metadata import version as version_of
from typing import Annotated

import typer

from resumable_io.cli._store import write


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - so typer calls it
    if wanted:
        write(f"resumable-io {version_of('resumable-io')}\n")
        raise typer.Exit


def about(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Answers that survive a refresh."""
    del version
