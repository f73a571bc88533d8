"""The lifecycle table, pair by pair, and the guards around it."""

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import assume, given, reject
from hypothesis import strategies as st

from resumable_core import (
    ABSENT,
    TABLE,
    Append,
    Claim,
    Delete,
    Expire,
    Fenced,
    Finish,
    Input,
    Lineage,
    Message,
    Observe,
    Outcome,
    Publication,
    Publish,
    Recover,
    Refusal,
    Renew,
    Retention,
    State,
    Stop,
    StreamError,
    StreamExists,
    StreamNotFound,
    Takeover,
    input_of,
    is_startable,
    is_told,
    transition,
)
from resumable_core._lineage import LINEAGE_LIMIT
from resumable_core.testing import append, notices, pauses, plans, sentinels

LEASE = 10.0
KEEP = 100.0
CLAIM = Claim("a", LEASE, Retention(keep=KEEP), {"user": 7})

# A stream in every state; whatever happened to it was over at 1.
ACTIVE = transition(transition(ABSENT, CLAIM, 0.0), append("a", 1, [Message("x")] * 3), 1.0)
STREAMS = {
    State.ABSENT: ABSENT,
    State.ACTIVE: ACTIVE,
    State.DONE: transition(ACTIVE, Finish("a", Outcome.DONE, 3), 1.0),
    State.FAILED: transition(ACTIVE, Finish("a", Outcome.FAILED, 3, "no"), 1.0),
    State.STOPPED: transition(ACTIVE, Stop("enough"), 1.0),
    State.LOST: transition(ACTIVE, Finish("a", Outcome.LOST, 3), 1.0),
    State.DELETED: transition(ACTIVE, Delete(), 1.0),
    State.OPEN: transition(
        ABSENT, Publish("a", (Publication(Message("x"), "k"),), Retention(keep=KEEP)), 1.0
    ),
}
ENDED = [State.DONE, State.FAILED, State.STOPPED, State.LOST]

# For every input a change to which no guard objects: it comes from the producer, at the right time,
# and with the permission that it needs.
CHANGES = {
    Input.CLAIM: (Claim("b", LEASE, replaces="a"), 2.0),
    Input.APPEND: (append("a", 4, [Message("y")]), 2.0),
    Input.RENEW: (Renew("a"), 2.0),
    Input.FINISH: (Finish("a", Outcome.DONE, 3), 2.0),
    Input.FAIL: (Finish("a", Outcome.FAILED, 3, "no"), 2.0),
    Input.RELEASE: (Finish("a", Outcome.LOST, 3), 2.0),
    Input.STOP: (Stop("enough"), 2.0),
    Input.LEASE_EXPIRED: (Observe(), 1.0 + LEASE),
    Input.RECOVER: (Recover("a", ACTIVE.lineage, 3, 3, LEASE, CLAIM.retention, {}), 2.0),
    Input.EXPIRE: (Expire(), 1.0 + LEASE + KEEP),
    Input.DELETE: (Delete(), 2.0),
    Input.PUBLISH: (Publish("b", (Publication(Message("y"), "k"),), Retention()), 2.0),
}
REPEATS = {
    (State.DONE, Input.FINISH),
    (State.FAILED, Input.FAIL),
    (State.LOST, Input.RELEASE),
}
ERRORS = {
    Refusal.NOT_FOUND: StreamNotFound,
    Refusal.EXISTS: StreamExists,
    Refusal.FENCED: Fenced,
}
PAIRS = [*itertools.product(State, Input)]


# The table


@pytest.mark.parametrize(("state", "input_"), PAIRS)
def test_every_pair_does_what_the_table_says(state, input_):
    """Every pair of state and input leads to the table's state, or is refused as the table says."""
    sentinel, (change, now) = STREAMS[state], CHANGES[input_]
    assert (sentinel.state, input_of(change)) == (state, input_)
    target = TABLE[state][input_]
    if (state, input_) in REPEATS:
        assert target is Refusal.FENCED  # for the end of another claim
        assert transition(sentinel, change, now) is sentinel
    elif isinstance(target, Refusal):
        with pytest.raises(ERRORS[target]):
            transition(sentinel, change, now)
    else:
        after = transition(sentinel, change, now)
        assert after.state is target
        if target is state is not State.ACTIVE and input_ is not Input.PUBLISH:
            assert after is sentinel


