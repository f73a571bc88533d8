"""Turn what a run has written into plots and tables for the documentation.

    nox -s bench -- --draw bench.json

It writes into docs/explanation/performance: a plot of each workload, the tables, which
docs/explanation/performance.md includes, and a copy of the JSON they are made from.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.bench import report
from tests.bench.model import spread
from tests.bench.processes import ROOT

FOLDER = ROOT / "docs" / "explanation" / "performance"
COLOURS = {
    "ours": "#2962ff",
    "ours, uvloop": "#82b1ff",
    "floor": "#9e9e9e",
    "resumable-sse": "#ef6c00",
    "resumable-stream": "#8d6e63",
    "assistant-stream": "#7b1fa2",
    "sse-starlette": "#2e7d32",
    "httpx-sse": "#c2185b",
}


def draw(run: dict, source: Path) -> None:
    """Write everything; `source` is the file that holds `run`."""
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("workload-*.svg"):
        old.unlink()
    copy = FOLDER / "figures.json"
    if source.resolve() != copy.resolve():
        shutil.copyfile(source, copy)
    for workload in filter(is_plotted, run["workloads"]):
        plot(workload, caption(run), FOLDER / f"workload-{workload['number']}.svg")
    (FOLDER / "figures.inc").write_text(page(run), encoding="utf-8")


def caption(run: dict) -> str:
    """Say in a line when and on what it was measured."""
    machine = run["machine"]
    return f"{machine['date']}, {machine['processor']}, {machine['cores']} cores"


# Plots


def plot(workload: dict, below: str, path: Path) -> None:
    """Draw a panel of bars for each metric that a goal is about."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    # The same figures give the same file.
    style = {"svg.hashsalt": "resumable", "svg.fonttype": "none", "font.size": 8}
    panels = [(metric, rows) for metric in metrics(workload) if (rows := bars(workload, metric))]
    heights = [max(2, len(rows)) for _, rows in panels]
    with plt.rc_context(style):
        figure, all_axes = plt.subplots(
            len(panels),
            figsize=(8, 1 + 0.22 * sum(heights) + 0.5 * len(panels)),
            height_ratios=heights,
            squeeze=False,
            layout="constrained",
        )
        for axes, (metric, rows) in zip(all_axes.flat, panels, strict=True):
            _draw_bars(axes, metric, rows)
        figure.suptitle(f"{workload['number']}. {workload['title']}", fontsize=10)
        figure.supxlabel(below, fontsize=7, color="#757575")
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


def is_plotted(workload: dict) -> bool:
    """Say whether there is anything to draw."""
    return any(bars(workload, metric) for metric in metrics(workload))


def metrics(workload: dict) -> list[str]:
    """Return the metrics that goals are about, each once."""
    return list(dict.fromkeys(goal["metric"] for goal in workload["goals"]))


def bars(workload: dict, metric: str) -> list[tuple[str, str, list[float]]]:
    """Return case, contender and figures of all that have the metric."""
    return [
        (case["name"], who, told["figures"][metric])
        for case in workload["cases"]
        for who, told in case["contenders"].items()
        if metric in told["figures"]
    ]


def _draw_bars(axes, metric: str, rows: list[tuple[str, str, list[float]]]) -> None:
    spreads = [spread(values) for _, _, values in rows]
    labels = [f"{case}: {who}" for case, who, _ in rows]
    middles = [middle for middle, _, _ in spreads]
    errors = list(zip(*((m - least, most - m) for m, least, most in spreads), strict=True))
    places = range(len(rows))
    colours = [COLOURS.get(who, "#607d8b") for _, who, _ in rows]
    axes.barh(places, middles, color=colours, xerr=errors, error_kw={"lw": 0.8, "ecolor": "#333"})
    axes.set_yticks(places, labels)
    axes.invert_yaxis()
    if min(middles) > 0 and max(middles) > 20 * min(middles):
        axes.set_xscale("log")
    axes.set_title(metric, loc="left", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)


# Tables


def page(run: dict) -> str:
    """Return the part of the page that is made of figures, in Markdown."""
    parts = [
        "<!-- Made by `nox -s bench -- --draw`: not to be edited. -->",
        "\n".join(f"- {line}" for line in report.heading(run).splitlines()),
        "### Goals",
        table(
            ("", "case", "goal", "figure", ""),
            (
                (str(workload["number"]), goal["case"], goal["text"], *report.figure_and_met(goal))
                for workload in run["workloads"]
                for goal in workload["goals"]
            ),
        ),
    ]
    for workload in run["workloads"]:
        title = f"{workload['number']}. {workload['title']}"
        parts += [
            f"### {title}",
            workload["about"],
            f"![{title}](performance/workload-{workload['number']}.svg)"
            if is_plotted(workload)
            else "",
            table(("case", "who", "metric", "median", "least – greatest"), report.rows(workload)),
        ]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(head: tuple[str, ...], rows) -> str:
    """Return a table in Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
