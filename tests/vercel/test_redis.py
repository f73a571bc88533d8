"""Over a real Redis, with every client: what is stored, and what breaks."""

from contextlib import AsyncExitStack

import pytest
from anyio import create_task_group, fail_after, sleep

from resumable_core import DONE_MESSAGE, BackendError, ResumeRequest, StreamLost
from resumable_io.vercel import create_resumable_stream_context
from tests.vercel.sources import Tap, counted, text_of

SENTINEL = "resumable-stream:rs:sentinel:one"
REQUESTS = "resumable-stream:rs:request:one"
DAY = 24 * 60 * 60
ON_ASYNCIO = ["asyncio-redis-py"]


@pytest.fixture
def anyio_backend(pair):
    """The event loop to run a test on."""
    return pair[1]


def kill_listeners(server):
    """Cut the connections that listen, as a network does that fails."""
    for client in server.clients():
        if int(client["sub"]) > 0:
            server.run("CLIENT", "KILL", "ID", client["id"])


async def until(condition):
    """Wait until something is seen that only looking shows."""
    with fail_after(20):
        while not condition():  # noqa: ASYNC110 - it is another process
            await sleep(0.01)


async def test_two_processes_share_a_stream(open_context, redis_server):
    tap = Tap()
    async with open_context() as ours, open_context() as other:
        first = await ours.resumable_stream("one", tap)
        assert redis_server.run("GET", SENTINEL) == b"1"
        assert DAY - 10 < redis_server.run("TTL", SENTINEL) <= DAY
        second = await other.resumable_stream("one", tap)
        assert redis_server.run("TTL", SENTINEL) > 0
        tap.pour("héllo ", "😀")
        third = await other.resume_existing_stream("one", skip_characters=7)
        tap.pour(" 日本")
        tap.end()
        assert await text_of(first) == "héllo 😀 日本"
        assert await text_of(second) == "héllo 😀 日本"
        assert (await text_of(third)).endswith(" 日本")
        await until(lambda: redis_server.run("GET", SENTINEL) == b"DONE")
        assert redis_server.run("TTL", SENTINEL) > DAY - 10
        assert await other.resumable_stream("one", tap) is None
        assert redis_server.run("KEYS", "*") == [SENTINEL.encode()]


async def test_reads_create_nothing(open_context, redis_server):
    async with open_context() as context:
        assert await context.has_existing_stream("one") is None
        assert await context.resume_existing_stream("one") == "NOT_FOUND"
        assert redis_server.run("DBSIZE") == 0


async def test_the_subscription_is_confirmed_before_the_sentinel_is_set(open_context, redis_server):
    """Whoever sees the sentinel can ask."""
    async with open_context() as context:
        for number in range(20):
            tap = Tap()
            await context.create_new_resumable_stream(f"s{number}", tap)
            channel = f"resumable-stream:rs:request:s{number}"
            assert redis_server.run("PUBLISH", channel, "{}") == 1
            tap.end()


async def test_a_key_prefix_keeps_applications_apart(open_context, redis_server):
    async with open_context(key_prefix="a") as ours, open_context(key_prefix="b") as other:
        tap = Tap()
        await ours.resumable_stream("one", tap)
        assert redis_server.run("KEYS", "*") == [b"a:rs:sentinel:one"]
        assert await other.has_existing_stream("one") is None
        tap.end()


async def test_who_starts_and_dies_at_once_leaves_no_key_for_ever(open_context, redis_server):
    """As other libraries do when they die between INCR and SET."""
    redis_server.run("SET", SENTINEL, "1")
    async with open_context() as context:
        with fail_after(20):
            stream = await context.resumable_stream("one", counted("text"))
        assert await text_of(stream) == "text"
        assert redis_server.run("TTL", SENTINEL) > 0


async def test_however_many_find_a_dead_producer_one_takes_its_place(open_context, redis_server):
    async with AsyncExitStack() as stack:
        contexts = [await stack.enter_async_context(open_context()) for _ in range(4)]
        for number in range(5):
            redis_server.run("SET", f"resumable-stream:rs:sentinel:s{number}", "3", "EX", "1000")
            source, texts = counted("te", "xt"), []

            async def ask(context, id=f"s{number}", source=source, texts=texts):
                stream = await context.resumable_stream(id, source)
                texts.append(stream and await text_of(stream))

            with fail_after(20):
                async with create_task_group() as tasks:
                    for context in contexts:
                        tasks.start_soon(ask, context)
            assert source.runs == 1
            assert set(texts) <= {"text", None}  # it may have ended before the last one asks


async def test_a_source_that_fails_frees_its_id(open_context, redis_server):
    async with open_context() as ours:
        tap = Tap()
        await ours.resumable_stream("one", tap)
        tap.fail()
        await until(lambda: redis_server.run("GET", SENTINEL) in (b"0", None))
        assert redis_server.run("PTTL", SENTINEL) <= 1000


