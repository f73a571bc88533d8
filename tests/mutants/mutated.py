"""Import the core with one place of its source changed."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import find_spec
from pathlib import Path

PACKAGE = "resumable_core"


def sources() -> dict[str, Path]:
    """The modules of the core, its tools for tests left out."""
    spec = find_spec(PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    return {f"{PACKAGE}.{path.stem}": path for path in Path(spec.origin).parent.glob("_[a-z]*.py")}


def place_of(old: str) -> str:
    """The module in which a piece of source stands, once, wherever it has moved."""
    counts = {name: path.read_text(encoding="utf-8").count(old) for name, path in sources().items()}
    found = [name for name, times in counts.items() for _ in range(times)]
    assert len(found) == 1, f"{old!r} is to be found once, not in {found}: mend the mutant"
    return found[0]


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, old: str, new: str) -> None:
        super().__init__(name, path)
        self._old, self._new = old, new

    def get_code(self, fullname):  # never from a cache, nor into it
        source = self.get_data(self.path).decode("utf-8")
        return compile(source.replace(self._old, self._new), self.path, "exec", dont_inherit=True)


class _Finder(MetaPathFinder):
    def __init__(self, name: str, old: str, new: str) -> None:
        self._change = name, old, new

    def find_spec(self, fullname, path=None, target=None) -> ModuleSpec | None:
        name, old, new = self._change
        if fullname != name:
            return None
        spec = PathFinder.find_spec(fullname, path)
        assert spec is not None
        spec.loader = _Loader(name, spec.origin, old, new)
        return spec


@contextmanager
def mutated(old: str, new: str) -> Iterator[None]:
    """Let whatever is imported inside be made of a core in which `old` reads `new`."""
    finder = _Finder(place_of(old), old, new)
    ours = {name: sys.modules.pop(name) for name in [*sys.modules] if _is_ours(name)}
    sys.meta_path.insert(0, finder)
    try:
        importlib.import_module(finder._change[0])
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [*sys.modules]:
            if _is_ours(name):
                del sys.modules[name]
        sys.modules |= ours


def _is_ours(name: str) -> bool:
    return name == PACKAGE or name.startswith(f"{PACKAGE}.")