def test_the_table_is_whole():
    assert {(state, input_) for state in TABLE for input_ in TABLE[state]} == set(PAIRS)


@pytest.mark.parametrize(("state", "input_"), PAIRS)
def test_a_stream_comes_to_life_by_a_claim_or_by_its_producer(state, input_):
    """Law 4: only a claim makes a producer; only one that was forgotten can come back."""
    if TABLE[state][input_] is State.ACTIVE and state is not State.ACTIVE:
        assert input_ is Input.CLAIM or (state, input_) == (State.ABSENT, Input.RECOVER)


@pytest.mark.parametrize(("state", "input_"), PAIRS)
def test_a_stream_ends_once_in_the_table(state, input_):
    """Law 5: an outcome comes from a stream that is active, and does not become another."""
    target = TABLE[state][input_]
    if target in ENDED:
        assert state in {State.ACTIVE, target}


@pytest.mark.parametrize("state", State)
def test_every_state_is_left_in_time(state):
    """Law 7: nothing stays for ever; an abandoned stream is lost, and then gone."""
    assert TABLE[state][Input.EXPIRE] is State.ABSENT
    assert STREAMS[state].expires_at < math.inf or state is State.ABSENT
    assert TABLE[State.ACTIVE][Input.LEASE_EXPIRED] is State.LOST


@pytest.mark.parametrize("state", State)
def test_only_what_is_there_has_an_outcome(state):
    sentinel = STREAMS[state]
    assert sentinel.known == (state not in {State.ABSENT, State.DELETED})
    assert sentinel.outcome == (Outcome(state) if state in ENDED else None)


# Laws


@given(sentinels(), plans(), pauses())
def test_a_repeated_change_changes_nothing(reached, plan, pause):
    """Law 6: any change twice is as any change once; what comes late can only renew the lease."""
    sentinel, now = reached
    change = plan.aimed_at(sentinel)
    try:
        once = transition(sentinel, change, now)
    except StreamError:
        reject()
    assert transition(once, change, now) == once
    if now + pause < min(once.expires_at, once.lease_until):
        twice = transition(once, change, now + pause)
        if isinstance(change, Renew):
            twice = replace(twice, lease_until=once.lease_until, expires_at=once.expires_at)
        assert twice == once


@given(sentinels(), st.sampled_from([*"abcdefz"]), notices(), st.integers(0, 5))
def test_a_foreign_epoch_changes_nothing(reached, epoch, error, last_seq):
    """Law 4: whoever does not hold the stream, or holds it no more, is fenced."""
    sentinel, now = reached
    assume(sentinel.known and epoch != sentinel.epoch and now < sentinel.expires_at)
    for change in (
        Renew(epoch),
        append(epoch, last_seq + 1, [Message("x")]),
        Finish(epoch, Outcome.DONE, last_seq),
        Finish(epoch, Outcome.FAILED, last_seq, error),
        Finish(epoch, Outcome.LOST, last_seq, error),
        Recover(epoch, Lineage.starting(epoch), last_seq, 0, LEASE, Retention(), {}),
    ):
        with pytest.raises(Fenced):
            transition(sentinel, change, now)


@given(sentinels(), st.sampled_from(ENDED), plans(), pauses())
def test_a_stream_ends_once(reached, state, plan, pause):
    """Law 5: how a stream ended stands until it is claimed, deleted or forgotten."""
    sentinel, now = reached if reached[0].outcome else (STREAMS[state], 2.0)
    change = plan.aimed_at(sentinel)
    assume(sentinel.outcome is not None and now + pause < sentinel.expires_at)
    assume(not isinstance(change, Claim | Delete))
    try:
        assert transition(sentinel, change, now + pause) is sentinel
    except Fenced:
        assert isinstance(change, Append | Renew | Finish | Recover)


@given(sentinels(), plans(), pauses())
def test_a_log_only_grows(reached, plan, pause):
    """Law 1: while a log is the same, its last seq, its characters and its lineage never shrink."""
    sentinel, now = reached
    try:
        after = transition(sentinel, plan.aimed_at(sentinel), now + pause)
    except StreamError:
        reject()
    if now + pause < sentinel.expires_at and after.lineage.same_log(sentinel.lineage):
        assert after.last_seq >= sentinel.last_seq
        assert after.characters >= sentinel.characters
        assert after.lineage.epochs[: len(sentinel.lineage.epochs)] == sentinel.lineage.epochs


