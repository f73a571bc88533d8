"""Two directives, `lifecycle-table` and `lifecycle-diagram`: see lifecycle.py."""

from __future__ import annotations

from typing import ClassVar

from docutils import nodes
from lifecycle import draw, rows
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata


class LifecycleDiagram(SphinxDirective):
    """Show the diagram."""

    def run(self) -> list[nodes.Node]:
        """Return it as inline SVG, so that it takes its colours from the page."""
        return [nodes.raw("", f"<figure>{draw()}</figure>", format="html")]


class LifecycleTable(SphinxDirective):
    """Show the table."""

    classes: ClassVar = ["lifecycle"]

    def run(self) -> list[nodes.Node]:
        """Return it as a table of its own."""
        head, *body = rows()
        group = nodes.tgroup("", *(nodes.colspec(colwidth=1) for _ in head), cols=len(head))
        group += nodes.thead("", _row(head))
        group += nodes.tbody("", *map(_row, body))
        return [nodes.table("", group, classes=self.classes)]


def _row(cells: list[str]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", _text(cell))) for cell in cells))


def _text(cell: str) -> nodes.Node:
    if cell.startswith("("):
        return nodes.emphasis("", cell.strip("()"))
    return nodes.literal("", cell) if cell else nodes.Text("·")


def setup(app: Sphinx) -> ExtensionMetadata:
    """Add the directives, and what they look like."""
    app.add_directive("lifecycle-diagram", LifecycleDiagram)
    app.add_directive("lifecycle-table", LifecycleTable)
    return {"parallel_read_safe": True}
