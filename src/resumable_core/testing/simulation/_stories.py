"""Scripts, drawn from a seed: a stream, those who read it, and stories of things that go wrong.

What is interesting seldom comes about by accident. A story is a few faults that belong together,
such as a producer that stands still for longer than its lease, with another one that takes over
meanwhile; how they meet the rest, and each other, is left to chance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Final, TypeAlias

from ._draft import Draft
from ._script import CHECK, LEASE, NEVER, TIMEOUT, Script, Setup

Story: TypeAlias = Callable[[Draft], None]
"""Adds a few steps that belong together, and lets the time go on."""


def draw_script(seed: int, stories: Sequence[Story] = ()) -> Script:
    """Return the script of a seed, the same one for ever; with one of `stories`, if there are any.

    They are told in worlds where feeds may lose things as well as in those that check nothing.
    """
    random = Random(seed)
    draft = Draft(random)
    processes = random.choice([1, 2, 2, 3])
    draft.faithful = faithful = random.random() < 0.25
    setup = Setup(
        latencies=tuple(random.choice([0.005, 0.02, 0.1, 0.3]) for _ in range(processes)),
        retention=random.choice([3, 8, 1000, 1000, 1000]),
        page=random.choice([6, 512]),
        window=random.choice([3, 1024]),
        buffer=random.choice([2, 4, 16]),
        binary=random.random() < 0.2,
        check=NEVER if faithful else CHECK,
        held_back=random.choice([0, 1, 7, 40]),
    )
    draft.start(0)
    for _ in range(random.randint(1, 4)):
        draft.join(random.uniform(0.0, 4.0))
    for story in random.choices(
        _FAITHFUL if faithful else _STORIES, k=random.choice([1, 1, 2, 2, 3])
    ):
        draft.now += random.uniform(0.3, 4.0)
        story(draft)
    if stories:
        random.choice(stories)(draft)
    for _ in range(random.choice([0, 1, 3])):
        draft.noise(random.uniform(0.0, draft.now + 2.0))
    return Script(setup, tuple(draft.steps))


# Producers


def _zombie(draft: Draft) -> None:
    """Let a producer stand still for longer than its lease, and another one take over."""
    draft.at(0.0, "pause", "producer", draft.seconds(LEASE, 3 * LEASE))
    if draft.random.random() < 0.5:
        draft.at(0.0, "calls", "producer", "write", "late", 2, draft.seconds(LEASE, 2 * LEASE))
    draft.later(LEASE, 2 * LEASE)
    draft.start("other", "continue")
    draft.later(0.0, LEASE)


def _late_append(draft: Draft) -> None:
    """Let appends arrive when another producer has taken over."""
    late = draft.seconds(LEASE, 2 * LEASE)
    draft.at(0.0, "calls", "producer", "write", "late", 3, late)
    draft.at(0.0, "calls", "producer", "renew", "lost", 9, 0.0)
    draft.at(TIMEOUT / 2, "kill", "producer", draft.seconds(0.1, 2.0))
    draft.start("other", "continue", late - draft.seconds(0.0, 1.0))
    draft.later(late, late + 1.0)


def _death(draft: Draft) -> None:
    """Let the producer die; somebody may take over, or several at once."""
    draft.at(0.0, "kill", "producer", draft.seconds(0.1, 10.0))
    draft.later(LEASE, LEASE + 4.0)
    for _ in range(draft.random.randrange(3)):
        draft.start(draft.random.randrange(3), delay=draft.seconds(0.0, 0.1))
    draft.later(0.0, 2.0)


def _race(draft: Draft) -> None:
    """Let many start the same stream; some never hear whether they got it."""
    for process in range(draft.random.randint(2, 4)):
        if draft.random.random() < 0.5:
            fate = str(draft.pick("unanswered", "lost", "late"))
            draft.calls(process, "write", fate)
        draft.start(process, "refuse", draft.seconds(0.0, 0.1))
    draft.later(0.1, 2.0)


def _retry(draft: Draft) -> None:
    """Let the stream be started anew, perhaps twice, while some hold an old window."""
    draft.calls("other", "feed", "lost", draft.random.randrange(6))
    if draft.random.random() < 0.7:
        draft.at(0.0, "stop", draft.random.randrange(3))
        draft.later(0.1, 1.0)
    if (
        not draft.faithful and draft.random.random() < 0.3
    ):  # the second click arrives when the first one has its answer
        draft.start("producer", "replace")
        draft.at(0.0, "calls", "other", "write", "late", 1, draft.seconds(2.0, 6.0))
        draft.start("other", "replace")
        draft.at(draft.seconds(1.0, 4.0), "stop", 0)
    for _ in range(draft.random.randint(1, 2)):
        draft.start(draft.random.randrange(3), "replace", draft.seconds(0.0, 0.3))
    draft.later(0.0, 3.0)


def _stop(draft: Draft) -> None:
    """Let somebody stop or delete the stream, in the middle of an append."""
    draft.calls("producer", "write", str(draft.pick("late", "unanswered", "lost")))
    # After a deletion a claim may come late, of a producer that has gone: only who checks sees it.
    ways = ["stop"] if draft.faithful else ["stop", "stop", "delete"]
    draft.at(draft.seconds(0.0, 1.0), draft.random.choice(ways), 0)
    draft.later(0.5, 3.0)
    if draft.random.random() < 0.4:
        draft.start("other")


def _shutdown(draft: Draft) -> None:
    """Let the process of the producer be shut down, and another one go on."""
    draft.at(0.0, "shut_down", "producer")
    draft.later(0.0, 2.0)
    draft.start("other", "continue")


def _lost_replies(draft: Draft) -> None:
    """Let commands be applied, or not, and nobody hear of it."""
    for lane in ("write", "write", "renew"):
        fate = str(draft.pick("unanswered", "lost", "late", "full"))
        draft.calls("producer", lane, fate, draft.random.randint(1, 4))
    draft.later(0.5, 4.0)


def _last_words(draft: Draft) -> None:
    """Let an end have no answer, or arrive at a store that has lost the rest."""
    draft.calls("producer", "write", "arrives", 2)
    draft.calls("producer", "write", str(draft.pick("unanswered", "late")))
    draft.at(0.0, "start", "producer", "replace", 1, 0.0, "done")
    draft.at(draft.seconds(0.0, 0.6), "fail_over", 1, "silent")
    draft.later(1.0, 3.0)


# The store


def _failover(draft: Draft) -> None:
    """Let the store lose its newest changes; the producer still has them, or is dead."""
    if draft.random.random() < 0.4:
        draft.calls("producer", "write", str(draft.pick("unanswered", "late")), 2)
    how = draft.pick("noticed", "silent")
    draft.at(draft.seconds(0.0, 1.0), "fail_over", draft.random.choice([1, 2, 4, 8, 20]), how)
    if draft.random.random() < 0.3:
        draft.at(draft.seconds(0.0, 2.0), "kill", "producer", 1.0)
        draft.start("other", delay=LEASE + draft.seconds(0.0, 6.0))
    draft.later(1.0, 4.0)


def _wipe(draft: Draft) -> None:
    """Let the store lose everything; its producer restores it, or somebody starts anew."""
    if draft.random.random() < 0.4:  # its producer is not the first one
        draft.at(0.0, "shut_down", "producer")
        draft.start("other", "continue", delay=0.5)
        draft.later(1.5, 2.5)
    draft.at(0.0, "wipe")
    match draft.random.randrange(3):
        case 0:
            draft.start("other", delay=draft.seconds(0.0, 3.0))
        case 1:
            draft.at(0.0, "kill", "producer", 2.0)
        case _:
            pass
    draft.later(1.0, 4.0)


def outage(draft: Draft) -> None:
    """Let the store be away, for longer or shorter than everybody can wait."""
    seconds = draft.seconds(0.5, 20.0)
    draft.at(0.0, "outage", seconds, draft.pick("refuses", "hangs"))
    if draft.random.random() < 0.3:
        draft.at(seconds, "fail_over", draft.random.randint(1, 6), "silent")
    draft.now += seconds


def _clocks(draft: Draft) -> None:
    """Let clocks jump ahead."""
    for _ in range(draft.random.randint(1, 2)):
        seconds = draft.seconds(0.1, 2 * LEASE)
        if draft.random.random() < 0.5:
            draft.at(0.0, "store_clock", seconds)
        else:
            draft.at(0.0, "clock", draft.pick("producer", "other", 0), seconds)
        draft.later(0.0, 1.0)


# Those who read


def bad_feed(draft: Draft) -> None:
    """Let the feed lose, repeat and reorder what it carries, while reads take their time."""
    who = draft.pick("other", "producer", 0)
    for _ in range(draft.random.randint(1, 4)):
        draft.calls(who, "feed", str(draft.pick("lost", "repeated", "late")), 1)
        draft.calls(who, "feed", "arrives", draft.random.randrange(3))
    if draft.random.random() < 0.6:
        draft.at(0.0, "interrupt", who, draft.seconds(0.0, 3.0))
        draft.at(0.0, "calls", who, "read", "late", 2, draft.seconds(0.1, 0.9))
    draft.later(0.5, 3.0)


def _deaf(draft: Draft) -> None:
    """Let the end come while the feed is interrupted, and nothing come after it."""
    draft.at(0.0, "interrupt", draft.pick("other", 0, 1), draft.seconds(0.5, 3.0))
    draft.at(draft.seconds(0.1, 1.0), "stop", draft.random.randrange(3))
    draft.later(3.0, 4.0)


def _unheard(draft: Draft) -> None:
    """Let a process hear of what a new producer appends, but neither of it nor of the last end."""
    draft.at(
        0.0, "calls", draft.pick("other", 0, 1), "feed", "lost", draft.random.randint(2, 4), 0.0
    )
    draft.at(0.0, "stop", 0)
    draft.at(draft.seconds(0.2, 0.8), "start", 0, "replace", 30, 0.05, "done")
    draft.later(1.0, 3.0)


def _lost_end(draft: Draft) -> None:
    """Let the end be all that is lost: of the feed, and then of the store."""
    draft.at(0.0, "calls", "other", "feed", "lost", draft.random.randint(1, 30), 0.0)
    for client in range(draft.random.randrange(4)):
        draft.at(draft.seconds(0.0, 3.0), "stall", client, draft.seconds(2.0, 8.0))
    draft.later(0.5, 5.0)
    draft.at(0.0, "fail_over", draft.random.randint(1, 3), draft.pick("noticed", "silent"))
    draft.later(0.0, 3.0)


def slow_client(draft: Draft) -> None:
    """Let a client read nothing, while the log goes on and is trimmed; it may leave, too."""
    client = draft.random.randrange(4)
    draft.at(0.0, "stall", client, draft.seconds(1.0, 10.0))
    if draft.random.random() < 0.5:
        draft.at(draft.seconds(0.0, 3.0), "leave", client)
    draft.later(1.0, 5.0)


def storm(draft: Draft) -> None:
    """Let everybody come back at once, and the store take its time."""
    draft.calls(0, "page", str(draft.pick("late", "lost", "unanswered")), 4)
    for client in range(4):
        draft.at(draft.seconds(0.0, 0.1), "leave", client)
    draft.later(0.5, 2.0)


def _partition(draft: Draft) -> None:
    """Let a process be cut off from the store; the others are not."""
    draft.at(0.0, "cut", draft.pick("producer", "other"), draft.seconds(0.5, 15.0))
    draft.later(1.0, 5.0)
    if draft.random.random() < 0.5:
        draft.start("other", "continue", delay=draft.seconds(LEASE, 2 * LEASE))
        draft.later(LEASE, 2 * LEASE)


_STORIES: Final[list[Story]] = [
    _zombie,
    _late_append,
    _death,
    _race,
    _retry,
    _stop,
    _shutdown,
    _lost_replies,
    _last_words,
    _failover,
    _failover,
    _wipe,
    outage,
    _clocks,
    bad_feed,
    bad_feed,
    _deaf,
    _unheard,
    _unheard,
    _lost_end,
    slow_client,
    storm,
    _partition,
]

_FAITHFUL: Final[list[Story]] = [
    _race,
    _stop,
    _retry,
    bad_feed,
    bad_feed,
    _deaf,
    slow_client,
    storm,
]
