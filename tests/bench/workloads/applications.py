"""What workloads 6 and 11 serve: events from one source to whoever asks, as each contender does it.

An application is made for a source, and answers each request with all that flows from then on, and
with an end, which comes when all has arrived: to end responses is not part of what is measured.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager

from tests.bench.check import texts

IN_STEP = "in step"
"""A pace: each event comes when all clients have the one before, so none is sent with another."""

Pace = float | str | None
"""Seconds between events; 0 is a turn for others, `IN_STEP` see above, None as fast as they go."""


class Source:
    """Texts that flow once told, at a pace."""

    def __init__(self, count: int, pace: Pace) -> None:
        self.begin = asyncio.Event()
        self.began = 0.0
        self.arrived = asyncio.Semaphore(0)
        """To be released for each event that all clients have."""
        self.all_arrived = asyncio.Event()
        """To be set when it may end."""
        self._texts = texts(count)
        self._pace = pace

    async def flow(self):
        await self.begin.wait()
        self.began = time.monotonic()
        for text in self._texts:
            yield text
            if self._pace == IN_STEP:
                await self.arrived.acquire()
            elif self._pace is not None:
                await asyncio.sleep(self._pace)
        await self.all_arrived.wait()


@asynccontextmanager
async def stream(source: Source):
    from resumable_io import Streams
    from resumable_io.asgi import EventStreamResponse

    async with Streams(grace=0) as streams:
        await streams.start("a", source.flow())
        yield EventStreamResponse(streams, "a")


@asynccontextmanager
async def channel(source: Source):
    """Publish each event in a task of its own, as requests do."""
    from resumable_io import Streams
    from resumable_io.channels import ChannelLimits, Principal, channel_endpoint

    everybody = Principal("everybody")
    limits = ChannelLimits(connections_per_principal=10_000)

    async def broadcast():
        news = streams.channel("news")
        async with asyncio.TaskGroup() as publishing:
            async for text in source.flow():
                publishing.create_task(news.publish(text))

    async with Streams() as streams:
        task = asyncio.create_task(broadcast())
        yield channel_endpoint(streams, lambda *_: everybody, limits=limits)
        await task


@asynccontextmanager
async def sse_starlette(source: Source):
    """Do as its users do: a queue for each client, and a task that fills them all."""
    from sse_starlette.sse import EventSourceResponse

    queues = []

    async def events(queue):
        while (event := await queue.get()) is not None:
            yield event

    async def app(scope, receive, send):
        queues.append(asyncio.Queue())
        await EventSourceResponse(events(queues[-1]))(scope, receive, send)

    async def broadcast():
        seq = 0
        async for text in source.flow():
            seq += 1
            for queue in queues:
                queue.put_nowait({"data": text, "id": f"0123456789abcdef-{seq}"})
        for queue in queues:
            queue.put_nowait(None)

    task = asyncio.create_task(broadcast())
    yield app
    await task


APPLICATIONS = {"stream": stream, "channel": channel, "sse-starlette": sse_starlette}
