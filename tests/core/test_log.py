"""The event log, against a list that forgets nothing."""

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from resumable_core import (
    ABSENT,
    TOP,
    Claim,
    Delete,
    EventLog,
    Expire,
    Lineage,
    Message,
    Outcome,
    Page,
    Recover,
    Renew,
    Retention,
    StreamError,
    StreamExists,
    StreamNotFound,
    Takeover,
)
from resumable_core.testing import (
    LogMachine,
    append,
    copy_of,
    logs,
    pauses,
    plans,
    retentions,
)

LEASE = 10.0


TestLog = LogMachine.TestCase


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
