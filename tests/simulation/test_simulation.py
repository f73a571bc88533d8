"""Thousands of worlds, each from a seed: the laws hold in every one of them.

`nox -s fuzz` looks for new ones. What a seed has found is kept as a test of the machine that it was
about, in tests/core.
"""

from collections import Counter
from dataclasses import replace
from time import process_time

import pytest

from resumable_core import EventLog
from resumable_core.testing.simulation import (
    LawBroken,
    Script,
    Setup,
    Step,
    draw_script,
    replay,
    simulate,
)

WORLDS = 2000
AT_ONCE = 100
SECONDS_PER_WORLD = 0.09
"""2,000 of them take three minutes then; it is about 5 ms on a machine of 2024."""


@pytest.mark.parametrize("first", range(0, WORLDS, AT_ONCE))
def test_the_laws_hold(first):
    """Laws 1 to 7, 9 and 11; and a world is cheap."""
    started = process_time()
    for seed in range(first, first + AT_ONCE):
        simulate(seed)
    assert process_time() - started < AT_ONCE * SECONDS_PER_WORLD


def test_everything_comes_about():
    """Worlds in which nothing goes wrong would prove nothing."""
    seen = sum((simulate(seed) for seed in range(400)), Counter())
    ends = {f"End({outcome})" for outcome in ("done", "failed", "stopped", "lost")}
    gaps = {f"Gap({reason})" for reason in ("trimmed", "lost", "binary")}
    resets = {f"Reset({reason})" for reason in ("unknown", "restarted", "ahead")}
    commands = {"Claim", "Append", "Renew", "Recover", "Finish", "Observe"}
    errors = {"Fenced", "StreamExists", "BackendUnavailable", "BackendFull"}
    assert {"Event"} | ends | gaps | resets | commands | errors == set(seen)


def test_a_seed_is_the_same_world_for_ever():
    assert draw_script(42) == draw_script(42)
    assert simulate(42) == simulate(42)
    assert str(draw_script(42)) != str(draw_script(43))


def test_a_script_can_be_pasted():
    script = draw_script(42)
    pasted = eval(repr(script), {"Script": Script, "Setup": Setup, "Step": Step})
    assert pasted == script
    assert replay(pasted) == simulate(42)


QUIET = Script(
    Setup(),
    (
        Step(0.0, "start", (0, "refuse", 20, 0.05, "done")),
        Step(0.5, "join", (0, "records", "beginning")),
        Step(0.5, "join", (1, "sse", "beginning")),
        Step(0.5, "join", (1, "text", "beginning")),
    ),
)


def test_where_nothing_goes_wrong_everybody_has_the_whole():
    """Three clients, and those three who read again at the end."""
    seen = replay(QUIET)
    assert (seen["Event"], seen["End(done)"], seen["Claim"]) == (6 * 20, 6, 1)


def test_a_failure_is_told_by_a_short_script(monkeypatch):
    """A store leaves an event out of each page."""
    read = EventLog.read

    def leave_out(log, after, now, **options):
        page = read(log, after, now, **options)
        return replace(page, events=page.events[1:])

    monkeypatch.setattr(EventLog, "read", leave_out)
    assert len(draw_script(42).steps) > 8
    with pytest.raises(LawBroken, match=r"law 2: a gap before .*, but the log holds") as failure:
        simulate(42)
    told = str(failure.value)
    assert "seed 42, cut down to" in told
    assert "replay(Script(" in told
    assert told.count(" s  ") <= 2, "a source and a reader are enough"
