"""The processes of the soak: in one stream follows stream, in one consumers come and go."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from functools import partial

from tests.bench.check import text_of

RATE = 30
"""Messages a second in each stream."""

CONSUMERS = 2
"""Consumers of each stream."""

EVERY = 5.0
"""Seconds from one report of a process to the next."""


def length(slot: int, turn: int) -> int:
    """Return how many messages a stream has, which both processes know."""
    return random.Random(f"{slot}-{turn}").randint(5 * RATE, 30 * RATE)


@dataclass
class Tally:
    """What a process has done, and what went wrong."""

    events: int = 0
    streams: int = 0
    retries: int = 0
    broken: list[str] = field(default_factory=list)

    def report(self) -> dict:
        return {**vars(self), "tasks": len(asyncio.all_tasks())}


async def reports(tally: Tally, tasks: list[asyncio.Task]):
    """Report now and then; a task that has ended was not meant to."""
    while True:
        await asyncio.wait(tasks, timeout=EVERY, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                await task
        yield tally.report()


async def produce(url: str, slots: int):
    from resumable_core import BackendUnavailable, Retention, StreamExists
    from resumable_io import Streams

    tally = Tally()

    async def source(slot, turn, ended):
        try:
            for index in range(length(slot, turn)):
                yield text_of(index, slot)
                tally.events += 1
                await asyncio.sleep(random.uniform(0.5, 1.5) / RATE)
        finally:
            ended.set()

    async def run(streams, slot):
        turn, ended = 0, asyncio.Event()
        while True:
            try:
                # A claim whose reply was lost is taken over, when its lease has run out.
                make = partial(source, slot, turn, ended)
                await streams.start(f"{slot}-{turn}", make, on_lost="restart")
            except (BackendUnavailable, StreamExists):
                tally.retries += 1
                await asyncio.sleep(1)
                continue
            await ended.wait()
            tally.streams += 1
            turn, ended = turn + 1, asyncio.Event()

    async with Streams(url, retention=Retention(keep=120), grace=0) as streams:
        tasks = [asyncio.create_task(run(streams, slot)) for slot in range(slots)]
        async for report in reports(tally, tasks):
            yield report


async def consume(url: str, slots: int):
    from resumable_core import BackendUnavailable, End, Event, Outcome, StreamNotFound
    from resumable_io import Streams

    tally = Tally()

    async def read_some(streams, slot, turn, read, last):
        """Read on after `read` events up to anywhere; return how far, and whether it has ended."""
        patience = random.randint(1, 10 * RATE)
        async with await streams.resume(f"{slot}-{turn}", last) as subscription:
            async for record in subscription.records():
                match record:
                    case Event(id=last, data=data) if data == text_of(read, slot):
                        read += 1
                        tally.events += 1
                        patience -= 1
                    case End(outcome=Outcome.DONE) if read == length(slot, turn):
                        return read, last, True
                    case End(outcome=Outcome.LOST) if read == 0:
                        break  # its claim's reply was lost: it is claimed again
                    case _:
                        tally.broken.append(f"{slot}-{turn}, after {read} events: {record}"[:300])
                        return read, last, True
                if not patience:
                    break
        return read, last, False

    async def follow(streams, slot):
        turn, read, last = 0, 0, None
        while True:
            try:
                read, last, ended = await read_some(streams, slot, turn, read, last)
            except (StreamNotFound, BackendUnavailable):
                tally.retries += 1
                await asyncio.sleep(0.5)
                continue
            if ended:
                tally.streams += 1
                turn, read, last = turn + 1, 0, None
            await asyncio.sleep(random.uniform(0, 5))

    async with Streams(url) as streams:
        tasks = [
            asyncio.create_task(follow(streams, slot))
            for slot in range(slots)
            for _ in range(CONSUMERS)
        ]
        async for report in reports(tally, tasks):
            yield report
