"""Token buckets: no more than rate and burst allow, no less, and none is kept for ever."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resumable_core import InvalidInput, TokenBucket, TokenBuckets

rates = st.floats(0.01, 1000)
bursts = st.integers(1, 50) | st.floats(1, 50)
begins = st.floats(0, 1e9)
pauses = st.lists(st.floats(0, 10) | st.just(0.0), max_size=60)


def moments(begin, pauses):
    """Return when it is asked, as a clock tells it."""
    now = begin
    for pause in pauses:
        now += pause
        yield now


@given(rate=rates, burst=bursts, begin=begins, pauses=pauses)
def test_no_time_sees_more_than_the_burst_and_the_rate(rate, burst, begin, pauses):
    """Whatever span of time one looks at, it has at most `burst + rate * span` grants."""
    bucket = TokenBucket(rate, burst)
    granted = [now for now in moments(begin, pauses) if bucket.take(now) == 0]
    for first, start in enumerate(granted):
        for last, end in enumerate(granted[first:], start=first):
            assert last - first + 1 <= burst + rate * (end - start) + rate * 1e-4


@given(rate=rates, burst=bursts, begin=begins, pauses=pauses)
@example(rate=0.1, burst=1, begin=1e9, pauses=[0.0, 0.0])
def test_who_waits_as_long_as_was_said_is_granted(rate, burst, begin, pauses):
    """The time that is returned suffices, and nobody who asks earlier is granted."""
    bucket = TokenBucket(rate, burst)
    now = begin
    for pause in pauses:
        now = max(now, begin) + pause
        while wait := bucket.take(now):
            assert 0 < wait <= 1 / rate * (1 + 1e-6) + 1e-6
            assert bucket.take(now + wait / 2) > 0 or wait < 1e-5
            now += wait


@given(rate=rates, burst=st.integers(1, 50), begin=begins)
def test_a_burst_is_granted_at_once_and_no_more(rate, burst, begin):
    bucket = TokenBucket(rate, burst)
    assert [bucket.take(begin) for _ in range(burst)] == [0.0] * burst
    assert bucket.take(begin) > 0
    assert bucket.full_at - begin == pytest.approx(burst / rate, abs=1e-6)


def test_a_clock_that_goes_back_grants_nothing():
    bucket = TokenBucket(1, 1)
    assert bucket.take(100) == 0
    assert bucket.take(50) == pytest.approx(1)


@given(
    rate=rates,
    burst=bursts,
    begin=begins,
    asked=st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 10)), max_size=60),
)
def test_everybody_has_a_bucket_of_their_own(rate, burst, begin, asked):
    """What is forgotten makes no difference: each is granted what a bucket kept for ever grants."""
    buckets, kept, now = TokenBuckets(rate, burst), {}, begin
    for key, pause in asked:
        now += pause
        bucket = kept.setdefault(key, TokenBucket(rate, burst))
        assert buckets.take(key, now) == bucket.take(now)


def test_who_is_granted_nothing_takes_no_memory_and_who_was_is_forgotten():
    """Memory is bounded by the tokens of the last `burst / rate` seconds."""
    buckets = TokenBuckets(rate=2, burst=4)
    for second in range(1000):
        for number in range(5):
            assert buckets.take((second, number), float(second)) == 0
        for _ in range(10):
            buckets.take((second, 0), float(second))
        assert len(buckets) <= 5 * (4 / 2 + 1)
    buckets.take("last", 2000.0)
    assert len(buckets) == 1


@pytest.mark.parametrize("rate", [0, -1, math.inf, math.nan])
def test_a_rate_that_is_none_is_refused(rate):
    for kind in (TokenBucket, TokenBuckets):
        with pytest.raises(InvalidInput, match="rate"):
            kind(rate, 1)


@pytest.mark.parametrize("burst", [0, 0.5, math.inf, math.nan])
def test_a_burst_that_is_none_is_refused(burst):
    for kind in (TokenBucket, TokenBuckets):
        with pytest.raises(InvalidInput, match="burst"):
            kind(1, burst)
