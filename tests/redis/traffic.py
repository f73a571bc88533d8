"""Streams that run while something goes wrong, with consumers of every kind.

    async with traffic(producing, consuming) as running:    # two `Streams`, as in two processes
        await running.progress()                            # everybody has received something
        server.kill()
        server.restart()
        await running.progress()                            # … and again, after the fault
    # left: the sources have ended, all consumers have finished, and no law is broken

Each stream has a consumer in every process that stays, and one that goes and comes back all the
time, each time in another process, as a client does whose connection breaks.
"""

from __future__ import annotations

import gc
import re
import secrets
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

import coredis
import pytest
from anyio import create_task_group, fail_after, sleep
from anyio.abc import TaskGroup
from coredis.connection import TCPLocation

from resumable_core import BackendError, BackendUnavailable, Fenced, ProducerLimits, StreamNotFound
from resumable_io import Streams
from resumable_io.redis import RedisBackend
from tests.redis.history import History, Sent, Story, message, read_message

LEASE = 1.0
CHECK_INTERVAL = 0.2
OUTAGE = 12.0
LINGER = 5.0

PATIENCE = 20.0
"""Seconds after which something counts as hanging; machines that run tests can be slow."""

SLOW = 4.0
"""Seconds that a slow machine may take beyond what was promised; far less than an `OUTAGE`."""

PACE = 0.004
"""Seconds between two messages of a source."""

POLL = 0.01

QUIET = pytest.mark.filterwarnings(
    r"ignore:Unclosed <MemoryObject\w+Stream:ResourceWarning",
    "ignore:unclosed <StreamWriter:ResourceWarning",
)
"""For all of these tests: coredis and redis-py leave to the garbage what they could not connect."""

SENT_PER_FLUSH = 4
RECEIVED_PER_HOP = 7


@asynccontextmanager
async def process(pair, url: str, prefix: str, **options: float):
    """Open `Streams` with connections of their own, as in a process of their own.

    On a busy machine it may take longer to connect than the timeout of a test: then once more.
    """
    async with AsyncExitStack() as stack:
        for attempt in range(10):
            streams = await stack.enter_async_context(unopened(pair, url, prefix, **options))
            try:
                await stack.enter_async_context(streams)
                break
            except BackendUnavailable:
                if attempt == 9:
                    raise
        yield streams


@asynccontextmanager
async def unopened(
    pair, url: str, prefix: str, *, timeout: float = 5.0, lease: float = LEASE, **limits: float
):
    """Make `Streams` that are not entered yet.

    `timeout` is the backend's; the rest but `lease` are `ProducerLimits`.
    """
    library, (loop, _) = pair
    limits = {"outage": OUTAGE, "linger": LINGER, **limits}
    async with AsyncExitStack() as stack:
        client = url
        if (library, loop) == ("coredis", "asyncio"):  # where a URL picks redis-py
            client = await coredis_client(url, stack)
        stack.callback(gc.collect)  # see QUIET
        yield Streams(
            RedisBackend(client, prefix=prefix, timeout=timeout),
            lease=lease,
            check_interval=CHECK_INTERVAL,
            limits=ProducerLimits(**limits),
            grace=0.5,
        )


async def coredis_client(url: str, stack: AsyncExitStack):
    """Open a client of coredis, as an application does that hands it in."""
    host, port = re.search(r"([\d.]+):(\d+)", url).groups()
    if url.startswith("redis+cluster:"):  # it says where the cluster is, and need not be open
        return coredis.RedisCluster(host, int(port))
    if url.startswith("redis+sentinel:"):
        location = TCPLocation(host, int(port))
        sentinel = await stack.enter_async_context(coredis.Sentinel([location]))
        client = sentinel.primary_for(url.rpartition("/")[2], connect_timeout=5.0)
    else:
        client = coredis.Redis.from_url(url)
    return await stack.enter_async_context(client)


@asynccontextmanager
async def two_processes(pair, producing_url: str, consuming_url: str, **options):
    """Open two of them that share their streams."""
    prefix = f"fault-{secrets.token_hex(4)}"
    async with (
        process(pair, producing_url, prefix, **options) as producing,
        process(pair, consuming_url, prefix, **options) as consuming,
    ):
        yield producing, consuming


@asynccontextmanager
async def traffic(*processes: Streams, count: int = 3):
    """Run `count` streams that the first of `processes` produces; check them in the end."""
    async with create_task_group() as tasks:
        running = Traffic(tasks, processes)
        for number in range(count):
            await running.start(f"stream {number}")
        await running.progress()
        yield running
        await running.finish()
        tasks.cancel_scope.cancel()
    running.history.check()


