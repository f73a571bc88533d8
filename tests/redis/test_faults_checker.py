"""The checker of the fault tests finds what it is there to find, and nothing else.

A story is written as the consumer would tell it: `1 2 3` are the first producer's messages at these
places, `3=4` is message 4 at place 3, `b5=1` the second producer's first message at place 5, `gap3`
a hole up to place 3, `reset` a new start, `done7` an end at place 7.
"""

import re

import pytest

from resumable_core import End, Event, EventId, Gap, GapReason, Outcome, Reset, ResetReason
from tests.redis.channel_traffic import CHANNEL, ChannelHistory
from tests.redis.history import History, Story, message


def told(story):
    for word in story.split():
        if word == "reset":
            yield Reset(EventId("a", 0), ResetReason.RESTARTED)
            continue
        kind, place, number = re.fullmatch(r"([a-z]*)(\d+)(?:=(\d+))?", word).groups()
        seq = int(place)
        match kind:
            case "gap":
                yield Gap(EventId("a", seq), GapReason.LOST)
            case "done" | "lost" | "failed":
                yield End(EventId("a", seq), Outcome(kind))
            case _:
                epoch = kind or "a"
                yield Event(EventId(epoch, seq), message(epoch, int(number or seq)))


def history_of(*stories, sent=5, acked=5):
    history = History()
    first = history.producer("x", "a")
    first.count, first.acked = sent, acked
    second = history.producer("x", "b")
    second.count = 2
    for number, story in enumerate(stories):
        history.consumer("x", f"consumer {number}").records += told(story)
    return history


@pytest.mark.parametrize(
    "stories",
    [
        ("1 2 3 4 5 done5",),
        ("1 2 3 4 5 done5", "1 gap3 4 5 done5", "1 2 gap5 done5", "gap5 done5"),
        ("1 2 3 4 5 b6=1 b7=2 done7",),
        ("1 2 reset 1 2 3 4 5 done5",),
        ("1 2 reset b1=1 b2=2 done2",),
        ("1 2 3 4 5 lost5",),
        ("1 2 gap5 lost5",),
    ],
)
def test_it_finds_nothing_where_nothing_is_wrong(stories):
    history_of(*stories).check()


@pytest.mark.parametrize(
    ("stories", "wrong"),
    [
        (("1 2 4 5 done5",), "silently lost"),
        (("2 3 4 5 done5",), "silently lost"),
        (("1 2 3=4 4=5 done4",), "silently lost"),
        (("1 2 2 3 4 5 done5",), "repeated, or out of order"),
        (("1 3 2 4 5 done5",), "repeated, or out of order"),
        (("1 2 3=2 4=3 5=4 6=5 done6",), "given another id"),
        (("1 2 3 4 5 done5", "1 2 3=4 4=3 5 done5"), "the id was given to other content"),
        (("1 2 3 4 5 6 done6",), "nobody has sent this"),
        (("1 2 3 4 5 c6=1 done6",), "nobody has sent this"),
        (("1 2 3 done3",), "done after 3 of 5"),
        (("done0",), "done after 0 of 5"),
        (("1 2 3 lost3",), "of 5 kept messages"),
        (("lost0",), "of 5 kept messages"),
        (("1 2 3 4 5",), "no end was received"),
        (("",), "no end was received"),
        (("1 2 3 4 5 done5 done5",), "something came after the end"),
        (("1 2 3 done3 4 5 done5",), "something came after the end"),
        (("1 2 3 4 5 done4",), "not where the consumer is"),
        (("1 2 3 gap2 4 5 done5",), "nothing is missing there"),
        (("1 2 3 4 5 done5", "1 2 3 4 5 failed5"), "ends differ"),
        (("1 2 3 4 5 b6=2 done6",), "silently lost"),
        (("1 2 3 4 5 b6=1 done6",), "done after 1 of 2"),
    ],
)
def test_it_finds_what_is_wrong(stories, wrong):
    assert wrong in "\n".join(history_of(*stories).broken())


def test_a_store_that_forgot_may_hold_less_than_it_acknowledged():
    history = history_of("1 2 3 lost3")
    history.keeps = False
    history.check()


def test_what_was_not_acknowledged_may_be_missing_at_the_end():
    history_of("1 2 3 lost3", acked=3).check()


# Channels: `a1`, `b1` are what two writers have published, `a2@4` is a's second message at place 4.


def published(story, epoch="e"):
    """Yield what a story tells; a word without a place stands at the next one."""
    seq = 0
    for word in story.split():
        if word == "reset":
            seq = 0
            yield Reset(EventId(epoch, 0), ResetReason.RESTARTED)
            continue
        what, _, place = word.partition("@")
        seq = int(place or seq + 1)
        if what == "gap":
            yield Gap(EventId(epoch, seq), GapReason.LOST)
        else:
            yield Event(EventId(epoch, seq), f"{what[0]}:{what[1:]}")


def channel_of(*stories, told="a1 b1 a2 b2 a3", keeps=True):
    records = [*published(told)]
    by_message = {event.data: event.id for event in records}
    history = ChannelHistory(keeps, by_message, {*by_message})
    for number, story in enumerate(stories):
        history.stories.append(Story(CHANNEL, f"subscriber {number}", [*published(story)]))
    return history


@pytest.mark.parametrize(
    "stories",
    [
        ("a1 b1 a2 b2 a3",),
        ("a1 b1 a2 b2 a3", "a1 gap@3 b2 a3", "gap@4 a3", "a1 b1", ""),
        ("a1 b1 reset a1 b1 a2 b2 a3",),
    ],
)
def test_it_finds_nothing_where_a_channel_is_right(stories):
    channel_of(*stories).check()


@pytest.mark.parametrize(
    ("stories", "wrong"),
    [
        (("a1 b1 b2@4 a3@5",), "silently lost"),
        (("b1@2",), "silently lost"),
        (("a1 b1 a3@3",), "silently lost"),
        (("a1 b1 b1 a2",), "repeated, or out of order"),
        (("a1 a2@3 b1@2",), "repeated, or out of order"),
        (("a1 b1 a2 b2 a3 a1",), "given another id"),
        (("a1 b1 b2@3",), "the id was given to other content"),
        (("a1 b1 a2 b2 a3 c1",), "nobody has sent this"),
        (("a1 b1 gap@1",), "nothing is missing there"),
    ],
)
def test_it_finds_what_is_wrong_with_a_channel(stories, wrong):
    assert wrong in "\n".join(channel_of(*stories).broken())


def test_no_two_writers_are_told_one_id():
    assert "the same id" in "\n".join(channel_of(told="a1 b1@1").broken())


def test_a_store_that_forgot_may_give_what_is_published_again_another_id():
    """But never an id to other content."""
    again = [*published("b1 a2", epoch="f")]
    history = channel_of("a1 b1 reset", keeps=False)
    history.stories[0].records += again
    history.check()
    broken = "\n".join(channel_of("a1 b1 reset b1@1", keeps=False).broken())
    assert "other content" in broken
