"""Workloads 2 and 3: streams through Redis, from one process to another, flat out."""

from __future__ import annotations

import asyncio
import time
from functools import partial

from tests.bench.check import check, check_joined, total
from tests.bench.model import Case, Goal, Measured, Of, Setting, Workload
from tests.bench.workloads.sources import Sources


async def gathered(received) -> list[str]:
    return [text async for text in received]


def result(received: list[list[str]], count: int, judge=check) -> dict:
    ended = time.monotonic()
    verdicts = (judge(each, count, stream) for stream, each in enumerate(received))
    return {"ended": ended, "verdict": total(verdicts)}


# Ours


async def produce_with_ours(url: str, streams: int, count: int, rate: float | None = None):
    from resumable_core import Retention
    from resumable_io import Streams

    sources = Sources(streams, count, rate)
    async with Streams(url, retention=Retention(count=count), grace=0) as ours:
        for stream in range(streams):
            await ours.start(f"s{stream}", sources.source(stream))
        yield {}
        yield await sources.run()


async def consume_with_ours(url: str, streams: int, count: int):
    from resumable_io import Streams

    async def receive(subscription):
        return [event.data async for event in subscription]

    async with Streams(url) as ours:
        yield {}
        subscriptions = [await ours.resume(f"s{stream}") for stream in range(streams)]
        yield {}
        received = await asyncio.gather(*map(receive, subscriptions))
        yield result(received, count)


# resumable-sse: a log in a Redis Stream, which each consumer reads over a connection of its own


async def produce_with_resumable_sse(url: str, streams: int, count: int, rate: float | None = None):
    import redis.asyncio
    from resumable_sse.factory import get_streamer

    sources = Sources(streams, count, rate)
    async with redis.asyncio.from_url(url) as client:
        streamer = get_streamer("redis", client)
        # It sleeps for 0.1 s at each start: at once for all, and before the time is taken.
        starts = (
            streamer.maybe_start_generator(f"s{stream}", sources.source(stream))
            for stream in range(streams)
        )
        await asyncio.gather(*starts)
        yield {}
        yield await sources.run()


async def consume_with_resumable_sse(url: str, streams: int, count: int):
    import redis.asyncio
    from resumable_sse.factory import get_streamer

    async def receive(stream):
        events = streamer.stream(f"s{stream}", None)
        return [event["data"] async for event in events if event["event"] == "message"]

    async with redis.asyncio.from_url(url) as client:
        streamer = get_streamer("redis", client)
        yield {}
        yield {}
        yield result(await asyncio.gather(*map(receive, range(streams))), count)


# resumable-stream: publish and subscribe; the text is in the producer's memory


async def context_of_resumable_stream(url: str):
    from resumable_stream import RedisPublisher, RedisSubscriber, create_resumable_stream_context

    publisher, subscriber = RedisPublisher(url), RedisSubscriber(url)
    await publisher.connect()
    await subscriber.connect()
    return create_resumable_stream_context(publisher=publisher, subscriber=subscriber)


async def produce_with_resumable_stream(url: str, streams: int, count: int):
    sources = Sources(streams, count)
    context = await context_of_resumable_stream(url)
    for stream in range(streams):
        make = partial(sources.source, stream)
        await context.create_new_resumable_stream(f"s{stream}", make)
    yield {}
    yield await sources.run()


async def consume_with_resumable_stream(url: str, streams: int, count: int):
    context = await context_of_resumable_stream(url)
    yield {}
    resumed = [await context.resume_existing_stream(f"s{stream}") for stream in range(streams)]
    yield {}
    yield result(await asyncio.gather(*map(gathered, resumed)), count, check_joined)


# assistant-stream: a log in a Redis Stream, for which its readers look ten times a second


def context_of_assistant_stream(client):
    from assistant_stream.resumable import (
        create_redis_resumable_stream_store,
        create_resumable_stream_context,
    )

    return create_resumable_stream_context(store=create_redis_resumable_stream_store(client))


async def produce_with_assistant_stream(url: str, streams: int, count: int):
    import redis.asyncio

    sources = Sources(streams, count)

    async def encoded(stream):
        async for text in sources.source(stream):
            yield text.encode()

    async with redis.asyncio.from_url(url) as client:
        context = context_of_assistant_stream(client)
        for stream in range(streams):
            await context.run(f"s{stream}", partial(encoded, stream))
        yield {}
        yield await sources.run()


async def consume_with_assistant_stream(url: str, streams: int, count: int):
    import redis.asyncio

    async def receive(chunks):
        return [chunk.decode() async for chunk in chunks]

    async with redis.asyncio.from_url(url) as client:
        context = context_of_assistant_stream(client)
        yield {}
        resumed = [await context.resume(f"s{stream}") for stream in range(streams)]
        yield {}
        yield result(await asyncio.gather(*map(receive, resumed)), count)


# The floor: batches of the same size as ours, added to a Redis Stream and published


