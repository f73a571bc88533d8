"""Channels: publishing and subscribing, what survives a store that fails, and who sees what."""

import random

import pytest
from anyio import (
    create_task_group,
    fail_after,
    move_on_after,
    sleep,
    wait_all_tasks_blocked,
)
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from resumable_core import AtCharacter, Live, PublisherLimits
from resumable_io import (
    BackendFull,
    BackendUnavailable,
    Gap,
    GapReason,
    InvalidInput,
    InvalidMessage,
    InvalidPosition,
    MemoryBackend,
    Message,
    Reset,
    ResetReason,
    Retention,
    StreamGap,
    StreamReset,
    Streams,
    StreamsClosed,
)
from resumable_io.testing import Fault, FaultyBackend
from tests.io.cancelling import Cut, at_each_await
from tests.io.scripted import tasks

pytestmark = pytest.mark.virtual_time

OUTAGE = PublisherLimits().outage


class BadStore(MemoryBackend):
    """Does not answer as often as it is told to, whether or not it has done what it was asked."""

    def __init__(self):
        super().__init__()
        self.before = self.after = lambda: None
        self.commands = []

    async def publish(self, log_id, change):
        self.commands.append(change)
        await sleep(0.01)
        self.before()
        ids = await super().publish(log_id, change)
        self.after()
        return ids


def fail():
    raise BackendUnavailable("told to")


async def received(subscription, count):
    """Take `count` events, but wait for none that does not come."""
    with fail_after(60):
        return [(await anext(subscription)).data for _ in range(count)]


async def nothing_comes(subscription):
    """Say whether nothing is delivered while everything settles."""
    with move_on_after(1) as waiting:
        await anext(subscription)
    return waiting.cancelled_caught


# Publish and subscribe


async def test_everybody_gets_what_is_for_everybody():
    async with Streams() as streams:
        channel = streams.channel("news")
        early = await channel.subscribe()
        ids = [await channel.publish(item) for item in ("one", b"two", {"three": 3})]
        late = await streams.channel("news").subscribe()
        for subscription in (early, late):
            assert await received(subscription, 3) == ["one", b"two", '{"three":3}']
        assert [id.seq for id in ids] == [1, 2, 3]
        assert len({id.epoch for id in ids}) == 1


async def test_a_type_goes_with_a_message():
    async with Streams() as streams:
        channel = streams.channel("news")
        await channel.publish(Message("one", "greeting"))
        assert (await anext(await channel.subscribe())).type == "greeting"


async def test_a_message_for_some_is_for_them_alone_live_and_later():
    async with Streams() as streams:
        channel = streams.channel("news")
        before = {name: await channel.subscribe(recipient=name) for name in ("ann", "bob")}
        await channel.publish("for ann", to="ann")
        await channel.publish("for both", to=["ann", "bob"])
        await channel.publish("for all")
        after = {name: await channel.subscribe(recipient=[name, "x"]) for name in ("ann", "bob")}
        for subscriptions in (before, after):
            assert await received(subscriptions["ann"], 3) == ["for ann", "for both", "for all"]
            assert await received(subscriptions["bob"], 2) == ["for both", "for all"]
        nobody = await channel.subscribe()
        assert await received(nobody, 1) == ["for all"]


async def test_what_is_for_others_moves_the_place_on():
    async with Streams() as streams:
        channel = streams.channel("news")
        subscription = await channel.subscribe(recipient="bob")
        assert subscription.id is None
        await channel.publish("one")
        assert await received(subscription, 1) == ["one"]
        hidden = await channel.publish("secret", to="ann")
        assert await nothing_comes(subscription)
        assert subscription.id == hidden
        resumed = await channel.subscribe(subscription.id, recipient="bob")
        await channel.publish("two")
        assert await received(resumed, 1) == await received(subscription, 1) == ["two"]
        hidden = await channel.publish("secret", to="ann")
        assert await nothing_comes(subscription)
        await subscription.aclose()
        assert subscription.id == hidden


