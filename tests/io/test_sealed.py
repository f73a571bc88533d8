"""Sealed logs: whoever reads one gets what the log itself would have given."""

import sys

from hypothesis import example, given
from hypothesis import strategies as st

from resumable_core import (
    TOP,
    Append,
    Claim,
    EventLog,
    Finish,
    Message,
    Outcome,
    Recover,
    Retention,
    Takeover,
)
from resumable_core.testing import messages
from resumable_io._sealed import JOINED, SealedLog, joined

NOW, LEASE = 1.0, 10.0


def ended(*batches, hole=0, taken_over=False, keep=100_000):
    """A log of these batches that is done: in its middle a hole, or another producer takes over."""
    log = EventLog()
    log.apply(Claim("a", LEASE, Retention(count=keep), {"title": "Ü"}), NOW)
    epoch = "a"
    for number, batch in enumerate(batches):
        top = log.sentinel
        if number == len(batches) // 2 and hole:
            last_seq, characters = top.last_seq + hole, top.characters
            log.apply(
                Recover("a", top.lineage, last_seq, characters, LEASE, top.retention, top.metadata),
                NOW,
            )
        elif number == len(batches) // 2 and taken_over:
            log.apply(Finish("a", Outcome.LOST, top.last_seq), NOW)
            epoch = "b"
            log.apply(Claim(epoch, LEASE, top.retention, on_lost=Takeover.CONTINUE), NOW)
        characters = sum(each.characters for each in batch)
        first_seq = log.sentinel.last_seq + 1
        log.apply(Append(epoch, first_seq, tuple(batch), characters), NOW + number)
    log.apply(Finish(epoch, Outcome.FAILED, log.sentinel.last_seq, "so it goes"), NOW)
    return log


def of_text(*data):
    return [Message(each) for each in data]


batches = st.lists(st.lists(messages(), min_size=1, max_size=4), max_size=8)


@given(batches, st.integers(0, 2), st.booleans(), st.integers(1, 20), st.integers(1, 9))
@example([of_text("a"), of_text("b")], 3, False, 100, 1)
@example([of_text("a"), of_text("b")], 0, True, 100, 2)
@example([], 0, False, 1, 1)
def test_a_page_is_that_of_the_log(batches, hole, taken_over, keep, limit):
    """Laws 1 and 3: wherever it is read from, whatever it has been through."""
    log = ended(*batches, hole=hole, taken_over=taken_over, keep=keep)
    sealed = SealedLog(log)
    for after in (*range(log.sentinel.last_seq + 2), TOP):
        page = log.read(after, NOW, limit=limit)
        assert sealed.page(after, limit) == page
        assert sealed.opened().read(after, NOW, limit=limit) == page
    assert (sealed.count, sealed.size) == (log.count, log.size)
    assert (sealed.opened().count, sealed.opened().size) == (log.count, log.size)
    assert sealed.expires_at == log.sentinel.expires_at


def test_batches_are_joined_up_to_a_limit():
    log = ended(*(of_text(str(number)) for number in range(3 * JOINED + 1)))
    together = joined(log.batches)
    assert [batch.count for batch in together] == [JOINED, JOINED, JOINED, 1]
    assert [batch.first_seq for batch in together] == [1 + JOINED * n for n in range(4)]


def test_large_batches_are_not_joined():
    """Law 8: a page ends with the batch that fills it."""
    log = ended(*[of_text("a" * 300 * 1024)] * 3)
    assert len(joined(log.batches)) == 3


def test_it_takes_little_more_than_the_text():
    """Law 8: tokens of a model's answer, which were appended one by one."""
    log = ended(*(of_text(f"{number:05d}") for number in range(1000)))
    sealed = SealedLog(log)
    held = sum(sys.getsizeof(getattr(sealed, name)) for name in sealed.__slots__)
    held += sum(map(sys.getsizeof, sealed._batches))
    assert held < log.size + 8 * log.count
