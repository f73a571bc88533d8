"""Workload 1: one stream in memory, from its source to one consumer."""

from __future__ import annotations

import asyncio
import time

from tests.bench.check import check, texts
from tests.bench.model import Case, Goal, Measured, Of, Setting, Workload

VARIANTS = {"never": 0, "every 100": 100, "every message": 1}
"""After how many messages the source yields to the event loop."""


class Clock:
    """A source that takes the time at which it is first asked, and a judge of what came of it."""

    def __init__(self, count: int, every: int) -> None:
        self.texts = texts(count)
        self._every = every
        self._began = 0.0

    async def source(self):
        self._began = time.perf_counter()
        for index, text in enumerate(self.texts):
            if self._every and index % self._every == 0:
                await asyncio.sleep(0)
            yield text

    def result(self, received: list[str], first: float) -> dict:
        ended = time.perf_counter()
        return {
            "events/s": len(self.texts) / (ended - self._began),
            "first event ms": 1000 * (first - self._began),
            "verdict": check(received, len(self.texts)),
        }


async def ours(count: int, every: int) -> dict:
    from resumable_core import Retention
    from resumable_io import MemoryBackend, Streams

    clock = Clock(count, every)
    # A million events are more than is kept unless told otherwise.
    backend = MemoryBackend(max_bytes=2**30)
    async with Streams(backend, retention=Retention(count=count)) as streams:
        events = await streams.start("a", clock.source())
        received = [(await anext(events)).data]
        first = time.perf_counter()
        received += [event.data async for event in events]
        return clock.result(received, first)


async def resumable_sse(count: int, every: int) -> dict:
    from resumable_sse.factory import get_streamer

    clock = Clock(count, every)
    events = get_streamer("memory").stream("a", clock.source())
    received = [(await anext(events))["data"]]
    first = time.perf_counter()
    received += [event["data"] async for event in events if event["event"] == "message"]
    return clock.result(received, first)


async def assistant_stream(count: int, every: int) -> dict:
    from assistant_stream.resumable import (
        create_in_memory_resumable_stream_store,
        create_resumable_stream_context,
    )

    clock = Clock(count, every)

    async def encoded():
        async for text in clock.source():
            yield text.encode()

    store = create_in_memory_resumable_stream_store()
    chunks = await create_resumable_stream_context(store=store).run("a", encoded)
    received = [(await anext(chunks)).decode()]
    first = time.perf_counter()
    received += [chunk.decode() async for chunk in chunks]
    return clock.result(received, first)


async def bare(count: int, every: int) -> dict:
    """Do with a list and an event what cannot be done without."""
    clock, log, grown = Clock(count, every), [], asyncio.Event()

    async def produce():
        async for text in clock.source():
            log.append(text)
            grown.set()

    task = asyncio.create_task(produce())
    received, first = [], 0.0
    while len(received) < count:
        await grown.wait()
        grown.clear()
        while len(received) < len(log):
            received.append(log[len(received)])
            first = first or time.perf_counter()
    await task
    return clock.result(received, first)


PARTS = {
    "ours": (ours, {}),
    "ours, uvloop": (ours, {"uvloop": True}),
    "resumable-sse": (resumable_sse, {"peer": True}),
    "assistant-stream": (assistant_stream, {"peer": True}),
    "floor": (bare, {}),
}


def contenders(setting: Setting, count: int, every: int, *names: str) -> dict:
    """Return the ones of these names, or all."""

    def contender(part, options):
        def measure() -> Measured:
            said = setting.processes.run(part, count=count, every=every, **options)
            verdict = said.pop("verdict")
            return Measured(said, verdict)

        return measure

    return {name: contender(*PARTS[name]) for name in names or PARTS}


def one(setting: Setting) -> Workload:
    """Return the workload, with its three kinds of source."""
    rate, cases, goals = "events/s", [], []
    for name, every in VARIANTS.items():
        count = setting.scaled(20_000 if every == 1 else 100_000)
        case = f"{count:,}, source yields {name}"
        cases.append(Case(case, contenders(setting, count, every)))
        ours, peer = Of(case, "ours", rate), Of(case, "resumable-sse", rate)
        goals.append(Goal("resumable-sse × 2", ours, 2, peer))
    return Workload(
        1,
        "Memory, one stream from its source to one consumer",
        tuple(cases),
        tuple(goals),
        "How often the source yields to the event loop decides how much is handed on at once: a "
        "source that never does is not like a model's answer, one that does so for every message "
        "is. resumable-sse sleeps for 0.1 s at each start and then walks a list, with what a "
        "source that never yields has put there before; that is part of its time.",
    )
