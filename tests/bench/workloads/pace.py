"""Workload 4: the pace of real life, through Redis, from one process to another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

from tests.bench.check import SIZE, Checker, total
from tests.bench.model import Case, Goal, Measured, Of, Setting, Workload
from tests.bench.workloads.redis_live import produce_with_ours, produce_with_resumable_sse
from tests.bench.workloads.sources import Sources

RATE = 30
"""Messages a second in each stream."""


class Arrivals:
    """Check what arrives, and how long it was under way."""

    def __init__(self, streams: int, count: int) -> None:
        self._checkers = [Checker(count, stream) for stream in range(streams)]
        self._delays: list[int] = []

    def taker(self, stream: int) -> Callable[[str], None]:
        """Return what takes the texts of a stream."""
        delays, checker, now = self._delays, self._checkers[stream], time.monotonic_ns

        def take(text: str) -> None:
            delays.append(now() - int(text[SIZE:]))
            checker.take(text[:SIZE])

        return take

    def result(self) -> dict:
        ended = time.monotonic()
        delays = sorted(self._delays)
        last = len(delays) - 1
        percentiles = {
            f"p{part:g} ms": delays[round(last * part / 100)] / 1e6 for part in (50, 99, 99.9)
        }
        verdicts = (checker.verdict() for checker in self._checkers)
        return percentiles | {"ended": ended, "verdict": total(verdicts)}


# Those who receive; who produces does so as in workloads 2 and 3, at this pace


async def consume_with_ours(url: str, streams: int, count: int, rate: float):
    from resumable_io import Streams

    arrivals = Arrivals(streams, count)

    async def receive(stream, subscription):
        take = arrivals.taker(stream)
        async for event in subscription:
            take(event.data)

    async with Streams(url) as ours:
        yield {}
        subscriptions = [await ours.resume(f"s{stream}") for stream in range(streams)]
        yield {}
        await asyncio.gather(*(receive(*each) for each in enumerate(subscriptions)))
        yield arrivals.result()


async def consume_with_resumable_sse(url: str, streams: int, count: int, rate: float):
    import redis.asyncio
    from resumable_sse.factory import get_streamer

    arrivals = Arrivals(streams, count)

    async def receive(stream):
        take = arrivals.taker(stream)
        async for event in streamer.stream(f"s{stream}", None):
            if event["event"] == "message":
                take(event["data"])

    async with redis.asyncio.from_url(url) as client:
        streamer = get_streamer("redis", client)
        yield {}
        yield {}
        await asyncio.gather(*map(receive, range(streams)))
        yield arrivals.result()


# The floor: each message published by itself, and kept nowhere


async def produce_bare(url: str, streams: int, count: int, rate: float):
    import redis.asyncio

    sources = Sources(streams, count, rate)

    async def publish(stream):
        async for text in sources.source(stream):
            await client.publish(f"s{stream}", text)
        await client.publish(f"s{stream}", "")

    pool = redis.asyncio.BlockingConnectionPool.from_url(url, max_connections=50, timeout=60)
    async with redis.asyncio.Redis(connection_pool=pool) as client:
        yield {}
        publishing = asyncio.gather(*map(publish, range(streams)))
        said = await sources.run()
        await publishing
        yield said
    await pool.disconnect()


async def consume_bare(url: str, streams: int, count: int, rate: float):
    import redis.asyncio

    arrivals, open_ = Arrivals(streams, count), streams
    takers = {f"s{stream}".encode(): arrivals.taker(stream) for stream in range(streams)}
    async with redis.asyncio.from_url(url) as client, client.pubsub() as feed:
        yield {}
        await feed.subscribe(*takers)
        yield {}
        async for message in feed.listen():
            if message["type"] == "message" and message["data"]:
                takers[message["channel"]](message["data"].decode())
            elif message["type"] == "message":
                open_ -= 1
                if not open_:
                    break
        yield arrivals.result()


PARTS = {
    "ours": (produce_with_ours, consume_with_ours),
    "resumable-sse": (produce_with_resumable_sse, consume_with_resumable_sse),
    "floor": (produce_bare, consume_bare),
}


def case(setting: Setting, name: str, streams: int, seconds: int, *names: str) -> Case:
    """Return a number of streams for some seconds, as a case for contenders of these names."""
    count = RATE * seconds

    def measure(who: str) -> Measured:
        setting.empty_redis()
        said = setting.processes.pair(
            *PARTS[who],
            setting.redis_port,
            peer=who == "resumable-sse",
            limit=6 * seconds,
            url=setting.redis_url,
            streams=streams,
            count=count,
            rate=RATE,
        )
        millions = streams * count / 1e6
        figures = {name: value for name, value in said.items() if name.endswith(" ms")} | {
            "events/s": 1e6 * millions / (said["ended"] - said["began"]),
            "producer CPU s/million": said["producer CPU"] / millions,
            "consumer CPU s/million": said["consumer CPU"] / millions,
        }
        return Measured(figures, said["verdict"])

    return Case(name, {who: partial(measure, who) for who in names}, rounds=2)


def pace(setting: Setting) -> Workload:
    """Return the workload."""
    many, few, seconds = setting.scaled(500), setting.scaled(80, 20), setting.scaled(30, 2)
    usual, small = f"{many} streams × {RATE}/s, {seconds} s", f"{few} streams × {RATE}/s"
    hop = f"1 stream × {RATE}/s: the bare hop"
    return Workload(
        4,
        "Pace of real life, through Redis",
        (
            case(setting, usual, many, seconds, "ours", "floor", "resumable-sse"),
            case(setting, small, few, setting.scaled(10, 1), "ours", "floor", "resumable-sse"),
            case(setting, hop, 1, setting.scaled(10, 1), "ours", "floor"),
        ),
        tuple(
            Goal(
                f"{metric} of {floor} × {bound}",
                Of(case_, "ours", metric),
                bound,
                Of(of, "floor", metric),
                at_most=True,
            )
            for case_, floor, of in (
                (usual, "the hop at the same pace", usual),
                (usual, "an idle hop", hop),
                (small, "the hop at the same pace", small),
            )
            for metric, bound in (("p50 ms", 1.5), ("p99 ms", 2))
        ),
        "The time is from the source's yield to the consumer's hands. The floor publishes each "
        "message by itself, with redis-py, and keeps it nowhere; for many streams that may need "
        "more cores than there are. Its source waits for each publish: one that cannot keep the "
        "pace has fewer events/s in place of longer ways.",
    )
