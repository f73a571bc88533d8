"""The benchmarks' judges: whoever loses, repeats or reorders an event is found out.

The benchmarks themselves are programs: `nox -s bench`.
"""

import asyncio
import os
import sys
from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.__main__ import complain
from tests.bench.check import SIZE, check, check_joined, faults, text_of, texts, total
from tests.bench.drawing import page
from tests.bench.machine import machine
from tests.bench.model import Case, Goal, Measured, Of, Workload
from tests.bench.processes import Failed, Processes
from tests.bench.rounds import judge, run
from tests.bench.soak import Watch

COUNT = 6
SENT = texts(COUNT)


def test_texts_are_of_one_size_and_no_two_are_alike():
    all_texts = [*texts(1000, 1), *texts(1000, 2)]
    assert {len(text.encode()) for text in all_texts} == {SIZE}
    assert len(set(all_texts)) == 2000


def test_what_arrives_once_and_in_order_has_no_faults():
    assert check(SENT, COUNT) == {
        "arrived": COUNT,
        "lost": 0,
        "repeated": 0,
        "out of order": 0,
        "foreign": 0,
    }
    assert not faults(check(SENT, COUNT))
    assert not faults(check([], 0))


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        pytest.param(SENT[1:], {"lost": 1}, id="the-first-is-missing"),
        pytest.param(SENT[:2] + SENT[3:], {"lost": 1}, id="one-is-missing"),
        pytest.param(SENT[:-1], {"lost": 1}, id="the-last-is-missing"),
        pytest.param([], {"lost": COUNT}, id="all-are-missing"),
        pytest.param([*SENT, SENT[-1]], {"repeated": 1}, id="the-last-comes-twice"),
        pytest.param([*SENT, *SENT], {"repeated": COUNT}, id="all-come-twice"),
        pytest.param(
            [SENT[1], SENT[0], *SENT[2:]], {"out of order": 1}, id="two-have-changed-places"
        ),
        pytest.param(
            [*SENT[1:], SENT[0], SENT[0]],
            {"out of order": 1, "repeated": 1},
            id="late-and-then-twice",
        ),
        pytest.param([*SENT, text_of(0, stream=1)], {"foreign": 1}, id="of-another-stream"),
        pytest.param([*SENT, text_of(COUNT)], {"foreign": 1}, id="never-sent"),
        pytest.param([*SENT, SENT[0][:-1]], {"foreign": 1}, id="cut-short"),
        pytest.param([*SENT[:-1], ""], {"lost": 1, "foreign": 1}, id="empty"),
    ],
)
def test_each_fault_is_found_and_named(received, expected):
    assert faults(check(received, COUNT)) == expected


@given(st.lists(st.integers(0, COUNT - 1)))
def test_whatever_differs_from_what_was_sent_has_a_fault(indices):
    """Only what was sent, as it was sent, passes; and the counts add up."""
    received = [SENT[index] for index in indices]
    verdict = check(received, COUNT)
    assert bool(faults(verdict)) == (received != SENT)
    assert verdict["lost"] == COUNT - len(set(indices))
    assert verdict["repeated"] == len(indices) - len(set(indices))


@given(st.lists(st.integers(0, COUNT * SIZE), unique=True).map(sorted))
def test_text_may_be_cut_anywhere(places):
    text = "".join(SENT)
    cuts = [0, *places, len(text)]
    pieces = [text[start:end] for start, end in pairwise(cuts)]
    assert not faults(check_joined(pieces, COUNT))
    assert faults(check_joined([*pieces, "x"], COUNT))


def test_faults_of_one_stream_are_not_lost_among_many():
    verdict = total([check(SENT, COUNT), check(SENT[1:], COUNT)])
    assert verdict["arrived"] == 2 * COUNT - 1
    assert faults(verdict) == {"lost": 1}


# What becomes of the figures


def measured(rate, **wrong):
    return Measured({"events/s": rate}, {"arrived": 1, **wrong})


RATIO = Goal("twice", Of("a", "ours", "events/s"), 2, Of("a", "theirs", "events/s"))


def judged(ours, theirs):
    return judge(RATIO, {("a", "ours"): ours, ("a", "theirs"): theirs})


def test_ratios_are_taken_round_by_round():
    told = judged(
        [measured(10), measured(40), measured(90)], [measured(5), measured(10), measured(30)]
    )
    assert (told["least"], told["value"], told["greatest"]) == (2, 3, 4)
    assert told["met"]


def test_a_goal_may_be_at_most():
    goal = Goal("few", Of("a", "ours", "events/s"), 4, at_most=True)
    assert judge(goal, {("a", "ours"): [measured(4)]})["met"]
    assert not judge(goal, {("a", "ours"): [measured(5)]})["met"]


def test_wrong_results_do_not_count():
    assert judged([measured(10, lost=1)], [measured(1)])["met"] is None
    assert judged([measured(10)], [measured(100, repeated=1)])["met"] is None


def test_whoever_fails_has_no_figure():
    assert judged([measured(10)], ["cut off after 60 s"])["met"] is None
    assert judged([measured(10), "it broke"], [measured(2), measured(2)])["value"] == 5


# What becomes of a run


def fail():
    raise Failed("it broke")


def lose_some():
    return Measured({"events/s": 1.0}, check(SENT[1:], COUNT))


