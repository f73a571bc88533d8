"""What a client gets to see of records: all in an event stream, and never a half as a whole."""

import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resumable_core import (
    RESERVED_TYPES,
    Decoder,
    End,
    Event,
    EventId,
    Framed,
    Gap,
    GapReason,
    Outcome,
    Reset,
    ResetReason,
    ServerSentEvent,
    SSEFraming,
    TextFraming,
    Then,
    encode_expired,
    read_notice,
)
from resumable_core.testing import ends, event_ids, events, gaps_and_resets, records, texts

ID = EventId("a", 7)
sse, text = SSEFraming(), TextFraming()

# What a consumer receives in one go: an end only at the end.
runs = st.builds(
    lambda before, last: [*before, *last],
    st.lists(events() | gaps_and_resets(), max_size=4),
    st.lists(ends(), max_size=1),
)


@st.composite
def cut(draw, stream):
    """Draw a way to cut a stream into chunks."""
    places = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    return [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]


def decode(chunks):
    decoder = Decoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)]


def seen(record):
    """Say what a client sees of a record: type, what the data means, and the id."""
    match record:
        case Event(id, data, type_):
            try:
                data = data if isinstance(data, str) else data.decode()
            except UnicodeDecodeError:
                return "gap", {"reason": "binary"}, str(id)
            return type_ or "message", re.sub("\r\n|\r", "\n", data), str(id)
        case Gap(id, reason):
            return "gap", {"reason": reason.value}, str(id)
        case Reset(id, reason):
            return "reset", {"reason": reason.value}, str(id)
        case End(id, outcome, error):
            return "end", {"outcome": outcome.value, "error": error}, f"{id}-end"


def received(event):
    data = json.loads(event.data) if event.type in RESERVED_TYPES else event.data
    return event.type, data, event.last_event_id


# Event streams


@given(st.data(), runs)
@example(None, [End(ID, Outcome.FAILED, "\udc80")])
@example(None, [End(ID, Outcome.STOPPED, "\r\n\0\u2028")])
@example(None, [Event(ID, ""), Event(ID, b"\n"), Event(ID, b"\x80")])
def test_an_event_stream_carries_every_record(data, records):
    """Law 11: ids, types and data arrive, however the bytes are cut; only newlines become LF."""
    body = sse.frame(records).body
    expected = [seen(record) for record in records]
    assert [received(event) for event in decode([body])] == expected
    if data is not None:
        assert [received(event) for event in decode(data.draw(cut(body)))] == expected


@given(st.lists(records(), max_size=3), st.lists(records(), max_size=3))
def test_a_record_is_framed_alike_in_any_company(before, after):
    """Law 8: what was framed once can be sent to everybody, whatever they received before."""
    assert sse.frame([*before, *after]).body == sse.frame(before).body + sse.frame(after).body


@given(runs)
def test_an_event_stream_is_complete_after_the_end(records):
    """Law 5: nothing follows an end, of whatever outcome; without it the stream goes on."""
    ended = bool(records) and isinstance(records[-1], End)
    assert sse.frame(records).then is (Then.COMPLETE if ended else Then.GO_ON)


@given(st.lists(events(), max_size=3))
def test_no_content_is_taken_for_a_notice_of_ours(events):
    """Law 11: no data and no type of a source makes an end, a reset, or a gap but for bytes."""
    arrived = decode([sse.frame(events).body])
    assert len(arrived) == len(events)
    for event, came in zip(events, arrived, strict=True):
        if came.type in RESERVED_TYPES:
            assert (came.type, json.loads(came.data)) == ("gap", {"reason": "binary"})
            assert isinstance(event.data, bytes)


@given(st.lists(events(), max_size=3), event_ids())
def test_what_stands_between_events_is_no_event(events, id):
    """Law 11: heartbeats change nothing; a place moves the id that the client resumes after."""
    decoder = Decoder()
    for event in events:
        assert len(decoder.feed(sse.frame([event]).body)) == 1
        assert decoder.feed(sse.heartbeat) == []
        assert decoder.last_event_id == str(event.id)
    assert decoder.feed(sse.place(id)) == []
    assert decoder.last_event_id == str(id)


