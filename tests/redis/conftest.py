"""Real Redis servers, and a backend on each pair of client and event loop.

An async test here runs once for each of `PAIRS`; one that is marked otherwise, on those it names.
Which client a URL picks is the library's choice, so coredis on asyncio is one that is handed in.

    redis_server    the server that all tests of a process share, emptied for each of them
    start_redis     starts a server for one test alone: `start_redis(appendonly="yes")`
    redis_cluster   the same as a cluster of three masters
    start_cluster   starts a cluster for one test alone: `start_cluster(replicas=True)`
    open_client     opens a client: `async with open_client() as client`
    open_backend    opens a backend: `async with open_backend() as backend`
    open_streams    opens `Streams` on a backend: `async with open_streams() as streams`
    backend         one that is open, on the shared server
"""

import secrets
from contextlib import ExitStack, asynccontextmanager, contextmanager

import coredis
import pytest
import redis.asyncio

from resumable_io import MemoryBackend, Streams
from resumable_io.redis import RedisBackend
from resumable_io.sqlite import SQLiteBackend
from tests.redis.cluster import MASTERS, RedisCluster, cluster_options
from tests.redis.server import RedisServer

PAIRS = {
    "asyncio-redis-py": ("redis-py", ("asyncio", {})),
    "asyncio-coredis": ("coredis", ("asyncio", {})),
    "trio-coredis": ("coredis", ("trio", {})),
}
CLUSTER_PAIRS = {
    f"{name}-cluster": (f"{library}-cluster", loop) for name, (library, loop) in PAIRS.items()
}
OTHER_PAIRS = {
    **CLUSTER_PAIRS,
    "uvloop-redis-py": ("redis-py", ("asyncio", {"use_uvloop": True})),
    "asyncio-memory": ("memory", ("asyncio", {})),
    "trio-memory": ("memory", ("trio", {})),
    "asyncio-sqlite": ("sqlite", ("asyncio", {})),
    "trio-sqlite": ("sqlite", ("trio", {})),
}


@pytest.fixture(params=PAIRS)
def pair(request):
    """A client library and an event loop."""
    return (PAIRS | OTHER_PAIRS)[request.param]


@pytest.fixture
def anyio_backend(pair):
    """The event loop to run a test on."""
    return pair[1]


@contextmanager
def running(folder, **options):
    """Run a server for the length of a block."""
    server = RedisServer(folder, **options)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="session")
def shared_redis_server(tmp_path_factory):
    """The server that tests share which do no harm to it."""
    with running(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_server(shared_redis_server):
    """The shared server, with nothing in it."""
    shared_redis_server.run("FLUSHALL")
    return shared_redis_server


@pytest.fixture
def start_redis(tmp_path_factory):
    """Start a server for one test alone, with options of redis.conf: `start_redis(maxmemory=…)`."""
    with ExitStack() as stack:

        def start(**options):
            folder = tmp_path_factory.mktemp("redis")  # short: the path of a socket is limited
            return stack.enter_context(running(folder, **options))

        yield start


@pytest.fixture(scope="session")
def shared_redis_cluster(tmp_path_factory):
    """The cluster that tests share which do no harm to it."""
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(running(tmp_path_factory.mktemp("redis"), **cluster_options()))
            for _ in range(MASTERS)
        ]
        yield RedisCluster(nodes)


@pytest.fixture
def redis_cluster(shared_redis_cluster):
    """The shared cluster, with nothing in it."""
    shared_redis_cluster.flush()
    return shared_redis_cluster


@pytest.fixture
def start_cluster(start_redis):
    """Start a cluster for one test alone, if need be with a replica of each master."""

    def start(*, replicas=False, **options):
        nodes = [start_redis(**cluster_options(**options)) for _ in range(MASTERS << replicas)]
        return RedisCluster(nodes[:MASTERS], nodes[MASTERS:])

    return start


@pytest.fixture
def open_client(pair, request):
    """Open a client of the pair's library: a context manager with the client's own options."""
    library, _ = pair

    @asynccontextmanager
    async def opened(url=None, **options):
        url = url or request.getfixturevalue("redis_server").url
        if library == "redis-py":
            client = redis.asyncio.from_url(url, **options)
            try:
                yield client
            finally:
                await client.aclose()
        else:
            try:
                async with coredis.Redis.from_url(url, decode_components=True, **options) as client:
                    yield client
            except BaseExceptionGroup as group:  # even what is raised inside of it comes in one
                raise group.exceptions[0] from None

    return opened


@pytest.fixture
def make_backend(pair, request, open_client):
    """Make a backend on the pair's client, which the test may open as often as it can be.

    Without a URL it is on the shared server. Unless told otherwise, no two have the same prefix.
    """

    @asynccontextmanager
    async def made(url=None, *, prefix=None, **options):
        if pair[0] == "memory":
            yield MemoryBackend()
            return
        prefix = prefix or f"test-{secrets.token_hex(4)}"
        if pair[0] == "sqlite":
            yield SQLiteBackend(request.getfixturevalue("tmp_path") / f"{prefix}.db", **options)
            return
        in_cluster = pair in CLUSTER_PAIRS.values()
        server = "redis_cluster" if in_cluster else "redis_server"
        url = url or request.getfixturevalue(server).url
        if pair == PAIRS["asyncio-coredis"]:
            async with open_client(url) as client:
                yield RedisBackend(client, prefix=prefix, **options)
        elif pair == CLUSTER_PAIRS["asyncio-coredis-cluster"]:
            host, port = request.getfixturevalue("redis_cluster").address
            client = coredis.RedisCluster(host, port)
            yield RedisBackend(client, prefix=prefix, **options)
        else:
            yield RedisBackend(url, prefix=prefix, **options)

    return made


@pytest.fixture
def open_backend(make_backend):
    """Open a backend: a context manager with a URL, a prefix, and the backend's own options."""

    @asynccontextmanager
    async def opened(url=None, *, prefix=None, **options):
        async with make_backend(url, prefix=prefix, **options) as backend, backend:
            yield backend

    return opened


@pytest.fixture
def open_streams(make_backend):
    """Open `Streams`: a context manager with a URL, a prefix, and the options of `Streams`."""

    @asynccontextmanager
    async def opened(url=None, *, prefix=None, **options):
        async with make_backend(url, prefix=prefix) as backend, Streams(backend, **options) as it:
            yield it

    return opened


@pytest.fixture
async def backend(open_backend):
    """A backend on the shared server."""
    async with open_backend() as backend:
        yield backend