@given(sentinels())
def test_the_epoch_is_the_last_of_its_lineage(reached):
    """Law 3: every claim of a log is in its lineage, once, so that an id names one place."""
    sentinel, _ = reached
    assume(sentinel.known)
    epochs = [epoch for epoch, _ in sentinel.lineage.epochs]
    assert epochs[-1] == sentinel.epoch
    assert len({*epochs}) == len(epochs)


# Append and finish


@pytest.mark.parametrize(
    ("first_seq", "data", "last_seq", "characters"),
    [
        (4, ["y", "é😀"], 5, 6),  # behind the last one
        (3, ["x", "y", b"\xc3\xa9"], 5, 5),  # overlapping it
        (1, ["x", "x", "x", "y"], 4, 4),
        (1, ["x", "x", "x"], 3, 3),  # a repeat
        (2, ["x"], 3, 3),  # a late one
        (5, ["y"], 3, 3),  # the store has lost something
        (4, [], 3, 3),
    ],
)
def test_an_append_adds_what_the_log_does_not_hold(first_seq, data, last_seq, characters):
    """Law 6: messages that the log holds are passed over, and none is let through behind a hole."""
    change = append("a", first_seq, map(Message, data))
    after = transition(ACTIVE, change, 2.0)
    assert (after.last_seq, after.characters) == (last_seq, characters)
    assert (after is ACTIVE) == (last_seq == 3)
    assert transition(after, change, 3.0) is after


@pytest.mark.parametrize("outcome", [Outcome.DONE, Outcome.FAILED, Outcome.LOST])
def test_a_stream_that_has_lost_its_tail_does_not_finish(outcome):
    """Law 2: an end never hides events that the store has lost."""
    assert transition(ACTIVE, Finish("a", outcome, 4), 2.0) is ACTIVE
    after = transition(ACTIVE, Finish("a", outcome, 3, "why"), 2.0)
    assert (after.outcome, after.error, after.expires_at) == (outcome, "why", 2.0 + KEEP)


@pytest.mark.parametrize("state", ENDED)
def test_the_end_of_one_outcome_is_no_repeat_of_another(state):
    """Law 5: whoever ends a stream a second time, and otherwise, is told so."""
    for outcome in {Outcome.DONE, Outcome.FAILED, Outcome.LOST} - {Outcome(state)}:
        with pytest.raises(Fenced, match=f"the stream is {state}"):
            transition(STREAMS[state], Finish("a", outcome, 3), 2.0)


# Time


@pytest.mark.parametrize(
    ("connected_for", "now", "lost"),
    [
        (math.inf, 10.9, False),
        (math.inf, 11.0, True),
        (LEASE, 11.0, True),
        (9.9, 11.0, False),
        (0.0, 50.0, False),
    ],
)
def test_a_producer_is_lost_when_it_was_watched_for_a_lease(connected_for, now, lost):
    """Law 7: a lease that has run out is recorded, but not by one who has only just connected."""
    after = transition(ACTIVE, Observe(connected_for), now)
    if lost:
        assert after.state is State.LOST
        assert "lease" in after.error
        assert after.expires_at == now + KEEP
    else:
        assert after is ACTIVE


def test_a_late_producer_lives_on_until_it_is_recorded_as_lost():
    """Law 7: before the loss is recorded a sign of life counts; afterwards it is fenced."""
    late = transition(ACTIVE, Renew("a"), 100.0)
    assert (late.state, late.lease_until) == (State.ACTIVE, 100.0 + LEASE)
    lost = transition(ACTIVE, Observe(), 100.0)
    with pytest.raises(Fenced):
        transition(lost, Renew("a"), 100.0)


@pytest.mark.parametrize("change", [CHANGES[Input.RENEW][0], CHANGES[Input.APPEND][0]])
def test_a_sign_of_life_renews_the_lease(change):
    after = transition(ACTIVE, change, 5.0)
    assert (after.lease_until, after.expires_at) == (5.0 + LEASE, 5.0 + LEASE + KEEP)


