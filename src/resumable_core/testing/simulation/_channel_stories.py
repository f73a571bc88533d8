"""Scripts of a channel, drawn from a seed: those who write, those who read, and what goes wrong."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final

from ._draft import Draft
from ._script import CHECK, NEVER, Script, Setup
from ._stories import Story, bad_feed, outage, slow_client, storm

ALL: Final = 1000
"""Events of which no script of a channel has more."""


def draw_channel(seed: int, stories: Sequence[Story] = ()) -> Script:
    """Return the script of a seed, of a channel; with one of `stories`, if there are any."""
    random = Random(seed)
    draft = Draft(random)
    draft.wires = ("records", "records", "records", "sse")
    processes = random.choice([1, 2, 2, 3])
    draft.faithful = faithful = random.random() < 0.25
    setup = Setup(
        latencies=tuple(random.choice([0.005, 0.02, 0.1, 0.3]) for _ in range(processes)),
        retention=random.choice([3, 8, ALL, ALL, ALL]),
        page=random.choice([20, 512]),
        window=random.choice([3, 1024]),
        buffer=random.choice([2, 4, 16]),
        check=NEVER if faithful else CHECK,
        held_back=random.choice([0, 1, 7, 40]),
    )
    for _ in range(random.randint(1, 3)):
        draft.write()
    for _ in range(random.randint(1, 4)):
        draft.join(random.uniform(0.0, 4.0))
    told = _FAITHFUL if faithful else _STORIES
    for story in random.choices(told, k=random.choice([1, 2, 2, 3])):
        draft.now += random.uniform(0.3, 4.0)
        story(draft)
    if stories:
        random.choice(stories)(draft)
    for _ in range(random.choice([0, 1, 3])):
        draft.noise(random.uniform(0.0, draft.now + 2.0))
    return Script(setup, tuple(draft.steps))


def _many(draft: Draft) -> None:
    """Let many write at once; some never hear what became of it."""
    for process in range(draft.random.randint(2, 4)):
        if draft.random.random() < 0.5:
            fate = str(draft.pick("unanswered", "lost", "late", "full"))
            draft.calls(process, "write", fate, draft.random.randint(1, 4))
        draft.write(process, draft.seconds(0.0, 0.3))
    draft.later(0.5, 4.0)


def _reopened(draft: Draft) -> None:
    """Let the channel be deleted, and somebody write to it at once, or later."""
    draft.at(0.0, "delete", draft.random.randrange(3))
    draft.write(delay=draft.seconds(0.0, 2.0))
    draft.later(0.5, 3.0)


def _replaced(draft: Draft) -> None:
    """Let the store be replaced by one that lacks the newest part, or all; some go on to write."""
    if draft.random.random() < 0.7:
        draft.at(0.0, "fail_over", draft.random.randint(1, 8), draft.pick("noticed", "silent"))
    else:
        draft.at(0.0, "wipe")
    for _ in range(draft.random.randrange(3)):
        draft.write(delay=draft.seconds(0.0, 1.0))
    draft.later(0.0, 3.0)


def _moved(draft: Draft) -> None:
    """Let a process that writes be killed, or be away from the store."""
    draft.write(0)
    draft.at(draft.seconds(0.0, 1.0), str(draft.pick("kill", "cut")), 0, draft.seconds(0.5, 15.0))
    draft.write(1)
    draft.later(1.0, 5.0)


_STORIES: Final[list[Story]] = [
    _many,
    _many,
    _reopened,
    _replaced,
    _replaced,
    _moved,
    outage,
    bad_feed,
    slow_client,
    storm,
]

_FAITHFUL: Final[list[Story]] = [_many, _many, bad_feed, slow_client, storm]
