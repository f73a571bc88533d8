"""The live feed alone, on a server that is a script: whatever order things come in.

What a real server does seldom, such as answering between two commands that belong together, is
drawn here. That real servers behave like the script is for the other tests to say.
"""

from collections import deque
from contextlib import asynccontextmanager
from itertools import count

import pytest
from anyio import CancelScope, create_task_group, sleep, sleep_forever
from anyio.lowlevel import checkpoint
from hypothesis import example, given
from hypothesis import strategies as st

from resumable_core import BackendUnavailable, Interrupted
from resumable_io._wakeup import Wakeup
from resumable_io.redis._feed import MOVED, LiveFeed
from resumable_io.redis._port import Confirmed, Ended, Published
from tests.conftest import anyio_backend  # noqa: F401 - no client is needed here, no server

pytestmark = pytest.mark.virtual_time

TIMEOUT = 5.0
HOME = "home"
CHANNELS = ("a", "b")


class Server:
    """Takes commands and publishes in the order in which it is told to; answers are on their way
    until they are delivered.
    """

    def __init__(self):
        self.connections = 0
        self.asked = []
        self._channels = set()
        self._commands = deque()
        self._on_their_way = deque()
        self._arrived = deque()
        self._news = Wakeup()
        self._broken = False

    @asynccontextmanager
    async def listening(self):
        await checkpoint()
        for queue in (self._channels, self._commands, self._on_their_way, self._arrived):
            queue.clear()
        self._broken = False
        self.connections += 1
        yield self

    async def subscribe(self, channels):
        for _ in range(4):  # much can happen before it is sent
            await checkpoint()
        self.asked += channels
        self._commands += [(Confirmed, channel) for channel in channels]

    def reaches(self, channel):
        return True

    async def unsubscribe(self, channels):
        await checkpoint()
        self._commands += [(Ended, channel) for channel in channels]

    async def receive(self):
        while not self._arrived:
            if self._broken:
                raise BackendUnavailable("the connection is broken")
            await self._news.wait()
        return self._arrived.popleft()

    def serve(self):
        """Carry out the next command."""
        if self._commands:
            answer, channel = self._commands.popleft()
            change = self._channels.add if answer is Confirmed else self._channels.discard
            change(channel)
            self._on_their_way.append(answer(channel))

    def publish(self, channel, payload):
        if channel in self._channels:
            self._on_their_way.append(Published(channel, payload))

    def deliver(self):
        """Let the next answer or message arrive."""
        if self._on_their_way:
            self._arrived.append(self._on_their_way.popleft())
            self._news.wake()

    def break_down(self):
        self._broken = True
        self._news.wake()

    async def settle(self):
        """Carry out and deliver everything."""
        for _ in range(5):
            while self._commands or self._on_their_way:
                self.serve()
                self.deliver()
                await sleep(0.01)
            await sleep(TIMEOUT / 10)


class Visitor:
    """Follows some channels, and holds the feed to what it promises."""

    def __init__(self, feed, channels):
        self._feed = feed
        self.channels = channels
        self._scope = CancelScope()
        self._unfollow = None
        self._late = False
        self._heard = set()
        self._owed = set()
        self.excused = set()  # what was owed, and may be lost, since that was reported
        self.left = False
        self.interruptions = 0

    @property
    def follows(self):
        return self._unfollow is not None and not self.left

    async def follow(self):
        with self._scope:
            self._unfollow = await self._feed.follow(self.channels, self._tell)
        if self.left:
            self.leave()

    def leave(self):
        self.left = True
        self._scope.cancel()
        if self._unfollow is not None:
            self._unfollow()

    def owe(self, channel, payload):
        """Take that something was published which is to be told, or that it was lost."""
        if self.follows and channel in self.channels:
            self._owed.add((channel, payload))

    def _tell(self, item):
        self._late |= self.left and self._unfollow is not None
        if item == Interrupted():
            self.excused |= self._owed
            self._owed.clear()
            self.interruptions += 1
        else:
            self._heard.add(item[0])
            self._owed.discard(item)
            self.excused.discard(item)

    def check(self):
        assert not self._late, "nothing is told to who has left"
        assert self._heard <= {*self.channels}, "nothing is told of other channels"
        assert self.left or self.follows, "who waits is confirmed in the end"
        assert self.left or not self._owed, "what is lost is reported"