async def test_a_live_subscription_begins_with_the_next_event():
    async with Streams() as streams:
        channel = streams.channel("news")
        before_anything = await channel.subscribe(Live())
        await channel.publish("one")
        live = await channel.subscribe(Live())
        await channel.publish("two")
        assert await received(before_anything, 2) == ["one", "two"]
        assert await received(live, 1) == ["two"]


async def test_a_channel_is_resumed_by_the_text_of_an_id():
    async with Streams() as streams:
        channel = streams.channel("news")
        first = await channel.publish("one")
        await channel.publish("two")
        assert await received(await channel.subscribe(str(first)), 1) == ["two"]
        made_up = await channel.subscribe("nonsense")
        with pytest.raises(StreamReset):
            await anext(made_up)
        assert await received(made_up, 2) == ["one", "two"]


async def test_too_long_a_replay_is_a_gap():
    async with Streams() as streams:
        channel = streams.channel("news")
        for item in ("one", "two", "three"):
            await channel.publish(item)
        subscription = await channel.subscribe(replay=1)
        with pytest.raises(StreamGap, match="behind"):
            await anext(subscription)
        assert await received(subscription, 1) == ["three"]


async def test_a_channel_keeps_what_it_was_told_to():
    async with Streams() as streams:
        channel = streams.channel("news", retention=Retention(count=1, keep=60.0))
        for item in ("one", "two"):
            id = await channel.publish(item)
        records = (await channel.subscribe()).records()
        gap, event = await anext(records), await anext(records)
        assert gap == Gap(id.__class__(id.epoch, 1), GapReason.TRIMMED)
        assert event.data == "two"
        await sleep(61)
        again = await channel.publish("three")
        assert (again.seq, again.epoch != id.epoch) == (1, True)


async def test_a_channel_that_is_deleted_goes_on_as_another():
    async with Streams() as streams:
        channel = streams.channel("news")
        subscription = await channel.subscribe()
        await channel.publish("one")
        assert await received(subscription, 1) == ["one"]
        await channel.delete()
        await channel.delete()
        assert await nothing_comes(subscription)
        assert not subscription.finished
        await channel.publish("two")
        records = subscription.records()
        reset, event = await anext(records), await anext(records)
        assert (type(reset), reset.reason) == (Reset, ResetReason.RESTARTED)
        assert (event.data, event.id.seq) == ("two", 1)


async def test_channels_and_streams_have_names_of_their_own():
    async with Streams() as streams:
        await streams.channel("x").publish("in the channel")
        subscription = await streams.start("x", ["in the stream"])
        assert await received(subscription, 1) == ["in the stream"]
        assert await received(await streams.channel("x").subscribe(), 1) == ["in the channel"]
        assert [stream_id async for stream_id, _ in streams.scan()] == ["x"]
        assert [stream_id async for stream_id, _ in streams.scan()] == ["x"]


async def test_looking_creates_nothing():
    """Law 9."""
    backend = MemoryBackend()
    async with Streams(backend) as streams:
        subscription = await streams.channel("news").subscribe()
        assert await nothing_comes(subscription)
        await streams.channel("news").delete()
        assert [log_id async for log_id, _ in backend.scan()] == []


async def test_presence_is_how_many_subscribe_here():
    async with Streams() as streams:
        channel = streams.channel("news")
        assert channel.subscriptions == 0
        one = await channel.subscribe()
        async with await channel.subscribe():
            assert channel.subscriptions == 2
            assert streams.channel("other").subscriptions == 0
        assert channel.subscriptions == 1
        await one.aclose()
        assert channel.subscriptions == 0


# Bad input


@pytest.mark.parametrize("name", ["", "x" * 256, "a\nb", "\x00", "\x1f"])
async def test_a_bad_name_is_refused(name):
    async with Streams() as streams:
        with pytest.raises(InvalidInput, match="channel"):
            streams.channel(name)
        with pytest.raises(InvalidInput, match="recipient"):
            await streams.channel("news").publish("x", to=name)
        assert await nothing_comes(await streams.channel("news").subscribe())