@pytest.mark.parametrize("state", [*ENDED, State.ACTIVE, State.DELETED])
def test_a_record_is_kept_as_long_as_promised(state):
    """What is still to be kept does not expire, whoever says so; afterwards it is not there."""
    sentinel = STREAMS[state]
    until = 1.0 + KEEP + (LEASE if state is State.ACTIVE else 0.0)
    assert sentinel.expires_at == until
    assert transition(sentinel, Expire(), until - 0.1) is sentinel
    assert transition(sentinel, Expire(), until) is ABSENT
    assert transition(sentinel, Observe(), until) is ABSENT
    with pytest.raises(StreamNotFound):
        transition(sentinel, Stop(), until)


@pytest.mark.parametrize("state", [State.DONE, State.ACTIVE, State.DELETED])
def test_a_claim_finds_no_stream_where_the_record_has_expired(state):
    """Law 7: an id can be claimed again when its time is over, without any permission."""
    after = transition(STREAMS[state], Claim("b", LEASE), 1.0 + LEASE + KEEP)
    assert (after.state, after.epoch, after.last_seq) == (State.ACTIVE, "b", 0)


def test_a_stop_that_names_an_epoch_leaves_what_has_taken_its_place():
    """Law 4: it ends the stream that was meant, also when that one was taken over since."""
    lost = STREAMS[State.LOST]
    anew = transition(lost, Claim("b", LEASE, on_lost=Takeover.RESTART), 2.0)
    assert transition(anew, Stop(epoch="a"), 3.0) is anew
    taken_over = transition(lost, Claim("b", LEASE, on_lost=Takeover.CONTINUE), 2.0)
    for epoch in ("a", "b", None):
        assert transition(taken_over, Stop(epoch=epoch), 3.0).state is State.STOPPED


def test_who_follows_is_told_of_another_state_and_of_another_claim():
    """Law 3: and not of each event and each renewal."""
    renewed = transition(ACTIVE, Renew("a"), 2.0)
    assert not is_told(ACTIVE, renewed)
    assert is_told(renewed, transition(renewed, Stop(), 3.0))
    lost = STREAMS[State.LOST]
    anew = transition(lost, Claim("b", LEASE, on_lost=Takeover.CONTINUE), 2.0)
    assert is_told(ACTIVE, anew)


# Claims


def test_a_claim_holds_what_it_came_with():
    """Law 4: whoever claims is the producer, from the first seq on."""
    after = transition(ABSENT, CLAIM, 5.0)
    assert (after.state, after.epoch, after.lineage) == (State.ACTIVE, "a", Lineage.starting("a"))
    assert (after.last_seq, after.characters, after.error) == (0, 0, None)
    assert (after.retention, after.metadata) == (CLAIM.retention, CLAIM.metadata)
    assert (after.lease_until, after.expires_at) == (5.0 + LEASE, 5.0 + LEASE + KEEP)


@pytest.mark.parametrize("state", [State.ACTIVE, *ENDED, State.DELETED])
@pytest.mark.parametrize("claim", [CLAIM, replace(CLAIM, on_lost=Takeover.RESTART, replaces="a")])
def test_a_repeated_claim_is_recognised_whatever_has_become_of_the_stream(state, claim):
    """Law 6: a claim that has taken effect starts nothing a second time, not even after its end."""
    assert transition(STREAMS[state], claim, 2.0) is STREAMS[state]


@pytest.mark.parametrize("on_lost", Takeover)
@pytest.mark.parametrize("state", [State.DONE, State.FAILED, State.STOPPED])
def test_a_stream_that_has_ended_is_not_claimed_without_being_named(state, on_lost):
    """Law 4: a stream that has ended is started anew only by who says which one it replaces."""
    with pytest.raises(StreamExists, match="name the epoch"):
        transition(STREAMS[state], Claim("b", LEASE, on_lost=on_lost), 2.0)


