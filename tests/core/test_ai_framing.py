"""What a client of the AI SDK gets to see of records: a part never looks like the whole."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resumable_core import (
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
    Then,
)
from resumable_core.ai_sdk import UIMessageFraming
from resumable_core.testing import ends, event_ids, events, gaps_and_resets

ID = EventId("a", 7)
framing = UIMessageFraming()

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
chunks = st.dictionaries(st.text(), json_values, max_size=4)
texts_of_chunks = st.builds(
    lambda chunk, indent: json.dumps(chunk, ensure_ascii=False, indent=indent).encode(
        "utf-8", "replace"
    ),
    chunks,
    st.sampled_from([None, 1]),
)
chunk_events = st.builds(Event, event_ids(), texts_of_chunks | texts_of_chunks.map(bytes.decode))


def sent(framed):
    return Decoder().feed(framed.body)


@given(st.lists(chunk_events, max_size=4))
def test_every_chunk_arrives_with_its_id(events):
    """Law 11: JSON is what it was, on however many lines it was written."""
    framed = framing.frame(events)
    assert framed.then is Then.GO_ON
    assert [json.loads(each.data) for each in sent(framed)] == [json.loads(e.data) for e in events]
    assert [each.last_event_id for each in sent(framed)] == [str(event.id) for event in events]


@given(st.lists(chunk_events, max_size=3), ends() | gaps_and_resets())
def test_only_an_answer_that_is_whole_has_no_error_at_its_end(events, last):
    """Law 2: to the SDK a body without an error chunk is the whole answer."""
    framed = framing.frame([*events, last])
    assert framed.then is Then.COMPLETE
    *_, notice = [each for each in sent(framed) if each.data != "[DONE]"] or [None]
    done = sent(framed)[-1].data == "[DONE]"
    match last:
        case End(outcome=Outcome.DONE):
            assert done
            assert len(sent(framed)) == len(events) + 1
        case End(outcome=Outcome.STOPPED, error=reason):
            assert done
            assert json.loads(notice.data) == {"type": "abort"} | (
                {} if reason is None else {"reason": reason}
            )
        case _:
            assert done is (isinstance(last, End) and last.outcome is Outcome.FAILED)
            assert json.loads(notice.data).keys() == {"type", "errorText"}
            assert json.loads(notice.data)["type"] == "error"


@given(events())
@example(Event(ID, "[DONE]"))
@example(Event(ID, b"\xff"))
@example(Event(ID, "[" * 100_000))
@example(Event(ID, '["a", "list"]'))
def test_no_content_ends_an_answer_as_if_it_were_whole(event):
    """Law 11: what is no JSON object is told as an error, and never taken for [DONE]."""
    framed = framing.frame([event, Event(EventId("a", 8), "{}")])
    if framed.then is Then.COMPLETE:
        (error,) = sent(framed)
        assert json.loads(error.data)["errorText"].endswith(f"event {event.id} is no chunk")
    else:
        assert isinstance(json.loads(event.data), dict)


@pytest.mark.parametrize(
    ("record", "body"),
    [
        (Event(ID, '{"type":"start"}'), b'id: a-7\ndata: {"type":"start"}\n\n'),
        (End(ID, Outcome.DONE), b"id: a-7-end\ndata: [DONE]\n\n"),
        (
            End(ID, Outcome.FAILED, "too hot"),
            b'data: {"type":"error","errorText":"too hot"}\n\nid: a-7-end\ndata: [DONE]\n\n',
        ),
        (
            End(ID, Outcome.FAILED),
            b'data: {"type":"error","errorText":"the answer could not be completed"}\n\n'
            b"id: a-7-end\ndata: [DONE]\n\n",
        ),
        (
            End(ID, Outcome.STOPPED, "enough"),
            b'data: {"type":"abort","reason":"enough"}\n\nid: a-7-end\ndata: [DONE]\n\n',
        ),
        (
            End(ID, Outcome.LOST),
            b'data: {"type":"error","errorText":'
            b'"the answer breaks off: its producer was lost"}\n\n',
        ),
        (
            Gap(ID, GapReason.TRIMMED),
            b'data: {"type":"error","errorText":"a part of the answer is missing: trimmed"}\n\n',
        ),
        (
            Reset(ID, ResetReason.UNKNOWN),
            b'data: {"type":"error","errorText":'
            b'"what was received is no part of this answer: unknown"}\n\n',
        ),
    ],
    ids=range(8),
)
def test_blocks(record, body):
    then = Then.GO_ON if isinstance(record, Event) else Then.COMPLETE
    assert framing.frame([record]) == Framed(body, then)


def test_what_stands_between_chunks_is_a_comment_or_an_id():
    assert framing.heartbeat == b": keep-alive\n\n"
    assert framing.place(ID) == b"id: a-7\n\n"
    assert framing.media_type == "text/event-stream; charset=utf-8"
