"""Which client is driven, what becomes of it, and what one is told whose Redis is not right."""

import math
import secrets
import socket
import socketserver
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from threading import Thread

import coredis
import pytest
import redis
import redis.asyncio
from anyio import (
    CancelScope,
    Event,
    create_task_group,
    current_time,
    fail_after,
    move_on_after,
    sleep_forever,
)

from resumable_core import (
    BackendError,
    BackendUnavailable,
    Claim,
    Finish,
    InvalidInput,
    Message,
    Outcome,
    State,
    Stop,
)
from resumable_core.testing import append
from resumable_io import Streams
from resumable_io.redis import RedisBackend
from resumable_io.redis._coredis import CoredisDriver
from resumable_io.redis._port import REPLY_TIMEOUT
from resumable_io.redis._redis_py import RedisPyDriver
from resumable_io.testing import following
from tests.redis.steps import PATIENCE, documented_permissions, wait_for

ONLY_REDIS_PY = pytest.mark.parametrize("pair", ["asyncio-redis-py"], indirect=True)
ONLY_COREDIS = pytest.mark.parametrize("pair", ["asyncio-coredis"], indirect=True)
ONLY_TRIO = pytest.mark.parametrize("pair", ["trio-coredis"], indirect=True)


async def works(backend, stream_id="x"):
    """Do with a stream what can be done, and read it back."""
    data = ("one", b"\xff\x00", "😀\r\n", "")
    with fail_after(PATIENCE):
        async with following(backend, stream_id) as feed:
            await backend.apply(stream_id, Claim("a", 10.0, metadata={"who": "é"}))
            await backend.apply(stream_id, append("a", 1, map(Message, data)))
            await backend.apply(stream_id, Finish("a", Outcome.DONE, 4))
            heard = []
            while len(heard) < 3:
                heard += await feed.receive()
        page = await backend.read(stream_id, 0, 10, connected_for=math.inf)
        ids = [stream_id async for stream_id, _ in backend.scan()]
    assert tuple(event.data for event in page.events) == data
    assert page.sentinel.metadata == {"who": "é"}
    assert heard[1].batch.events == page.events
    assert heard[2].sentinel.outcome is page.sentinel.outcome is Outcome.DONE
    assert ids == [stream_id]
    return True


async def asks(streams):
    """Consume one short stream to its end."""

    async def source():
        yield "one "
        yield "two"

    async with streams:
        subscription = await streams.start("x", source())
        assert [event.data async for event in subscription] == ["one ", "two"]
    return True


# Which one


@ONLY_REDIS_PY
async def test_a_url_is_opened_with_redis_py_on_asyncio(redis_server):
    async with RedisBackend(redis_server.url) as backend:
        assert isinstance(backend._driver, RedisPyDriver)
        assert await works(backend)


@ONLY_TRIO
async def test_a_url_is_opened_with_coredis_on_trio(redis_server):
    async with RedisBackend(redis_server.url) as backend:
        assert isinstance(backend._driver, CoredisDriver)
        assert await works(backend)


@pytest.mark.parametrize("pair", ["uvloop-redis-py"], indirect=True)
async def test_uvloop_is_as_good(open_backend, redis_server):
    async with open_backend() as backend:
        assert isinstance(backend._driver, RedisPyDriver)
        assert await works(backend)


async def test_streams_take_a_url(redis_server):
    assert await asks(Streams(redis_server.url))


async def test_a_unix_socket_will_do(start_redis, pair):
    server = start_redis(unixsocket="redis.sock")
    assert await asks(Streams(server.unix_url))


async def test_a_password_may_hold_anything(start_redis):
    server = start_redis(requirepass="p:a/s@s%20w#o?r&d")
    assert await asks(Streams(server.url))
    server.run("ACL", "SETUSER", "us:er", "on", ">s e", "~*", "&*", "+@all")
    async with Streams(server.url_for("us:er", "s e")) as streams:
        assert await streams.state("x")


@pytest.mark.parametrize("client", [None, 5, object(), b"redis://localhost"])
async def test_what_is_no_client_is_refused(client, pair):
    with pytest.raises(InvalidInput, match=r"expected a URL, a redis\.asyncio or a coredis client"):
        async with RedisBackend(client):
            pass


async def test_a_synchronous_client_is_refused(redis_server, pair):
    with redis_server.client() as client, pytest.raises(InvalidInput, match=r"redis\.asyncio"):
        async with RedisBackend(client):
            pass


@ONLY_TRIO
async def test_redis_py_is_refused_on_trio(redis_server):
    client = redis.asyncio.Redis.from_url(redis_server.url)
    with pytest.raises(InvalidInput, match=r"trio.*coredis"):
        async with RedisBackend(client):
            pass