@pytest.mark.parametrize("state", ENDED)
def test_two_clicks_on_retry_make_one(state):
    """Law 4: of two restarts of one stream the first wins, and the other learns of it."""
    first = transition(STREAMS[state], Claim("b", LEASE, replaces="a"), 2.0)
    assert (first.state, first.epoch, first.last_seq) == (State.ACTIVE, "b", 0)
    assert (first.lineage, first.characters) == (Lineage.starting("b"), 0)
    with pytest.raises(StreamExists):
        transition(first, Claim("c", LEASE, replaces="a"), 3.0)
    done = transition(first, Finish("b", Outcome.DONE, 0), 4.0)
    with pytest.raises(StreamExists, match="names epoch a, but the current one is b"):
        transition(done, Claim("c", LEASE, replaces="a"), 5.0)


def test_an_active_stream_is_not_claimed():
    """Law 4: nobody takes a stream from a producer that is alive, not even by name."""
    for claim in (Claim("b", LEASE), Claim("b", LEASE, on_lost=Takeover.RESTART, replaces="a")):
        with pytest.raises(StreamExists, match="being produced"):
            transition(ACTIVE, claim, 10.9)


def test_a_lost_stream_is_left_alone_by_default():
    with pytest.raises(StreamExists, match="the stream is lost"):
        transition(STREAMS[State.LOST], Claim("b", LEASE), 2.0)


def test_a_lost_stream_is_restarted():
    after = transition(STREAMS[State.LOST], Claim("b", LEASE, on_lost=Takeover.RESTART), 2.0)
    assert (after.state, after.epoch, after.last_seq, after.characters) == (State.ACTIVE, "b", 0, 0)
    assert after.lineage == Lineage.starting("b")


def test_a_lost_stream_is_continued():
    """Law 3: a takeover goes on behind what was kept, under ids of its own."""
    claim = Claim("b", 5.0, Retention(count=7), {"user": 8}, on_lost=Takeover.CONTINUE)
    after = transition(STREAMS[State.LOST], claim, 2.0)
    assert (after.state, after.epoch, after.last_seq, after.characters) == (State.ACTIVE, "b", 3, 3)
    assert after.lineage == ACTIVE.lineage.grown("b", 4)
    assert (after.retention, after.metadata, after.error) == (claim.retention, {"user": 8}, None)
    assert after.lease_until == 7.0
    assert transition(after, claim, 3.0) is after


def test_a_claim_takes_over_from_a_producer_whose_lease_has_run_out():
    """Law 7: a claim observes first, with the same care as any observer."""
    claim = Claim("b", LEASE, on_lost=Takeover.CONTINUE)
    assert transition(ACTIVE, claim, 11.0).lineage == ACTIVE.lineage.grown("b", 4)
    with pytest.raises(StreamExists, match="being produced"):
        transition(ACTIVE, claim, 10.9)
    with pytest.raises(StreamExists, match="being produced"):
        transition(ACTIVE, replace(claim, connected_for=LEASE - 0.1), 11.0)


@pytest.mark.parametrize("end", [None, Finish("b", Outcome.LOST, 3), Finish("b", Outcome.DONE, 3)])
@pytest.mark.parametrize(
    "claim",
    [replace(CLAIM, on_lost=on_lost) for on_lost in Takeover] + [replace(CLAIM, replaces="b")],
)
def test_a_claim_from_before_a_takeover_is_fenced(claim, end):
    """Law 6: a claim that comes again when others have taken over never makes its epoch count anew.

    Ids of one epoch would otherwise name two places.
    """
    taken = transition(STREAMS[State.LOST], Claim("b", LEASE, on_lost=Takeover.CONTINUE), 2.0)
    if end is not None:
        taken = transition(taken, end, 3.0)
    with pytest.raises(Fenced):
        transition(taken, claim, 4.0)


def test_a_stream_is_not_taken_over_for_ever():
    """Law 8: a lineage is bounded; a restart is still possible."""
    lineage = Lineage(tuple((f"e{n}", n) for n in range(1, LINEAGE_LIMIT)))
    lost = replace(STREAMS[State.LOST], lineage=lineage, epoch="e99", last_seq=LINEAGE_LIMIT)
    full = transition(lost, Claim("b", LEASE, on_lost=Takeover.CONTINUE), 2.0)
    assert full.lineage.full
    full = transition(full, Finish("b", Outcome.LOST, 0), 3.0)
    with pytest.raises(StreamExists, match="too many times"):
        transition(full, Claim("c", LEASE, on_lost=Takeover.CONTINUE), 4.0)
    after = transition(full, Claim("c", LEASE, on_lost=Takeover.RESTART), 4.0)
    assert after.lineage == Lineage.starting("c")


