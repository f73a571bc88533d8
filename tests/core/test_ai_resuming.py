"""What a client of the AI SDK gets that comes back: all it lacks, or the word that it has all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resumable_core import (
    After,
    Append,
    Beginning,
    Claim,
    EventLog,
    Finish,
    InvalidPosition,
    Message,
    Outcome,
    Retention,
    Stop,
    StreamExpired,
    Unreadable,
)
from resumable_core.ai_sdk import resumption


def stream(chunks, outcome=None):
    """Return the sentinel of a stream with so many chunks."""
    log = EventLog()
    log.apply(Claim("a", 15.0, Retention()), 0.0)
    if chunks:
        log.apply(Append("a", 1, (Message("{}"),) * chunks, 2 * chunks), 0.0)
    if outcome is Outcome.STOPPED:
        log.apply(Stop(None), 0.0)
    elif outcome is not None:
        log.apply(Finish("a", outcome, chunks), 0.0)
    assert (log.sentinel.last_seq, log.sentinel.outcome) == (chunks, outcome)
    return log.sentinel


@pytest.mark.parametrize("outcome", [Outcome.DONE, Outcome.STOPPED])
def test_a_client_without_a_cursor_is_not_told_an_old_answer_again(outcome):
    assert resumption(stream(3, outcome), None) is None


@pytest.mark.parametrize("outcome", [None, Outcome.FAILED, Outcome.LOST])
def test_a_client_without_a_cursor_gets_all_of_what_is_not_over_or_broke_off(outcome):
    """Law 2: to it, nothing to resume means that what it has is the whole."""
    resumed = resumption(stream(3, outcome), None)
    assert resumed.position == Beginning()
    assert resumed.last_index == 2


@given(st.integers(0, 5), st.sampled_from([None, *Outcome]), st.integers(0, 7))
def test_a_cursor_is_how_many_chunks_a_client_has(chunks, outcome, index):
    """Law 3: what it has and what follows are the whole, the error or abort included."""
    sentinel = stream(chunks, outcome)
    resumed = resumption(sentinel, index)
    in_all = chunks + (outcome is not Outcome.DONE)
    if outcome is not None and index >= in_all:
        assert resumed is None
    else:
        place = After(sentinel.lineage.id_at(index)) if index else Beginning()
        assert resumed.position == place
        assert resumed.last_index == chunks - 1


@given(st.integers(0, 5), st.sampled_from([None, Outcome.FAILED]), st.integers(-7, -1))
def test_a_cursor_below_zero_is_how_many_chunks_a_client_wants(chunks, outcome, index):
    """The client counts on from the index of the last chunk, as it is told."""
    resumed = resumption(stream(chunks, outcome), index)
    seq = resumed.position.id.seq if isinstance(resumed.position, After) else 0
    assert seq == max(0, resumed.last_index + 1 + index)


def test_an_event_id_is_a_cursor_too():
    sentinel = stream(3, Outcome.DONE)
    for cursor in (After(sentinel.lineage.id_at(2)), Unreadable("malformed")):
        assert resumption(sentinel, cursor).position == cursor


@pytest.mark.parametrize("cursor", [None, 0])
def test_who_has_nothing_of_an_unknown_stream_has_nothing_to_resume(cursor):
    assert resumption(None, cursor) is None


@pytest.mark.parametrize("cursor", [1, -1, Unreadable("malformed")], ids=str)
def test_who_has_a_part_of_a_stream_that_is_gone_is_told_so(cursor):
    with pytest.raises(StreamExpired):
        resumption(None, cursor)


@pytest.mark.parametrize("cursor", [2**53, -(2**53), 10**400], ids=["above", "below", "huge"])
def test_no_stream_has_so_many_chunks(cursor):
    with pytest.raises(InvalidPosition, match="startIndex"):
        resumption(stream(1), cursor)