async def test_what_nobody_could_read_is_refused():
    async with Streams() as streams:
        channel = streams.channel("news")
        with pytest.raises(InvalidInput, match="recipients"):
            await channel.publish("x", to=[])
        with pytest.raises(InvalidMessage):
            await channel.publish(Message("x" * (PublisherLimits().message_bytes + 1)))
        with pytest.raises(InvalidMessage):
            await channel.publish(object())
        for key in ("\n", "", 5):
            with pytest.raises(InvalidInput, match="key"):
                await channel.publish("x", key=key)
        for position in (AtCharacter(1), 5):
            with pytest.raises(InvalidPosition, match=r"event id|EventId"):
                await channel.subscribe(position)
        for names in (5, b"ann", [5], [b"ann"]):
            with pytest.raises(InvalidInput, match="a recipient is text"):
                await channel.publish("x", to=names)
            with pytest.raises(InvalidInput, match="a recipient is text"):
                await channel.subscribe(recipient=names)
        with pytest.raises(InvalidInput, match="replay is a number of events, 0 or more, got -1"):
            await channel.subscribe(replay=-1)
        with pytest.raises(InvalidInput, match="a channel's name is text, got int"):
            streams.channel(5)


async def test_channels_need_streams_that_are_entered():
    with pytest.raises(RuntimeError, match="not entered"):
        Streams().channel("news")


# Many writers, and a store that fails


async def test_what_is_published_under_a_key_again_is_the_first():
    """Law 6: in whichever process, and while it is still being published."""
    backend = MemoryBackend()
    async with Streams(backend) as here, Streams(backend) as there:
        first = await here.channel("news").publish("one", key="k")
        assert await there.channel("news").publish("other", key="k") == first
        ids = []
        async with create_task_group() as group:
            for _ in range(3):
                group.start_soon(_publish, here.channel("news"), "two", "l", ids)
        assert len(set(ids)) == 1
        assert await received(await here.channel("news").subscribe(), 2) == ["one", "two"]


async def _publish(channel, item, key, ids):
    ids.append(await channel.publish(item, key=key))


async def test_many_writers_share_an_attempt():
    backend = BadStore()
    async with Streams(backend) as streams:
        channel, ids = streams.channel("news"), []
        async with create_task_group() as group:
            for number in range(100):
                group.start_soon(_publish, channel, f"{number}", None, ids)
        assert sorted(id.seq for id in ids) == [*range(1, 101)]
        assert len(backend.commands) <= 2


@given(seed=st.integers(0, 2**32), writers=st.integers(1, 4))
async def test_whatever_replies_are_lost_nothing_is_lost_or_repeated(seed, writers):
    """Laws 1, 2 and 6: each writer's messages arrive in its order, once."""
    chance = random.Random(seed)

    def maybe_fail():
        if chance.random() < 0.4:
            fail()

    backend = BadStore()
    backend.before = backend.after = maybe_fail
    async with Streams(backend) as streams:
        channel = streams.channel("news")
        subscription = await channel.subscribe()

        async def write(writer):
            for number in range(5):
                await channel.publish(f"{writer}:{number}")

        async with create_task_group() as group:
            for writer in range(writers):
                group.start_soon(write, writer)
        data = await received(subscription, 5 * writers)
        for writer in range(writers):
            mine = [each for each in data if each.startswith(f"{writer}:")]
            assert mine == [f"{writer}:{number}" for number in range(5)]
        assert await nothing_comes(subscription)


@pytest.mark.parametrize("error", [BackendUnavailable("silence"), BackendFull("no room")])
async def test_an_outage_is_told_to_whoever_publishes(error):
    """Law 7."""

    def refuse():
        raise error

    backend = BadStore()
    async with Streams(backend) as streams:
        channel = streams.channel("news")
        backend.before = refuse
        with fail_after(OUTAGE + 10), pytest.raises(type(error), match=str(error)):
            await channel.publish("one", key="k")
        backend.before = lambda: None
        await channel.publish("one", key="k")
        assert await received(await channel.subscribe(), 1) == ["one"]