async def produce_bare(url: str, streams: int, count: int, batch: int):
    import redis.asyncio

    sources = Sources(streams, count)

    async def send(client, stream):
        gathering = []
        async for text in sources.source(stream):
            gathering.append(text)
            if len(gathering) == batch:
                await flush(client, stream, gathering)
                gathering = []
        await flush(client, stream, [*gathering, ""])

    async def flush(client, stream, gathered):
        blob = "\n".join(gathered)
        pipeline = client.pipeline(transaction=False)
        pipeline.xadd(f"s{stream}", {"batch": blob})
        pipeline.publish(f"s{stream}", blob)
        await pipeline.execute()

    async with redis.asyncio.from_url(url) as client:
        yield {}
        sending = asyncio.gather(*(send(client, stream) for stream in range(streams)))
        said = await sources.run()
        await sending
        yield said


async def consume_bare(url: str, streams: int, count: int, batch: int):
    import redis.asyncio

    async def receive(feed):
        received = []
        async for message in feed.listen():
            if message["type"] == "message":
                received += message["data"].decode().split("\n")
                if not received[-1]:
                    return received[:-1]
        return received

    async with redis.asyncio.from_url(url) as client:
        yield {}
        feeds = [client.pubsub() for _ in range(streams)]
        for stream, feed in enumerate(feeds):
            await feed.subscribe(f"s{stream}")
        yield {}
        yield result(await asyncio.gather(*map(receive, feeds)), count)


# The workloads

PEERS = {
    "resumable-sse": (produce_with_resumable_sse, consume_with_resumable_sse),
    "resumable-stream": (produce_with_resumable_stream, consume_with_resumable_stream),
    "assistant-stream": (produce_with_assistant_stream, consume_with_assistant_stream),
}


class Race:
    """The contenders, for streams of one number and length."""

    def __init__(self, setting: Setting, streams: int, count: int) -> None:
        self.setting = setting
        self.work = {"streams": streams, "count": count}
        self._batch = 100

    def ours(self, **options: bool) -> Measured:
        measured = self.run(produce_with_ours, consume_with_ours, **options)
        events = self.work["streams"] * self.work["count"]
        self._batch = max(1, events // self.setting.redis_entries())
        measured.figures["events in a batch"] = self._batch
        return measured

    def floor(self) -> Measured:
        return self.run(produce_bare, consume_bare, batch=self._batch)

    def peer(self, name: str) -> Measured:
        return self.run(*PEERS[name], peer=True)

    def run(self, produce, consume, *, peer: bool = False, **more: int) -> Measured:
        self.setting.empty_redis()
        said = self.setting.processes.pair(
            produce,
            consume,
            self.setting.redis_port,
            peer=peer,
            url=self.setting.redis_url,
            **self.work,
            **more,
        )
        millions = self.work["streams"] * self.work["count"] / 1e6
        figures = {
            "events/s": 1e6 * millions / (said["ended"] - said["began"]),
            "connections": said["connections"],
            "producer CPU µs/event": said["producer CPU"] / millions,
            "consumer CPU µs/event": said["consumer CPU"] / millions,
        }
        return Measured(figures, said["verdict"])

    def contenders(self, *peers: str, floor: bool = False) -> dict:
        floors = {"floor": self.floor} if floor else {}
        return {
            "ours": self.ours,
            "ours, uvloop": partial(self.ours, uvloop=True),
            **floors,
            **{name: partial(self.peer, name) for name in peers},
        }


def one(setting: Setting) -> Workload:
    count = setting.scaled(20_000)
    case = f"1 stream × {count:,}"
    rate = "events/s"
    return Workload(
        2,
        "Redis, one stream from one process to another",
        (Case(case, Race(setting, 1, count).contenders(*PEERS, floor=True)),),
        (
            Goal("resumable-sse × 20", Of(case, "ours", rate), 20, Of(case, "resumable-sse", rate)),
            Goal("half of the floor", Of(case, "ours", rate), 0.5, Of(case, "floor", rate)),
        ),
        "As fast as they go. The floor is a pipeline of XADD and PUBLISH with redis-py, of batches "
        "as large as ours are.",
    )


def many(setting: Setting) -> Workload:
    streams, few, count = setting.scaled(1000), setting.scaled(80, 20), 50
    case, small = f"{streams:,} streams × {count}", f"{few} streams × {count}"
    rate = "events/s"
    return Workload(
        3,
        "Redis, many streams from one process to another",
        (
            Case(case, Race(setting, streams, count).contenders(*PEERS)),
            Case(small, Race(setting, few, count).contenders(*PEERS)),
        ),
        (
            Goal("30,000 events/s", Of(case, "ours", rate), 30_000),
            Goal("4 connections", Of(case, "ours", "connections"), 4, at_most=True),
        ),
        "All streams at once, each with one consumer. The second case is one that resumable-sse "
        "has enough connections for.",
    )