@pytest.mark.parametrize(
    ("loop", "missing", "extra"), [("asyncio", "redis", "redis"), ("trio", "coredis", "trio")]
)
def test_a_missing_client_is_named_with_its_extra(loop, missing, extra):
    script = f"""
        import sys
        sys.modules[{missing!r}] = None
        import anyio
        from resumable_io.redis import RedisBackend
        async def main():
            async with RedisBackend("redis://localhost"):
                pass
        anyio.run(main, backend={loop!r})
        """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert f"resumable-io[{extra}]" in last


# Clients that are handed in


@pytest.mark.parametrize("options", [{}, {"decode_responses": True}, {"max_connections": 4}])
async def test_a_client_that_is_handed_in_stays_open(open_client, redis_server, options):
    """It belongs to whoever opened it, and has the options that they gave it."""
    async with open_client(**options) as client:
        for number in range(2):
            async with RedisBackend(client) as backend:
                assert await works(backend, f"x-{number}")
            redis_server.run("FLUSHALL")
        assert await client.ping()


async def test_two_backends_share_a_client(open_client):
    async with (
        open_client() as client,
        RedisBackend(client, prefix="one") as one,
        RedisBackend(client, prefix="two") as two,
    ):
        assert await works(one)
        assert await works(two)


class OwnClient(redis.asyncio.Redis):
    """A subclass, as tracing libraries make them."""


@ONLY_REDIS_PY
async def test_a_subclass_is_a_client(redis_server):
    client = OwnClient.from_url(redis_server.url)
    async with RedisBackend(client) as backend:
        assert await works(backend)
    await client.aclose()


@ONLY_COREDIS
async def test_a_client_that_is_not_open_is_an_error(redis_server):
    with fail_after(PATIENCE), pytest.raises(BackendError, match=r"entering|client failed"):
        async with RedisBackend(coredis.Redis.from_url(redis_server.url)):
            pass


# What is not right


SECRET = "s3cret-hunter2"


@contextmanager
def refused(kind, match, within=REPLY_TIMEOUT + 2):
    """Expect an error that says what is wrong, soon, and says no password."""
    before = current_time()
    with fail_after(PATIENCE), pytest.raises(kind, match=match) as caught:
        yield
    assert current_time() - before < within
    error = caught.value
    while error is not None:
        assert SECRET not in f"{error} {error!r}"
        error = error.__cause__


async def enter(open_backend, url, **options):
    async with open_backend(url, **options) as backend:
        await backend.apply("x", Claim("a", 10.0))


async def test_a_wrong_password_is_refused(open_backend, start_redis):
    server = start_redis(requirepass="right")
    with refused(BackendError, "Redis refuses: invalid username-password pair"):
        await enter(open_backend, server.url_for(password=SECRET))


async def test_a_missing_password_is_refused(open_backend, start_redis):
    server = start_redis(requirepass=SECRET)
    with refused(BackendError, "(?i)auth"):
        await enter(open_backend, server.url_for(password=""))


async def test_a_replica_is_no_silent_server(open_backend, start_redis):
    """It answers: what is wrong is the address, or it is about to become the master."""
    server = start_redis()
    server.run("REPLICAOF", "127.0.0.1", "1")
    with refused(BackendUnavailable, "Redis refuses for the moment: .*read only replica"):
        await enter(open_backend, server.url)


NEEDED = [
    "evalsha",
    "subscribe",
    "publish",
    "xadd",
    "hset",
    "hmget",
    "xrange",
    "time",
    "info",
    "zadd",
    "zscore",
]


@pytest.fixture
def make_user(redis_server):
    """Make a user with some rules; return the URL of the server for them."""
    name = f"user-{secrets.token_hex(4)}"

    def make(*rules):
        redis_server.run("ACL", "SETUSER", name, "on", f">{SECRET}", "resetchannels", *rules)
        return redis_server.url_for(name, SECRET)

    yield make
    redis_server.run("ACL", "DELUSER", name)


@pytest.mark.parametrize("command", NEEDED)
async def test_a_command_that_is_not_allowed_is_named(
    open_backend, redis_server, make_user, command
):
    """On entering, not at the first answer of the day."""
    url = make_user("~*", "&*", "+@all", f"-{command}")
    with refused(BackendError, f"(?i){command}|permission|script can't run|subscription"):
        await enter(open_backend, url)
    for key in redis_server.run("KEYS", "*"):  # what it has tried does not stay
        assert 0 < redis_server.run("PTTL", key) <= 1000 * REPLY_TIMEOUT


