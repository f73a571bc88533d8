"""Run workloads: round after round, and in each round one contender after the other."""

from __future__ import annotations

import sys
import time
from collections import defaultdict

from tests.bench.check import faults
from tests.bench.model import Case, Goal, Measured, Of, Workload, spread
from tests.bench.processes import Failed

Results = dict[tuple[str, str], list[Measured | str]]
"""By case and contender: what each round gave, or the reason why it gave nothing."""


def run(workload: Workload, rounds: int) -> dict:
    """Run a workload, and return what came out, as JSON has it."""
    results: Results = defaultdict(list)
    began = time.monotonic()
    for turn in range(rounds):
        for case in workload.cases:
            if turn < (case.rounds or rounds):
                _run_round(case, turn, results)
    return {
        "number": workload.number,
        "title": workload.title,
        "about": workload.about,
        "cases": [
            {
                "name": case.name,
                "contenders": {who: _told(results[case.name, who]) for who in case.contenders},
            }
            for case in workload.cases
        ],
        "goals": [judge(goal, results) for goal in workload.goals],
        "seconds": round(time.monotonic() - began),
    }


def _run_round(case: Case, turn: int, results: Results) -> None:
    contenders = list(case.contenders.items())
    for who, contender in contenders[turn % 2 :] + contenders[: turn % 2]:
        so_far = results[case.name, who]
        if so_far and isinstance(so_far[-1], str):
            so_far.append(so_far[-1])  # it can't, and would only take the time of the others
            continue
        print(f"  {case.name}: {who}, round {turn + 1}   ", end="\r", file=sys.stderr, flush=True)
        try:
            so_far.append(contender())
        except Failed as failed:
            so_far.append(str(failed))


def _told(rounds: list[Measured | str]) -> dict:
    """Return a contender's rounds as JSON has them."""
    done = [each for each in rounds if isinstance(each, Measured)]
    metrics = list(dict.fromkeys(name for each in done for name in each.figures))
    wrong: dict[str, int] = {}
    for each in done:
        for name, number in faults(each.verdict).items():
            wrong[name] = wrong.get(name, 0) + number
    return {
        "rounds": len(done),
        "figures": {name: [each.figures[name] for each in done] for name in metrics},
        "arrived": sum(each.verdict.get("arrived", 0) for each in done),
        "wrong": wrong,
        "failed": next((each for each in rounds if isinstance(each, str)), None),
    }


def judge(goal: Goal, results: Results) -> dict:
    """Compare a goal with what was measured, round by round."""
    values = []
    for turn in range(len(results[goal.figure.case, goal.figure.who])):
        value = _value(goal.figure, results, turn)
        if goal.to is not None and value is not None:
            other = _value(goal.to, results, turn)
            value = value / other if other else None
        if value is not None:
            values.append(value)
    told = {
        "case": goal.figure.case,
        "metric": goal.figure.metric,
        "text": goal.text,
        "bound": goal.bound,
        "at most": goal.at_most,
    }
    if not values:
        return told | {"value": None, "met": None}
    value, least, greatest = spread(values)
    return told | {
        "value": value,
        "least": least,
        "greatest": greatest,
        "met": goal.met_by(value),
        "ratio": goal.to is not None,
    }


def _value(of: Of, results: Results, turn: int) -> float | None:
    rounds = results[of.case, of.who]
    measured = rounds[turn] if turn < len(rounds) else None
    if not isinstance(measured, Measured) or faults(measured.verdict):
        return None  # wrong results don't count
    return measured.figures[of.metric]
