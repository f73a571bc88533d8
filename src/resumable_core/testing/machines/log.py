"""A machine that does anything to a log, and compares it with a list that forgets nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from resumable_core import (
    PAGE_EVENTS,
    TOP,
    Append,
    Batch,
    Change,
    Claim,
    Delete,
    Event,
    EventLog,
    Expire,
    Finish,
    Lineage,
    Message,
    Observe,
    Outcome,
    Page,
    Recover,
    Renew,
    Retention,
    Stop,
    StreamError,
    Takeover,
)
from resumable_core.testing.changes import append, copy_of, pauses
from resumable_core.testing.model import Model, code_points
from resumable_core.testing.strategies import messages, notices, retentions, texts

LEASE: Final = 10.0
LIMITS: Final = [1, 2, 3, 7, PAGE_EVENTS]


def retained(log: EventLog) -> list[Event]:
    """Return the events that a log holds."""
    return [event for batch in log.batches for event in batch.events]


def pages(log: EventLog, after: int, now: float, limit: int) -> Iterator[Page]:
    """Read page after page, as a consumer does, up to the one that has nothing more."""
    page = log.read(after, now, limit=limit)
    while page.events:
        yield page
        page = log.read(page.events[-1].id.seq, now, limit=limit)


@dataclass
class Claimant:
    """A claim, and what its holder knows: where it began, and every message that it made."""

    claim: Claim
    start: int
    start_characters: int
    lineage: Lineage
    messages: list[Message] = field(default_factory=list[Message])

    @property
    def last_seq(self) -> int:
        return self.start + len(self.messages)

    def append(self, first_seq: int, more: list[Message]) -> Append:
        """Return an append from a seq on: what was made before, and some more."""
        self.messages += more
        first_seq = min(max(first_seq, self.start + 1), self.last_seq + 1)
        return append(self.claim.epoch, first_seq, self.messages[first_seq - self.start - 1 :])

    def recover(self, last_seq: int) -> Recover:
        passed_over = self.messages[: last_seq - self.start]
        return Recover(
            self.claim.epoch,
            self.lineage,
            last_seq,
            self.start_characters + sum(code_points(message.data) for message in passed_over),
            self.claim.lease,
            self.claim.retention,
            self.claim.metadata,
        )


class LogMachine(RuleBasedStateMachine):
    """Laws 1, 2, 3, 6, 8 and 9: a log is at any time what a list would be that forgets nothing.

    Many producers claim, append, overlap, come too late and die; the store loses its newest part,
    or everything. Each change is made twice. What a page lacks was trimmed or is a recovered hole.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log: EventLog = EventLog()
        self.model: Model = Model()
        self.now: float = 0.0
        self.fresh: Iterator[str] = (f"e{number}" for number in count(1))
        self.producers: dict[str, Claimant] = {}
        self.kept: tuple[EventLog, Model] = (EventLog(), Model())

    def do(self, change: Change) -> None:
        """Make a change twice, and compare it with the model; a refusal changes nothing."""
        before = copy_of(self.log)
        try:
            expected = self.model.after(change, self.now)
        except StreamError as refusal:
            try:
                self.log.apply(change, self.now)
            except StreamError as error:
                assert type(error) is type(refusal), f"{error!r} in place of {refusal!r}"
            else:
                raise AssertionError(f"{change} is to be refused: {refusal!r}") from refusal
            assert self.log == before
            return
        effect = self.log.apply(change, self.now)
        assert effect.sentinel is self.log.sentinel
        self.model = expected
        if effect.batch is not None:
            self.check_trimmed([*before.batches, effect.batch])
        once = copy_of(self.log)
        repeated = self.log.apply(change, self.now)
        assert self.log == once
        assert repeated.batch is None
        assert not (repeated.clear and once.batches)

    def check_trimmed(self, batches: list[Batch]) -> None:
        """An append drops nothing that all limits ask for, and leaves one batch more at most."""
        log, limits = self.log, self.log.sentinel.retention
        oldest_allowed = -math.inf if limits.age is None else self.now - limits.age
        *dropped, oldest = batches[: len(batches) - len(log.batches) + 1]
        assert log.batches == batches[len(dropped) :]
        if dropped:
            within = dropped[-1].time >= oldest_allowed
            assert log.count >= limits.count or log.size >= limits.bytes or not within
        if oldest is not log.batches[-1]:
            assert log.count - oldest.count < limits.count
            assert log.size - oldest.size < limits.bytes
            assert oldest.time >= oldest_allowed

    # What producers and others do

    @initialize(retention=retentions())
    def begin(self, retention: Retention) -> None:
        self.claim(retention, Takeover.REFUSE, None, 0.0)

    @rule(
        retention=retentions(),
        on_lost=st.sampled_from([Takeover.CONTINUE, *Takeover]),
        replaces=st.sampled_from([None, None, "current", "other"]),
        connected_for=st.sampled_from([0.0, LEASE]),
    )
    def claim(
        self, retention: Retention, on_lost: Takeover, replaces: str | None, connected_for: float
    ) -> None:
        named = self.model.epoch if replaces == "current" else replaces
        epoch = next(self.fresh)
        claim = Claim(epoch, LEASE, retention, {}, on_lost, named, connected_for)
        self.do(claim)
        sentinel = self.log.sentinel
        if sentinel.epoch == epoch:
            self.producers[epoch] = Claimant(
                claim, sentinel.last_seq, sentinel.characters, sentinel.lineage
            )

    @precondition(lambda self: self.model.epochs)
    @rule(which=st.integers(0, 5))
    def claim_again(self, which: int) -> None:
        epoch, _ = self.model.epochs[which % len(self.model.epochs)]
        self.do(self.producers[epoch].claim)

    @rule(step=st.integers(-3, 1), more=st.lists(messages(), max_size=4))
    @precondition(lambda self: self.model.epoch)
    def append(self, step: int, more: list[Message]) -> None:
        producer = self.producers[self.model.epoch]
        self.do(producer.append(self.model.last_seq + 1 + step, more))

    @rule(which=st.integers(0, 5), more=st.lists(messages(), min_size=1, max_size=2))
    @precondition(lambda self: self.producers)
    def append_of_anybody(self, which: int, more: list[Message]) -> None:
        producer = [*self.producers.values()][which % len(self.producers)]
        self.do(producer.append(self.model.last_seq + 1, more))

    @precondition(lambda self: self.model.epoch)
    @rule(
        outcome=st.sampled_from([Outcome.LOST, Outcome.LOST, Outcome.DONE, Outcome.FAILED]),
        lack=st.sampled_from([0, 0, 1]),
        error=notices(),
    )
    def finish(self, outcome: Outcome, lack: int, error: str | None) -> None:
        self.do(Finish(self.model.epoch, outcome, self.model.last_seq + lack, error))

    @rule(reason=st.none() | texts(), data=st.data())
    def stop(self, reason: str | None, data: st.DataObject) -> None:
        known = [None, "z", *(epoch for epoch, _ in self.model.epochs)]
        self.do(Stop(reason, data.draw(st.sampled_from(known))))

    @rule(change=st.sampled_from([Delete(), Expire(), Observe(0.0), Observe()]))
    def touch(self, change: Change) -> None:
        self.do(change)

    @precondition(lambda self: self.model.epoch)
    @rule()
    def renew(self) -> None:
        self.do(Renew(self.model.epoch))

    @precondition(lambda self: self.producers)
    @rule(which=st.integers(0, 5), back=st.integers(0, 3))
    def recover(self, which: int, back: int) -> None:
        """A producer restores its sentinel, or skips what it no longer has."""
        producer = [*self.producers.values()][-1 - which % len(self.producers)]
        self.do(producer.recover(max(producer.start, producer.last_seq - back)))

    # What happens to the store

    @rule(seconds=pauses())
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def replicate(self) -> None:
        """From here on a failover loses what comes."""
        self.kept = copy_of(self.log), self.model

    @rule()
    def fail_over(self) -> None:
        self.log, self.model = copy_of(self.kept[0]), self.kept[1]

    @rule()
    def wipe(self) -> None:
        self.log, self.model = EventLog(), Model()

    # What consumers see

    @rule(
        after=st.integers(0, 12) | st.just(TOP),
        limit=st.sampled_from(LIMITS),
        connected_for=st.sampled_from([0.0, LEASE]),
    )
    def read(self, after: int, limit: int, connected_for: float) -> None:
        self.model = self.model.after(Observe(connected_for), self.now)
        page = self.log.read(after, self.now, limit=limit, connected_for=connected_for)
        assert page.sentinel is self.log.sentinel
        assert (page.after, page.first_seq) == (after, self.log.first_seq)
        self.check_page(page, limit)

    def check_page(self, page: Page, limit: int) -> None:
        """Nothing is left out between the first and the last event, but what is trimmed."""
        model = self.model.events()
        held = [seq for seq in model if seq > page.after and seq >= page.first_seq]
        assert list(page.events) == [model[seq] for seq in held[: len(page.events)]]
        assert len(page.events) <= limit
        assert page.events or not held
        first = page.events[0].id.seq if page.events else self.model.last_seq + 1
        assert page.offset == self.model.characters_before(first)

    @invariant()
    def the_sentinel_is_that_of_the_model(self) -> None:
        sentinel, model = self.log.sentinel, self.model
        assert (sentinel.state, sentinel.epoch) == (model.state, model.epoch)
        assert sentinel.lineage.epochs == model.epochs
        assert sentinel.last_seq == model.last_seq
        assert sentinel.characters == model.characters_before(model.last_seq + 1)
        assert sentinel.lease_until == model.lease_until
        assert sentinel.expires_at == model.expires_at

    @invariant()
    def the_accounts_are_exact(self) -> None:
        """Law 8: what a log holds is counted to the byte."""
        events = retained(self.log)
        assert self.log.count == len(events)
        assert self.log.size == sum(Message(event.data, event.type).size for event in events)
        for batch in self.log.batches:
            assert batch.count == len(batch.events) > 0
            assert batch.characters == sum(code_points(event.data) for event in batch.events)
            assert batch.offset == self.model.characters_before(batch.first_seq)
            assert batch.last_seq == batch.first_seq + batch.count - 1

    @invariant()
    def an_id_names_one_message(self) -> None:
        """Law 3: ids are in the lineage, and none is ever given to other content."""
        for event in retained(self.log):
            producer = self.producers[event.id.epoch]
            made = producer.messages[event.id.seq - producer.start - 1]
            assert (event.data, event.type) == (made.data, made.type)
            assert self.log.sentinel.lineage.id_at(event.id.seq) == event.id

    def teardown(self) -> None:
        """Law 3: from any place, with any limit, paging gives what is retained after it."""
        self.model = self.model.after(Observe(), self.now)
        for limit in LIMITS:
            for after in range(self.model.last_seq + 2):
                events: list[Event] = []
                for page in pages(self.log, after, self.now, limit):
                    self.check_page(page, limit)
                    events += page.events
                assert events == [e for e in retained(self.log) if e.id.seq > after]