async def waited(
    condition: Callable[[], bool], what: str, lines: Callable[[], Iterable[str]]
) -> None:
    """Wait for a condition; fail when it takes too long, with lines that say why."""
    try:
        with fail_after(PATIENCE):
            while not condition():
                await sleep(POLL)
    except TimeoutError:
        raise AssertionError("\n".join((f"waited in vain until {what}", *lines()))) from None


class Traffic:
    """Keep streams running, and note what becomes of them."""

    def __init__(self, tasks: TaskGroup, processes: tuple[Streams, ...]) -> None:
        self.history = History()
        self._tasks = tasks
        self._processes = processes
        self._ending = False
        self._producing = 0

    @property
    def errors(self) -> list[BaseException]:
        """Return what told producers that a stream is not theirs any more."""
        return [sent.error for sent in self.history.sent if sent.error is not None]

    async def start(self, stream_id: str, **options) -> Sent:
        """Start a stream with all its consumers; return when it is claimed."""
        sent = await self.produce(self._processes[0], stream_id, "anna", **options)
        for number, streams in enumerate(self._processes):
            self.consume(streams, stream_id, f"stays in {number}")
        self.consume_in_turn(stream_id, "comes and goes")
        return sent

    async def produce(self, streams: Streams, stream_id: str, name: str, **options) -> Sent:
        """Produce a stream until `finish`; return when it is claimed."""
        sent = self.history.producer(stream_id, name)
        await self._tasks.start(self._produce, streams, sent, options)
        return sent

    def consume(self, streams: Streams, stream_id: str, name: str, *, before=()) -> Story:
        """Receive a stream to its end, in one subscription; `before` is what was received."""
        story = self.history.consumer(stream_id, name)
        story.records += before
        self._tasks.start_soon(self._receive, streams, story, None)
        return story

    def consume_in_turn(self, stream_id: str, name: str) -> Story:
        """Receive a stream in many subscriptions, each in another process."""
        story = self.history.consumer(stream_id, name)
        self._tasks.start_soon(self._hop, story)
        return story

    async def progress(self, events: int = 5) -> None:
        """Wait until every consumer that has not finished before has received something new.

        New is what was sent since this was called, and that for the `events`-th time.
        """
        newest = {sent.stream_id: sent for sent in self.history.sent}
        wanted = {each: (sent.producer, sent.count + events) for each, sent in newest.items()}
        waiting = [each for each in self.history.stories if not each.finished]

        def heard(story: Story) -> bool:
            producer, number = read_message(story.heard)
            wanted_producer, least = wanted[story.stream_id]
            return producer == wanted_producer and number >= least

        await self.until(lambda: all(map(heard, waiting)), "all consumers go on")

    async def finish(self) -> None:
        """Let the sources end, wait for all consumers, and read everything once more."""
        self._ending = True
        await self.until(lambda: self._producing == 0, "all producers end")
        for stream_id in dict.fromkeys(sent.stream_id for sent in self.history.sent):
            if await self._processes[-1].state(stream_id) is not None:
                self.consume(self._processes[-1], stream_id, "comes late")
        await self.until(self.all_finished, "all consumers finish")

    def all_finished(self) -> bool:
        """Say whether every consumer has received an end."""
        return all(story.finished for story in self.history.stories)

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition; fail when it takes too long, and say how far everybody got."""

        def lines() -> Iterable[str]:
            yield from (f"{each.stream_id}, {each}" for each in self.history.stories)
            yield from map(str, self.history.sent)

        await waited(condition, what, lines)

    async def _produce(self, streams: Streams, sent: Sent, options, *, task_status) -> None:
        self._producing += 1
        try:
            async with streams.produce(sent.stream_id, **options) as out:
                task_status.started(sent)
                while not self._ending:
                    sent.count += 1
                    await out.send(message(sent.producer, sent.count))
                    if sent.count % SENT_PER_FLUSH == 0:
                        await out.flush()
                        sent.acked = sent.count
                    await sleep(PACE)
        except (Fenced, BackendError) as error:
            sent.error = error
        finally:
            self._producing -= 1

    async def _receive(self, streams: Streams, story: Story, most: int | None) -> None:
        """Go on with a story, for at most so many records."""
        async with await streams.resume(story.stream_id, story.position) as subscription:
            if most is None:
                async for record in subscription.records():
                    story.records.append(record)
            else:
                for record in await subscription.receive():
                    if most > 0:
                        story.records.append(record)
                        most -= 1

    async def _hop(self, story: Story) -> None:
        turn = 0
        while not story.finished:
            turn += 1
            streams = self._processes[turn % len(self._processes)]
            try:
                await self._receive(streams, story, RECEIVED_PER_HOP)
            except (BackendError, StreamNotFound) as error:
                # The store is away, or empty, until the producer restores it: try again.
                story.errors.append(repr(error))
                await sleep(POLL)