async def test_a_backend_that_breaks_breaks_nothing_else():
    """Law 10."""

    def break_down():
        raise ZeroDivisionError

    backend = BadStore()
    async with Streams(backend) as streams:
        backend.before = break_down
        with pytest.raises(ZeroDivisionError):
            await streams.channel("news").publish("one")
        backend.before = lambda: None
        await streams.channel("news").publish("two")
        assert streams.statistics().draining is False


async def test_writers_wait_while_too_much_is_waiting():
    """Law 8."""
    backend = BadStore()
    backend.before = fail
    limit = PublisherLimits().buffer_count
    async with Streams(backend) as streams:
        channel, ids = streams.channel("news"), []
        async with create_task_group() as group:
            for number in range(limit + 10):
                group.start_soon(_publish, channel, f"{number}", None, ids)
            await sleep(5)
            (driver,) = streams._channels._publishers.values()
            assert len(driver._settled) == limit
            assert ids == []
            backend.before = lambda: None
        assert sorted(id.seq for id in ids) == [*range(1, limit + 11)]


@at_each_await(at_least=2)
async def test_publishing_can_be_cancelled_anywhere(cut: Cut):
    """Law 10: it was published or not, and the channel goes on."""
    async with Streams(BadStore()) as streams:
        channel = streams.channel("news")
        await cut(channel.publish("one"))
        await channel.publish("two")
        await sleep(1)
        records = await (await channel.subscribe()).receive()
        assert [record.data for record in records] in (["one", "two"], ["two"])


@at_each_await(at_least=1)
async def test_subscribing_can_be_cancelled_anywhere(cut: Cut):
    """Law 10: nothing of it stays behind."""
    async with Streams() as streams:
        channel = streams.channel("news")
        await channel.publish("one")
        await cut(_subscribe_and_leave(channel))
        await checkpoint()
        assert await received(await channel.subscribe(), 1) == ["one"]


async def _subscribe_and_leave(channel):
    async with await channel.subscribe() as subscription:
        await anext(subscription)


# Leaving


async def test_leaving_tells_those_who_publish_and_those_who_wait():
    """Law 7."""
    backend = BadStore()
    backend.before = fail
    errors = []

    async def tell(call):
        try:
            await call()
        except StreamsClosed as error:
            errors.append(error)

    async with create_task_group() as group, Streams(backend) as streams:
        channel = streams.channel("news")
        subscription = await channel.subscribe()
        group.start_soon(tell, lambda: channel.publish("one"))
        group.start_soon(tell, subscription.receive)
        await wait_all_tasks_blocked()
    assert len(errors) == 2
    with pytest.raises(StreamsClosed):
        await channel.publish("two")
    with pytest.raises(StreamsClosed):
        await channel.subscribe()
    with pytest.raises(StreamsClosed):
        await channel.delete()
    with pytest.raises(StreamsClosed):
        streams.channel("news")


async def test_nothing_stays_behind():
    """Law 8: no task for a channel to which nobody publishes, or which nobody reads."""
    async with Streams() as streams:
        before = tasks()
        for name in ("one", "two"):
            await streams.channel(name).publish("x")
            async with await streams.channel(name).subscribe() as subscription:
                await anext(subscription)
        await wait_all_tasks_blocked()
        assert tasks() == before
        assert streams.statistics().followers == 0
        assert not streams._channels._publishers


async def test_nothing_stays_behind_of_a_writer_who_was_cancelled():
    backend = FaultyBackend(MemoryBackend(), {"publish": Fault.DELAY}.get, delay=2)
    async with Streams(backend) as streams:
        with move_on_after(1):
            await streams.channel("one").publish("x")
        await sleep(2)
        assert not streams._channels._publishers
