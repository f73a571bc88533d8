"""Workload 7: memory of what waits, and of what has ended and is kept."""

from __future__ import annotations

import asyncio
import gc

from tests.bench.check import SIZE, text_of
from tests.bench.model import Case, Goal, Measured, Of, Setting, Workload

EVENTS = 20
"""Events of each ended stream."""


def held() -> int:
    """Return the bytes that this process holds in memory."""
    import psutil

    gc.collect()
    return psutil.Process().memory_info().rss


async def settle(tasks: int) -> None:
    """Let so many new tasks come to where they wait."""
    for _ in range(20):
        await asyncio.sleep(0.02 + tasks / 1e6)


async def idle_tasks(count: int) -> dict:
    """Let bare tasks wait for an event each."""

    async def wait():
        await asyncio.Event().wait()

    before = held()
    tasks = [asyncio.create_task(wait()) for _ in range(count)]
    await settle(count)
    said = {"bytes": (held() - before) / count}
    for task in tasks:
        task.cancel()
    return said


async def idle_subscriptions(count: int, streams: int) -> dict:
    """Let subscriptions wait for something new, of one stream or of one each."""
    from resumable_io import Streams

    async def source():
        yield "a"
        await asyncio.Event().wait()

    async def wait(subscription):
        async for _ in subscription:
            pass

    # With a long lease: what ten thousand renewals leave behind is not the subscriptions'.
    async with Streams(grace=0, lease=3600) as ours:
        for stream in range(streams):
            await ours.start(f"s{stream}", source())
        await settle(streams)
        before = held()
        tasks = [
            asyncio.create_task(wait(await ours.resume(f"s{index % streams}")))
            for index in range(count)
        ]
        await settle(count)
        said = {"bytes": (held() - before) / count, "waiting": ours.statistics().subscriptions}
        for task in tasks:
            task.cancel()
        return said


async def ended_streams(count: int) -> dict:
    """Keep streams that have ended."""
    from resumable_io import Streams

    async def source(stream):
        for index in range(EVENTS):
            yield text_of(index, stream)

    async with Streams(grace=0) as ours:
        # What is made once is made before.
        async for _ in await ours.start("first", source(0)):
            pass
        before = held()
        for stream in range(count):
            async for _ in await ours.start(f"s{stream}", source(stream)):
                pass
        await settle(0)
        each = (held() - before) / count
    return {"bytes/stream": each, "bytes/event beyond its text": each / EVENTS - SIZE}


def idle(setting: Setting) -> Workload:
    """Return the workload."""
    count = setting.scaled(10_000)
    run = setting.processes.run

    def subscriptions(streams: int) -> Measured:
        task = run(idle_tasks, count=count)["bytes"]
        said = run(idle_subscriptions, count=count, streams=streams)
        return Measured(
            {"bytes": said["bytes"], "bytes beyond its task": said["bytes"] - task},
            {"arrived": said["waiting"], "lost": count - said["waiting"]},
        )

    of_one, of_each = (
        f"{count:,} idle subscriptions to {what}" for what in ("one stream", "a stream each")
    )
    ended = f"{count:,} ended streams of {EVENTS} events"
    return Workload(
        7,
        "Memory of what waits, and of what is kept",
        (
            Case(of_one, {"ours": lambda: subscriptions(1)}, rounds=2),
            Case(of_each, {"ours": lambda: subscriptions(count)}, rounds=2),
            Case(ended, {"ours": lambda: Measured(run(ended_streams, count=count))}, rounds=2),
        ),
        (
            *(
                Goal("4 KiB", Of(case, "ours", "bytes beyond its task"), 4096, at_most=True)
                for case in (of_one, of_each)
            ),
            Goal(
                "64 bytes an event",
                Of(ended, "ours", "bytes/event beyond its text"),
                64,
                at_most=True,
            ),
        ),
        "In memory. What the process holds more than before, divided by their number; for "
        "subscriptions beyond what a bare task costs that waits for an event. Producers and logs "
        "of the streams are not counted there.",
    )
