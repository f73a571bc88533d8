"""The handshake, the producer's side: each listener gets the text once, from its offset.

The property is checked against JavaScript's `slice`, on the text as a list of code units.
"""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resumable_core import (
    DONE_MESSAGE,
    FAILED_MESSAGE,
    SENTINEL_DONE,
    Delivery,
    HandshakeProducer,
    InvalidMessage,
    ResumeRequest,
    Transcript,
    skip_units,
    utf16_units,
)
from resumable_core._handshake import MAX_LISTENER_ID, MAX_REQUEST

PIECES = st.sampled_from(
    ["", "a", "héllo ", "日本", "😀", "e\u0301", "\U0001f469\u200d\U0001f680!"]
)
TEXTS = st.lists(PIECES, max_size=6).map("".join) | st.text(max_size=8)


def from_unit(text: str, offset: int) -> str:
    """What follows `offset` code units; the slow way, by walking over the characters."""
    place = 0
    for index, character in enumerate(text):
        width = 2 if ord(character) > 0xFFFF else 1
        if place + width > offset:
            return text[index:]
        place += width
    return ""


def texts(deliveries, listener):
    return [each.text for each in deliveries if each.listener == listener]


# -- Text ---------------------------------------------------------------------------------------


@given(TEXTS, st.integers(0, 30))
@example("a😀b", 2)
def test_an_offset_inside_a_surrogate_pair_begins_with_that_character(text, offset):
    assert skip_units(text, offset) == from_unit(text, offset)
    assert "\ufffd" not in skip_units(text.replace("\ufffd", ""), offset)


@given(st.lists(PIECES, max_size=8), st.integers(0, 40))
def test_a_transcript_is_cut_like_its_whole_text(pieces, offset):
    transcript = Transcript()
    for piece in pieces:
        transcript.append(piece)
    assert transcript.pieces == pieces
    assert transcript.units == utf16_units("".join(pieces))
    assert transcript.after(offset) == from_unit("".join(pieces), offset)


# -- The property -------------------------------------------------------------------------------

STEPS = st.one_of(
    st.tuples(st.just("chunk"), PIECES),
    st.tuples(st.just("request"), st.integers(0, 12)),
    st.tuples(st.just("deliver"), st.none()),
)


@given(st.lists(STEPS, max_size=20), st.sampled_from([None, "it broke"]))
@example([("chunk", "a😀b"), ("request", 2), ("chunk", "c")], None)
@example([("request", 5), ("deliver", None), ("chunk", "ab"), ("deliver", None)], None)
@example([("chunk", DONE_MESSAGE), ("request", 0), ("deliver", None)], None)
def test_each_listener_gets_the_text_once_from_its_offset(steps, failure):
    """Whatever the order of requests, chunks, deliveries and the end."""
    producer = HandshakeProducer()
    whole = ""
    skips = []
    sent = []
    for action, argument in steps:
        match action:
            case "chunk":
                producer.append(argument)
                whole += argument
            case "request":
                producer.requested(ResumeRequest(str(len(skips)), argument, True).encode())
                skips.append(argument)
            case "deliver":
                sent += producer.deliveries()
    assert producer.listeners == len(skips)
    producer.end(failure)
    sent += producer.deliveries()
    last = DONE_MESSAGE if failure is None else FAILED_MESSAGE + failure
    for listener, skip in enumerate(skips):
        *received, end = texts(sent, str(listener))
        assert received, "what a listener waits for is sent even when it is empty"
        assert "".join(received) == from_unit(whole, skip)
        assert DONE_MESSAGE not in received
        assert end == last
    assert producer.listeners == 0
    assert not producer.deliveries()


# -- Examples -----------------------------------------------------------------------------------


def test_messages_of_a_listener():
    producer = HandshakeProducer()
    producer.append("ab")
    producer.requested('{"listenerId": "one"}')
    producer.requested('{"listenerId": "two", "skipCharacters": 2}')
    assert producer.deliveries() == [Delivery("one", "ab"), Delivery("two", "")]
    assert producer.deliveries() == []
    producer.append("c")
    assert producer.deliveries() == [Delivery("one", "c"), Delivery("two", "c")]
    producer.end()
    assert producer.ended
    assert texts(producer.deliveries(), "one") == [DONE_MESSAGE]


def test_a_request_after_the_end_is_answered():
    producer = HandshakeProducer()
    producer.append("ab")
    producer.end()
    producer.requested(ResumeRequest("late", 1).encode())
    assert texts(producer.deliveries(), "late") == ["b", DONE_MESSAGE]


def test_the_first_end_counts():
    producer = HandshakeProducer()
    producer.end()
    producer.end("too late")
    assert producer.failure is None


