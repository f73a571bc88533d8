"""Numbers that callers hand in."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resumable_core import InvalidInput, check_seconds
from resumable_core._numbers import MAX_SECONDS, check_count

NONE = [True, None, "15", b"1", [], {}, 1j, math.nan, math.inf, -math.inf, -1, -0.1, 1e300, 10**400]


@given(st.floats(0, MAX_SECONDS, exclude_min=True) | st.integers(1, int(MAX_SECONDS)))
@example(MAX_SECONDS)
@example(5e-324)
def test_seconds_are_whatever_a_clock_can_count(value):
    check_seconds("lease", value)
    check_seconds("lease", value, zero=True)


@pytest.mark.parametrize("value", NONE, ids=range(len(NONE)))
def test_seconds_that_are_none_are_refused(value):
    """The refusal says what it is about, what was expected, and little of what came."""
    expected = (
        "^lease is a finite number of seconds above 0, a hundred years at most; or none; got "
    )
    with pytest.raises(InvalidInput, match=expected) as refusal:
        check_seconds("lease", value, hint="; or none")
    assert len(str(refusal.value)) < 200
    with pytest.raises(InvalidInput, match="seconds from 0 on"):
        check_seconds("lease", value, zero=True)


def test_no_time_at_all_has_to_be_allowed():
    check_seconds("keep", 0, zero=True)
    check_seconds("keep", 0.0, zero=True)
    with pytest.raises(InvalidInput, match="got 0"):
        check_seconds("keep", 0)


@given(st.integers(1))
@example(10**400)
def test_a_count_is_any_whole_number_from_1_on(value):
    check_count("count", value)


@pytest.mark.parametrize("value", [True, 0, -1, 1.0, 1e6, math.nan, "1", None], ids=repr)
def test_a_count_that_is_none_is_refused(value):
    with pytest.raises(InvalidInput, match=r"^count is a whole number, 1 at least; got "):
        check_count("count", value)
