"""What a change refuses to carry."""

import math

import pytest

from resumable_core import Claim, InvalidInput
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