def test_a_failure_is_told_to_those_who_understand_it():
    """For all others the wire has no other end than DONE_MESSAGE."""
    producer = HandshakeProducer()
    producer.requested(ResumeRequest("ours", hears_failures=True).encode())
    producer.requested(ResumeRequest("node").encode())
    producer.end("it broke")
    sent = producer.deliveries()
    assert texts(sent, "ours") == ["", FAILED_MESSAGE + "it broke"]
    assert texts(sent, "node") == ["", DONE_MESSAGE]


@pytest.mark.parametrize("chunk", [DONE_MESSAGE, FAILED_MESSAGE, FAILED_MESSAGE + "x"])
def test_a_chunk_that_looks_like_an_end_is_none(chunk):
    producer = HandshakeProducer()
    producer.requested(ResumeRequest("one").encode())
    producer.append(chunk)
    parts = texts(producer.deliveries(), "one")
    assert "".join(parts) == chunk
    assert all(part != DONE_MESSAGE and not part.startswith(FAILED_MESSAGE) for part in parts)


def test_a_repeated_request_changes_nothing():
    producer = HandshakeProducer()
    producer.append("ab")
    for skip in (1, 0):
        producer.requested(ResumeRequest("one", skip).encode())
    assert texts(producer.deliveries(), "one") == ["b"]


def test_a_listener_that_has_left_is_forgotten():
    producer = HandshakeProducer()
    producer.requested(ResumeRequest("one").encode())
    producer.forget("one")
    producer.forget("unknown")
    assert producer.listeners == 0
    assert not producer.deliveries()


def test_listeners_are_limited():
    producer = HandshakeProducer(max_listeners=1)
    producer.requested(ResumeRequest("one").encode())
    producer.requested(ResumeRequest("two").encode())
    assert producer.listeners == 1


@pytest.mark.parametrize(
    ("chunk", "why"), [("a\ud83d", "surrogate at index 1"), ("123", "longer than 4")]
)
def test_what_cannot_be_published_is_refused(chunk, why):
    producer = HandshakeProducer(max_units=4)
    producer.append("ab")
    with pytest.raises(InvalidMessage, match=why):
        producer.append(chunk)
    assert producer.text.pieces == ["ab"]


# -- Requests -----------------------------------------------------------------------------------


@given(st.builds(ResumeRequest, st.text(min_size=1, max_size=9), st.integers(), st.booleans()))
def test_a_request_is_read_as_it_was_written(request):
    assert ResumeRequest.parse(request.encode()) == request


@pytest.mark.parametrize(
    "message",
    [
        "",
        "{",
        "null",
        "[]",
        '"text"',
        "{}",
        '{"listenerId": 5}',
        '{"listenerId": ""}',
        '{"listenerId": "\\ud800"}',
        '{"listenerId": "a", "skipCharacters": %s}' % ("9" * 5000),
        '{"listenerId": "%s"}' % ("a" * (MAX_LISTENER_ID + 1)),
        '{"listenerId": "a", "padding": "%s"}' % ("a" * MAX_REQUEST),
        "[" * MAX_REQUEST,
    ],
    ids=range(13),
)
def test_what_is_no_request_is_ignored(message):
    producer = HandshakeProducer()
    producer.requested(message)
    assert producer.listeners == 0


@pytest.mark.parametrize(
    ("skip", "text"),
    [
        (None, "abcd"),
        (0, "abcd"),
        (2, "cd"),
        (2.9, "cd"),
        (-1, "d"),
        (-9, "abcd"),
        (10**300, ""),
        (10**400, ""),
        (float("inf"), "abcd"),
        ("2", "abcd"),
        ([], "abcd"),
        ({}, "abcd"),
    ],
    ids=str,
)
def test_whatever_is_to_be_skipped(skip, text):
    """Negative numbers count from the end, as `slice` does; what is no number counts as 0."""
    producer = HandshakeProducer()
    producer.append("abcd")
    producer.requested(json.dumps({"listenerId": "not a UUID", "skipCharacters": skip, "new": 1}))
    producer.end()
    assert texts(producer.deliveries(), "not a UUID") == [text, DONE_MESSAGE]


@given(st.text(max_size=40) | st.recursive(st.none() | st.floats() | st.text(), st.lists))
def test_no_request_breaks_the_producer(request):
    producer = HandshakeProducer()
    producer.requested(request if isinstance(request, str) else json.dumps(request))
    producer.requested(json.dumps({"listenerId": "one", "skipCharacters": request}))
    assert producer.listeners == 1


# -- The words of the wire ----------------------------------------------------------------------


def test_the_words_of_the_wire():
    """What npm's resumable-stream 2.2.13 writes and reads."""
    assert SENTINEL_DONE == "DONE"
    assert DONE_MESSAGE == "\n\n\nDONE_SENTINEL_hasdfasudfyge374%$%^$EDSATRTYFtydryrte\n"
    assert json.loads(ResumeRequest("a", 7).encode()) == {
        "listenerId": "a",
        "skipCharacters": 7,
        "hearsFailures": False,
    }
