"""What to run, and in which environment: `nox -l` lists it, `nox -s tests` runs the tests."""

import os
import shutil
import sys
from itertools import chain
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "virtualenv"
nox.options.error_on_external_run = True
nox.options.error_on_missing_interpreters = False  # in CI too: test on those that are there
nox.options.reuse_venv = "yes"
nox.options.sessions = ["tests", "lint", "types", "docs"]

PYPROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PYPROJECT)

# The same examples for everybody. To look for new ones: HYPOTHESIS_PROFILE=nightly nox -s tests.
os.environ.setdefault("HYPOTHESIS_PROFILE", "ci")


def show_pythons_of_pyenv() -> None:
    """Make pyenv offer all its Pythons that we support, not only the one it has selected."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    installed = sorted(path.name for python in PYTHONS for path in versions.glob(f"{python}.*"))
    if shutil.which("pyenv") and installed:
        os.environ["PYENV_VERSION"] = ":".join(installed)


show_pythons_of_pyenv()
if not any(shutil.which(f"python{python}") for python in PYTHONS):
    PYTHONS = [f"{sys.version_info.major}.{sys.version_info.minor}"]  # better than no tests at all


def install(session: nox.Session, group: str, *pins: str) -> None:
    """Install the project as its users get it, as a wheel with all extras, and a group of tools."""
    session.env["PYTHONPATH"] = None  # what is tested is what was installed, not src
    session.install(".[all]", *nox.project.dependency_groups(PYPROJECT, group), *pins)


tested: list[str] = []


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the whole suite on the first Python that is found, and a selection on the others."""
    install(session, "test")
    pytest = ("pytest", "--maxprocesses=8", "--dist=worksteal", "--numprocesses")

    smoke = bool(tested)
    tested.append(str(session.python))
    if session.posargs:
        session.run("pytest", *session.posargs)
    elif smoke:
        session.run(*pytest, "auto", "-m", "smoke", env={"HYPOTHESIS_PROFILE": "smoke"})
    else:
        # The core's own tests, and no others, have to cover it.
        session.run(*pytest, "auto", "tests/core", "--cov=resumable_core", "--cov-fail-under=100")
        # The others spend half of their time in waiting for servers: two of them for each core.
        session.run(*pytest, str(2 * (os.cpu_count() or 1)), "--ignore=tests/core")


@nox.session
def oldest(session: nox.Session) -> None:
    """Run the whole suite with the oldest dependencies that pyproject.toml allows."""
    project = PYPROJECT["project"]
    ours = {*project["dependencies"], *chain(*project["optional-dependencies"].values())}
    pins = sorted(each.replace(">=", "==") for each in ours if ">=" in each)
    install(session, "test", *pins)
    session.run("pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, formatting, and the project's metadata."""
    session.install(*nox.project.dependency_groups(PYPROJECT, "lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("validate-pyproject", "pyproject.toml")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types: of the code, of its use in tests/typing, and that none are missing."""
    install(session, "types")
    session.run("mypy")
    session.run("pyright", "--project", "pyproject.toml")
    for package in ("resumable_core", "resumable_io"):
        session.run("pyright", "--verifytypes", package, "--ignoreexternal")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; a warning is an error."""
    install(session, "docs")
    shutil.rmtree("docs/_build", ignore_errors=True)
    session.run(
        "sphinx-build", "-n", "-T", "-W", "--keep-going",
        "-d", "docs/_build/doctrees",
        "-b", "html", "docs", "docs/_build/html",
    )  # fmt: skip


@nox.session
def demo(session: nox.Session) -> None:
    """Serve the demo: `nox -s demo -- --port 8001`."""
    session.install(".[all]")
    session.run("resumable", "demo", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Simulate worlds that nobody has seen, for as long as asked: `nox -s fuzz -- --minutes 60`."""
    install(session, "test")
    session.run("python", "-m", "tests.simulation.fuzz", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure speed and memory, beside the peers: `nox -s bench -- --quick`, or `-- --help`."""
    install(session, "bench")
    session.run("python", "-m", "tests.bench", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Run for long, with consumers that come and go and faults: `nox -s soak -- --minutes 30`."""
    install(session, "bench")
    session.run("python", "-m", "tests.bench.soak", *session.posargs)


@nox.session
def browser(session: nox.Session) -> None:
    """Run the tests that need Chromium: the one that CHROMIUM names, or else the system's."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        session.error("No chromium on the PATH: install it, or say where it is with CHROMIUM=…")
    install(session, "browser")
    session.run("pytest", "tests/browser", *session.posargs, env={"CHROMIUM": chromium})


@nox.session
def js(session: nox.Session) -> None:
    """Run the tests with JavaScript clients from npm; they need node 20 or newer."""
    if shutil.which("npm") is None:
        session.error("No npm on the PATH: install node 20 or newer.")
    install(session, "test")
    session.run("npm", "--prefix", "tests/js", "ci", "--no-audit", "--no-fund", external=True)
    session.run("pytest", "--numprocesses=2", "tests/js", *session.posargs)
