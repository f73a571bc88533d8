"""Measure, on this machine and in this run: `nox -s bench`.

Each workload runs several rounds, checks that every event arrived once and in order, and is printed
with the median and the spread of its rounds.
"""

from __future__ import annotations

import platform
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import anyio

from resumable_core import Decoder, Event, EventId, SSEFraming
from resumable_io import Streams, Subscription

ROUNDS = 5
TEXT = "x" * 40


async def words(count: int) -> AsyncIterator[str]:
    for _ in range(count):
        yield TEXT


async def check(subscription: Subscription, count: int) -> None:
    seqs = [event.id.seq async for event in subscription]
    assert seqs == list(range(1, count + 1)), "an event was lost, repeated or out of order"


async def one_to_one(count: int) -> int:
    """One stream, one consumer, as fast as they go."""
    async with Streams() as streams:
        await check(await streams.start("a", words(count)), count)
    return count


async def replay(count: int) -> int:
    """Replay a stream that has ended; the production is part of the round."""
    async with Streams() as streams:
        await check(await streams.start("a", words(count)), count)
        for _ in range(5):
            await check(await streams.resume("a"), count)
    return count * 6


async def fan_out(count: int) -> int:
    """One stream to 1,000 consumers in this process."""
    consumers = 1000
    async with Streams() as streams, anyio.create_task_group() as tasks:
        await streams.start("a", words(count))
        for _ in range(consumers):
            tasks.start_soon(check, await streams.resume("a"), count)
    return count * consumers


async def many(count: int) -> int:
    """1,000 streams at once, each with one consumer."""
    async with Streams() as streams, anyio.create_task_group() as tasks:
        for index in range(1000):
            tasks.start_soon(check, await streams.start(f"s{index}", words(count)), count)
    return count * 1000


async def encode(count: int) -> int:
    """Frame events as server-sent events."""
    events = [Event(EventId("0123456789abcdef", seq), TEXT) for seq in range(1, count + 1)]
    SSEFraming().frame(events)
    return count


async def encode_and_decode(count: int) -> int:
    """Frame events, and decode them again in pieces of 64 KiB."""
    events = [Event(EventId("0123456789abcdef", seq), TEXT) for seq in range(1, count + 1)]
    body, decoder, seen = SSEFraming().frame(events).body, Decoder(), 0
    for start in range(0, len(body), 2**16):
        seen += len(decoder.feed(body[start : start + 2**16]))
    assert seen == count
    return count


WORKLOADS: list[tuple[Callable[[int], Awaitable[int]], int]] = [
    (one_to_one, 100_000),
    (replay, 20_000),
    (fan_out, 200),
    (many, 50),
    (encode, 200_000),
    (encode_and_decode, 200_000),
]


def main() -> None:
    quick = "--quick" in sys.argv[1:]
    print(f"{platform.python_implementation()} {platform.python_version()}, {platform.machine()}")
    print(f"{'workload':20}{'loop':10}{'median/s':>12}{'slowest':>12}{'fastest':>12}")
    for workload, count in WORKLOADS:
        for backend, options in (
            ("asyncio", {}),
            ("asyncio", {"use_uvloop": True}),
            ("trio", {}),
        ):
            rates = []
            for _ in range(ROUNDS):
                start = time.perf_counter()
                done = anyio.run(
                    workload,
                    max(1, count // 10) if quick else count,
                    backend=backend,
                    backend_options=options,
                )
                rates.append(done / (time.perf_counter() - start))
            name = "uvloop" if options else backend
            print(
                f"{workload.__name__:20}{name:10}"
                f"{statistics.median(rates):12,.0f}{min(rates):12,.0f}{max(rates):12,.0f}"
            )


if __name__ == "__main__":
    main()
