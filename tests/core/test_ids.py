"""Event ids and positions, against their grammar written down a second time."""

from string import ascii_letters, digits

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resumable_core import (
    After,
    AtCharacter,
    Beginning,
    EventId,
    InvalidInput,
    InvalidPosition,
    InvalidStreamId,
    Live,
    Unreadable,
    check_epoch,
    check_stream_id,
    has_received,
    parse_last_event_id,
)
from resumable_core.testing import (
    LONE_SURROGATES,
    afters,
    almost_event_ids,
    bad_stream_ids,
    epochs,
    event_ids,
    stream_ids,
)

# Any text at all, with lone surrogates; and such that is nearly right, or about as long as allowed.
anything = st.one_of(
    almost_event_ids(),
    st.text(st.characters(), max_size=20),
    st.builds(lambda text, times: text * times, st.text(st.characters()), st.integers(0, 300)),
)


def read(text: str) -> After | Unreadable:
    """Say what a Last-Event-ID means, without a regular expression."""
    if len(text.encode("utf-8", "surrogatepass")) > 256:
        return Unreadable("oversized")
    epoch, dash, seq = text.removesuffix("-end").partition("-")
    if not (dash and seq and set(seq) <= set("0123456789")):
        return Unreadable("malformed")
    if not (1 <= len(epoch) <= 32 and set(epoch) <= set(ascii_letters + digits)):
        return Unreadable("malformed")
    if seq != str(int(seq)) or int(seq) >= 2**53:
        return Unreadable("malformed")
    return After(EventId(epoch, int(seq)), end=text.endswith("-end"))


@given(afters())
@example(After(EventId("end", 0), end=True))
def test_a_position_survives_its_text_form(position):
    """Law 3: the text form of a position reads as that position, in text and in bytes."""
    assert parse_last_event_id(str(position)) == position
    assert parse_last_event_id(str(position).encode()) == position


@given(event_ids())
def test_an_event_id_survives_its_text_form(id):
    """Law 3: the text form of an id reads as that id, and as the position after it."""
    assert EventId.parse(str(id)) == id
    assert parse_last_event_id(str(id)) == After(id)


@given(anything)
@example("")
@example("a")
@example("a-")
@example("-1")
@example("a-01")
@example("a--1")
@example("a-1\n")
@example("a-1-end-end")
@example("a-1-END")
@example("a-٣")
@example("a-9007199254740991")
@example("a-9007199254740992")
@example("a" * 32 + "-1")
@example("a" * 33 + "-1")
@example("a" * 256)
@example("a" * 257)
@example("é" * 128)
@example("é" * 129)
@example("\ud800" * 100)
def test_whatever_is_not_in_the_grammar_is_unreadable(text):
    """A Last-Event-ID is attacker input: it never raises, and only what is exact is right."""
    assert parse_last_event_id(text) == read(text)


@given(st.binary() | anything.map(lambda text: text.encode("utf-8", "surrogatepass")))
@example(b"a-\xb2")
@example(b"\xff" * 256)
@example(b"\xff" * 257)
def test_bytes_are_held_to_the_same_grammar(header):
    """A Last-Event-ID that arrives as bytes is read as ASCII, with the same bound."""
    if len(header) <= 256 and not header.isascii():
        assert parse_last_event_id(header) == Unreadable("malformed")
    else:
        assert parse_last_event_id(header) == read(header.decode("latin-1"))


@given(anything)
@example("a-1-end")
def test_only_an_event_id_is_an_event_id(text):
    """What is no event id is refused, the id of an end too; the message shows little of it."""
    match read(text):
        case After(id, end=False):
            assert EventId.parse(text) == id
        case _:
            with pytest.raises(InvalidPosition, match="expected epoch-seq") as refusal:
                EventId.parse(text)
            assert len(str(refusal.value)) < 1000


@given(epochs())
def test_an_epoch_is_accepted(epoch):
    check_epoch(epoch)


@given(anything)
@example("")
@example("a" * 33)
@example("a\n")
@example("٣")
def test_an_epoch_is_letters_and_digits(text):
    """No epoch can be mistaken for another part of an id, or of a key."""
    if 1 <= len(text) <= 32 and set(text) <= set(ascii_letters + digits):
        check_epoch(text)
    else:
        with pytest.raises(InvalidInput, match="1 to 32 ASCII letters and digits"):
            check_epoch(text)


@given(stream_ids())
@example("x" * 255)
@example("é" * 127)
@example("chat:{42} */../%0a")
def test_a_stream_id_is_accepted(stream_id):
    check_stream_id(stream_id)


@given(bad_stream_ids())
@example("a\u2028")
@example("\x7f")
def test_a_stream_id_that_some_backend_could_not_hold_is_refused(stream_id):
    with pytest.raises(InvalidStreamId) as refusal:
        check_stream_id(stream_id)
    assert len(str(refusal.value)) < 2000


@pytest.mark.parametrize(
    ("stream_id", "reason"),
    [
        (5, "is text, got int"),
        (b"x", "is text, got bytes"),
        ("", "got 0"),
        ("é" * 128, "got 256"),
        ("a\tb", "control"),
        (LONE_SURROGATES[0], "surrogate"),
    ],
)
def test_the_refusal_of_a_stream_id_says_why(stream_id, reason):
    with pytest.raises(InvalidStreamId, match=reason):
        check_stream_id(stream_id)


@given(st.integers())
@example(0)
@example(-1)
def test_a_character_offset_is_not_negative(offset):
    if offset >= 0:
        assert AtCharacter(offset).offset == offset
    else:
        with pytest.raises(InvalidPosition, match=str(offset)):
            AtCharacter(offset)


@pytest.mark.parametrize(
    ("position", "received"),
    [
        (Beginning(), False),
        (Live(), False),
        (AtCharacter(0), False),
        (AtCharacter(1), True),
        (After(EventId("a", 0)), True),
        (After(EventId("a", 5), end=True), True),
        (Unreadable("malformed"), True),
    ],
)
def test_who_has_received_something_never_starts_a_stream(position, received):
    """Law 4: a reconnecting client never starts the source again."""
    assert has_received(position) is received
