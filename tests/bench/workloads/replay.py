"""Workload 5: finished streams, read from the beginning."""

from __future__ import annotations

import asyncio
import resource
import time
from collections import Counter
from functools import partial

from tests.bench.check import Checker, check, text_of, texts
from tests.bench.model import Case, Goal, Measured, Of, Setting, Workload

AT_ONCE = 5_000
"""Commands in a pipeline that fills a peer's log."""

BATCH = 256
"""Messages of a batch in the floor's log, two of which are read at once: a page, as ours is."""

AUDIENCE = 100
"""Readers who come back together."""

CHECKED_AT_ONCE = 500
"""Events that are held until the clock stands still for them to be checked."""


def peak() -> float:
    """Return the most memory that this process has held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def replayed(open_events, text, count: int) -> dict:
    """Read it all, and keep nothing; to check what has come is not part of the time."""
    checker, held, checking = Checker(count), [], 0.0

    def check() -> float:
        since = time.perf_counter()
        for event in held:
            checker.take(text(event))
        held.clear()
        return time.perf_counter() - since

    before, began, first = peak(), time.perf_counter(), 0.0
    async for event in await open_events():
        first = first or time.perf_counter()
        held.append(event)
        if len(held) == CHECKED_AT_ONCE:
            checking += check()
    took = time.perf_counter() - began - checking
    check()
    return {
        "first event ms": 1000 * (first - began),
        "events/s": count / took,
        "peak MiB": peak() - before,
        "verdict": checker.verdict(),
    }


def ours_of(url: str, count: int):
    from resumable_core import Retention
    from resumable_io import MemoryBackend, Streams

    # A million events are more than is kept unless told otherwise.
    backend = MemoryBackend(max_bytes=2**30) if url == "memory://" else url
    return Streams(backend, retention=Retention(count=count), grace=0)


async def produce(streams, count: int) -> None:
    async def source():
        for index in range(count):
            yield text_of(index)

    await streams.start(f"a{count}", source())
    while (await streams.state(f"a{count}")).outcome is None:  # noqa: ASYNC110
        await asyncio.sleep(0.02)


async def fill_ours(url: str, count: int) -> dict:
    """Write the stream, in another process than its readers: their memory is their own."""
    async with ours_of(url, count) as streams:
        await produce(streams, count)
    return {}


async def replay_ours(url: str, count: int) -> dict:
    async with ours_of(url, count) as streams:
        if url == "memory://":
            await produce(streams, count)
        else:
            await streams.state("b")  # so that it is connected
        return await replayed(lambda: streams.resume(f"a{count}"), lambda event: event.data, count)


async def replay_to_many(url: str, count: int) -> dict:
    """Have many read it at once, from places of their own, and check all of it afterwards."""
    import redis
    from anyio import create_task_group

    from resumable_io import After, EventId

    server = redis.Redis.from_url(url)

    def reads() -> int:
        return server.info("commandstats")["cmdstat_evalsha"]["calls"]

    async with ours_of(url, count) as streams:
        epoch = (await streams.state(f"a{count}")).epoch
        received: list[tuple[int, list]] = []

        async def reader(after: int) -> None:
            pages = []
            position = After(EventId(epoch, after))
            async with await streams.resume(f"a{count}", position) as subscription:
                while not subscription.finished:
                    pages.append(await subscription.receive())
            received.append((after, pages))

        before, began = reads(), time.perf_counter()
        async with create_task_group() as tasks:
            for after in range(AUDIENCE):
                tasks.start_soon(reader, after)
        took, asked = time.perf_counter() - began, reads() - before
    server.close()
    verdict: Counter[str] = Counter()
    for after, pages in received:
        events = [record for page in pages for record in page][:-1]  # without the end
        verdict.update(check([*texts(after), *(event.data for event in events)], count))
    return {
        "events/s": sum(count - after for after in range(AUDIENCE)) / took,
        "reads of the store": asked,
        "verdict": dict(verdict),
    }


async def replay_resumable_sse(url: str, count: int) -> dict:
    """Read a log of its form. A log that was read is deleted by it, so this fills one each time."""
    from resumable_sse.factory import get_streamer

    if url == "memory://":
        streamer = get_streamer("memory")
        for text in [*texts(count), streamer.end_marker]:
            await streamer.push("a", text)
    else:
        import redis.asyncio

        client = redis.asyncio.from_url(url)
        streamer = get_streamer("redis", client)
        await streamer.clear("a")  # of what was left by one that was cut off
        log = [*texts(count), streamer.end_marker]
        for start in range(0, len(log), AT_ONCE):
            pipeline = client.pipeline(transaction=False)
            for text in log[start : start + AT_ONCE]:
                pipeline.xadd("stream:chat:a", {"data": text})
            await pipeline.execute()
    await streamer._set_state("a", streamer.end_marker)

    async def messages():
        events = streamer.stream("a", None)
        return (event async for event in events if event["event"] == "message")

    return await replayed(messages, lambda event: event["data"], count)


async def replay_bare(url: str, count: int) -> dict:
    """Do what cannot be done without: walk a list, or ranges of a Redis Stream of batches."""
    log = texts(count)
    if url == "memory://":

        async def events():
            for text in log:
                yield text

    else:
        import redis.asyncio

        client = redis.asyncio.from_url(url)
        for start in range(0, count, BATCH):
            await client.xadd("floor", {"batch": "\n".join(log[start : start + BATCH])})

        async def events():
            after = b"-"
            while entries := await client.xrange("floor", min=after, count=2):
                for _, fields in entries:
                    for text in fields[b"batch"].decode().split("\n"):
                        yield text
                after = b"(" + entries[-1][0]

    async def open_events():
        return events()

    said = await replayed(open_events, lambda text: text, count)
    if url != "memory://":
        await client.delete("floor")
    return said


class Store:
    """A store, which ours fills once for all rounds."""

    def __init__(self, setting: Setting, name: str) -> None:
        self.setting = setting
        self.name = name
        self.url = {
            "memory": "memory://",
            "SQLite": f"sqlite:///{setting.folder}/replay.db",
            "Redis": setting.redis_url,
        }[name]
        self._filled: set[int] = set()

    def ours(self, count: int) -> Measured:
        if self.name != "memory" and count not in self._filled:
            if self.name == "Redis" and not self._filled:
                self.setting.empty_redis()
            self.setting.processes.run(fill_ours, url=self.url, count=count)
            self._filled.add(count)
        return self._measured(replay_ours, count)

    def peer(self, count: int) -> Measured:
        return self._measured(replay_resumable_sse, count, peer=True)

    def ours_to_many(self, count: int) -> Measured:
        return self._measured(replay_to_many, count)

    def case(self, count: int, rounds: int | None) -> Case:
        contenders = {"ours": lambda: self.ours(count)}
        if self.name != "SQLite":
            contenders["resumable-sse"] = lambda: self.peer(count)
            contenders["floor"] = lambda: self._measured(replay_bare, count)
        return Case(f"{self.name}, {count:,} messages", contenders, rounds)

    def _measured(self, part, count: int, **options: bool) -> Measured:
        said = self.setting.processes.run(part, url=self.url, count=count, **options)
        verdict = said.pop("verdict")
        return Measured(said, verdict)


def replay(setting: Setting) -> Workload:
    """Return the workload: three stores, and three lengths."""
    short, middle, long = 100, setting.scaled(10_000), setting.scaled(1_000_000, 20_000)
    cases, goals = [], []
    for name in ("memory", "SQLite", "Redis"):
        store = Store(setting, name)
        few, some = store.case(short, None), store.case(middle, None)
        many = store.case(long, 3)
        cases += [few, some, many]
        if name != "SQLite":
            goals.append(
                Goal(
                    "throughput of resumable-sse × 10",
                    Of(some.name, "ours", "events/s"),
                    10,
                    Of(some.name, "resumable-sse", "events/s"),
                )
            )
        goals.append(
            Goal(
                f"first event as soon as of {short}",
                Of(many.name, "ours", "first event ms"),
                1.5,
                Of(few.name, "ours", "first event ms"),
                at_most=True,
            )
        )
        if name == "Redis":
            at_once = f"{some.name}, {AUDIENCE} readers at once"
            cases.append(Case(at_once, {"ours": partial(store.ours_to_many, middle)}))
            goals.append(
                Goal(
                    "2 reads for a reader, however long the stream",
                    Of(at_once, "ours", "reads of the store"),
                    2 * AUDIENCE,
                    at_most=True,
                )
            )
        if name != "memory":
            peak_mib = Of(many.name, "ours", "peak MiB")
            goals.append(Goal("8 MiB for a reader", peak_mib, 8, at_most=True))
    return Workload(
        5,
        "Replay of finished streams",
        tuple(cases),
        tuple(goals),
        "What a page that is opened later waits for. `peak MiB` is what the process of the reader "
        "has held at most, beyond what it held before it read. The floor walks a list, or reads a "
        "Redis Stream of batches, and checks nothing. Readers at once begin each at another place.",
    )
