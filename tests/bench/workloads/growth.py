"""Workload 10: the same at ten and at a hundred times the size."""

from __future__ import annotations

from tests.bench.model import Case, Contender, Goal, Measured, Of, Setting, Workload
from tests.bench.workloads import memory, redis_live
from tests.bench.workloads.audience import Audience

STEPS = (1, 10, 100)
COST = "µs/event"


def costing(measure: Contender, rate: str) -> Contender:
    """Return the same with what an event costs as its only figure."""

    def measured() -> Measured:
        done = measure()
        return Measured({COST: 1e6 / done.figures[rate]}, done.verdict)

    return measured


def growth(setting: Setting) -> Workload:
    """Return the workload."""
    base = setting.scaled(10_000, 2000)
    steps = STEPS[:2] if setting.quick else STEPS

    def kinds(step: int) -> dict[str, tuple[Contender, str]]:
        at_once = memory.contenders(setting, base * step, 100, "ours")["ours"]
        redis = redis_live.Race(setting, 1, base // 5 * step).ours
        audience = Audience(setting, 100, base // 1000 * step, None)
        return {
            f"memory, 1 → 1, {base * step:,}": (at_once, "events/s"),
            f"Redis, 1 → 1, {base // 5 * step:,}": (redis, "events/s"),
            f"fan-out to 100, {base // 1000 * step:,}": (
                lambda: audience.in_process("ours"),
                "deliveries/s",
            ),
        }

    sizes = [kinds(step) for step in steps]
    cases = [
        Case(name, {"ours": costing(*measure)}, rounds=3)
        for of_all_steps in zip(*(each.items() for each in sizes), strict=True)
        for name, measure in of_all_steps
    ]
    return Workload(
        10,
        "Growth",
        tuple(cases),
        tuple(
            Goal(
                f"an event costs what it costs at ×{steps[0]}",
                Of(last, "ours", COST),
                1.3,
                Of(first, "ours", COST),
                at_most=True,
            )
            for first, last in zip(sizes[0], sizes[-1], strict=True)
        ),
        "Workloads 1, 2 and 6 at ×1, ×10 and ×100. At ×1 the start is a part of the cost.",
    )
