"""Messages refuse what nobody could receive; characters are counted over any cut."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resumable_core import RESERVED_TYPES, Event, EventId, InvalidMessage, Message
from resumable_core._records import byte_length, character_count, skip_characters
from resumable_core.testing import LONE_SURROGATES, bad_types, blobs, texts, types


@st.composite
def cut(draw, wholes):
    """Draw a whole in pieces, empty ones among them; bytes are cut anywhere in a character."""
    whole = draw(wholes)
    places = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    return [whole[a:b] for a, b in zip([0, *places], [*places, len(whole)], strict=True)]


pieces = cut(texts()) | cut(texts().map(str.encode))


def joined(pieces):
    """Return the whole of which the pieces are."""
    return pieces[0][:0].join(pieces)


def text_of(pieces):
    """Return the text of which the pieces are."""
    whole = joined(pieces)
    return whole if isinstance(whole, str) else whole.decode()


# Refusals


@given(texts() | blobs(), st.none() | types())
@example("", "x" * 255)
def test_a_message_takes_all_text_and_all_bytes(data, type):
    message = Message(data, type)
    assert (message.data, message.type) == (data, type)


@given(texts() | blobs(), bad_types())
@example("x", "")
@example("x", "end")
@example("x", "a\nb")
@example("x", "\r")
@example("x", "\0")
@example("x", "\ud800")
@example("x", "é" * 128)
def test_a_type_that_could_not_be_delivered_is_refused(data, type):
    """Law 11: no type can inject a field or a frame, or be taken for a notice of ours."""
    with pytest.raises(InvalidMessage, match="type"):
        Message(data, type)


@pytest.mark.parametrize("type", sorted(RESERVED_TYPES))
def test_the_refusal_names_the_reserved_type(type):
    with pytest.raises(InvalidMessage, match=re.escape(repr(type))):
        Message("x", type)


@given(texts(), st.sampled_from(LONE_SURROGATES), texts())
def test_data_with_a_lone_surrogate_is_refused(before, surrogate, after):
    """Law 11: what UTF-8 can't carry is refused before it is stored, and the place is named."""
    with pytest.raises(InvalidMessage, match=f"data .* index {len(before)}"):
        Message(before + surrogate + after)


@pytest.mark.parametrize("data", [None, 1, ["x"], bytearray(b"x"), memoryview(b"x")])
def test_data_that_is_neither_text_nor_bytes_is_refused(data):
    """What no framing can carry is refused before it is stored; bytes that can change, too."""
    with pytest.raises(InvalidMessage, match=f"data .* got {type(data).__name__}"):
        Message(data)


# Sizes


@given(texts() | blobs(), st.none() | types())
def test_sizes_are_those_of_the_wire(data, type):
    """Law 8: a size is what UTF-8 takes, so that limits in bytes are limits in bytes."""
    wire = data.encode() if isinstance(data, str) else data
    assert byte_length(data) == len(wire)
    assert Message(data, type).size == len(wire) + len((type or "").encode())


# Characters


@given(pieces)
def test_the_counts_of_the_pieces_sum_to_the_code_points(pieces):
    """Law 3, for characters: however a text is cut into events, each code point counts once."""
    assert sum(map(character_count, pieces)) == len(text_of(pieces))
    assert sum(Message(piece).characters for piece in pieces) == len(text_of(pieces))


@given(blobs(), blobs())
@example(b"\x80", b"\xff")
def test_the_counts_add_up_for_bytes_of_any_kind(a, b):
    """Law 3, for characters: a count does not depend on the cut, even of what is no UTF-8."""
    assert character_count(a) + character_count(b) == character_count(a + b)


@given(pieces, st.integers(0, 60))
@example([b"\xf0", b"\x9f\x98", b"\x80a"], 1)
@example([b"a", b"\xc3", b"\xa9b"], 1)
@example(["a", "", "b"], 1)
@example([b""], 0)
def test_what_a_skip_leaves_is_the_rest(pieces, count):
    """Law 3, for characters: the first n code points and what a skip of n leaves are the whole."""
    rest = text_of(pieces)[count:]
    left = []
    for piece in pieces:
        kept = piece if left else skip_characters(piece, count)
        count -= character_count(piece) - character_count(kept)
        if kept:
            left.append(kept)
    assert joined([pieces[0][:0], *left]) == (rest if isinstance(pieces[0], str) else rest.encode())


@given(blobs(), st.integers(0, 20))
def test_a_skip_cuts_bytes_of_any_kind_where_a_character_begins(data, count):
    """A skip leaves the end of what it was given, less as many characters as it was told."""
    rest = skip_characters(data, count)
    assert data.endswith(rest)
    assert character_count(rest) == max(0, character_count(data) - count)
    assert not rest or not 0x80 <= rest[0] < 0xC0


def test_the_text_of_an_event():
    id = EventId("a", 1)
    assert Event(id, "text").text == "text"
    with pytest.raises(TypeError, match="event a-1 holds bytes"):
        _ = Event(id, b"text").text
