"""Retention is a floor, with one batch at most above it."""

import math
from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resumable_core import InvalidInput, Retention


@dataclass(frozen=True)
class Batch:
    count: int
    size: int
    time: float


limits = st.builds(
    Retention,
    count=st.integers(1, 20),
    bytes=st.integers(1, 20),
    age=st.none() | st.floats(0, 20, exclude_min=True),
)
NOW = 20.0


@st.composite
def grown(draw):
    """Draw the batches of a log, oldest first."""
    sizes = st.tuples(st.integers(1, 5), st.integers(0, 8))
    drawn = draw(st.lists(st.tuples(sizes, st.floats(0, NOW)), max_size=12))
    times = sorted(time for _, time in drawn)
    return [Batch(*size, time) for (size, _), time in zip(drawn, times, strict=True)]


def excess(retention, batches, now=NOW):
    count = sum(batch.count for batch in batches)
    return retention.excess(batches, count, sum(batch.size for batch in batches), now)


def asked_for(retention, batches, index):
    """Say whether every limit asks for something of a batch: it is new enough by all three."""
    newer = batches[index + 1 :]
    return (
        sum(batch.count for batch in newer) < retention.count
        and sum(batch.size for batch in newer) < retention.bytes
        and (retention.age is None or NOW - batches[index].time <= retention.age)
    )


@given(limits, grown())
@example(Retention(count=1), [Batch(1, 0, 0.0), Batch(1, 0, 1.0)])
@example(Retention(bytes=1), [Batch(1, 1, 0.0), Batch(1, 0, 1.0), Batch(1, 0, 2.0)])
@example(Retention(age=20.0), [Batch(1, 1, 0.0), Batch(1, 1, 20.0)])
def test_what_every_limit_asks_for_stays(retention, batches):
    """The floor: nothing goes that is within the count, the bytes and the age."""
    dropped = excess(retention, batches)
    assert not any(asked_for(retention, batches, index) for index in range(dropped))


@given(limits, grown())
@example(Retention(age=1.0), [Batch(1, 1, 0.0), Batch(1, 1, 0.0), Batch(1, 1, 0.0)])
def test_at_most_one_batch_more_than_asked_stays(retention, batches):
    """Law 8: a log without its oldest batch is below every limit."""
    _, *newer = batches[excess(retention, batches) :] or [None]
    assert not newer or sum(batch.count for batch in newer) < retention.count
    assert not newer or sum(batch.size for batch in newer) < retention.bytes
    if retention.age is not None:
        assert all(NOW - batch.time <= retention.age for batch in newer[:-1])


@given(limits, grown(), st.floats(0, 1000))
@example(Retention(count=1, bytes=1, age=1.0), [Batch(5, 8, 0.0)], 1000.0)
def test_the_newest_batch_stays(retention, batches, later):
    """What was just appended can be read, however large it is; an empty log drops nothing."""
    assert 0 <= excess(retention, batches, NOW + later) <= max(0, len(batches) - 1)


@given(limits, grown())
def test_what_goes_is_what_a_naive_count_says(retention, batches):
    """Batches go from the oldest on, up to the first that is asked for; the newest stays."""
    naive = 0
    while naive < len(batches) - 1 and not asked_for(retention, batches, naive):
        naive += 1
    assert excess(retention, batches) == naive


@given(limits, grown())
def test_what_is_trimmed_is_trimmed(retention, batches):
    """Trimming what has been trimmed drops nothing more."""
    assert excess(retention, batches[excess(retention, batches) :]) == 0


@pytest.mark.parametrize("value", [0, -1, 1e6, True, "5", math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["count", "bytes"])
def test_a_limit_is_a_whole_number(name, value):
    """What a store reads back has to be what was written: it takes floats for foreign data."""
    with pytest.raises(InvalidInput, match=f"{name} is a whole number, 1 at least; got {value!r}"):
        Retention(**{name: value})


@pytest.mark.parametrize("value", [0, -1, "5", 1e300, math.nan, math.inf])
def test_an_age_is_a_time(value):
    with pytest.raises(InvalidInput, match="age is a finite number of seconds above 0"):
        Retention(age=value)


@pytest.mark.parametrize("value", [-1, -0.1, None, 1e300, math.nan, math.inf])
def test_the_time_to_keep_is_a_time_or_none_at_all(value):
    with pytest.raises(InvalidInput, match="keep is a finite number of seconds from 0 on"):
        Retention(keep=value)


def test_the_defaults_are_those_that_are_stated():
    assert Retention() == Retention(100_000, 64 * 1024 * 1024, None, 60 * 60)


@given(st.integers(1), st.integers(1), st.none() | st.floats(0, 1e9, exclude_min=True))
@example(10**400, 10**400, None)
def test_every_other_limit_is_accepted(count, bytes, age):
    retention = Retention(count, bytes, age, keep=0)
    assert (retention.count, retention.bytes, retention.age) == (count, bytes, age)
