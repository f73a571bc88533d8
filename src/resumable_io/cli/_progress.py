"""Show the running answers in the terminal, one line each."""

from __future__ import annotations

from contextlib import AbstractContextManager, aclosing
from typing import TYPE_CHECKING, Self

from rich.markup import escape
from rich.progress import Progress as Bars
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from rich.console import Console


class Progress(AbstractContextManager["Progress"]):
    """Count the pieces of every running answer; silent unless the console is a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Bars(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TextColumn("[dim]{task.completed:.0f} pieces[/]"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    async def watch(self, prompt: str, pieces: AsyncGenerator[str]) -> AsyncGenerator[str]:
        """Pass the pieces on, counting them."""
        title = escape(_one_line(prompt))
        task = self._bars.add_task(title, total=None)
        count = 0
        outcome = "[yellow]stopped[/]"
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    yield piece
                    count += 1
                    self._bars.advance(task)
            outcome = "[green]done[/]"
        except Exception as error:
            outcome = f"[red]failed[/] {escape(_one_line(str(error)))}"
            raise
        finally:
            self._bars.remove_task(task)
            self.note(f"{title} [dim]· {count} pieces ·[/] {outcome}")

    def note(self, line: str) -> None:
        """Print a line of markup above the running answers."""
        if self._console.is_terminal:
            self._console.print(line, highlight=False)


def printable(text: str) -> str:
    """Return the text without control characters: what comes from a network steers no terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


def _one_line(text: str) -> str:
    line = printable(text[:200])
    return line if len(line) <= 48 else f"{line[:47]}…"  # Fits most terminals.
