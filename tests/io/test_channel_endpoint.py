"""The endpoint of channels: what subscribers receive, over HTTP as an ASGI server speaks it."""

import functools
import json

import pytest
from anyio import create_task_group, current_time, sleep, wait_all_tasks_blocked
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.routing import Route

from resumable_core import Message, Retention
from resumable_io import InvalidInput, Streams, starlette
from resumable_io.asgi import ResponseCut
from resumable_io.channels import ChannelLimits, Principal, channel_endpoint
from tests.io.channel_requests import ANN, ChannelClient, as_named, catch_up, get, post
from tests.io.scripted import until

NOW = 1_800_000_000.0  # Unix time, when the event loop's clock is at zero

ann = {"x_user": "ann"}
bob = {"x_user": "bob"}
everybody = functools.partial(channel_endpoint, authorize=as_named, authorize_publish=as_named)


def in_starlette(streams):
    endpoint = starlette.channel_endpoint(streams, as_named, authorize_publish=as_named)
    return Starlette(routes=[Route("/channels/{channel}", endpoint, methods=["GET", "POST"])])


def in_starlette_without_function(streams):
    endpoint = channel_endpoint(streams, as_named, authorize_publish=as_named)
    return Starlette(routes=[Route("/channels/{channel:path}", endpoint)])


def behind_middleware(streams):
    async def relay(request, call_next):
        response = await call_next(request)
        response.headers["x-relayed"] = "yes"
        return response

    app = in_starlette(streams)
    app.user_middleware = [Middleware(BaseHTTPMiddleware, dispatch=relay)]
    return app


def in_fastapi(streams):
    app = FastAPI()
    endpoint = starlette.channel_endpoint(streams, as_named, authorize_publish=as_named)
    app.add_api_route("/channels/{channel}", endpoint, methods=["GET", "HEAD", "POST"])
    return app


APPS = [everybody, in_starlette, in_starlette_without_function, behind_middleware, in_fastapi]
of_all_apps = pytest.mark.parametrize(
    "make", APPS, ids=["asgi", "starlette", "starlette-asgi", "middleware", "fastapi"]
)


# Subscribing


@of_all_apps
async def test_broadcast_and_targeted_events_live_and_in_replay(make):
    """A targeted message is seen by its recipients alone, whenever they come."""
    async with Streams() as streams:
        app = make(streams)
        async with create_task_group() as group:
            live = ChannelClient(**ann)
            group.start_soon(live.get, app)
            await until(lambda: live.status)
            for message in (
                {"data": "to all"},
                {"data": "to ann", "to": "ann"},
                {"data": "to bob", "to": ["bob", "carl"], "type": "note"},
                {"data": {"a": [1, "ü"]}, "to": ["ann", "bob"]},
            ):
                published = await post(app, message)
                assert (published.status, published.complete) == (202, True)
            await live.seen(3)
            live.leave()
        late = await catch_up(app, 3, **ann)
        other = await catch_up(app, 3, **bob)
    assert live.data == late.data == ["to all", "to ann", '{"a":[1,"ü"]}']
    assert other.data == ["to all", "to bob", '{"a":[1,"ü"]}']
    assert [event.type for event in other.events] == ["message", "note", "message"]
    assert live.events[-1].last_event_id == other.place == json.loads(published.body)["id"]


@of_all_apps
async def test_replay_goes_on_behind_the_last_event_id(make):
    """Law 3: what came up to an id, then a reconnect with it, is the whole."""
    async with Streams() as streams:
        app = make(streams)
        channel = streams.channel("news")
        for number in range(4):
            await channel.publish(str(number))
        whole = await catch_up(app, 4, **ann)
        for index, event in enumerate(whole.events[:-1], start=1):
            rest = await catch_up(app, 4 - index, last_event_id=event.last_event_id, **ann)
            assert rest.data == whole.data[index:]


async def test_a_response_begins_with_the_retry_time_and_the_place():
    async with Streams() as streams:
        await streams.channel("news").publish("x")
        client = await catch_up(everybody(streams, retry=1234), 1, **ann)
    assert client.body.startswith(b"retry: 1234\n\nid: ")
    assert client.headers == {
        "content-type": ["text/event-stream; charset=utf-8"],
        "cache-control": ["no-store, no-transform"],
        "x-accel-buffering": ["no"],
    }


