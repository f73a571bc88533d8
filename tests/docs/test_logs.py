"""The page on the log has every line that an operator may see."""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.docs.pages import ROOT

LEVELS = {"info", "warning", "error", "exception", "critical"}


def lines() -> Iterator[str]:
    """Return the formats of all lines that are logged at a level that shows."""
    for path in sorted((ROOT / "src" / "resumable_io").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name("logger"), attr=level),
                    args=[ast.Constant(str(line)), *_],
                ) if level in LEVELS:
                    yield line


@pytest.mark.parametrize("line", sorted(set(lines())))
def test_a_line_is_documented(line):
    page = (ROOT / "docs" / "howto" / "logs.md").read_text(encoding="utf-8")
    parts = re.split(r"%[.\d]*[a-z]", line.removesuffix(": %s"))
    assert re.search("['…]+".join(map(re.escape, parts)), page)


def test_there_are_lines():
    assert "stream %r was given up: %s" in set(lines())
