"""What was sent, and what every consumer received; and a checker that finds every broken law.

Each message says who sent it, and which of theirs it is: `anna:17`. So a checker that knows nothing
of how streams work can tell what is missing, what came twice, and what stands under a wrong id.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from resumable_core import End, Event, EventId, Gap, Outcome, Record, Reset


def message(producer: str, number: int) -> str:
    """Return the text of a producer's message number `number`; the first is 1."""
    return f"{producer}:{number} "


def read_message(text: str) -> tuple[str, int]:
    """Return the producer and the number of a message; of no message, nobody and 0."""
    producer, _, number = text.strip().partition(":")
    return producer, int(number or 0)


@dataclass
class Sent:
    """Say what a producer sent: messages 1 to `count`, of which `acked` are known to be kept."""

    stream_id: str
    producer: str
    count: int = 0
    acked: int = 0
    error: BaseException | None = None
    """What told the producer that the stream is not its own any more."""


@dataclass
class Story:
    """Say what one consumer of a stream received, over however many subscriptions."""

    stream_id: str
    name: str
    records: list[Record] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    """What its subscriptions raised, for whoever has to find out."""

    @property
    def position(self) -> EventId | None:
        """Return the id after which a new subscription goes on; None: the beginning."""
        return self.records[-1].id if self.records else None

    @property
    def heard(self) -> str:
        """Return the newest message that was received."""
        events = [record for record in self.records if isinstance(record, Event)]
        return events[-1].data if events else ""

    @property
    def number(self) -> int:
        """Return which of its producer's messages that is."""
        return read_message(self.heard)[1]

    @property
    def finished(self) -> bool:
        """Say whether an end was received."""
        return bool(self.records) and isinstance(self.records[-1], End)

    @property
    def events(self) -> int:
        """Return how many events were received."""
        return sum(isinstance(record, Event) for record in self.records)

    @property
    def outcome(self) -> Outcome | None:
        """Return how it ended."""
        return self.records[-1].outcome if self.finished else None

    @property
    def notices(self) -> list[Gap | Reset]:
        """Return what was reported to be missing or void."""
        return [record for record in self.records if isinstance(record, Gap | Reset)]

    def __str__(self) -> str:
        last = self.records[-1] if self.records else "nothing"
        return (
            f"{self.name}: {self.events} events, last {last}, notices {self.notices}, {self.errors}"
        )


class History:
    """Collect what happened to some streams.

    `keeps`: the store keeps what it acknowledged, or the producer lives to restore it. Without, it
    may have lost what the producer was told to be kept, as long as no consumer is told otherwise.
    `ends_agree`: all consumers are told of the same end; not so when somebody takes over, nor of a
    stream that was deleted: what a consumer has not received by then is gone, so each is told of an
    end at its own place.
    """

    def __init__(self) -> None:
        self.keeps = True
        self.ends_agree = True
        self.sent: list[Sent] = []
        self.stories: list[Story] = []

    def producer(self, stream_id: str, name: str) -> Sent:
        """Return where to note what the producer `name` sends."""
        self.sent.append(Sent(stream_id, name))
        return self.sent[-1]

    def consumer(self, stream_id: str, name: str) -> Story:
        """Return where to note what the consumer `name` receives, from the beginning on."""
        self.stories.append(Story(stream_id, name))
        return self.stories[-1]

    def check(self) -> None:
        """Raise `AssertionError` when a law is broken."""
        broken = list(self.broken())
        assert not broken, "broken laws:\n" + "\n".join(broken[:20])

    def broken(self) -> Iterator[str]:
        """Yield what is wrong."""
        yield from self._ids()
        ends: dict[str, set[End]] = {}
        for story in self.stories:
            for wrong in (*self._order(story), *self._end(story), *self._whole(story)):
                yield f"{story.stream_id}, {story}: {wrong}"
            if story.finished:
                ends.setdefault(story.stream_id, set()).add(story.records[-1])
        for stream_id, different in ends.items():
            if len(different) > 1 and self.ends_agree:
                yield f"{stream_id}: ends differ: {different}"

    def _ids(self) -> Iterator[str]:
        """One id, one content; one content, one id; nothing that was never sent."""
        by_id: dict[tuple[str, EventId], str] = {}
        by_content: dict[tuple[str, str], EventId] = {}
        for story in self.stories:
            for event in story.records:
                if not isinstance(event, Event):
                    continue
                where = f"{story.stream_id}, {story.name}: {event}"
                if by_id.setdefault((story.stream_id, event.id), event.data) != event.data:
                    yield f"{where}: the id was given to other content"
                if by_content.setdefault((story.stream_id, event.data), event.id) != event.id:
                    yield f"{where}: the content was given another id"
                if self._place(story, event) is None:
                    yield f"{where}: nobody has sent this"

    def _order(self, story: Story) -> Iterator[str]:
        """Seqs grow by one; where they don't, a `Gap` or a `Reset` has said so."""
        last = 0
        for record in story.records:
            match record:
                case Event(id):
                    if id.seq <= last:
                        yield f"{record} came after {last}: repeated, or out of order"
                    elif id.seq != last + 1:
                        yield f"{record} came after {last}: silently lost"
                    last = id.seq
                case Gap(id):
                    if id.seq <= last:
                        yield f"{record} came after {last}: nothing is missing there"
                    last = id.seq
                case Reset(id):
                    last = id.seq
                case End(id):
                    if id.seq != last:
                        yield f"{record} came after {last}: it is not where the consumer is"

    def _end(self, story: Story) -> Iterator[str]:
        """One end, and nothing after it."""
        if not story.finished:
            yield "no end was received"
        if any(isinstance(record, End) for record in story.records[:-1]):
            yield "something came after the end"

    def _whole(self, story: Story) -> Iterator[str]:
        """Each producer's messages in turn; all of them up to the end, or what is missing said."""
        number, producer, told = 0, None, False
        for record in story.records:
            match record:
                case Event():
                    place = self._place(story, record)
                    if place is None:
                        continue
                    sent, n = place
                    expected = number + 1 if sent is producer else 1
                    if n != expected and not told:
                        yield f"{record}: expected number {expected}, silently lost"
                    producer, number, told = sent, n, False
                case Gap() | Reset():
                    told = True
        if told or not story.finished:
            return
        for sent in self.sent:
            if sent.stream_id != story.stream_id or sent is not self._last_heard(story, producer):
                continue
            heard = number if sent is producer else 0
            if story.outcome is Outcome.DONE and heard != sent.count:
                yield f"done after {heard} of {sent.count} messages of {sent.producer}"
            if self.keeps and heard < sent.acked:
                yield f"over after {heard} of {sent.acked} kept messages of {sent.producer}"

    def _last_heard(self, story: Story, producer: Sent | None) -> Sent | None:
        """Return whose messages a story ends with; the first producer's when it has none."""
        mine = [sent for sent in self.sent if sent.stream_id == story.stream_id]
        return producer or (mine[0] if mine else None)

    def _place(self, story: Story, event: Event) -> tuple[Sent, int] | None:
        """Return who has sent an event, and which of theirs it is."""
        name, number = read_message(str(event.data))
        for sent in self.sent:
            if (sent.stream_id, sent.producer) == (story.stream_id, name):
                return (sent, number) if 1 <= number <= sent.count else None
        return None
