"""The client machine: places kept, pauses, final answers, and any input in any phase."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resumable_core import (
    ClientPhase,
    EventTooLarge,
    InvalidInput,
    Reconnect,
    ReconnectLimits,
    Verdict,
    encode_event,
)
from resumable_core._reconnect import FIRST_STEP, MAX_REDIRECTS

SSE = "text/event-stream"
FOREVER = ReconnectLimits(patience=math.inf)


def connecting(limits=FOREVER, **options):
    machine = Reconnect(limits, 0.0, **options)
    machine.connect(0.0)
    return machine


def reading(limits=FOREVER, **options):
    machine = connecting(limits, **options)
    assert machine.answered(200, SSE, 0.0, 0.0) is Verdict.READ
    return machine


def test_it_connects_at_once():
    machine = Reconnect(FOREVER, 5.0, last_event_id="a-1")
    assert (machine.phase, machine.deadline) == (ClientPhase.PAUSED, 5.0)
    assert machine.last_event_id == "a-1"


@pytest.mark.parametrize(
    "status", [100, 201, 202, 205, 206, 300, 304, 400, 401, 404, 410, 500, 503]
)
def test_every_status_but_200_is_final(status):
    machine = connecting()
    assert machine.answered(status, SSE, 0.0, 0.0, moved=True) is Verdict.REFUSED
    assert machine.phase is ClientPhase.CLOSED


def test_204_stops_without_an_error():
    machine = connecting()
    assert machine.answered(204, "", 0.0, 0.0) is Verdict.STOP
    assert machine.phase is ClientPhase.CLOSED


@pytest.mark.parametrize(
    "content_type", [SSE, "TEXT/Event-Stream", f" {SSE} ", f"{SSE};charset=utf-8", f"{SSE}; x"]
)
def test_parameters_of_the_content_type_do_not_matter(content_type):
    assert connecting().answered(200, content_type, 0.0, 0.0) is Verdict.READ


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", f"{SSE}x", f"x{SSE}", "text/event", f";{SSE}"]
)
def test_another_content_type_is_final(content_type):
    assert connecting().answered(200, content_type, 0.0, 0.0) is Verdict.REFUSED


@pytest.mark.parametrize("status", [301, 307, 308])
def test_a_permanent_redirect_is_remembered(status):
    machine = connecting()
    assert machine.answered(status, "", 7.0, 0.0, moved=True) is Verdict.FOLLOW_FOR_GOOD
    assert machine.phase is ClientPhase.CONNECTING
    assert machine.deadline == 7.0 + FOREVER.idle


@pytest.mark.parametrize("status", [302, 303])
def test_a_temporary_redirect_is_not_and_neither_is_what_follows_it(status):
    machine = connecting()
    assert machine.answered(status, "", 0.0, 0.0, moved=True) is Verdict.FOLLOW
    assert machine.answered(301, "", 0.0, 0.0, moved=True) is Verdict.FOLLOW
    assert machine.answered(200, SSE, 0.0, 0.0) is Verdict.READ
    machine.lost(0.0, 0.0)
    machine.connect(2.0)
    assert machine.answered(301, "", 2.0, 0.0, moved=True) is Verdict.FOLLOW_FOR_GOOD


def test_a_redirect_to_nowhere_is_final():
    assert connecting().answered(301, "", 0.0, 0.0) is Verdict.REFUSED


def test_redirects_in_a_circle_end():
    machine = connecting()
    for _ in range(MAX_REDIRECTS):
        assert machine.answered(302, "", 0.0, 0.0, moved=True) is Verdict.FOLLOW
    assert machine.answered(302, "", 0.0, 0.0, moved=True) is Verdict.REFUSED


def test_a_stream_that_ends_is_asked_for_again_after_the_reconnection_time():
    machine = reading()
    assert [e.data for e in machine.feed(b"id: 7\ndata: a\n\n")] == ["a"]
    assert machine.lost(2.0, 1.0) is Verdict.RETRY
    assert (machine.phase, machine.deadline) == (ClientPhase.PAUSED, 4.0)
    assert machine.last_event_id == "7"


def test_the_server_sets_the_reconnection_time():
    machine = reading()
    machine.feed(b"retry: 250\nretry: 1x\n\n")
    assert machine.retry == 0.25
    machine.lost(0.0, 1.0)
    assert machine.deadline == 0.25
    machine.connect(1.0)
    machine.answered(200, SSE, 1.0, 0.0)
    machine.feed(b"data: a\n\n")
    assert machine.retry == 0.25


def test_an_id_alone_moves_the_place_and_an_unfinished_block_does_not():
    machine = reading(last_event_id="1")
    assert machine.feed(b"id: 2\n\nid: 3\ndata: lost") == []
    machine.lost(0.0, 0.0)
    assert machine.last_event_id == "2"
    machine.connect(2.0)
    machine.answered(200, SSE, 2.0, 0.0)
    assert machine.last_event_id == "2"
    (event,) = machine.feed(b"data: a\n\n")
    assert event.last_event_id == "2"


def test_an_empty_id_forgets_the_place():
    machine = reading(last_event_id="1")
    machine.feed(b"id\n\n")
    assert not machine.last_event_id


def test_a_comment_is_a_sign_of_life():
    machine = reading()
    assert machine.deadline == FOREVER.idle
    machine.feed(b":\n")
    machine.listen(50.0)
    assert machine.deadline == 50.0 + FOREVER.idle


@given(st.integers(0, 60), st.floats(0, 1), st.floats(0, 20))
def test_pauses_grow_up_to_a_cap_and_never_below_the_reconnection_time(failures, jitter, retry):
    limits = ReconnectLimits(retry=retry, patience=math.inf)
    machine, now = Reconnect(limits, 0.0), 0.0
    for _ in range(failures):
        machine.connect(now)
        assert machine.lost(now, jitter, reached=False) is Verdict.RETRY
        pause, step = machine.deadline - now, max(retry, FIRST_STEP)
        most = min(limits.longest_backoff, step * (2 ** (machine.failures - 1) - 1))
        assert pause == pytest.approx(retry + jitter * most)
        now = machine.deadline
    machine.connect(now)
    machine.answered(200, SSE, now, jitter)
    machine.feed(b":\n")
    assert machine.failures == 0
    machine.lost(now, jitter)
    assert machine.deadline == pytest.approx(now + retry)


def test_it_gives_up_when_failures_outlast_its_patience():
    machine, now = Reconnect(ReconnectLimits(patience=10.0), 0.0), 0.0
    while True:
        machine.connect(now)
        if machine.lost(now, 1.0) is not Verdict.RETRY:
            break
        now = machine.deadline
    assert machine.phase is ClientPhase.CLOSED
    assert 0 < now <= 10.0


def test_a_connection_that_was_open_long_does_not_use_up_the_patience():
    machine = reading(ReconnectLimits(patience=10.0))
    machine.feed(b":\n")
    assert machine.lost(1059.0, 1.0) is Verdict.RETRY


def test_statuses_that_are_to_be_retried_are():
    machine = connecting(ReconnectLimits(retry_statuses=frozenset({503})))
    assert machine.answered(503, "", 0.0, 0.0) is Verdict.RETRY
    assert machine.phase is ClientPhase.PAUSED


def test_a_request_that_may_have_had_its_effect_is_not_repeated():
    machine = connecting(repeatable=False)
    assert machine.lost(0.0, 0.0, reached=False) is Verdict.RETRY
    machine.connect(2.0)
    assert machine.lost(2.0, 0.0) is Verdict.UNREPEATABLE
    assert machine.phase is ClientPhase.CLOSED


def test_a_request_is_repeated_from_an_id():
    machine = reading(repeatable=False)
    machine.feed(b"id: 1\ndata: a\n\n")
    assert machine.lost(0.0, 0.0) is Verdict.RETRY


def test_an_event_that_is_too_large_closes():
    machine = reading(ReconnectLimits(max_event_size=10))
    with pytest.raises(EventTooLarge):
        machine.feed(b"x" * 11)
    assert machine.phase is ClientPhase.CLOSED


@given(st.data())
def test_wherever_connections_break_a_resuming_server_delivers_everything_once(data):
    """Law 3, seen from the client: the union of what it got is the stream, in order, once."""
    texts = data.draw(st.lists(st.text(max_size=5), max_size=8))
    blocks = [encode_event(text, id=str(n)) for n, text in enumerate(texts, 1)]
    wanted = [text.replace("\r\n", "\n").replace("\r", "\n") for text in texts]
    machine, got, now = Reconnect(FOREVER, 0.0), [], 0.0
    while len(got) < len(wanted):
        machine.connect(now)
        machine.answered(200, SSE, now, 0.0)
        body = b"".join(blocks[int(machine.last_event_id or 0) :])
        cut = data.draw(st.integers(1, len(body)) if now < 100 else st.just(len(body)))
        for start in range(0, cut, 3):
            got += [e.data for e in machine.feed(body[start : min(cut, start + 3)])]
        assert machine.lost(now, 0.0) is Verdict.RETRY
        now = machine.deadline
    assert got == wanted


INPUTS = {
    "connect": (lambda m: m.connect(0.0), {ClientPhase.PAUSED}),
    "answered": (lambda m: m.answered(200, SSE, 0.0, 0.0), {ClientPhase.CONNECTING}),
    "feed": (lambda m: m.feed(b":\n"), {ClientPhase.OPEN}),
    "listen": (lambda m: m.listen(0.0), {ClientPhase.OPEN}),
    "lost": (lambda m: m.lost(0.0, 0.0), {ClientPhase.CONNECTING, ClientPhase.OPEN}),
    "close": (lambda m: m.close(), set(ClientPhase)),
}


@given(st.lists(st.sampled_from(sorted(INPUTS)), max_size=20))
def test_what_a_phase_does_not_allow_raises_and_changes_nothing(names):
    machine = Reconnect(FOREVER, 0.0)
    for name in names:
        call, phases = INPUTS[name]
        before = machine.phase, machine.deadline, machine.failures
        if machine.phase in phases:
            call(machine)
        else:
            with pytest.raises(RuntimeError, match="look at its phase"):
                call(machine)
            assert (machine.phase, machine.deadline, machine.failures) == before


@pytest.mark.parametrize(
    "wrong",
    [
        {"retry": -1},
        {"retry": math.inf},
        {"longest_backoff": math.nan},
        {"idle": 0},
        {"patience": -1},
    ],
    ids=str,
)
def test_limits_that_are_none_are_refused(wrong):
    with pytest.raises(InvalidInput):
        ReconnectLimits(**wrong)
