"""What a change refuses to carry."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resumable_core import (
    Claim,
    Finish,
    InvalidInput,
    Message,
    Outcome,
    Publication,
    Stop,
    Takeover,
)
from resumable_core._changes import MAX_METADATA_BYTES, MAX_REASON_BYTES


def test_metadata_comes_along():
    """A claim carries small JSON of the application."""
    assert Claim("a", 15.0, metadata={"owner": "ada", "n": [1, None]}).metadata["owner"] == "ada"


@pytest.mark.parametrize("value", [object(), math.nan, b"bytes", {1, 2}])
def test_metadata_is_what_json_can_say(value):
    """Law 8, and nothing that a store could not keep."""
    with pytest.raises(InvalidInput, match="JSON"):
        Claim("a", 15.0, metadata={"x": value})


def test_metadata_that_holds_itself_is_refused():
    """A cycle has no text form."""
    cycle: dict[str, object] = {}
    cycle["self"] = cycle
    with pytest.raises(InvalidInput, match="JSON"):
        Claim("a", 15.0, metadata=cycle)


def test_metadata_is_small():
    """Law 8: it is carried by every sentinel."""
    fits = "x" * (MAX_METADATA_BYTES - len('{"x": ""}'))
    Claim("a", 15.0, metadata={"x": fits})
    with pytest.raises(InvalidInput, match="4096"):
        Claim("a", 15.0, metadata={"x": fits + "x"})


@pytest.mark.parametrize("metadata", [[1], "x", 5, None], ids=repr)
def test_metadata_is_a_mapping(metadata):
    with pytest.raises(InvalidInput, match="metadata is a mapping, got"):
        Claim("a", 15.0, metadata=metadata)


def test_a_choice_for_lost_streams_that_is_none_is_refused():
    with pytest.raises(InvalidInput, match="refuse, restart or continue; got 'x'"):
        Takeover("x")


@pytest.mark.parametrize("lease", [1e300, "15", 0.0, -1.0, math.inf, math.nan])
def test_a_lease_ends_some_time(lease):
    """Law 7: nobody waits for ever for a producer."""
    with pytest.raises(InvalidInput, match="lease"):
        Claim("a", lease)


def test_a_producer_does_not_stop_itself():
    with pytest.raises(InvalidInput, match="Stop"):
        Finish("a", Outcome.STOPPED, 0)


def test_a_reason_is_short():
    """Law 8: it is carried by every sentinel."""
    fits = "é" * (MAX_REASON_BYTES // 2)
    assert Stop(fits).reason == fits
    assert Stop().reason is None
    with pytest.raises(InvalidInput, match="at most 4096 bytes of UTF-8, got 4098"):
        Stop(fits + "é")


@pytest.mark.parametrize("reason", [5, b"enough", "\ud800"], ids=["int", "bytes", "surrogate"])
def test_a_reason_is_text(reason):
    with pytest.raises(InvalidInput, match=r"is text, got (int|bytes)|surrogate"):
        Stop(reason)


def test_there_need_not_be_an_error():
    assert Finish("a", Outcome.DONE, 0).error is None


@given(st.text(st.characters(), max_size=10), st.integers(0, 2000))
@example("é", MAX_REASON_BYTES // 2)
@example("é", MAX_REASON_BYTES)
@example("\ud800", MAX_REASON_BYTES)
def test_an_error_is_cut(text, times):
    """Law 7: whatever a source has to say about its failure, its end is told."""
    error = text * times
    cut = Finish("a", Outcome.FAILED, 0, error).error
    size = len(cut.encode())
    assert size <= MAX_REASON_BYTES
    whole = error.encode(errors="replace").decode()
    assert cut == whole or (whole.startswith(cut.removesuffix("…")) and size > MAX_REASON_BYTES - 4)


@pytest.mark.parametrize(("key", "to"), [(5, None), ("k", [5]), ("k", [b"ann"])], ids=repr)
def test_a_key_and_a_recipient_are_text(key, to):
    with pytest.raises(InvalidInput, match=r"a (key|recipient) is text, got (int|bytes)"):
        Publication(Message("x"), key, to if to is None else frozenset(to))
