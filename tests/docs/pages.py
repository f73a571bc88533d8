"""The README and the pages of the documentation, and the blocks of code on them.

The line above a block says, in a comment that nobody sees, what the block is:

    <!-- script: NAME -->               a program that ends by itself; its output is there, too
    <!-- output: NAME -->               what that prints
    <!-- file: NAME -->                 a part of a file; parts of the same name belong together
    <!-- not executed: the reason -->
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

NOT_EXECUTED = {
    "console": "these are for a person at a terminal; test_commands.py knows whether they exist",
    "javascript": "the tests of the browser have pages of their own",
    "nginx": "it needs nginx",
    "text": "it shows output",
    "{eval-rst}": "these are instructions to Sphinx",
    "{toctree}": "the same",
    "{glossary}": "the same",
    "{lifecycle-diagram}": "the same",
    "{lifecycle-table}": "the same",
}
"""Languages of blocks that need no marker, with the reason."""


@dataclass(frozen=True)
class Block:
    page: str
    line: int
    language: str
    kind: str
    """`script`, `output`, `file`, `not executed`, or empty."""
    name: str
    text: str


_BLOCK = re.compile(
    r"(?:^<!-- (?P<kind>[a-z ]+): (?P<name>[^\n]+) -->\n)?"
    r"^```(?P<language>\S+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        line = text.count("\n", 0, found.start("language")) + 1
        kind, name = found["kind"] or "", found["name"] or ""
        path = page.relative_to(ROOT).as_posix()
        yield Block(path, line, found["language"], kind, name, found["text"])


BLOCKS = [block for page in pages() if "_build" not in page.parts for block in blocks(page)]


def files(page: str) -> dict[str, str]:
    """The files of a page, put together from their parts."""
    found: dict[str, list[str]] = {}
    for block in BLOCKS:
        if block.page == page and block.kind == "file":
            found.setdefault(block.name, []).append(block.text)
    return {name: "\n\n".join(parts) for name, parts in found.items()}


def write(page: str, directory: Path) -> Path:
    """Write the files of a page into a directory, and return it."""
    for name, text in files(page).items():
        (directory / name).write_text(text, encoding="utf-8")
    return directory