def do_well():
    return Measured({"events/s": 1.0}, check(SENT, COUNT))


@pytest.mark.parametrize(
    ("contenders", "status"),
    [
        pytest.param({"ours": do_well, "theirs": do_well}, 0, id="all-do-well"),
        pytest.param({"ours": do_well, "theirs": lose_some}, 0, id="theirs-loses"),
        pytest.param({"ours": do_well, "theirs": fail}, 0, id="theirs-fails"),
        pytest.param({"ours": lose_some, "theirs": do_well}, 1, id="ours-loses"),
        pytest.param({"ours": fail, "theirs": do_well}, 1, id="ours-fails"),
        pytest.param({"ours": do_well, "ours, uvloop": lose_some}, 1, id="ours-loses-on-uvloop"),
    ],
)
def test_a_run_fails_when_ours_is_wrong_and_only_then(contenders, status):
    done = run(Workload(1, "a", (Case("a", contenders),)), rounds=2)
    assert complain({"workloads": [done]}) == status


def test_whoever_fails_is_not_asked_again_and_the_others_are():
    asked = []

    def contender(who, then):
        def measure():
            asked.append(who)
            return then()

        return measure

    case = Case("a", {"ours": contender("ours", do_well), "theirs": contender("theirs", fail)})
    done = run(Workload(1, "a", (case,)), rounds=3)["cases"][0]["contenders"]
    assert sorted(asked) == ["ours", "ours", "ours", "theirs"]
    assert done["ours"]["rounds"] == 3
    assert (done["theirs"]["rounds"], done["theirs"]["failed"]) == (0, "it broke")


# Processes


def processes(limit):
    return Processes(python_of_peers=sys.executable, limit=limit)


def test_a_part_runs_in_a_process_of_its_own():
    assert processes(60).run(text_of, index=7) == text_of(7)


def test_what_hangs_is_cut_off():
    with pytest.raises(Failed, match=r"cut off after 0\.5 s"):
        processes(0.5).run(asyncio.sleep, delay=60)


def shell(script):
    return {"file": "sh", "args": ["sh", "-c", script]}


def test_what_is_cut_off_leaves_its_last_words():
    script = "printf 'not this\\nwhat came\\n\\nbefore\\nthe end\\n' >&2; exec sleep 9"
    with pytest.raises(Failed, match=r"cut off after 2 s: what came / before / the end$"):
        processes(2).run(os.execvp, **shell(script))


def test_whoever_crashed_is_named_and_not_who_waited_for_it():
    start = processes(2).start
    crash = start(os.execvp, **shell("echo out of luck >&2; exit 3"))
    with (
        pytest.raises(Failed, match=r"its process ended: out of luck$"),
        crash,
        start(asyncio.sleep, delay=60) as waiting,
    ):
        waiting.hear()


def test_what_raises_has_failed_with_its_reason():
    with pytest.raises(Failed, match="ValueError"):
        processes(60).run(text_of, index="seven", stream="eight")


def test_a_peer_that_is_not_installed_has_failed():
    part = SimpleNamespace(__module__="nowhere_to_be_found", __name__="part")
    with pytest.raises(Failed, match="ModuleNotFoundError"):
        processes(60).run(part, peer=True)


# The soak


def watched(*values):
    watch = Watch("it", child=None)
    watch.reports = [
        {"events": turn, "MiB": value, "tasks": 100, "files": 9, "broken": []}
        for turn, value in enumerate(values)
    ]
    return watch


def test_what_jitters_and_what_warms_up_has_not_grown():
    assert not watched(*range(10, 100, 10), *[100, 104, 98] * 6).complaints()


def test_what_grows_all_the_time_is_noticed():
    (complaint,) = watched(*range(100, 400, 10)).complaints()
    assert "MiB have grown" in complaint


def test_a_broken_law_is_told():
    watch = watched(*[100] * 9)
    watch.reports[-1]["broken"] = ["3-1, after 7 events: Gap"]
    assert watch.complaints() == ["it: 3-1, after 7 events: Gap"]


def test_standing_still_is_noticed():
    watch = watched(*[100] * 9)
    for report in watch.reports[4:]:
        report["events"] = 4
    (complaint,) = watch.complaints()
    assert "nothing happens" in complaint


# What the documentation is given


def test_the_page_tells_of_what_was_missed_lost_and_failed():
    case = Case("a", {"ours": do_well, "theirs": lose_some, "others": fail})
    goal = Goal("two a second", Of("a", "ours", "events/s"), 2)
    unknown = Goal("others", Of("a", "ours", "events/s"), 2, Of("a", "others", "events/s"))
    versions = {"redis-server": "7", "ours": {}, "peers": {}, "not installed": {"x==1": "no wheel"}}
    text = page(
        {
            "machine": machine(),
            "versions": versions,
            "quick": False,
            "rounds": 2,
            "limit": 40,
            "workloads": [run(Workload(1, "A title", (case,), (goal, unknown)), rounds=2)],
        }
    )
    assert "not installed: x==1: no wheel" in text
    assert "| 1 | a | two a second | 1 [1 – 1], at least 2 | NOT MET |" in text
    assert "| not known |" in text
    assert f"| a | theirs | WRONG | 2 lost | of {2 * COUNT - 2} |" in text
    assert "| a | others | FAILED | it broke |  |" in text
    assert "![1. A title](performance/workload-1.svg)" in text