@pytest.mark.parametrize(
    ("record", "block"),
    [
        (Event(ID, "x\r\ny"), b"id: a-7\ndata: x\ndata: y\n\n"),
        (Event(ID, "é".encode(), "token"), b"event: token\nid: a-7\ndata: \xc3\xa9\n\n"),
        (Event(ID, b"\xff"), b'event: gap\nid: a-7\ndata: {"reason":"binary"}\n\n'),
        (Gap(ID, GapReason.LOST), b'event: gap\nid: a-7\ndata: {"reason":"lost"}\n\n'),
        (
            Reset(ID, ResetReason.RESTARTED),
            b'event: reset\nid: a-7\ndata: {"reason":"restarted"}\n\n',
        ),
        (
            End(ID, Outcome.DONE),
            b'event: end\nid: a-7-end\ndata: {"outcome":"done","error":null}\n\n',
        ),
        (
            End(ID, Outcome.FAILED, 'no "é"'),
            b'event: end\nid: a-7-end\ndata: {"outcome":"failed","error":"no \\"\\u00e9\\""}\n\n',
        ),
    ],
)
def test_blocks(record, block):
    assert sse.frame([record]).body == block


def test_the_place_of_a_live_consumer_is_an_id_alone():
    assert sse.place(ID) == b"id: a-7\n\n"
    assert sse.heartbeat.startswith(b":")
    assert sse.media_type == "text/event-stream; charset=utf-8"
    assert decode([sse.frame([Event(ID, "x")]).body]) == [ServerSentEvent("message", "x", "a-7")]


# Plain text


@given(runs)
@example([Event(ID, "x"), End(ID, Outcome.DONE)])
@example([Event(ID, "x"), Gap(ID, GapReason.TRIMMED), Event(ID, "y"), End(ID, Outcome.DONE)])
@example([Reset(ID, ResetReason.AHEAD)])
def test_text_is_the_data_up_to_what_it_cannot_say(records):
    """Law 2: text is complete only after everything; anything but data cuts it off at once."""
    expected, then = b"", Then.GO_ON
    for record in records:
        if not isinstance(record, Event):
            done = isinstance(record, End) and record.outcome is Outcome.DONE
            then = Then.COMPLETE if done else Then.CUT_OFF
            break
        expected += record.data.encode() if isinstance(record.data, str) else record.data
    assert text.frame(records) == Framed(expected, then)


@given(st.lists(texts(), max_size=4), st.lists(texts(), max_size=4))
def test_text_goes_on_where_it_was(before, after):
    """Law 3: what was framed before and what is framed after are the text."""
    framed = [text.frame([Event(ID, data) for data in part]) for part in (before, after)]
    assert b"".join(each.body for each in framed).decode() == "".join(before + after)
    assert {each.then for each in framed} == {Then.GO_ON}


@pytest.mark.parametrize("outcome", Outcome)
def test_only_a_stream_that_is_done_ends_cleanly_as_text(outcome):
    """Law 2: half an answer never looks like a whole one."""
    then = Then.COMPLETE if outcome is Outcome.DONE else Then.CUT_OFF
    assert text.frame([Event(ID, "x"), End(ID, outcome)]) == Framed(b"x", then)


def test_text_has_no_room_for_anything_else():
    assert text.place(ID) == b""
    assert text.heartbeat == b""
    assert text.media_type == "text/plain; charset=utf-8"


ODD = EventId("a\nid: b", 1)


@pytest.mark.parametrize(
    "record", [Event(ODD, "x"), Gap(ODD, GapReason.LOST)], ids=["event", "notice"]
)
def test_no_epoch_breaks_out_of_its_line(record):
    """Law 11: ids that are made by hand are nobody's but the caller's."""
    with pytest.raises(ValueError, match="id has U"):
        sse.frame([record])


def test_an_epoch_that_fits_a_line_is_framed():
    assert sse.frame([Event(EventId("a b", 1), "x")]).body.startswith(b"id: a b-1\n")


@pytest.mark.parametrize("id", [ID, None], ids=["with-id", "without-id"])
def test_expired_credentials_are_told_in_band(id):
    """The notice moves nothing: a client comes back for what follows the id."""
    decoder = Decoder(last_event_id="before")
    [event] = decoder.feed(encode_expired(id))
    assert event.type == "expired"
    assert event.type in RESERVED_TYPES
    assert json.loads(event.data) == {"reason": "credentials"}
    assert event.last_event_id == decoder.last_event_id == ("before" if id is None else str(id))
    assert read_notice(event) is None