@asynccontextmanager
async def feeding():
    """Open a feed, and the server to which it listens."""
    server = Server()
    feed = LiveFeed(server, HOME, lambda channel, payload: (channel, payload), TIMEOUT)
    async with create_task_group() as tasks:
        tasks.start_soon(feed.run)
        await server.settle()
        yield feed, server, tasks
        tasks.cancel_scope.cancel()


STEPS = st.one_of(
    st.tuples(st.just("follow"), st.sampled_from([("a",), ("b",), ("a", "b")])),
    st.tuples(st.just("leave"), st.integers(0, 5)),
    st.tuples(st.just("publish"), st.sampled_from(CHANNELS)),
    st.tuples(st.sampled_from(["serve", "deliver", "turn", "serve", "deliver"]), st.none()),
    st.tuples(st.sampled_from(["check", "break"]), st.none()),
)
CHECKED_WHILE_SOMEBODY_RETURNS = [
    *[("follow", ("a",)), ("check", None), ("leave", 0)],
    *[("turn", None)] * 8,
    ("follow", ("a",)),
]
CONFIRMED_BEFORE_IT_IS_GIVEN_UP = [
    ("follow", ("a",)),
    *[("turn", None)] * 8,
    *[("serve", None), ("leave", 0), ("follow", ("b",))],
    *[("turn", None)] * 2,
    *[("follow", ("a",)), ("deliver", None)],
    *[("turn", None)] * 8,
    *[("serve", None), ("serve", None), ("publish", "a")],
]

SLOW_TO_ANSWER_AT_FIRST = [
    *[("follow", ("a", "b")), ("break", None), ("leave", 0), ("check", None), ("follow", ("a",))],
]


CONFIRMED = [*[("turn", None)] * 8, ("serve", None), ("deliver", None), *[("turn", None)] * 8]
LOST_WITH_ITS_CONNECTION = [
    *[("follow", ("a",)), *CONFIRMED],
    *[("publish", "a"), ("break", None)],
]
GIVEN_UP_AS_THE_CONNECTION_BREAKS = [
    *[("follow", ("a",)), *CONFIRMED, ("leave", 0), *[("turn", None)] * 8],
    *[("break", None), ("follow", ("a",))],
]


@given(st.lists(STEPS, max_size=40))
@example(LOST_WITH_ITS_CONNECTION)
@example(GIVEN_UP_AS_THE_CONNECTION_BREAKS)
@example(CHECKED_WHILE_SOMEBODY_RETURNS)
@example(CONFIRMED_BEFORE_IT_IS_GIVEN_UP)
@example(SLOW_TO_ANSWER_AT_FIRST)
async def test_who_follows_hears_everything_or_that_it_was_lost(steps):
    """Laws 2 and 10: whoever else comes and goes, and whenever the connection breaks."""
    numbers, visitors = count(), []
    async with feeding() as (feed, server, tasks):

        def publish(channel):
            payload = next(numbers)
            for visitor in visitors:
                visitor.owe(channel, payload)
            server.publish(channel, payload)

        for step, what in steps:
            match step:
                case "follow":
                    visitors.append(Visitor(feed, what))
                    tasks.start_soon(visitors[-1].follow)
                    await checkpoint()
                case "leave" if what < len(visitors):
                    visitors[what].leave()
                case "publish":
                    publish(what)
                case "serve":
                    server.serve()
                case "deliver":
                    server.deliver()
                case "turn":
                    await checkpoint()
                case "check":
                    await sleep(TIMEOUT)
                case "break":
                    server.break_down()
                    await sleep(TIMEOUT)
        await server.settle()
        await sleep(TIMEOUT)
        await server.settle()
        for channel in CHANNELS:
            publish(channel)
        await server.settle()
        assert str(feed.error) != MOVED, "no channel has moved"
        for visitor in visitors:
            visitor.check()
            assert server.connections > 1 or not visitor.excused, "what stands loses nothing"
            visitor.leave()
        await server.settle()
        assert server._channels == {HOME}, "what nobody follows is given up"
        kept = (feed._subscribers, feed._confirmed, feed._leaving, feed._asked, feed._overdue)
        assert not any(kept), "and forgotten"


