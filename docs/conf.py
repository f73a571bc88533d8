"""How Sphinx builds the documentation: `nox -s docs`."""

import re
import sys
import tomllib
from pathlib import Path

from docutils.nodes import Element
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

project = "resumable-io"
author = "The resumable-io authors"
copyright = f"2026, {author}"
pyproject = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))
release = version = pyproject["project"]["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "docstrings", "lifecycle_directives"]
exclude_patterns = ["_build"]
highlight_language = "none"  # of drawings in docstrings
html_theme = "furo"
html_title = project
html_static_path = ["_static"]
html_css_files = ["custom.css"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

default_role = "py:obj"  # in docstrings: see _ext/docstrings.py
add_module_names = False
toc_object_entries_show_parents = "hide"
python_use_unqualified_type_names = True
maximum_signature_line_length = 80
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_type_aliases = {
    "Change": "resumable_core.Change",
    "Chunk": "resumable_core.ai_sdk.Chunk",
    "Command": "resumable_core.Command",
    "Encoder": "resumable_io.Encoder",
    "FeedItem": "resumable_core.FeedItem",
    "FinishReason": "resumable_core.ai_sdk.FinishReason",
    "Piece": "resumable_core.ai_sdk.Piece",
    "Position": "resumable_core.Position",
    "PositionLike": "resumable_io.PositionLike",
    "Record": "resumable_core.Record",
    "Source": "resumable_io.Source",
    "WriteCommand": "resumable_core.WriteCommand",
}

# The build needs no network, so it can't know other projects' inventories: it checks the references
# to our own names, and leaves those to all others as they are.
nitpick_ignore_regex = [
    (r"py:.*", r"(?!resumable_(core|io)\b).*"),
    (r"py:class", r"resumable_(core|io)\..*\.[A-Z]"),  # type variables
]
# What our own modules hand to one another is no part of the interface.
nitpick_ignore = [
    ("py:class", "resumable_io._frames.SharedFrames"),
    ("py:class", "resumable_io._shutdown.Shutdown"),
    ("py:class", "resumable_io.client._request.Template"),
]


def find_public_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: Element
) -> Element | None:
    """Resolve a name of ours to where it is documented.

    Annotations say `resumable_core._ids.EventId`, and docstrings `EventId` wherever it is from.
    """
    private = r"(?:resumable_(?:core|io)\.(?:\w+\.)*?)?"
    name = re.fullmatch(private + r"([A-Z]\w+(?:\.\w+)?|[a-z]\w*_\w+)", node.get("reftarget", ""))
    if node.get("refdomain") != "py" or name is None:
        return None
    domain = env.domains["py"]
    for module in (
        "resumable_core",
        "resumable_core.ai_sdk",
        "resumable_core.testing",
        "resumable_core.testing.simulation",
        "resumable_io",
        "resumable_io.abc",
        "resumable_io.ai_sdk",
        "resumable_io.asgi",
    ):
        public = f"{module}.{name[1]}"
        if public in domain.objects:
            return domain.resolve_xref(
                env, node["refdoc"], app.builder, "obj", public, node, contnode
            )
    return None


def setup(app: Sphinx) -> None:
    app.connect("missing-reference", find_public_name)
