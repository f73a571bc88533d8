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
    Play,
    Script,
    Setup,
    Step,
    draw_script,
    replay,
    require,
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


class Crowded(Play):
    """Has a fault of its own: many come at once; and a law: not too many."""

    most = 12

    def crowd(self, number):
        for each in range(number):
            self.join(each, "records", "live")

    def calm_down(self):
        super().calm_down()
        self.seen["calm"] += 1

    def check(self):
        self.seen["checked"] += 1
        require(len(self.clients) < self.most, 100, f"{len(self.clients)} are too many")


def crowd(draft):
    draft.at(0.0, "crowd", draft.random.randint(1, 3))
    draft.later(0.5, 2.0)


def test_a_world_can_have_faults_and_laws_of_its_own():
    seen = sum((simulate(seed, Crowded, stories=[crowd]) for seed in range(20)), Counter())
    assert seen["calm"] == 20
    assert seen["checked"] > 2000
    assert replay(Script(Setup(), (Step(1.0, "crowd", (4,)),)), Crowded)["checked"]
    assert simulate(7, stories=()) == simulate(7)


def test_a_law_of_its_own_is_told_by_a_short_script():
    class Strict(Crowded):
        most = 5

    with pytest.raises(LawBroken, match=r"law 100: \d are too many") as failure:
        simulate(2, Strict, stories=[crowd])
    assert "replay(Script(" in str(failure.value)
    assert str(failure.value).endswith(", Strict)")
    assert str(failure.value).count(" s  ") <= 4