async def test_who_reads_while_connections_break_misses_nothing(open_context, redis_server):
    tap = Tap()
    pieces = [f"{number} 😀 " for number in range(60)]
    async with open_context() as ours, open_context() as other:
        await ours.resumable_stream("one", tap)
        stream = await other.resume_existing_stream("one")
        received = []

        async def pour():
            for number, piece in enumerate(pieces):
                tap.pour(piece)
                await sleep(0.01)
                if number in (20, 40):
                    kill_listeners(redis_server)
                    # While its listening connection is away, a producer counts as dead.
                    await until(lambda: redis_server.run("PUBLISH", REQUESTS, "{}") == 1)
            tap.end()

        async with create_task_group() as tasks:
            tasks.start_soon(pour)
            with fail_after(30):
                received = await text_of(stream)
        assert received == "".join(pieces)


async def test_an_end_that_was_not_heard_is_asked_for(open_context, redis_server):
    tap = Tap()
    async with open_context() as ours, open_context() as other:
        await ours.resumable_stream("one", tap)
        stream = await other.resume_existing_stream("one")
        tap.pour("a")
        assert await anext(stream) == "a"
        with redis_server.frozen():
            tap.pour("b")
            tap.end()
        kill_listeners(redis_server)
        with fail_after(30):
            assert await text_of(stream) == "b"


async def test_bad_requests_and_odd_listeners(open_context, redis_server):
    tap = Tap()
    async with open_context() as ours, open_context() as other:
        await ours.resumable_stream("one", tap)
        for message in (
            b"\xff",
            b"{",
            b"null",
            b'{"listenerId": {}}',
            b'{"listenerId": "\\ud800"}',
        ):
            assert redis_server.run("PUBLISH", REQUESTS, message) == 1
        stream = await other.resume_existing_stream("one")
        tap.pour("text")
        with redis_server.client() as client, client.pubsub() as pubsub:
            pubsub.subscribe("resumable-stream:rs:chunk:no UUID")
            pubsub.get_message(timeout=5)
            request = ResumeRequest("no UUID", -2).encode()
            assert redis_server.run("PUBLISH", REQUESTS, request) == 1
            heard = []

            def hears(*expected):
                if (message := pubsub.get_message()) is not None:
                    heard.append(message["data"])
                return heard == [*expected]

            await until(lambda: hears(b"xt"))
            tap.end()
            assert await text_of(stream) == "text"
            await until(lambda: hears(b"xt", DONE_MESSAGE.encode()))


@pytest.mark.parametrize("pair", ON_ASYNCIO, indirect=True)
async def test_redis_is_restarted(start_redis):
    """Nothing is stored that could be lost: both sides find each other again."""
    server = start_redis()
    tap = Tap()
    async with (
        create_resumable_stream_context(redis_url=server.url, ack_timeout=5) as ours,
        create_resumable_stream_context(redis_url=server.url, ack_timeout=5) as other,
    ):
        await ours.resumable_stream("one", tap)
        stream = await other.resume_existing_stream("one")
        tap.pour("a")
        assert await anext(stream) == "a"
        server.restart(empty=True)
        await until(lambda: server.run("PUBLISH", REQUESTS, "{}") == 1)
        await until(lambda: len(server.clients()) >= 2)
        tap.pour("b")
        tap.end()
        with fail_after(30):
            assert await text_of(stream) == "b"


@pytest.mark.parametrize("pair", ON_ASYNCIO, indirect=True)
async def test_redis_is_gone(start_redis):
    server = start_redis()
    tap = Tap()
    options = {"grace": 0.1, "watchdog": 1}
    async with create_resumable_stream_context(redis_url=server.url, **options) as ours:
        first = await ours.resumable_stream("one", tap)
        stream = await ours.resume_existing_stream("one")
        server.kill()
        with fail_after(60):
            for call in (ours.has_existing_stream, ours.resume_existing_stream):
                with pytest.raises(BackendError):
                    await call("one")
            with pytest.raises((BackendError, StreamLost)):
                await anext(stream)
        tap.pour("text")
        assert await anext(first) == "text"  # who produces it here reads on


async def test_redis_was_never_there(pair):
    url = "redis://127.0.0.1:1"
    with pytest.raises(BackendError):
        async with create_resumable_stream_context(redis_url=url):
            pytest.fail("it is not there")


@pytest.mark.parametrize("pair", ON_ASYNCIO, indirect=True)
@pytest.mark.parametrize("name", ["REDIS_URL", "KV_URL"])
async def test_the_environment_says_where_redis_is(name, redis_server, monkeypatch):
    for each in ("REDIS_URL", "KV_URL"):
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv(name, redis_server.url)
    async with create_resumable_stream_context() as context:
        assert await text_of(await context.resumable_stream("one", counted("text"))) == "text"
    assert redis_server.run("GET", SENTINEL) == b"DONE"
