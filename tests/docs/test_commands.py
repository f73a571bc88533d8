"""The commands in the documentation exist: programs, options, extras, sessions."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from functools import cache

import pytest

from tests.docs.pages import BLOCKS, ROOT

COMMANDS = [
    (block.page, command.strip())
    for block in BLOCKS
    if block.language == "console"
    for line in block.text.splitlines()
    if line.startswith("$ ")
    for command in line.removeprefix("$ ").split("&&")
]

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def check_pip(arguments):
    assert arguments[:3] == ["-m", "pip", "install"]
    for each in arguments[3:]:
        if extras := re.fullmatch(r"\.\[([\w,]+)\]", each):
            assert set(extras[1].split(",")) <= set(PROJECT["optional-dependencies"])


def check_python(arguments):
    if arguments[0] == "-m":
        check_pip(arguments)
    else:
        assert any(block.kind == "file" and block.name == arguments[0] for block in BLOCKS)


@cache
def help_of(*subcommand):
    return subprocess.run(
        [sys.executable, "-m", "resumable_io", *subcommand, "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env=os.environ | {"COLUMNS": "200"},
    ).stdout


def check_resumable(arguments):
    subcommand, *options = arguments
    assert {each for each in options if each.startswith("--")} <= set(
        re.findall(r"--[\w-]+", help_of(subcommand))
    )


def check_nox(arguments):
    option, session, *rest = arguments
    assert option == "-s"
    assert rest[:1] in ([], ["--"])
    noxfile = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    assert re.search(rf"^def {session}\(", noxfile, re.MULTILINE)


def check_uvicorn(arguments):
    assert arguments == ["app:app"]


def check_curl(arguments):
    assert arguments[0] == "-N"
    assert arguments[-1].startswith("http://127.0.0.1:8000/")


def check_npm(arguments):
    """Packages are those that tests/js runs, or one of ours; React is the reader's own."""
    assert arguments[0] == "install"
    tested = json.loads((ROOT / "tests/js/package.json").read_text(encoding="utf-8"))
    known = {*tested["dependencies"], "@ai-sdk/react"}
    for each in arguments[1:]:
        assert each in known or (ROOT / each / "package.json").is_file()


CHECKS = {
    "python": check_python,
    "resumable": check_resumable,
    "nox": check_nox,
    "npm": check_npm,
    "uvicorn": check_uvicorn,
    "curl": check_curl,
}


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_a_command_exists(page, command):
    program, *arguments = shlex.split(command)
    CHECKS[program](arguments)


def test_the_two_commands_for_a_fresh_machine_are_in_the_readme():
    readme = [command for page, command in COMMANDS if page == "README.md"]
    assert readme == [
        'python -m pip install -e ".[all]"',
        "resumable demo",
        "python -m pip install nox",
        "nox -s tests",
    ]


SUBCOMMANDS = sorted(path.stem for path in (ROOT / "docs/reference/cli").glob("*.md"))


def test_every_command_has_a_page():
    shown = help_of()
    listed = re.findall(r"^  ([a-z]+) ", shown[shown.index("Commands:") :], re.MULTILINE)
    assert sorted(listed) == SUBCOMMANDS


@pytest.mark.parametrize("subcommand", SUBCOMMANDS)
def test_all_options_of_a_command_are_described(subcommand):
    described = (ROOT / f"docs/reference/cli/{subcommand}.md").read_text(encoding="utf-8")
    options = set(re.findall(r"^  (--[\w-]+)", help_of(subcommand), re.MULTILINE)) - {"--help"}
    assert options == set(re.findall(r"(?<=^\| `)--[\w-]+", described, re.MULTILINE))


def test_the_links_of_the_readme_lead_somewhere():
    links = re.findall(r"\]\(([\w./-]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(links) > 5
    for link in links:
        assert (ROOT / link).is_file(), link
