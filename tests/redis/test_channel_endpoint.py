"""What a wrapper of SSE for FastAPI offers, and what it plans: over HTTP, by several workers.

Each worker is an application of its own on the same store: on Redis, on SQLite, and in memory,
where they share one; on asyncio and on trio.
"""

import json

import pytest
from anyio import create_task_group
from fastapi import FastAPI

from resumable_io import Streams
from resumable_io.channels import ChannelLimits, Principal, bearer
from resumable_io.starlette import channel_endpoint
from tests.io.channel_requests import ChannelClient, catch_up, get, post
from tests.io.scripted import until
from tests.redis.conftest import OTHER_PAIRS, PAIRS

ON_ALL = [*PAIRS, *(pair for pair in OTHER_PAIRS if pair.endswith(("-memory", "-sqlite")))]
pytestmark = pytest.mark.parametrize("pair", ON_ALL, indirect=True)

ann, bob = ({"authorization": f"Bearer {name}"} for name in ("ann", "bob"))


def find(token):
    return Principal(token, token, may_publish=token == "ann") if len(token) == 3 else None


def worker(streams):
    app = FastAPI()
    endpoint = channel_endpoint(
        streams,
        bearer(find),
        authorize_publish=bearer(find),
        limits=ChannelLimits(publish_rate=0.001, publish_burst=5),
        heartbeat=0.05,
    )
    app.add_api_route("/channels/{channel}", endpoint, methods=["GET", "HEAD", "POST"])
    return app


@pytest.fixture
async def workers(make_backend):
    """Two of them, each with its own connections to the store."""
    async with make_backend(prefix="app") as one, make_backend(prefix="app") as other:
        shared = one if type(one).__name__ == "MemoryBackend" else other
        async with Streams(one, grace=0) as first, Streams(shared, grace=0) as second:
            yield worker(first), worker(second)


async def send(app, message, channel="news"):
    answer = await post(app, message, channel, **ann)
    assert answer.status == 202
    return json.loads(answer.body)["id"]


async def test_named_channels_with_several_connections(workers):
    """Each gets what is published to its channel, by whichever worker."""
    one, other = workers
    clients = [ChannelClient(channel, **ann) for channel in ("a", "b", "a")]
    async with create_task_group() as group:
        for client, app in zip(clients, (one, other, other), strict=True):
            group.start_soon(client.get, app)
        await until(lambda: all(client.status for client in clients))
        await send(one, {"data": "to a"}, "a")
        await send(other, {"data": "to b"}, "b")
        for client in clients:
            await client.seen(1)
            client.leave()
    assert [client.data for client in clients] == [["to a"], ["to b"], ["to a"]]


async def test_broadcast_and_targeted_messages(workers):
    """Live, and in the history: a replay does not forget for whom a message was."""
    one, other = workers
    live = ChannelClient(**bob)
    async with create_task_group() as group:
        group.start_soon(live.get, one)
        await until(lambda: live.status)
        await send(other, {"data": "all"})
        await send(other, {"data": "for ann", "to": "ann"})
        await send(one, {"data": "for both", "to": ["ann", "bob"], "type": "agent.token"})
        await live.seen(2)
        live.leave()
    assert live.data == ["all", "for both"]
    assert live.events[-1].type == "agent.token"
    assert (await catch_up(other, 2, **bob)).events == live.events
    assert (await catch_up(other, 3, **ann)).data == ["all", "for ann", "for both"]


async def test_history_and_replay(workers):
    """What follows the last event id, not everything that is not it; from any worker."""
    one, other = workers
    for number in range(4):
        await send((one, other)[number % 2], {"data": {"n": number}})
    whole = await catch_up(one, 4, **bob)
    assert whole.data == [f'{{"n":{number}}}' for number in range(4)]
    for index, event in enumerate(whole.events[:-1], start=1):
        rest = await catch_up(other, 4 - index, last_event_id=event.last_event_id, **bob)
        assert rest.events == whole.events[index:]


async def test_frames_headers_and_keepalive(workers):
    """Every frame ends in an empty line; proxies are told to leave it alone; silence is broken."""
    one, other = workers
    id = await send(one, {"data": "two\nlines"})
    client = ChannelClient(**bob)
    async with create_task_group() as group:
        group.start_soon(client.get, other)
        beat = f"id: {id}\n\n".encode()
        await until(lambda: client.body.count(beat) >= 2)
        client.leave()
    assert f"id: {id}\ndata: two\ndata: lines\n\n".encode() in client.body
    assert client.headers["content-type"] == ["text/event-stream; charset=utf-8"]
    assert client.headers["cache-control"] == ["no-store, no-transform"]
    assert client.headers["x-accel-buffering"] == ["no"]


async def test_authentication_and_access_control(workers):
    one, _ = workers
    assert (await get(one)).headers["www-authenticate"] == ["Bearer"]
    for headers, status in (
        ({"authorization": "Bearer unknown"}, 401),
        (bob, 403),
        (ann, 202),
    ):
        assert (await post(one, {"data": "x"}, **headers)).status == status


async def test_rate_limits(workers):
    one, _ = workers
    statuses = [(await post(one, {"data": "x"}, **ann)).status for _ in range(8)]
    assert statuses == [202] * 5 + [429] * 3


async def test_a_repeat_is_published_once_whichever_worker_gets_it(workers):
    one, other = workers
    first = await send(one, {"data": "x", "key": "k"})
    assert await send(other, {"data": "x", "key": "k"}) == first
    assert await send(other, {"data": "y"}) != first
    assert (await catch_up(one, 2, **bob)).data == ["x", "y"]