# Delete and recover


@pytest.mark.parametrize("state", [State.ACTIVE, *ENDED])
def test_what_was_deleted_is_not_resurrected(state):
    """A tombstone keeps the old producer out, says nothing of the log, and lets a new claim in."""
    tombstone = transition(STREAMS[state], Delete(), 5.0)
    assert tombstone.state is State.DELETED
    assert (tombstone.last_seq, tombstone.metadata, tombstone.error) == (0, {}, None)
    assert tombstone.expires_at == 5.0 + KEEP
    for input_ in (
        Input.APPEND,
        Input.RENEW,
        Input.FINISH,
        Input.FAIL,
        Input.RELEASE,
        Input.RECOVER,
    ):
        with pytest.raises(Fenced, match="the stream is deleted"):
            transition(tombstone, CHANGES[input_][0], 6.0)
    claimed = transition(tombstone, Claim("b", LEASE), 6.0)
    assert (claimed.state, claimed.epoch, claimed.last_seq) == (State.ACTIVE, "b", 0)
    with pytest.raises(Fenced):
        transition(claimed, CHANGES[Input.RECOVER][0], 7.0)


@pytest.mark.parametrize("state", [State.ACTIVE, *ENDED, State.OPEN])
def test_what_a_claim_has_made_is_deleted_by_its_epoch(state):
    """Law 4: what another claim has made is not."""
    sentinel = STREAMS[state]
    assert transition(sentinel, Delete("a"), 2.0) == transition(sentinel, Delete(), 2.0)
    with pytest.raises(Fenced):
        transition(sentinel, Delete("b"), 2.0)


@pytest.mark.parametrize("state", [State.ABSENT, State.DELETED])
def test_a_claim_that_was_never_applied_is_deleted_in_silence(state):
    assert transition(STREAMS[state], Delete("b"), 2.0) is STREAMS[state]


def test_a_tombstone_outlasts_the_lease_of_the_producer():
    """The old producer meets the tombstone at the latest when it renews."""
    short = transition(ABSENT, replace(CLAIM, retention=Retention(keep=0.0)), 0.0)
    assert transition(short, Delete(), 5.0).expires_at == 5.0 + LEASE


@pytest.mark.parametrize(("last_seq", "characters"), [(5, 17), (0, 0)])
def test_a_producer_writes_again_what_the_store_has_lost(last_seq, characters):
    """Law 2: the sentinel is as it was, and its log goes on behind what nobody has any more."""
    lineage = Lineage.starting("z").grown("a", 3)
    retention, metadata = CLAIM.retention, CLAIM.metadata
    recover = Recover("a", lineage, last_seq, characters, LEASE, retention, metadata)
    after = transition(ABSENT, recover, 2.0)
    assert (after.state, after.epoch, after.lineage) == (State.ACTIVE, "a", lineage)
    assert (after.last_seq, after.characters) == (last_seq, characters)
    assert (after.lease_until, after.retention, after.metadata) == (12.0, retention, metadata)
    assert transition(after, recover, 3.0) is after


def test_a_producer_skips_what_nobody_has_any_more():
    """Law 2: seqs are skipped, never given to other events."""
    recover = Recover("a", ACTIVE.lineage, 5, 17, LEASE, CLAIM.retention, CLAIM.metadata)
    after = transition(ACTIVE, recover, 2.0)
    assert (after.last_seq, after.characters) == (5, 17)
    assert transition(after, replace(recover, last_seq=4), 3.0) is after


@pytest.mark.parametrize("on_lost", Takeover)
@given(drawn=sentinels())
def test_startable_is_what_a_claim_would_be_granted(on_lost, drawn):
    """Law 4: whoever looks before claiming is told what the claim would be told."""
    found, now = drawn
    sentinel = transition(found, Observe(), now)
    assume(not sentinel.lineage.full)
    try:
        transition(sentinel, replace(CLAIM, epoch="unheardof", on_lost=on_lost), now)
        granted = True
    except StreamExists:
        granted = False
    assert is_startable(sentinel, on_lost) is granted