async def test_who_breaks_down_when_they_are_told_does_so_alone():
    """Law 10: the connection stays, for the sake of the others."""

    def breaks_down(item):
        raise ZeroDivisionError

    async with feeding() as (feed, server, tasks):
        tasks.start_soon(feed.follow, ("a",), breaks_down)
        visitor = Visitor(feed, ("a",))
        tasks.start_soon(visitor.follow)
        await server.settle()
        visitor.owe("a", 1)
        server.publish("a", 1)
        await server.settle()
        visitor.check()
        assert server.connections == 1


async def test_who_leaves_when_they_are_told_disturbs_nobody():
    """Law 10: whoever has left is told nothing more, and the others, who stay, lose nothing."""
    told, unfollow = [], {}

    async with feeding() as (feed, server, tasks):

        async def follow(name, other):
            def tell(item):
                told.append(name)
                unfollow[other]()

            unfollow[name] = await feed.follow(("a",), tell)

        tasks.start_soon(follow, "one", "two")
        tasks.start_soon(follow, "two", "one")
        await server.settle()
        server.publish("a", 1)
        await server.settle()
        assert len(told) == 1
        assert server.connections == 1


async def test_a_client_that_breaks_down_is_connected_anew():
    """Law 10: whatever it raises, this connection serves all streams of the process."""

    async def breaks_down():
        del server.receive
        raise ZeroDivisionError

    async with feeding() as (feed, server, tasks):
        visitor = Visitor(feed, ("a",))
        tasks.start_soon(visitor.follow)
        await server.settle()
        server.receive = breaks_down
        server.publish("a", 1)
        await server.settle()
        assert server.connections == 2
        assert visitor.interruptions == 1
        visitor.check()


async def test_a_channel_that_has_moved_is_looked_for():
    """A cluster says that a subscription has ended which nobody has given up."""
    async with feeding() as (feed, server, tasks):
        visitor = Visitor(feed, ("a",))
        tasks.start_soon(visitor.follow)
        await server.settle()
        server._channels.discard("a")
        server._on_their_way.append(Ended("a"))
        await server.settle()
        assert str(feed.error) == MOVED
        assert server.connections == 2
        assert visitor.interruptions == 1


async def test_a_channel_that_is_never_confirmed_is_looked_for():
    """Law 7: whoever asked for it when it was about to move is not left waiting."""
    async with feeding() as (feed, server, tasks):
        visitor = Visitor(feed, ("a",))
        tasks.start_soon(visitor.follow)
        await sleep(0.1)
        server._commands.clear()
        for _ in range(20):
            await server.settle()
        assert visitor.follows
        assert server.connections == 2


async def test_a_server_that_takes_no_commands_is_given_up():
    """Law 7: one that has stopped reading would keep who asks waiting for ever."""

    async def hangs(channels):
        del server.subscribe
        await sleep_forever()

    async with feeding() as (feed, server, tasks):
        server.subscribe = hangs
        visitor = Visitor(feed, ("a",))
        tasks.start_soon(visitor.follow)
        for _ in range(20):
            await server.settle()
        assert visitor.follows
        assert server.connections == 2


async def test_what_is_asked_for_while_something_is_asked_for_comes_next():
    """Not only when something else is to be done."""
    async with feeding() as (feed, server, tasks):
        for turns in range(10):
            one, two = (Visitor(feed, (f"{name}-{turns}",)) for name in ("one", "two"))
            tasks.start_soon(one.follow)
            for _ in range(turns):
                await checkpoint()
            tasks.start_soon(two.follow)
            await sleep(0.1)
            assert {*one.channels, *two.channels} <= {*server.asked}
            await server.settle()


async def test_a_channel_is_asked_for_once():
    """Those who come while it is not yet confirmed wait for the same answer, undisturbed."""
    async with feeding() as (feed, server, tasks):
        visitors = [Visitor(feed, channels) for channels in (("a",), ("a", "b"), ("a",))]
        for visitor in visitors:
            tasks.start_soon(visitor.follow)
            await sleep(0.1)
        await server.settle()
        assert all(visitor.follows for visitor in visitors)
        assert [channel for channel in server.asked if channel != HOME] == ["a", "b"]
        assert [visitor.interruptions for visitor in visitors] == [0, 0, 0]
