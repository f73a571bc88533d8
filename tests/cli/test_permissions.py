"""A store that may not be used is one line on stderr, and the exit code of stores."""

import ctypes
import os
import secrets
import shutil
import subprocess
import sys

import pytest

from tests.cli.commands import PATIENCE, PROGRAM, ROOT, resumable

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="how root gives up its permissions is Linux's own"
)

COMMANDS = ["publish", "tail", "list", "state", "stop", "delete", "serve", "relay"]

_DROP_FROM_BOUNDING_SET = 24  # of prctl(2); and of capabilities(7):
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1, 2


def obey_permissions():
    """Give up what lets root pass over the permissions of files; others have nothing to give."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (_DAC_OVERRIDE, _DAC_READ_SEARCH):
            if libc.prctl(_DROP_FROM_BOUNDING_SET, capability, 0, 0, 0):
                raise OSError(ctypes.get_errno(), "root cannot give up a capability")


def arguments(command, kind, where):
    match command:
        case "list":
            return [command, kind, where]
        case "serve":
            backend = where if kind == "--redis" else f"sqlite:///{where}"
            return [command, "--port", "0", "--backend", backend]
        case "relay":
            return [command, "--port", "0", "--upstream", "http://127.0.0.1:1", kind, where]
        case _:
            return [command, "chat", kind, where]


def refused(command, kind, where):
    done = subprocess.run(
        [*PROGRAM, *arguments(command, kind, where)],
        input=b"a",
        capture_output=True,
        timeout=PATIENCE,
        preexec_fn=obey_permissions,
        cwd=ROOT,
        check=False,
    )
    lines = done.stderr.decode().splitlines()
    assert (done.returncode, done.stdout, len(lines)) == (4, b"", 1), lines
    assert lines[0].startswith("resumable: ")
    assert "secret" not in lines[0]
    return lines[0]


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    """A store with a stream, to be copied."""
    path = tmp_path_factory.mktemp("published") / "streams.db"
    assert resumable("publish", "chat", "--sqlite", str(path), stdin=b"a")[0] == 0
    assert [*path.parent.iterdir()] == [path]  # all of it
    return path


@pytest.fixture
def file(published, tmp_path):
    """A store with a stream, in a folder of its own; permissions are given back at the end."""
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "streams.db"
    shutil.copy(published, path)
    yield path
    folder.chmod(0o700)
    path.chmod(0o600)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_that_may_not_be_read(file, command):
    file.chmod(0)
    refused(command, "--sqlite", str(file))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_that_may_not_be_written(file, command):
    file.chmod(0o400)
    file.parent.chmod(0o500)
    assert "be written" in refused(command, "--sqlite", str(file))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_that_may_not_be_entered(file, command):
    file.parent.chmod(0)
    refused(command, "--sqlite", str(file))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_where_a_file_was_expected(tmp_path, command):
    refused(command, "--sqlite", str(tmp_path))


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    "rules",
    [["nocommands"], ["~*", "&*", "+@all", "-eval", "-evalsha"], ["~other:*", "&*", "+@all"]],
    ids=["nothing", "commands", "keys"],
)
def test_a_user_without_rights(redis_server, command, rules):
    name = f"user-{secrets.token_hex(4)}"
    redis_server.run("ACL", "SETUSER", name, "on", ">secret", "resetchannels", *rules)
    try:
        refused(command, "--redis", redis_server.url_for(name, "secret"))
    finally:
        redis_server.run("ACL", "DELUSER", name)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_password(redis_server, command):
    refused(command, "--redis", redis_server.url_for("nobody", "secret"))
