"""No two streams, applications or kinds of key share a name, whatever their ids contain."""

import re
from dataclasses import fields

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resumable_core import InvalidStreamId, check_stream_id
from resumable_core.testing import bad_stream_ids, stream_ids
from resumable_io.redis._keys import Keys, encoded, keys_of, sentinel_pattern, stream_id_of

KINDS = [field.name for field in fields(Keys)]
# What looks like a part of a name, or like its own encoding.
ODD = [
    "{",
    "}",
    ":",
    "%",
    "%7B",
    "%257B",
    "a}:log",
    "}:{",
    " ",
    "😀",
    "é",
    "e\u0301",
    "*",
    "[a]",
    "~",
]
texts = st.lists(st.sampled_from(ODD) | st.text(max_size=3), max_size=4).map("".join)
ids = texts.filter(lambda text: text and is_accepted(text))
prefixes = texts


def is_accepted(stream_id):
    try:
        check_stream_id(stream_id)
    except InvalidStreamId:
        return False
    return True


def names(prefix, stream_id):
    """Return all names of one stream."""
    keys = keys_of(prefix, stream_id)
    return [getattr(keys, kind) for kind in KINDS]


def hash_tag(key):
    """Return the part of a key that decides about its slot, as the cluster specification does."""
    start = key.find("{")
    end = key.find("}", start + 1)
    return key[start + 1 : end] if start >= 0 and end > start + 1 else key


@given(prefixes, ids, prefixes, ids)
@example("a", "b}:log", "a", "b")
@example("a:{b", "c", "a", "b:{c")
@example("", "a", "a", "")
@example("a", "%20", "a", " ")
@example("a", "\u00e9", "a", "e\u0301")
def test_no_two_streams_share_a_name(prefix, stream_id, other_prefix, other_id):
    """Law 11: no content can make a key that is another's."""
    shared = set(names(prefix, stream_id)) & set(names(other_prefix, other_id))
    assert bool(shared) == ((prefix, stream_id) == (other_prefix, other_id))


@given(prefixes, ids)
def test_no_two_kinds_share_a_name(prefix, stream_id):
    assert len(set(names(prefix, stream_id))) == len(KINDS) == 5


@given(prefixes, ids, prefixes)
@example("a", "home", "a")
def test_no_stream_is_at_home(prefix, stream_id, other_prefix):
    """The channel that the backend keeps for itself is no stream's."""
    assert f"{encoded(other_prefix)}:home" not in names(prefix, stream_id)


@given(prefixes, ids)
def test_the_hash_tag_is_the_encoded_id(prefix, stream_id):
    """All that belongs to one stream lies on one node of a cluster."""
    assert {hash_tag(name) for name in names(prefix, stream_id)} == {encoded(stream_id)}


@given(prefixes | ids)
def test_what_is_encoded_has_no_special_characters(text):
    """Neither those of our names, nor those of glob patterns, nor any that a shell or a log trips
    over.
    """
    assert re.fullmatch(r"[A-Za-z0-9_.%-]*", encoded(text))


@given(prefixes, stream_ids() | ids)
def test_the_id_can_be_read_from_the_key(prefix, stream_id):
    assert stream_id_of(prefix, keys_of(prefix, stream_id).sentinel) == stream_id


@given(prefixes, ids, prefixes)
@example("a", "x", "a*")
@example("ab", "x", "a?")
@example("a", "x", "[a]")
def test_the_pattern_finds_the_sentinels_of_one_application(prefix, stream_id, other):
    """A scan yields no log, and nothing of another application, whatever that calls itself."""
    pattern = re.compile(re.escape(sentinel_pattern(other)).replace(r"\*", ".*"), re.DOTALL)
    found = [name for name in names(prefix, stream_id) if pattern.fullmatch(name)]
    assert found == ([keys_of(prefix, stream_id).sentinel] if prefix == other else [])


@given(bad_stream_ids())
@example("a\nb")
@example("x" * 256)
@example("é" * 128)
@example("x" * 1000)
def test_no_key_is_asked_for_an_id_that_is_refused(stream_id):
    with pytest.raises(InvalidStreamId):
        check_stream_id(stream_id)


@pytest.mark.parametrize("stream_id", ["x" * 255, "é" * 127, "😀" * 63, "%" * 255])
def test_long_ids_make_long_names(stream_id):
    """A name has at most three times the bytes of its id, and so stays readable for an operator."""
    check_stream_id(stream_id)
    name = keys_of("resumable", stream_id).sentinel
    assert len(name) <= 3 * len(stream_id.encode()) + len("resumable:{}:sentinel")
    assert stream_id_of("resumable", name) == stream_id
