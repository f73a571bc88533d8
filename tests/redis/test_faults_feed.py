"""A live feed that loses, repeats and delays what it carries: the log repairs it all.

Pub/sub promises nothing. A consumer must not notice, but for the time that it takes.
"""

import random

import pytest
import redis as redis_py

from resumable_core import Reset
from tests.redis.proxy import proxied
from tests.redis.traffic import QUIET, traffic, two_processes

pytestmark = QUIET


class Faulty:
    """Lets a message through, loses it, repeats it, or delivers it after some that came later."""

    def __init__(self, seed: int) -> None:
        self.faults = {"lost": 0, "repeated": 0, "late": 0}
        self._dice = random.Random(seed)
        self._held: list[bytes] = []

    def __call__(self, live: bytes):
        match self._dice.choice(("passed", "passed", *self.faults)):
            case "passed":
                yield live
            case "lost":
                self.faults["lost"] += 1
            case "repeated":
                self.faults["repeated"] += 1
                yield from (live, live)
            case "late":
                self.faults["late"] += 1
                self._held.append(live)
        if len(self._held) >= 3:
            self._dice.shuffle(self._held)
            yield from self._held
            self._held.clear()


@pytest.mark.parametrize("seed", [1, 2])
async def test_messages_are_lost_repeated_and_late(redis_server, pair, seed):
    faulty = Faulty(seed)
    async with (
        proxied(redis_server) as proxy,
        two_processes(pair, redis_server.url, proxy.url) as processes,
    ):
        proxy.messages = faulty
        async with traffic(*processes) as running:
            await running.progress(events=50)
            await running.until(lambda: min(faulty.faults.values()) > 3, "enough has gone wrong")


async def test_all_messages_are_lost(redis_server, pair):
    """What remains is to ask now and then."""
    async with (
        proxied(redis_server) as proxy,
        two_processes(pair, redis_server.url, proxy.url) as processes,
    ):
        proxy.messages = lambda live: ()
        async with traffic(*processes, count=1) as running:
            await running.progress()


async def test_the_feed_goes_deaf(redis_server, pair):
    """It is found out by asking it for an answer, and the connection is made anew."""
    async with (
        proxied(redis_server) as proxy,
        two_processes(pair, redis_server.url, proxy.url, timeout=1.0) as processes,
        traffic(*processes, count=1) as running,
    ):
        connections = proxy.accepted
        proxy.deafen()
        await running.until(lambda: proxy.accepted > connections, "it reconnects")
        await running.progress()


async def test_messages_are_published_again_by_hand(redis_server, pair):
    """Old ones, of a stream that runs and of one that was restarted; and garbage."""
    with redis_server.client() as client, client.pubsub() as recorder:
        recorder.psubscribe("*")
        async with (
            two_processes(pair, redis_server.url, redis_server.url) as processes,
            traffic(*processes, count=1) as running,
        ):
            await running.progress()
            recorded = published(recorder)
            assert len(recorded) > 10
            for channel, payload in (*recorded, *recorded[::-1]):
                client.publish(channel, payload)
                client.publish(channel, payload[:-1])
                client.publish(channel, b"")
                await running.progress(events=1)
            await running.progress()
            assert not any(story.notices for story in running.history.stories)


async def test_messages_of_a_former_log_are_late(redis_server, pair):
    """A stream was restarted: what the former one said must not be taken for the new one's."""
    with redis_server.client() as client, client.pubsub() as recorder:
        recorder.psubscribe("*")
        async with (
            two_processes(pair, redis_server.url, redis_server.url) as processes,
            traffic(*processes, count=0) as running,
        ):
            running.history.ends_agree = False
            running.history.keeps = False
            await running.produce(processes[0], "x", "anna")
            first = running.consume(processes[1], "x", "first")
            await running.progress()
            await processes[1].stop("x")
            await running.until(lambda: first.finished, "the first one is stopped")
            recorded = published(recorder)
            former = await processes[0].state("x")
            await running.produce(processes[0], "x", "ben", replaces=former.epoch)
            for number, streams in enumerate(processes):
                running.consume(streams, "x", f"second {number}")
            returns = running.consume(processes[1], "x", "returns", before=first.records[:-1])
            await running.progress()
            for channel, payload in recorded:
                client.publish(channel, payload)
            await running.progress(events=20)
        assert [type(notice) for notice in returns.notices] == [Reset]


def published(recorder: redis_py.client.PubSub) -> list[tuple[bytes, bytes]]:
    """Return the channels and payloads of our messages that were published until now."""
    recorded = []
    while (heard := recorder.get_message(timeout=0.1)) is not None:
        if heard["type"] == "pmessage":
            recorded.append((heard["channel"], heard["data"]))
    return recorded
