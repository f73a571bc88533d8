"""The boundaries between the packages, read from their sources.

resumable_core decides and never waits: it imports nothing but itself and a few modules of the
standard library that do no input or output, know no time and throw no dice. resumable_io runs on
any event loop: it imports none.
"""

import ast
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

PURE = {
    "__future__",
    "bisect",
    "codecs",
    "collections",
    "collections.abc",
    "dataclasses",
    "enum",
    "functools",
    "itertools",
    "json",
    "math",
    "operator",
    "re",
    "sys",
    "types",
    "typing",
}
EVENT_LOOPS = {"asyncio", "trio", "uvloop"}


def modules(package: str) -> list[Path]:
    """The modules of the package that is being tested: installed, or in src."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return sorted(Path(spec.origin).parent.rglob("*.py"))


CORE = [path for path in modules("resumable_core") if "testing" not in path.parts]
TOOLS = [path for path in modules("resumable_core") if "testing" in path.parts]
ALL = modules("resumable_core") + modules("resumable_io")

# What the tools for tests need beyond that: a simulated world throws dice, and keeps a queue.
FOR_TESTS = {"contextlib", "copy", "heapq", "hypothesis", "random", "string"}


def imports(source: str) -> Iterator[str]:
    """Yield what a module imports, by statement or by call; what is relative begins with a dot."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names):
                yield from (name.name for name in names)
            case ast.ImportFrom(module, _, level):
                yield "." * level + (module or "")
            case ast.Call(
                func=ast.Name(id="__import__" | "import_module" as function)
                | ast.Attribute(attr="__import__" | "import_module" as function),
                args=arguments,
            ):
                match arguments:
                    case [ast.Constant(value=str(name)), *_]:
                        yield name
                    case _:
                        yield f"{function}(…)"


def impurities(source: str) -> list[str]:
    """List what keeps a module out of the core."""
    foreign = [
        name
        for name in imports(source)
        if name not in PURE and name.partition(".")[0] not in {"resumable_core", ""}
    ]
    waiting = [
        type(node).__name__
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith | ast.AsyncFunctionDef)
        or (isinstance(node, ast.comprehension) and node.is_async)
    ]
    return foreign + waiting


def is_testing(name: str) -> bool:
    """Say whether an import is of the tools for tests, from the core or from anywhere."""
    return "testing" in name.split(".")


def event_loops(source: str) -> list[str]:
    """List the event loops that a module imports."""
    return [name for name in imports(source) if name.partition(".")[0] in EVENT_LOOPS]


def name_of(path: Path) -> str:
    """The path from the package on."""
    start = max(path.parts.index(each) for each in path.parts if each.startswith("resumable_"))
    return "/".join(path.parts[start:])


@pytest.mark.parametrize("path", CORE, ids=name_of)
def test_the_core_is_pure(path):
    source = path.read_text(encoding="utf-8")
    assert not impurities(source)
    assert not any(map(is_testing, imports(source)))


@pytest.mark.parametrize("path", TOOLS, ids=name_of)
def test_the_tools_for_tests_need_hypothesis_alone(path):
    foreign = impurities(path.read_text(encoding="utf-8"))
    assert {name.partition(".")[0] for name in foreign} <= FOR_TESTS


@pytest.mark.parametrize("path", ALL, ids=name_of)
def test_no_module_is_tied_to_an_event_loop(path):
    assert not event_loops(path.read_text(encoding="utf-8"))


def test_all_modules_are_read():
    assert {path.parent.name for path in ALL} >= {"resumable_core", "resumable_io"}
    assert "_sse.py" in {path.name for path in CORE}
    assert "strategies.py" in {path.name for path in TOOLS}


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "import json, os",
        "import collections.abc, logging.handlers",
        "from random import random",
        "from os import path as re",
        "def lazily():\n    import secrets",
        "import resumable_io",
        "from resumable_io import Streams",
        "from resumable_io.memory import MemoryBackend",
        "from resumable_core_extras import x",
        "import anyio",
        "import importlib",
        "__import__('time')",
        "import_module('time')",
        "importlib.import_module(name)",
        "async def wait(): pass",
        "async def wait():\n    await it",
        "async def wait():\n    async with it: pass",
        "async def wait():\n    return [x async for x in it]",
    ],
)
def test_impurities_are_found(source):
    assert impurities(source)


@pytest.mark.parametrize(
    "source",
    [
        "import asyncio",
        "import asyncio.events as trick",
        "import json, trio.lowlevel",
        "from asyncio import sleep",
        "from trio.testing import MockClock",
        "def lazily():\n    import uvloop",
        "if TYPE_CHECKING:\n    import trio",
        "__import__('asyncio')",
        "importlib.import_module('trio')",
        "builtins.__import__('asyncio.events')",
    ],
)
def test_event_loops_are_found(source):
    assert event_loops(source)


@pytest.mark.parametrize(
    "source",
    [
        "from __future__ import annotations",
        "import json, re",
        "from collections.abc import Iterator",
        "from resumable_core._ids import EventId",
        "import resumable_core",
        "from ._ids import EventId",
        "from . import _ids",
        "'import asyncio'  # import trio",
        "trio = asyncio = 1",
    ],
)
def test_what_is_pure_passes(source):
    assert not impurities(source)
    assert not event_loops(source)
