"""Each extra brings all that its modules import: what other packages bring by chance is hidden."""

import os
import subprocess
import sys
from importlib.metadata import distribution, packages_distributions

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

MODULES = {
    "": ["resumable_core", "resumable_io", "resumable_io.asgi", "resumable_io.ai_sdk",
         "resumable_io.channels", "resumable_io.sqlite", "resumable_io.vercel"],
    "redis": ["resumable_io.redis", "resumable_io.redis._redis_py", "resumable_io.vercel._redis"],
    "trio": ["resumable_io.redis", "resumable_io.redis._coredis"],
    "starlette": ["resumable_io.starlette"],
    "client": ["resumable_io.client"],
    "testing": ["resumable_core.testing", "resumable_io.testing"],
    "cli": ["resumable_io.cli", "resumable_io.cli.demo", "resumable_io.cli.publish",
            "resumable_io.cli.relay", "resumable_io.cli.serve", "resumable_io.cli.store",
            "resumable_io.cli.tail"],
}  # fmt: skip

PROGRAM = """
import importlib, sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

hidden = set(sys.argv[1].split(","))
for name in hidden & sys.modules.keys():
    del sys.modules[name]
sys.meta_path.insert(0, Hidden())
for module in sys.argv[2:]:
    importlib.import_module(module)
"""


def brought_by(requirement):
    """Return the names of the distributions that are installed for a requirement."""
    found, waiting = set(), [requirement]
    while waiting:
        wanted = waiting.pop()
        new = {(canonicalize_name(wanted.name), extra) for extra in ("", *wanted.extras)} - found
        found |= new
        for name, extra in new:
            for text in distribution(name).requires or ():
                needed = Requirement(text)
                if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                    waiting.append(needed)
    return {name for name, _ in found}


@pytest.mark.parametrize("extra", MODULES)
def test_an_extra_brings_what_it_needs(extra):
    brought = brought_by(Requirement(f"resumable-io[{extra}]" if extra else "resumable-io"))
    hidden = [
        package
        for package, names in packages_distributions().items()
        if not brought & {canonicalize_name(name) for name in names}
    ]
    assert "pytest" in hidden
    subprocess.run(
        [sys.executable, "-c", PROGRAM, ",".join(hidden), *MODULES[extra]],
        check=True,
        timeout=60,
        env=os.environ | {"HYPOTHESIS_NO_PLUGINS": "1"},  # such as trio's, where that is installed
    )
