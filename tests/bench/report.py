"""Tables of what was measured, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from tests.bench.model import spread


def heading(run: dict) -> str:
    """Say what it ran on."""
    machine = run["machine"]
    versions = run["versions"]
    ours = versions["ours"]
    lines = [
        f"{machine['date']}: {machine['processor']}, {machine['cores']} cores, "
        f"{machine['memory GiB']} GiB, {machine['system']}, {machine['python']}",
        f"load at the start {machine['load at the start']}, "
        f"at the end {machine.get('load at the end', 'not known yet')}",
        f"medians of {run['rounds']} rounds, or fewer where the work is long; in brackets the "
        f"least and the greatest; cut off after {run['limit']:g} s, unless a case has a limit of "
        "its own" + ("; a quick run: a tenth of the work" if run["quick"] else ""),
        "ours: " + listed(ours),
        "peers: " + listed(versions["peers"]),
        f"redis-server {versions['redis-server']}",
    ]
    for requirement, problem in versions["not installed"].items():
        lines.append(f"not installed: {requirement}: {problem}")
    return "\n".join(lines)


def listed(versions: dict[str, str]) -> str:
    """Return names and versions in a line."""
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def table(workload: dict) -> str:
    """Return what came out of one workload."""
    figures = [
        f"   {case:36} {who:18} {metric:26} {figure:>12} {brackets}".rstrip()
        for case, who, metric, figure, brackets in rows(workload)
    ]
    goals = [
        f"   goal: {goal['case']}: {goal['text']}: {outcome(goal)}" for goal in workload["goals"]
    ]
    title = f"\n{workload['number']}. {workload['title']} ({workload['seconds']} s)"
    return "\n".join([title, *figures, *goals])


def rows(workload: dict) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield case, contender, metric, median and spread; or what went wrong in place of these."""
    for case in workload["cases"]:
        for who, told in case["contenders"].items():
            for metric, values in told["figures"].items():
                middle, least, greatest = spread(values)
                brackets = f"[{number(least)} – {number(greatest)}]"
                yield case["name"], who, metric, number(middle), brackets
            if told["wrong"]:
                wrong = ", ".join(f"{many:,} {what}" for what, many in told["wrong"].items())
                yield case["name"], who, "WRONG", wrong, f"of {told['arrived']:,}"
            if told["failed"]:
                yield case["name"], who, "FAILED", told["failed"], ""


def outcome(goal: dict) -> str:
    """Say by what a goal is met, or missed."""
    return ": ".join(figure_and_met(goal))


def figure_and_met(goal: dict) -> tuple[str, str]:
    """Return the figure that a goal is about beside what it should be, and whether it is."""
    wanted = ("at most " if goal["at most"] else "at least ") + number(goal["bound"])
    if goal["value"] is None:
        return f"none, since one of them did not complete it; {wanted}", "not known"
    sign = "×" if goal["ratio"] else ""
    least, greatest = number(goal["least"]), number(goal["greatest"])
    figure = f"{number(goal['value'])}{sign} [{least} – {greatest}], {wanted}"
    return figure, "met" if goal["met"] else "NOT MET"


def number(value: float) -> str:
    """Return a figure with as many digits as it is worth."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