@pytest.mark.parametrize("rule", ["~other:*", "&other:*"])
async def test_keys_and_channels_that_are_not_allowed_are_an_error(open_backend, make_user, rule):
    rules = {"~": "~*", "&": "&*"} | {rule[0]: rule}
    with refused(BackendError, "(?i)permission|can't access|NOPERM|subscription"):
        await enter(open_backend, make_user(*rules.values(), "+@all"))


async def test_the_commands_of_the_docs_suffice(open_backend, make_user):
    """An application that may do no more than it needs."""
    url = make_user("~app:*", "&app:*", *documented_permissions())
    async with open_backend(url, prefix="app") as backend:
        assert await works(backend)
        await backend.apply("x", Claim("b", 10.0, replaces="a"))
        await backend.apply("x", Stop())


async def test_tls_where_there_is_none_is_an_error(open_backend, redis_server):
    with refused(BackendUnavailable, "(?i)ssl|tls|handshake|connect", within=REPLY_TIMEOUT - 1):
        await enter(open_backend, redis_server.url_for(scheme="rediss"), timeout=1.0)


async def test_nothing_that_listens_is_an_error(open_backend):
    with socket.socket() as taken:  # bound, and deaf
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with refused(BackendUnavailable, "(?i)connect", within=REPLY_TIMEOUT - 1):
            await enter(open_backend, f"redis://:{SECRET}@127.0.0.1:{port}")


async def test_somebody_who_never_answers_is_an_error(open_backend):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        with refused(BackendUnavailable, "(?i)time|answer", within=REPLY_TIMEOUT - 1):
            await enter(open_backend, f"redis://127.0.0.1:{port}", timeout=1.0)


async def test_who_gives_up_waiting_is_let_go(open_backend):
    """Law 10: an application that is told to stop while it starts does so."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        with fail_after(REPLY_TIMEOUT), move_on_after(0.1) as scope:
            await enter(open_backend, f"redis://127.0.0.1:{port}")
        assert scope.cancelled_caught


class Http(socketserver.StreamRequestHandler):
    """Answers whatever it is asked as a web server would."""

    def handle(self):
        self.rfile.readline()
        self.wfile.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")


async def test_somebody_who_speaks_another_language_is_an_error(open_backend):
    with socketserver.TCPServer(("127.0.0.1", 0), Http) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            with refused(BackendError, "Redis"):
                await enter(open_backend, f"redis://127.0.0.1:{server.server_address[1]}")
        finally:
            server.shutdown()
            thread.join()


async def test_streams_that_cannot_be_opened_raise_just_that(start_redis):
    """No group, and nothing is left running: whoever starts an application sees one line."""
    server = start_redis(requirepass="right")
    streams = Streams(server.url_for(password=SECRET))
    with refused(BackendError, "(?i)password|auth"):
        async with streams:
            pass


async def test_what_goes_wrong_inside_is_not_wrapped(open_backend):
    with pytest.raises(ZeroDivisionError):
        async with open_backend():
            raise ZeroDivisionError


async def test_whoever_leaves_cancelled_gives_its_streams_up_at_once(redis_server):
    """Law 7: the backend serves until that is done, although whoever opened it is cancelled."""

    async def source():
        yield "one"
        await sleep_forever()

    with fail_after(4), CancelScope() as scope:  # less than what is allowed for cleaning up
        async with Streams(redis_server.url) as streams:
            await anext(await streams.start("x", source))
            scope.cancel()
            await sleep_forever()
    assert scope.cancelled_caught
    async with Streams(redis_server.url) as streams:
        assert (await streams.state("x")).state is State.LOST


# What it costs


async def test_connections_do_not_depend_on_streams_and_consumers(open_streams, redis_server):
    """Law 8: at most 4 connections, for 1 stream and for 300 with 300 consumers."""
    texts, counts = [], {}

    async def consume(subscription):
        texts.append("".join([event.data async for event in subscription]))

    async def produce(streams, stream_id, counted):
        async with streams.produce(stream_id) as production:
            tasks.start_soon(consume, await streams.resume(stream_id))
            for part in "abc":
                await production.send(part)
            await counted.wait()

    async with open_streams() as streams:
        for several in (1, 300):
            counted = Event()
            async with create_task_group() as tasks:
                for number in range(several):
                    tasks.start_soon(produce, streams, f"{several}-{number}", counted)
                await wait_for(
                    lambda several=several: streams.statistics().subscriptions == several
                )
                counts[several] = len(redis_server.clients())
                counted.set()
    assert texts == ["abc"] * 301
    assert max(counts.values()) <= 4
