"""What a change refuses to carry."""

import math

import pytest

from resumable_core import Claim, Finish, InvalidInput, Outcome
from resumable_core._changes import MAX_METADATA_BYTES


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


@pytest.mark.parametrize("lease", [0.0, -1.0, math.inf, math.nan])
def test_a_lease_ends_some_time(lease):
    """Law 7: nobody waits for ever for a producer."""
    with pytest.raises(InvalidInput, match="lease"):
        Claim("a", lease)


def test_a_producer_does_not_stop_itself():
    with pytest.raises(InvalidInput, match="Stop"):
        Finish("a", Outcome.STOPPED, 0)
