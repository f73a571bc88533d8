"""Channels on which many publish while something goes wrong, and a checker of what all were told.

    async with channel_traffic(one, other) as running:      # `Streams`, as in several processes
        await running.progress()                            # everybody has received something new
        server.restart()
        await running.progress()                            # … and again, after the fault
    # left: the writers have stopped, everybody has what came last, and no law is broken

Each message says who wrote it, and which of theirs it is: `anna:17`. Some stay subscribed, and one
goes and comes back all the time, each time in another process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from anyio import create_task_group, sleep
from anyio.abc import TaskGroup

from resumable_core import BackendError, Event, EventId, Gap, Record, Reset
from resumable_io import Streams
from tests.redis.history import read_message
from tests.redis.traffic import PACE, POLL, RECEIVED_PER_HOP, Story, waited

CHANNEL = "news"
WRITERS = 3
"""Of each process."""


@dataclass
class ChannelHistory:
    """Collect what was published, and what every subscriber received.

    `keeps`: the store keeps what it acknowledged. Without, it may have lost that, as long as no
    subscriber is told otherwise; and what is published again, which it has lost, has another id.
    """

    keeps: bool = True
    told: dict[str, EventId] = field(default_factory=dict)
    """Under which id each message was published, as its writer was told."""
    sent: set[str] = field(default_factory=set)
    """All that was ever handed in."""
    stories: list[Story] = field(default_factory=list)

    def check(self) -> None:
        """Raise `AssertionError` when a law is broken."""
        broken = list(self.broken())
        assert not broken, "broken laws:\n" + "\n".join(broken[:20])

    def broken(self) -> Iterator[str]:
        """Yield what is wrong."""
        yield from self._ids()
        for story in self.stories:
            for wrong in (*self._order(story), *self._whole(story)):
                yield f"{story}: {wrong}"

    def _ids(self) -> Iterator[str]:
        """One id, one message; one message, one id; nothing that was never sent."""
        by_id = {id: message for message, id in self.told.items()}
        by_message = dict(self.told)
        if len(by_id) != len(self.told):
            yield "two writers were told the same id"
        for story in self.stories:
            for event in story.records:
                if not isinstance(event, Event):
                    continue
                where = f"{story.name}: {event}"
                if by_id.setdefault(event.id, event.data) != event.data:
                    yield f"{where}: the id was given to other content"
                if self.keeps and by_message.setdefault(event.data, event.id) != event.id:
                    yield f"{where}: the content was given another id"
                if event.data not in self.sent:
                    yield f"{where}: nobody has sent this"

    def _order(self, story: Story) -> Iterator[str]:
        """Seqs grow by one; where they don't, a `Gap` or a `Reset` has said so."""
        last = 0
        for record in story.records:
            match record:
                case Event(id) if id.seq <= last:
                    yield f"{record} came after {last}: repeated, or out of order"
                case Event(id) if id.seq != last + 1:
                    yield f"{record} came after {last}: silently lost"
                case Gap(id) if id.seq <= last:
                    yield f"{record} came after {last}: nothing is missing there"
            last = record.id.seq

    def _whole(self, story: Story) -> Iterator[str]:
        """What each writer was told to be published, in turn, or it is said that some is missing.

        What a store that forgets has lost before anybody saw it is missing in silence.
        """
        last: dict[str, int] = {}
        told = False
        for record in story.records:
            if isinstance(record, Gap | Reset):
                told = True
                last = {} if isinstance(record, Reset) else last
                continue
            writer, number = read_message(record.data)
            before = last.get(writer, 0)
            if number <= before:
                yield f"{record} came after number {before}: repeated, or out of order"
            if self.keeps and not told and number != before + 1:
                yield f"{record} came after number {before}: silently lost"
            last[writer] = number


@asynccontextmanager
async def channel_traffic(*processes: Streams):
    """Publish from some processes, and subscribe in each; check what all were told in the end."""
    async with create_task_group() as tasks:
        running = ChannelTraffic(tasks, processes)
        for number, streams in enumerate(processes):
            running.subscribe(streams, f"stays in {number}")
        running.subscribe_in_turn("comes and goes")
        for number, streams in enumerate(processes):
            for writer in range(WRITERS):
                tasks.start_soon(running.write, streams, f"writer {number}.{writer}")
        await running.progress()
        yield running
        await running.finish()
        tasks.cancel_scope.cancel()
    running.history.check()


class ChannelTraffic:
    """Keep a channel busy, and note what becomes of it."""

    def __init__(self, tasks: TaskGroup, processes: tuple[Streams, ...]) -> None:
        self.history = ChannelHistory()
        self._tasks = tasks
        self._processes = processes
        self._writing = 0
        self._ending = False

    async def write(self, streams: Streams, writer: str) -> None:
        """Publish one message after the other, until the end."""
        channel, number = streams.channel(CHANNEL), 0
        self._writing += 1
        while not self._ending:
            number += 1
            message = f"{writer}:{number}"
            self.history.sent.add(message)
            self.history.told[message] = await channel.publish(message)
            await sleep(PACE)
        self._writing -= 1

    def subscribe(self, streams: Streams, name: str) -> Story:
        """Receive for as long as the test lasts, in one subscription."""
        story = self._story(name)
        self._tasks.start_soon(self._receive, streams, story)
        return story

    def subscribe_in_turn(self, name: str) -> Story:
        """Receive in many subscriptions, each in another process."""
        story = self._story(name)
        self._tasks.start_soon(self._hop, story)
        return story

    async def progress(self, events: int = 5) -> None:
        """Wait until every subscriber has received something that was written since this began."""
        seen = set(self.history.sent)

        def is_new(record: Record) -> bool:
            return isinstance(record, Event) and record.data not in seen

        def goes_on(story: Story) -> bool:
            return sum(map(is_new, story.records[-1000:])) >= events

        await self.until(lambda: all(map(goes_on, self.history.stories)), "all subscribers go on")

    async def finish(self) -> None:
        """Let the writers stop, and wait until everybody has received what came last."""
        self._ending = True
        await self.until(lambda: not self._writing, "all writers stop")
        self.subscribe(self._processes[-1], "comes late")
        message = "the last one:1"
        self.history.sent.add(message)
        id = await self._processes[0].channel(CHANNEL).publish(message)
        self.history.told[message] = id
        await self.until(
            lambda: all(story.heard == message for story in self.history.stories),
            "everybody has what came last",
        )

    async def until(self, condition, what: str) -> None:
        """Wait for a condition; fail when it takes too long, and say how far everybody got."""
        await waited(condition, what, lambda: map(str, self.history.stories))

    def _story(self, name: str) -> Story:
        self.history.stories.append(Story(CHANNEL, name))
        return self.history.stories[-1]

    async def _receive(self, streams: Streams, story: Story) -> None:
        async with await streams.channel(CHANNEL).subscribe(story.position) as subscription:
            async for record in subscription.records():
                story.records.append(record)

    async def _hop(self, story: Story) -> None:
        turn = 0
        while True:
            turn += 1
            channel = self._processes[turn % len(self._processes)].channel(CHANNEL)
            try:
                async with await channel.subscribe(story.position) as subscription:
                    story.records += (await subscription.receive())[:RECEIVED_PER_HOP]
            except BackendError as error:  # the store is away: try again
                story.errors.append(repr(error))
                await sleep(POLL)
