"""The publisher machine: what is handed in is settled once, in order, whatever the store does."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resumable_core import (
    BackendFull,
    BackendUnavailable,
    EventLog,
    InvalidMessage,
    Message,
    Publication,
    Publisher,
    PublisherLimits,
    Retention,
    StreamExists,
)
from resumable_core._publisher import BATCH_COUNT

LIMITS = PublisherLimits(buffer_count=3, buffer_bytes=10, message_bytes=8, outage=30.0)


def publisher(limits=LIMITS):
    return Publisher(Retention(), limits, 0.0)


def item(text, key=None):
    return Publication(Message(text), key or text)


def send(machine, log, now=0.0, epoch="a"):
    command = machine.next_command(now, epoch)
    return machine.answered(log.apply(command, now).ids)


steps = st.sampled_from(["offer", "offer", "again", "send", "lose the reply", "refuse", "leave"])


@given(st.lists(steps, max_size=30))
def test_whatever_the_store_does_what_is_settled_is_in_the_log_once(drawn):
    """Laws 1 and 6: in the order in which it was handed in, whatever replies were lost."""
    machine, log, now, tickets, left, number = publisher(), EventLog(), 0.0, [], [], 0
    for step in [*drawn, "send", "send"]:
        now += 3.0
        epoch = f"e{round(now)}"
        command = None
        if step in {"offer", "again"}:
            if not machine.full:
                number += step == "offer"
                tickets.append(machine.offer(item(f"{number}"), now))
        elif step == "leave":
            if tickets:
                left.append(tickets[-1])
                machine.withdraw(tickets[-1])
        else:
            command = machine.next_command(now, epoch)
        if command is not None:
            assert machine.next_command(now, epoch) is None
            assert machine.deadline == math.inf
            if step == "refuse":
                machine.failed(BackendFull("full"), now, 0.5)
                continue
            ids = log.apply(command, now).ids
            if step == "send":
                for ticket in machine.answered(ids):
                    assert ticket.error is None
            else:
                machine.failed(BackendUnavailable("?"), now, 0.5)
    events = [event for batch in log.batches for event in batch.events]
    assert len({event.data for event in events}) == len(events)
    settled = [ticket for ticket in tickets if ticket.id is not None]
    for ticket in settled:
        assert events[ticket.id.seq - 1].data == ticket.publication.message.data
    seqs = [ticket.id.seq for ticket in settled]
    assert seqs == sorted(seqs)
    assert all(ticket.id or ticket.error or ticket in left for ticket in tickets) == machine.idle


def test_what_gathers_goes_together():
    machine, log = publisher(), EventLog()
    first = machine.offer(item("one"), 0.0)
    command = machine.next_command(0.0, "a")
    others = [machine.offer(item(text), 0.0) for text in ("two", "3")]
    assert machine.answered(log.apply(command, 0.0).ids) == [first]
    assert send(machine, log, epoch="b") == others
    assert [batch.count for batch in log.batches] == [1, 2]
    assert machine.idle


def test_one_attempt_is_bounded():
    """Law 8: by number and by bytes."""
    machine = publisher(PublisherLimits())
    for number in range(BATCH_COUNT + 1):
        machine.offer(item(f"{number}"), 0.0)
    assert len(machine.next_command(0.0, "a").publications) == BATCH_COUNT
    machine = publisher(PublisherLimits())
    for number in range(3):
        machine.offer(item("x" * 2**19, f"{number}"), 0.0)
    assert len(machine.next_command(0.0, "a").publications) == 2


def test_it_says_when_it_is_full():
    """Law 8: writers wait then."""
    machine = publisher()
    assert not machine.full
    for text in ("1", "2", "3"):
        machine.offer(item(text), 0.0)
    assert machine.full
    machine = publisher()
    machine.offer(item("12345678"), 0.0)
    assert not machine.full
    machine.offer(item("12"), 0.0)
    assert machine.full


def test_a_message_that_is_too_long_is_refused():
    machine = publisher()
    with pytest.raises(InvalidMessage, match="8 bytes, got 9"):
        machine.offer(item("123456789"), 0.0)
    assert machine.idle


def test_a_failure_is_repeated_after_a_pause_until_it_lasts_for_an_outage():
    """Law 7: nobody waits for ever."""
    machine = publisher()
    ticket = machine.offer(item("one"), 0.0)
    now = 0.0
    while ticket.error is None:
        assert machine.next_command(now - 0.001, "a") is None or now == 0.0
        assert machine.next_command(now, "a") is not None
        settled = machine.failed(BackendUnavailable("silence"), now, 1.0)
        assert (settled == [ticket]) == (now >= LIMITS.outage)
        now = machine.deadline if not machine.idle else math.inf
    assert str(ticket.error) == "silence"
    assert machine.deadline == math.inf


def test_only_those_are_given_up_who_have_waited_for_so_long():
    machine = publisher()
    old = machine.offer(item("one"), 0.0)
    machine.offer(item("two"), 20.0)
    machine.next_command(30.0, "a")
    assert machine.failed(BackendUnavailable("silence"), 30.0, 0.0) == [old]
    assert not machine.idle


def test_a_refusal_is_told_to_those_whom_it_concerns():
    machine = publisher()
    ticket = machine.offer(item("one"), 0.0)
    machine.next_command(0.0, "a")
    later = machine.offer(item("two"), 0.0)
    error = StreamExists("a stream")
    assert machine.failed(error, 0.0, 0.5) == [ticket]
    assert ticket.error is error
    assert later.error is None


def test_what_is_under_way_is_not_withdrawn():
    machine = publisher()
    sent = machine.offer(item("one"), 0.0)
    machine.next_command(0.0, "a")
    waiting = machine.offer(item("two"), 0.0)
    machine.withdraw(sent)
    machine.withdraw(waiting)
    machine.withdraw(waiting)
    assert machine.answered(EventLog().apply(_publish("one"), 0.0).ids) == [sent]
    assert machine.idle


def test_what_is_abandoned_is_settled():
    machine = publisher()
    tickets = [machine.offer(item(text), 0.0) for text in ("1", "2")]
    machine.next_command(0.0, "a")
    error = RuntimeError("the end")
    assert machine.abandon(error) == tickets
    assert {ticket.error for ticket in tickets} == {error}


def _publish(text):
    machine = publisher()
    machine.offer(item(text), 0.0)
    return machine.next_command(0.0, "a")