async def test_a_subscriber_may_begin_with_what_is_new():
    """Only one that comes without an id: whoever has one gets what followed it."""
    async with Streams() as streams:
        endpoint = everybody(streams, start="live", headers={"X-Accel-Buffering": "yes"})
        channel = streams.channel("news")
        first = await channel.publish("old")
        await channel.publish("older than live")
        async with create_task_group() as group:
            client = ChannelClient(**ann)
            group.start_soon(client.get, endpoint)
            await until(lambda: client.place)
            await channel.publish("new")
            await client.seen(1)
            client.leave()
        assert client.data == ["new"]
        assert client.headers["x-accel-buffering"] == ["yes"]
        again = await catch_up(endpoint, 2, last_event_id=str(first), **ann)
        assert again.data == ["older than live", "new"]


async def test_head_tells_nothing_but_the_headers():
    async with Streams() as streams:
        for channel in ("unknown", "news"):
            await streams.channel("news").publish("x")
            client = await get(everybody(streams), channel, method="HEAD", **ann)
            assert (client.status, client.body) == (200, b"")
            assert client.headers["content-type"] == ["text/event-stream; charset=utf-8"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize(
    "channel", ["", "x" * 256, "ü" * 128, "a\nb", "\0", "\x7f", "\u2028", "\ud800"], ids=range(8)
)
async def test_names_that_are_none_are_refused_before_anybody_is_asked(channel, method):
    """400, and nothing is created."""
    asked = []
    async with Streams() as streams:
        endpoint = channel_endpoint(
            streams, lambda *_: asked.append(_), authorize_publish=lambda *_: asked.append(_)
        )
        if method == "POST":
            client = await post(endpoint, {"data": "x"}, channel)
        else:
            client = await get(endpoint, channel, method=method)
        assert client.status == 400
        assert not asked
        assert [each async for each in streams._backend.scan()] == []


async def test_websockets_are_somebody_elses_business():
    async with Streams() as streams:
        with pytest.raises(ValueError, match="websocket"):
            await everybody(streams)({"type": "websocket"}, None, None)


@pytest.mark.parametrize(
    "options",
    [
        {"start": "end"},
        {"retry": -1},
        {"heartbeat": 0},
        {"send_timeout": float("inf")},
        {"headers": {"x": "€"}},
    ],
    ids=repr,
)
def test_options_that_are_none_are_refused_at_once(options):
    with pytest.raises(ValueError, match=r"beginning or live|milliseconds|seconds above 0|Latin-1"):
        everybody(Streams(), **options)


def test_an_option_that_there_is_not_is_refused():
    with pytest.raises(TypeError, match="no option 'heartbeet'"):
        everybody(Streams(), heartbeet=5)


# What is hidden


@pytest.mark.virtual_time
async def test_heartbeats_move_the_id_behind_what_is_for_others():
    """Whoever reconnects then is not asked to pass over it again; nor is content let out."""
    async with Streams() as streams, create_task_group() as group:
        channel = streams.channel("news")
        client = ChannelClient(**bob)
        group.start_soon(client.get, everybody(streams, heartbeat=10))
        await sleep(1)
        assert client.place == ""
        await sleep(10)
        assert client.body.endswith(b": \n\n")  # nobody has published: there is no place yet
        for _ in range(3):
            id = await channel.publish(Message("secret", "secret-type"), to="ann")
        await sleep(10)
        assert client.place == str(id)
        assert client.events == []
        assert b"secret" not in client.body
        id = await channel.publish("x")
        await sleep(1)
        assert client.data == ["x"]
        last = await channel.publish("secret", to="ann")
        await sleep(10)
        assert client.place == str(last)
        client.leave()


FORGED = ["x-1", "{epoch}-1", "{epoch}-2", "{epoch}-3", "{epoch}-3-end", "{epoch}-99", "{epoch}-0"]
FORGED += ["rubbish", "x" * 300, "{epoch}-01", "{epoch}-9007199254740991"]


@pytest.mark.virtual_time
@pytest.mark.parametrize("forged", FORGED, ids=range(len(FORGED)))
async def test_a_forged_id_reveals_nothing_of_what_is_hidden(forged):
    """What a client is sent depends on the hidden events' ids alone: with other content, for other
    recipients, every byte of the answer is the same.
    """

    async def answer(data, type, recipients):
        async with Streams() as streams, create_task_group() as group:
            channel = streams.channel("news")
            first = await channel.publish("before")
            for _ in range(2):
                await channel.publish(Message(data, type), to=recipients)
            await channel.publish("after")
            asked = forged.format(epoch=first.epoch)
            client = ChannelClient(last_event_id=asked, **bob)
            group.start_soon(client.get, everybody(streams))
            await sleep(55)
            client.leave()
            return client.body.replace(first.epoch.encode(), b"EPOCH")

    one = await answer("secret", None, ["ann"])
    other = await answer("another, longer secret", "alarm", ["carl", "dora"])
    assert b"secret" not in one
    assert one == other


async def test_gaps_carry_no_counts():
    async with Streams() as streams:
        channel = streams.channel("news", retention=Retention(count=2))
        first = await channel.publish("0")
        for number in range(1, 6):
            await channel.publish(str(number), to="ann")
        await channel.publish("last")
        client = await catch_up(everybody(streams), 2, last_event_id=str(first), **bob)
    gap, last = client.events
    assert (gap.type, json.loads(gap.data), last.data) == ("gap", {"reason": "trimmed"}, "last")


visible = st.sampled_from([None, ["ann"], ["bob"], ["ann", "bob"], ["carl"]])


@settings(max_examples=40)
@given(
    targets=st.lists(visible, max_size=25),
    cuts=st.lists(st.integers(0, 4), max_size=12),
    ahead=st.integers(0, 25),
)
async def test_each_recipient_gets_exactly_what_it_may_see(targets, cuts, ahead):
    """Laws 1 to 3: across any pattern of disconnects, the visible events, in order, once.

    Some of what is published is there before, some comes while clients are connected; each leaves
    when so many events have come as `cuts` says, and comes back with the id it has by then.
    """
    async with Streams() as streams:
        channel = streams.channel("news")
        endpoint = everybody(streams)

        async def publish(numbers):
            for number in numbers:
                await channel.publish(str(number), to=targets[number])

        async def read(name, expected):
            place, received, pauses = "", [], iter(cuts)
            while len(received) < len(expected):
                count = min(next(pauses, 99), len(expected) - len(received))
                headers = {"last_event_id": place} if place else {}
                client = await catch_up(endpoint, count, x_user=name, **headers)
                received += client.data
                assert {event.type for event in client.events} <= {"message"}
                place = client.place
            assert received == expected

        await publish(range(min(ahead, len(targets))))
        async with create_task_group() as group:
            for name in ("ann", "bob"):
                seen = [str(n) for n, to in enumerate(targets) if to is None or name in to]
                group.start_soon(read, name, seen)
            group.start_soon(publish, range(ahead, len(targets)))


# Expiry


@pytest.mark.virtual_time
async def test_a_connection_ends_when_the_credentials_do():
    """In band, then with a clean end: an event source comes back, and is asked for new ones."""
    async with Streams() as streams, create_task_group() as group:
        start = current_time()

        def wall():
            return NOW + current_time() - start

        def authorize(connection, channel):
            return Principal("ann", {"ann"}, expires_at=NOW + 50)

        endpoint = channel_endpoint(streams, authorize, clock=wall, heartbeat=15)
        channel = streams.channel("news")
        client, other = ChannelClient(), ChannelClient(x_user="bob")
        await sleep(20)
        group.start_soon(client.get, endpoint)
        group.start_soon(other.get, everybody(streams))
        await sleep(1)
        await channel.publish("x")
        hidden = await channel.publish("x", to="bob")
        await sleep(28.9)
        assert not client.complete
        await sleep(0.2)
        assert client.complete
        assert not client.cut
        assert [event.type for event in client.events] == ["message", "expired"]
        assert json.loads(client.events[-1].data) == {"reason": "credentials"}
        assert client.events[-1].last_event_id == str(hidden)
        assert channel.subscriptions == 1
        assert (await get(endpoint)).status == 401
        await sleep(10)
        assert not other.complete
        other.leave()


@pytest.mark.virtual_time
async def test_credentials_expire_by_the_clock_even_when_somebody_does_not_read():
    """The connection is broken off instead: nothing is sent after the time."""
    async with Streams() as streams, create_task_group() as group:

        def authorize(connection, channel):
            return Principal("ann", expires_at=NOW + 10)

        channel = streams.channel("news")
        await channel.publish("x")
        client = ChannelClient()
        group.start_soon(
            client.get, channel_endpoint(streams, authorize, clock=lambda: NOW, send_timeout=100)
        )
        await sleep(1)
        client.reads = False
        before = client.body
        await channel.publish("y")
        await sleep(10)
        assert channel.subscriptions == 0
        client.leave()
    assert client.body == before


# Limits


async def hold(group, endpoint, *args, **kwargs):
    """Keep a subscription open; return its client once it is granted or refused."""
    client = ChannelClient(*args, **kwargs)
    group.start_soon(client.get, endpoint)
    await until(lambda: client.status)
    return client


def by_name(connection, channel):
    return Principal(connection.headers["x-user"], may_publish=True)


async def test_connections_of_a_principal_are_limited():
    """429 for who has too many; nobody else notices, and one that ends makes room."""
    async with Streams() as streams, create_task_group() as group:
        limits = ChannelLimits(connections_per_principal=2)
        endpoint = channel_endpoint(streams, by_name, limits=limits)
        held = [await hold(group, endpoint, f"c{number}", **ann) for number in range(2)]
        refused = await get(endpoint, accept="text/event-stream", **ann)
        assert (refused.status, refused.headers["retry-after"]) == (429, ["3"])
        held.append(await hold(group, endpoint, **bob))
        held.pop(0).leave()
        await until(lambda: streams.channel("c0").subscriptions == 0)
        await wait_all_tasks_blocked()
        held.append(await hold(group, endpoint, **ann))
        assert {client.status for client in held} == {200}
        for client in held:
            client.leave()


@pytest.mark.parametrize("limit", ["connections_per_channel", "connections"])
async def test_connections_of_a_channel_and_in_all_are_limited(limit):
    """503, but an event source gets a 200 that tells it to come again: not all at once."""
    async with Streams() as streams, create_task_group() as group:
        endpoint = channel_endpoint(streams, by_name, limits=ChannelLimits(**{limit: 2}))
        held = [await hold(group, endpoint, x_user=f"u{number}") for number in range(2)]
        refused = await get(endpoint, **ann)
        assert (refused.status, refused.headers["retry-after"]) == (503, ["3"])
        patient = await get(endpoint, accept="text/event-stream", **ann)
        assert (patient.status, patient.complete) == (200, True)
        retry = int(patient.body.removeprefix(b"retry: "))
        assert 3000 <= retry <= 30_000
        other = await (get if limit == "connections" else functools.partial(hold, group))(
            endpoint, "other", **ann
        )
        assert other.status == (503 if limit == "connections" else 200)
        for client in (*held, other):
            client.leave()


async def test_nothing_is_kept_of_who_has_left():
    """Law 8: neither of channels nor of principals."""
    async with Streams() as streams:
        await streams.channel("news").publish("x")
        endpoint = channel_endpoint(streams, by_name, authorize_publish=by_name)
        for number in range(20):
            await catch_up(endpoint, 1, x_user=f"u{number}")
        usage = endpoint._usage
        assert (usage._connections, usage._channels, usage._principals) == (0, {}, {})


async def test_a_subscriber_that_is_too_far_behind_gets_a_gap():
    async with Streams() as streams:
        endpoint = everybody(streams, limits=ChannelLimits(replay=2))
        for number in range(5):
            await streams.channel("news").publish(str(number))
        client = await catch_up(endpoint, 3, **ann)
    assert [event.type for event in client.events] == ["gap", "message", "message"]
    assert json.loads(client.events[0].data) == {"reason": "behind"}
    assert client.data == ["3", "4"]


@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan")])
def test_limits_that_are_none_are_refused(value):
    for name in ChannelLimits.__slots__:
        with pytest.raises(InvalidInput, match=name):
            ChannelLimits(**{name: value})
    assert ChannelLimits(publish_rate=0.1).publish_rate == 0.1


@pytest.mark.virtual_time
async def test_a_flood_of_messages_is_refused_and_nobody_else_notices():
    """429 with the time to wait; other principals and other channels go on."""
    async with Streams() as streams:
        limits = ChannelLimits(publish_rate=0.5, publish_burst=3)
        endpoint = channel_endpoint(streams, by_name, authorize_publish=by_name, limits=limits)
        answers = [await post(endpoint, {"data": "x"}) for _ in range(50)]
        assert [client.status for client in answers] == [202] * 3 + [429] * 47
        assert answers[-1].headers["retry-after"] == ["2"]
        assert (await post(endpoint, {"data": "x"}, "other")).status == 429
        for channel in ("news", "other"):
            assert (await post(endpoint, {"data": "x"}, channel, x_user="bob")).status == 202
        await sleep(2)
        assert (await post(endpoint, {"data": "x"})).status == 202
        assert (await post(endpoint, {"data": "x"})).status == 429


@pytest.mark.virtual_time
async def test_a_client_that_does_not_read_is_dropped_and_the_others_get_everything():
    async with Streams() as streams, create_task_group() as group:
        channel = streams.channel("news")
        endpoint = everybody(streams, send_timeout=5)
        stuck, other = ChannelClient(**ann), ChannelClient(**bob)
        for client in (stuck, other):
            group.start_soon(client.get, endpoint)
        await sleep(1)
        stuck.reads = False
        for number in range(200):
            await channel.publish(str(number))
        await sleep(4)
        assert channel.subscriptions == 2
        await sleep(5)
        assert channel.subscriptions == 1
        assert stuck.cut
        assert stuck.data == []
        assert other.data == [str(number) for number in range(200)]
        other.leave()


async def test_a_client_that_left_frees_its_place():
    async with Streams() as streams, create_task_group() as group:
        client = await hold(group, everybody(streams), **ann)
        assert streams.channel("news").subscriptions == 1
        client.leave()
        await until(lambda: streams.channel("news").subscriptions == 0)


# Draining


async def test_draining_sends_subscribers_to_another_process():
    async with Streams() as streams, create_task_group() as group:
        endpoint = everybody(streams)
        id = await streams.channel("news").publish("x")
        client = await hold(group, endpoint, **ann)
        await client.seen(1)
        await wait_all_tasks_blocked()
        streams.shutdown.begin()
        await until(lambda: client.complete)
        assert b"retry: " in client.body.split(f"id: {id}\n".encode())[-1]
        refused = await get(endpoint, **ann)
        assert (refused.status, refused.headers["retry-after"]) == (503, ["1"])
        patient = await get(endpoint, accept="text/event-stream", **ann)
        assert (patient.status, patient.complete) == (200, True)


@pytest.mark.parametrize(
    ("anyio_backend", "count"), [("asyncio", 10_000), ("trio", 1_000)], indirect=["anyio_backend"]
)
async def test_thousands_of_subscribers_of_one_channel(count):
    """Each gets everything; framed once for all who see the same, in one process."""
    async with Streams() as streams, create_task_group() as group:
        limits = ChannelLimits(connections_per_principal=count)
        endpoint = channel_endpoint(streams, lambda *_: ANN, limits=limits)
        channel = streams.channel("news")
        clients = [ChannelClient() for _ in range(count)]
        for client in clients:
            group.start_soon(_listen, client, endpoint)
        await wait_all_tasks_blocked()
        assert channel.subscriptions == count
        for number in range(3):
            await channel.publish(str(number))
        await channel.publish("secret", to="bob")
        await wait_all_tasks_blocked()
        assert all(client.body.count(b"data: ") == 3 for client in clients)
        assert all(client.data == ["0", "1", "2"] for client in clients[::100])
        for client in clients:
            client.leave()


async def _listen(client, endpoint):
    try:
        await endpoint(client.scope, client.receive, client.send)
    except ResponseCut:
        client.cut = True


async def test_a_route_that_names_something_else_is_a_mistake():
    """Its last segment could be the same for different tenants, who would share a channel."""
    async with Streams() as streams:
        app = Starlette(routes=[Route("/{tenant}/events", everybody(streams))])
        client = ChannelClient(**ann)
        client.scope["path"] = "/acme/events"
        with pytest.raises(RuntimeError, match=r"`channel` names the channel.*\['tenant'\]"):
            await client.get(app)
        assert [name async for name, _ in streams.scan()] == []
