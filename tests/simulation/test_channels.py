"""Hundreds of worlds with a channel, each from a seed: what the laws say of channels holds."""

from collections import Counter
from time import process_time

import pytest

from resumable_core import EventLog
from resumable_core.testing.simulation import (
    ChannelPlay,
    LawBroken,
    Script,
    Setup,
    Step,
    replay,
    simulate,
)

WORLDS = 500
AT_ONCE = 100
SECONDS_PER_WORLD = 0.09
"""It is about 8 ms on a machine of 2024."""


@pytest.mark.parametrize("first", range(0, WORLDS, AT_ONCE))
def test_the_laws_hold(first):
    """Laws 1 to 3, 5 to 7; and a world is cheap."""
    started = process_time()
    for seed in range(first, first + AT_ONCE):
        simulate(seed, ChannelPlay)
    assert process_time() - started < AT_ONCE * SECONDS_PER_WORLD


def test_everything_comes_about():
    seen = sum((simulate(seed, ChannelPlay) for seed in range(200)), Counter())
    gaps = {f"Gap({reason})" for reason in ("trimmed", "lost")}
    resets = {f"Reset({reason})" for reason in ("unknown", "restarted", "ahead")}
    assert {"Event", "Published", "BackendUnavailable"} | gaps | resets <= {*seen}


def test_a_seed_is_the_same_world_for_ever():
    assert ChannelPlay.draw(42, ()) == ChannelPlay.draw(42, ())
    assert simulate(42, ChannelPlay) == simulate(42, ChannelPlay)


def test_where_nothing_goes_wrong_everybody_has_what_is_for_them():
    """Of every three messages two; a client, and two who read again at the end."""
    write, join = Step(0.0, "write", (0, 30, 0.02)), Step(0.5, "join", (1, "sse", "beginning"))
    seen = replay(Script(Setup(), (write, join)), ChannelPlay)
    assert (seen["Published"], seen["Event"]) == (30, 3 * 20)
    assert {*seen} == {"Published", "Event"}


def test_a_failure_is_told_by_a_short_script(monkeypatch):
    """A store looks up no keys."""
    apply = EventLog.apply

    def forget(log, change, now):
        log.keys.clear()
        return apply(log, change, now)

    monkeypatch.setattr(EventLog, "apply", forget)
    with pytest.raises(LawBroken, match="law 6: something stands there twice") as failure:
        simulate(4, ChannelPlay)
    assert str(failure.value).endswith(", ChannelPlay)")
    assert str(failure.value).count(" s  ") <= 3
