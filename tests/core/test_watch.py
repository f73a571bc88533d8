"""When a store was watched without a break, and when it was not."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resumable_core import Sentinel, State, Watch

LATE = 1.0
"""Seconds."""

begins = st.floats(0, 1e9)
pauses = st.floats(0, 1e5)


@given(
    now=begins, time=begins, steps=st.lists(st.tuples(pauses, st.floats(-LATE, LATE)), max_size=9)
)
def test_a_clock_that_drifts_is_no_break(now, time, steps):
    """Law 7: a dead producer is found, however inexact both clocks are."""
    watch = Watch()
    for pause, drift in steps:
        watch.told(time, now)
        now, time = now + pause, time + pause + drift * 0.99
    assert watch.since == -math.inf


@given(now=begins, time=begins, pause=pauses, jump=st.floats(1.01, 1e6).map(LATE.__mul__))
def test_a_jump_forward_is_a_break_and_one_backward_is_none(now, time, pause, jump):
    """Law 7: nobody alive is lost by it; it is a break once, and not for as long as it lasts."""
    watch = Watch()
    watch.told(time, now)
    now += pause
    watch.told(time + pause + jump, now)
    assert watch.since == now
    watch.told(time + pause + jump, now + 0.5)
    watch.told(time + pause, now + 0.5)
    assert watch.since == now


@pytest.mark.parametrize(("took", "since"), [(LATE, -math.inf), (LATE + 0.5, 6.5)])
def test_a_store_that_has_to_be_waited_for_is_a_break(took, since):
    watch = Watch()
    watch.waited(5.0, 5.0 + took)
    assert watch.since == since


@pytest.mark.parametrize(
    ("state", "took", "since"),
    [
        (State.ACTIVE, 5.0, -math.inf),
        (State.ACTIVE, 5.5, 10.5),
        (State.LOST, 5.5, -math.inf),
    ],
)
def test_an_answer_for_which_a_producer_would_miss_a_renewal_is_a_break(state, took, since):
    """Law 7: where nobody produces, nobody is judged by it."""
    watch = Watch()
    watch.answered(Sentinel(state, lease=15.0), 5.0, 5.0 + took)
    assert watch.since == since


def test_a_break_that_is_noticed_holds_until_the_next():
    watch = Watch()
    watch.broken(3.0)
    watch.waited(3.0, 4.0)
    assert watch.since == 3.0
    watch.broken(7.0)
    assert watch.since == 7.0
