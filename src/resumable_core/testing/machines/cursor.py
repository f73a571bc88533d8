"""A machine that lets consumers come and go while a stream grows, is trimmed and taken over."""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from resumable_core import (
    After,
    Appended,
    Beginning,
    Changed,
    End,
    Event,
    Follower,
    Gap,
    Live,
    Outcome,
    Record,
    Reset,
    Retention,
)
from resumable_core.testing.worlds.cursor import KEEP, Consumer, StreamWorld, following, refresh

CONSUMERS: Final = 6

pieces: Final = st.lists(st.text("aé€😀", min_size=1, max_size=3), min_size=1, max_size=4)


class CursorMachine(RuleBasedStateMachine):
    """Laws 1, 2, 3 and 5: whoever comes when, and leaves and resumes how often, has the whole.

    The feed of the follower, if there is one, loses what it likes; pages are small.
    """

    stream: StreamWorld

    @initialize(count=st.integers(1, 20), limit=st.integers(1, 4), windowed=st.booleans())
    def start(self, *, count: int, limit: int, windowed: bool) -> None:
        self.stream = StreamWorld.started(Retention(count=count, keep=KEEP))
        self.follower: Follower | None = following(self.stream) if windowed else None
        self.limit = limit
        self.consumers: list[tuple[int, Consumer, list[Record]]] = []

    # The stream

    @rule(data=pieces, told=st.booleans())
    def append(self, *, data: list[str], told: bool) -> None:
        batch = self.stream.append(*data)
        if self.follower is not None and told:
            self.follower.received(Appended(batch), self.stream.now)

    @rule(data=pieces)
    def lose(self, data: list[str]) -> None:
        self.stream.lose(*data)

    @rule(told=st.booleans())
    def take_over(self, *, told: bool) -> None:
        sentinel = self.stream.take_over().sentinel
        if self.follower is not None and told:
            self.follower.received(Changed(sentinel), self.stream.now)

    @rule(seconds=st.sampled_from([0.1, 5.0]))
    def wait(self, seconds: float) -> None:
        self.stream.now += seconds
        self.look()

    @rule()
    def look(self) -> None:
        if self.follower is not None:
            refresh(self.follower, self.stream)

    # The consumers

    @precondition(lambda self: len(self.consumers) < CONSUMERS)
    @rule(position=st.sampled_from([Beginning(), Live()]))
    def join(self, position: Beginning | Live) -> None:
        start = self.stream.sentinel.last_seq if isinstance(position, Live) else 0
        consumer = Consumer(self.stream, position, self.follower, self.limit)
        consumer.read_on()
        self.consumers.append((start, consumer, []))

    @precondition(lambda self: self.consumers)
    @rule(which=st.integers(0, CONSUMERS))
    def read(self, which: int) -> None:
        _, consumer, _ = self.consumers[which % len(self.consumers)]
        consumer.read_on()

    @precondition(lambda self: self.consumers)
    @rule(which=st.integers(0, CONSUMERS))
    def leave_and_return(self, which: int) -> None:
        start, consumer, before = self.consumers[which % len(self.consumers)]
        records = before + consumer.records
        place = records[-1].id if records else consumer.cursor.id
        assert place is not None
        back = Consumer(self.stream, After(place), self.follower, self.limit)
        back.read_on()
        self.consumers[which % len(self.consumers)] = (start, back, records)

    def teardown(self) -> None:
        """Everything between a consumer's start and the end was told, or told to be missing."""
        if not hasattr(self, "stream"):
            return
        sentinel = self.stream.end().sentinel
        if self.follower is not None:
            self.follower.received(Changed(sentinel), self.stream.now)
            refresh(self.follower, self.stream)
        for start, consumer, before in self.consumers:
            consumer.read_on()
            *records, end = before + consumer.records
            assert isinstance(end, End)
            assert end.outcome is Outcome.DONE
            at = start
            for record in records:
                assert not isinstance(record, Reset)
                if isinstance(record, Gap):
                    retained = {event.id.seq for event in self.stream.events}
                    assert not retained & set(range(at + 1, record.id.seq + 1))
                else:
                    assert isinstance(record, Event)
                    assert record == self.stream.held[record.id]
                    assert record.id.seq == at + 1
                at = record.id.seq
            assert at == end.id.seq == self.stream.sentinel.last_seq
