"""Teach Sphinx what our docstrings are like.

Three conventions are no reStructuredText:

- A name in single backticks is code, and a link where the name is ours (`default_role` in conf.py).
- Lines of a name in backticks and its meaning, in two columns, describe parameters or fields.
- Any other indented block is a drawing or a piece of code, and so is a tree: kept as it stands.

Besides, constants and aliases are documented where they are defined, in private modules, and what
only the library makes is shown without the signature of its `__init__`.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from enum import Enum
from typing import Any, Final

from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.typing import ExtensionMetadata

_ENTRY: Final = re.compile(r"(\s*)`(\w+)` {2,}(.*)")
_ITEM: Final = re.compile(r"\s*(?:-|\d+\.) ")

MADE_FOR_YOU: Final = {"resumable_io.Subscription", "resumable_io.Production"}


def convert(*event: Any) -> None:
    """Rewrite a docstring in place; see Sphinx on `autodoc-process-docstring`."""
    _app, what, name, obj, _options, lines = event
    if what == "data":
        lines[:] = _defined(*name.rsplit(".", 1)) or lines
    lines[:] = _converted(lines, _parameters(obj))


def sign(*event: Any) -> tuple[str | None, str | None]:
    """Return a signature without what is nobody's business, and without Sphinx's own artefacts.

    See Sphinx on `autodoc-process-signature`.
    """
    _app, what, name, obj, _options, signature, returns = event
    if what == "class" and (name in MADE_FOR_YOU or issubclass(obj, Enum)):
        return "", ""
    return _plain(signature), _plain(returns)


def _plain(text: str | None) -> str | None:
    if text is None:
        return None
    text = text.replace("=<factory>", "=...").replace("= <factory>", "= ...")
    return re.sub(r"TypeAliasForwardRef\('([\w.]+)'\)", r"\1", text)


def _defined(package: str, name: str) -> list[str]:
    """Return the docstring below the definition of a module's constant or alias."""
    for module in sorted(sys.modules):
        if module.startswith(f"{package}._") or module == package:
            found = ModuleAnalyzer.for_module(module).find_attr_docs().get(("", name))
            if found:
                return list(found)
    return []


def _parameters(obj: Any) -> frozenset[str]:
    try:
        return frozenset(inspect.signature(obj).parameters)
    except (TypeError, ValueError):
        return frozenset()


def _converted(lines: list[str], parameters: frozenset[str]) -> Iterator[str]:
    for block in _blocks(lines):
        if entry := _ENTRY.fullmatch(block[0]):
            yield from _described(block, len(entry[1]), parameters)
        elif any("├──" in line for line in block):
            yield from ("::", "", *(f"    {line}" for line in block))
        elif block[0].startswith("    ") and not _ITEM.match(block[0]):
            yield from ("::", "", *(line if line.strip() else "" for line in block))
        else:
            yield from block
        yield ""


def _blocks(lines: list[str]) -> Iterator[list[str]]:
    """Yield paragraphs; indented ones that follow each other are one drawing."""
    block: list[str] = []
    for line in lines:
        indented = line.startswith("    ")
        if (
            line.strip()
            and block
            and not block[-1].strip()
            and not (indented and block[0].startswith("    "))
        ):
            yield _stripped(block)
            block = []
        block.append(line)
    if any(line.strip() for line in block):
        yield _stripped(block)


def _stripped(block: list[str]) -> list[str]:
    while block and not block[-1].strip():
        block.pop()
    while block and not block[0].strip():
        block.pop(0)
    return block


def _described(block: list[str], indent: int, parameters: frozenset[str]) -> Iterator[str]:
    entries: list[tuple[str, list[str]]] = []
    for line in block:
        entry = _ENTRY.fullmatch(line)
        if entry is not None and len(entry[1]) == indent:
            entries.append((entry[2], [entry[3]]))
        else:
            entries[-1][1].append(line.strip())
    yield ""
    for name, text in entries:
        if name in parameters:
            yield f":param {name}: {' '.join(text)}"
        else:
            yield from (f"``{name}``", f"    {' '.join(text)}")
    yield ""


def setup(app: Sphinx) -> ExtensionMetadata:
    """Listen to what autodoc has read."""
    app.connect("autodoc-process-docstring", convert)
    app.connect("autodoc-process-signature", sign)
    return {"parallel_read_safe": True}
