"""The event log, against a list that forgets nothing."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from resumable_core import (
    ABSENT,
    PAGE_EVENTS,
    TOP,
    Append,
    Batch,
    Change,
    Claim,
    Delete,
    Event,
    EventId,
    EventLog,
    Expire,
    Fenced,
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
    StreamExists,
    StreamNotFound,
    Takeover,
    page_of,
)
from resumable_core._log import PAGE_BYTES
from resumable_core.testing import (
    append,
    copy_of,
    logs,
    messages,
    notices,
    pauses,
    plans,
    retentions,
)

LEASE = 10.0
LIMITS = [1, 2, 3, 7, PAGE_EVENTS]


# The model


def code_points(data: str | bytes) -> int:
    """Count code points: bytes by those that no character goes on with."""
    return len(data) if isinstance(data, str) else sum(byte >> 6 != 0b10 for byte in data)


@dataclass(frozen=True)
class Row:
    """One event, or a hole: the seqs up to this one that were skipped, with their code points."""

    seq: int
    epoch: str
    message: Message | None
    characters: int


@dataclass(frozen=True)
class Model:
    """What a stream is, as plainly as can be: all its rows, and nothing is ever trimmed."""

    state: str = "absent"
    epoch: str = ""
    epochs: tuple[tuple[str, int], ...] = ()
    rows: tuple[Row, ...] = ()
    lease: float = 0.0
    keep: float = 0.0
    lease_until: float = 0.0
    expires_at: float = float("inf")

    @property
    def last_seq(self) -> int:
        return self.rows[-1].seq if self.rows else 0

    @property
    def there(self) -> bool:
        return self.state not in {"absent", "deleted"}

    def characters_before(self, seq: int) -> int:
        return sum(row.characters for row in self.rows if row.seq < seq)

    def events(self) -> dict[int, Event]:
        return {
            row.seq: Event(EventId(row.epoch, row.seq), row.message.data, row.message.type)
            for row in self.rows
            if row.message is not None
        }

    def alive(self, now: float, **changed: object) -> "Model":
        model = replace(self, state="active", **changed)
        until = now + model.lease
        return replace(model, lease_until=until, expires_at=until + max(model.lease, model.keep))

    def ended(self, state: str, now: float) -> "Model":
        return replace(self, state=state, expires_at=now + max(self.lease, self.keep))

    def after(self, change: Change, now: float) -> "Model":
        """Return what becomes of the stream, or raise why not."""
        if now >= self.expires_at:
            return Model().after(change, now)
        match change:
            case Expire():
                return self
            case Delete():
                until = now + max(self.lease, self.keep)
                return Model("deleted", self.epoch, expires_at=until) if self.there else self
            case Observe(seconds):
                dead = self.state == "active" and now >= self.lease_until and seconds >= self.lease
                return self.ended("lost", now) if dead else self
            case Stop():
                if not self.there:
                    raise StreamNotFound
                return self.ended("stopped", now) if self.state == "active" else self
            case Claim():
                return self.after(Observe(change.connected_for), now).claimed(change, now)
            case Recover() if self.state == "absent":
                rows = (Row(change.last_seq, change.epoch, None, change.characters),)
                return Model().alive(
                    now,
                    epoch=change.epoch,
                    epochs=change.lineage.epochs,
                    rows=rows if change.last_seq else (),
                    lease=change.lease,
                    keep=change.retention.keep,
                )
            case _ if self.state == "absent":
                raise StreamNotFound
            case Finish(epoch, outcome) if epoch == self.epoch and outcome == self.state:
                return self
            case _ if change.epoch != self.epoch or self.state != "active":
                raise Fenced
            case Renew():
                return self.alive(now)
            case Finish(_, outcome, last_seq):
                return self if last_seq > self.last_seq else self.ended(outcome, now)
            case Recover():
                if change.last_seq <= self.last_seq:
                    return self
                skipped = change.characters - self.characters_before(change.last_seq + 1)
                hole = Row(change.last_seq, change.epoch, None, skipped)
                lease, keep = change.lease, change.retention.keep
                return self.alive(now, rows=(*self.rows, hole), lease=lease, keep=keep)
            case Append(_, first_seq, messages):
                rows = tuple(
                    Row(seq, self.epoch, message, code_points(message.data))
                    for seq, message in enumerate(messages, first_seq)
                    if seq > self.last_seq
                )
                fits = rows and rows[0].seq == self.last_seq + 1
                return self.alive(now, rows=self.rows + rows) if fits else self

    def claimed(self, claim: Claim, now: float) -> "Model":
        if claim.epoch == self.epoch:
            return self
        if claim.epoch in dict(self.epochs):
            raise Fenced
        if self.state == "active":
            raise StreamExists
        new = Model(epoch=claim.epoch, lease=claim.lease, keep=claim.retention.keep)
        first = new.alive(now, epochs=((claim.epoch, 1),))
        if not self.there:
            return first
        if claim.replaces is not None and claim.replaces != self.epoch:
            raise StreamExists
        if claim.replaces is not None or (self.state, claim.on_lost) == ("lost", Takeover.RESTART):
            return first
        if (self.state, claim.on_lost) == ("lost", Takeover.CONTINUE):
            epochs = (*self.epochs, (claim.epoch, self.last_seq + 1))
            return new.alive(now, epochs=epochs, rows=self.rows)
        raise StreamExists


# Every change, against the model


def retained(log: EventLog) -> list[Event]:
    return [event for batch in log.batches for event in batch.events]


def pages(log: EventLog, after: int, now: float, limit: int) -> Iterator[Page]:
    """Read page after page, as a consumer does, up to the one that has nothing more."""
    page = log.read(after, now, limit=limit)
    while page.events:
        yield page
        page = log.read(page.events[-1].id.seq, now, limit=limit)


@dataclass
class Producer:
    """A claim, and what its holder knows: where it began, and every message that it made."""

    claim: Claim
    start: int
    start_characters: int
    lineage: object
    messages: list[Message] = field(default_factory=list)

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


class Log(RuleBasedStateMachine):
    """Laws 1, 2, 3, 6, 8 and 9: a log is at any time what a list would be that forgets nothing.

    Many producers claim, append, overlap, come too late and die; the store loses its newest part,
    or everything. Each change is made twice. What a page lacks was trimmed or is a recovered hole.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log = EventLog()
        self.model = Model()
        self.now = 0.0
        self.fresh = (f"e{number}" for number in count(1))
        self.producers: dict[str, Producer] = {}
        self.kept: tuple[EventLog, Model] = (EventLog(), Model())

    def do(self, change: Change) -> None:
        """Make a change twice, and compare it with the model; a refusal changes nothing."""
        before = copy_of(self.log)
        try:
            expected = self.model.after(change, self.now)
        except StreamError as refusal:
            with pytest.raises(type(refusal)):
                self.log.apply(change, self.now)
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
            self.producers[epoch] = Producer(
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

    @rule(reason=notices())
    def stop(self, reason: str | None) -> None:
        self.do(Stop(reason))

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


TestLog = Log.TestCase


# Laws of any log


@given(logs(), plans(), pauses())
def test_a_refused_change_changes_nothing(reached, plan, pause):
    """Law 6: what is refused leaves sentinel and log as they were."""
    log, now = reached
    change, before = plan.aimed_at(log.sentinel), copy_of(log)
    try:
        log.apply(change, now + pause)
    except StreamError:
        assert log == before
    else:
        reject()


@given(logs(), plans(), pauses())
def test_a_repeated_change_changes_nothing(reached, plan, pause):
    """Law 6: any change twice gives the same sentinel and the same log as once."""
    log, now = reached
    change = plan.aimed_at(log.sentinel)
    try:
        log.apply(change, now + pause)
    except StreamError:
        reject()
    once = copy_of(log)
    effect = log.apply(change, now + pause)
    assert log == once
    assert effect.batch is None


@given(logs(), pauses(), st.integers(0, 20) | st.just(TOP))
def test_reads_create_nothing(reached, pause, after):
    """Law 9: a read leaves nothing behind where nothing is, and never brings anything back."""
    log, now = reached
    log.apply(Delete(), now)
    log.apply(Expire(), log.sentinel.expires_at)
    assert log == EventLog()
    assert log.read(after, now + pause) == Page(ABSENT, after, first_seq=1)
    assert log == EventLog()


@given(logs(), pauses())
def test_a_log_is_empty_where_no_stream_is(reached, pause):
    """Law 8: what is deleted or has expired holds no memory, as soon as somebody looks."""
    log, now = reached
    page = log.read(0, now + pause)
    if not page.sentinel.known:
        assert (log.batches, log.count, log.size, page.events) == ([], 0, 0, ())


@given(logs(), retentions())
def test_a_claim_finds_nothing_of_an_earlier_log(reached, retention):
    """Law 2: a log that is begun anew holds no event of another."""
    log, now = reached
    claim = Claim("new", LEASE, retention, {}, Takeover.RESTART, log.sentinel.epoch)
    try:
        log.apply(claim, now)
    except StreamExists:
        reject()
    assert (log.batches, log.count, log.size, log.first_seq) == ([], 0, 0, 1)


# Examples


def produced(*batches: list[str], retention: Retention | None = None) -> EventLog:
    """Return a log that holds some batches."""
    log = EventLog()
    log.apply(Claim("a", LEASE, retention or Retention()), 0.0)
    for batch in batches:
        first_seq = log.sentinel.last_seq + 1
        log.apply(append("a", first_seq, map(Message, batch)), 1.0)
    return log


def seqs(page: Page) -> list[int]:
    return [event.id.seq for event in page.events]


@pytest.mark.parametrize(
    ("after", "limit", "expected", "offset"),
    [
        (0, 9, [1, 2, 3, 4, 5, 6], 0),
        (3, 9, [4, 5, 6], 4),
        (1, 3, [2, 3, 4], 1),
        (4, 1, [5], 6),
        (5, 1, [6], 8),
        (6, 9, [], 9),
        (TOP, 9, [], 9),
    ],
)
def test_the_drawing(after, limit, expected, offset):
    log = produced(["a", "é", "cc"], ["dd"], ["ee", "f"])
    page = log.read(after, 2.0, limit=limit)
    assert (seqs(page), page.offset, page.first_seq) == (expected, offset, 1)


def test_what_is_trimmed_lies_before_the_first_seq():
    """Law 2: a page tells from where on events are retained."""
    log = produced(["a", "b"], ["c"], ["d"], retention=Retention(count=2))
    page = log.read(0, 2.0)
    assert (seqs(page), page.first_seq, page.offset) == ([3, 4], 3, 2)
    assert (log.count, log.size) == (2, 2)


def test_a_hole_is_seen_in_the_seqs():
    """Law 2: what was skipped is missing between two events, not before the first seq."""
    log = produced(["a"])
    log.apply(Recover("a", log.sentinel.lineage, 4, 9, LEASE, Retention(), {}), 2.0)
    log.apply(append("a", 5, [Message("e")]), 3.0)
    page = log.read(0, 4.0)
    assert (seqs(page), page.first_seq) == ([1, 5], 1)
    assert [log.read(after, 4.0).offset for after in (0, 1, 4, 5)] == [0, 9, 9, 10]


def test_a_page_is_bounded_by_bytes():
    """Law 8: a page ends with the batch that fills it."""
    log = produced(*[["x" * (PAGE_BYTES // 4)]] * 6)
    assert seqs(log.read(0, 2.0)) == [1, 2, 3, 4]
    assert seqs(log.read(4, 2.0)) == [5, 6]


def test_a_page_is_bounded_by_events():
    """Law 8: a page ends after so many events, in the middle of a batch if need be."""
    log = produced(["x"] * (PAGE_EVENTS - 1), ["y", "z"])
    assert seqs(log.read(0, 2.0)) == [*range(1, PAGE_EVENTS + 1)]
    assert page_of(log.batches[1:], PAGE_EVENTS, 1)[0][0].data == "z"


def test_a_read_observes_the_lease():
    """Law 7: whoever reads past the deadline records the loss, if it has watched for a lease."""
    log = produced(["a"])
    assert log.read(0, 11.0, connected_for=LEASE - 0.1).sentinel.outcome is None
    assert log.read(0, 11.0, connected_for=LEASE).sentinel.outcome is Outcome.LOST
    assert log.sentinel.outcome is Outcome.LOST


@pytest.mark.parametrize(
    "late",
    [
        Claim("a", LEASE),
        Recover("a", Lineage.starting("a"), 0, 0, LEASE, Retention(), {}),
        Recover("a", Lineage.starting("a"), 1, 1, LEASE, Retention(), {}),
    ],
)
def test_a_log_whose_time_is_over_leaves_nothing_behind(late):
    """Law 2: events that have expired, unseen by anybody, don't return with their epoch."""
    log = produced(["a", "b"], retention=Retention(keep=5.0))
    with pytest.raises(StreamNotFound):
        log.apply(Renew("a"), 100.0)
    effect = log.apply(late, 100.0)
    assert effect.clear
    assert (log.batches, log.count, log.size) == ([], 0, 0)
    log.apply(append("a", 2, [Message("b")]), 101.0)
    assert seqs(log.read(0, 102.0)) == [*range(2, log.sentinel.last_seq + 1)]
