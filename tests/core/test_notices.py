"""Notices come back as the records that they were; what only looks like one is left alone."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from resumable_core import (
    Decoder,
    End,
    Event,
    EventId,
    Gap,
    GapReason,
    Outcome,
    Reset,
    ResetReason,
    ServerSentEvent,
    SSEFraming,
    read_notice,
)

IDS = st.builds(
    EventId, st.from_regex(r"[0-9A-Za-z]{1,32}", fullmatch=True), st.integers(0, 2**53 - 1)
)
TEXT = st.text(st.characters(codec="utf-8"))
NOTICES = (
    st.builds(Gap, IDS, st.sampled_from(GapReason))
    | st.builds(Reset, IDS, st.sampled_from(ResetReason))
    | st.builds(End, IDS, st.sampled_from(Outcome), st.none() | TEXT)
)


@given(NOTICES)
def test_decoding_what_was_framed_gives_the_same_record(record):
    """Law 11."""
    (event,) = Decoder().feed(SSEFraming().frame((record,)).body)
    assert read_notice(event) == record


@given(IDS, TEXT, st.none() | st.sampled_from(["token", "message", "ending"]))
def test_no_content_of_an_event_is_taken_for_a_notice(id, data, type):
    """Law 11: sources cannot use the three types."""
    for event in Decoder().feed(SSEFraming().frame((Event(id, data, type),)).body):
        assert read_notice(event) is None


@given(st.sampled_from(["gap", "reset", "end"]), TEXT, TEXT)
def test_anything_else_is_an_event(type, data, id):
    assume(not id.isascii() or "-" not in id)
    assert read_notice(ServerSentEvent(type, data, id)) is None


@pytest.mark.parametrize(
    ("type", "data", "id"),
    [
        ("end", '{"outcome":"done","error":null}', "a-1"),
        ("gap", '{"reason":"trimmed"}', "a-1-end"),
        ("gap", '{"reason":"why not"}', "a-1"),
        ("reset", '{"reason":7}', "a-1"),
        ("end", '{"outcome":"done"}', "a-1-end"),
        ("end", '{"outcome":"over","error":null}', "a-1-end"),
        ("end", "[" * 50_000, "a-1-end"),
        ("end", '"' + "x" * 70_000 + '"', "a-1-end"),
        ("end", "done", "a-1-end"),
    ],
    ids=range(9),
)
def test_what_ours_would_not_send_is_an_event(type, data, id):
    assert read_notice(ServerSentEvent(type, data, id)) is None
