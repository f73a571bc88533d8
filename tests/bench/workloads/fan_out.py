"""Workloads 6 and 11: one stream, and one channel, to many consumers."""

from __future__ import annotations

from tests.bench.model import Case, Goal, Of, Setting, Workload
from tests.bench.workloads.applications import IN_STEP
from tests.bench.workloads.audience import Audience

PAUSE = 0.1
"""Seconds between paced events: a pace that everybody holds."""

PEER = "sse-starlette"
PER_SECOND, CPU = "deliveries/s", "server CPU µs/delivery"

SERVED = (
    "Over HTTP the application runs under uvicorn with httptools; all clients are in another "
    "process. sse-starlette has a queue for each client, as its users do it. In step: each event "
    "comes when all clients have the one before, so that each delivery is by itself."
)


def over_http(setting: Setting, clients: int, ours: str) -> tuple[list[Case], list[Goal]]:
    """Return so many clients beside those of the peer: flat out, in step, and paced."""
    flat_out = f"HTTP, {clients:,} clients"
    in_step, paced = f"{flat_out}, in step", f"{flat_out}, {1 / PAUSE:g} messages/s"
    few = setting.scaled(50, 20)
    work = {flat_out: (100, None), in_step: (few, IN_STEP), paced: (few, PAUSE)}
    cases = [
        Audience(setting, clients, *each, ours).case(name, http=True, rounds=3)
        for name, each in work.items()
    ]
    goals = [
        Goal(f"{PEER} × {bound}", Of(name, "ours", PER_SECOND), bound, Of(name, PEER, PER_SECOND))
        for name, bound in ((flat_out, 3), (in_step, 1.6))
    ]
    cpu = Of(paced, "ours", CPU), Of(paced, PEER, CPU)
    goals.append(Goal(f"CPU of {PEER} / 1.6", cpu[0], 1 / 1.6, cpu[1], at_most=True))
    return cases, goals


def fan_out(setting: Setting) -> Workload:
    """Return workload 6: a stream, in process and over HTTP."""
    one, few, many, most = (1, 10, 100, 300) if setting.quick else (1, 100, 1000, 10_000)

    def inside(consumers: int) -> str:
        return f"in process, {consumers:,} consumers"

    def in_process(consumers: int, count: int, **options: int) -> Case:
        return Audience(setting, consumers, count, None).case(inside(consumers), **options)

    def http(consumers: int, count: int, **options: int) -> Case:
        name = f"HTTP, {consumers:,} clients"
        return Audience(setting, consumers, count, None).case(name, http=True, **options)

    in_turns = f"{inside(many)}, in turns"
    cases, goals = over_http(setting, many, "stream")
    return Workload(
        6,
        "Fan-out, one stream to many consumers",
        (
            in_process(one, setting.scaled(2000)),
            in_process(few, 50),
            in_process(many, 50),
            in_process(most, 50, peer=False, rounds=3),
            Audience(setting, many, 50, 0).case(in_turns, rounds=3),
            http(few, 100),
            *cases,
            http(most, 20, peer=False, rounds=2),
        ),
        (
            Goal(
                f"{PEER} × 3",
                Of(inside(many), "ours", PER_SECOND),
                3,
                Of(inside(many), PEER, PER_SECOND),
            ),
            *goals,
            Goal(
                f"a delivery costs what it costs with {few}",
                Of(inside(most), "ours", CPU),
                1.5,
                Of(inside(few), "ours", CPU),
                at_most=True,
            ),
        ),
        "Events of 40 bytes, as fast as they go; in turns: the source lets others run after each. "
        f"In process the application is called as a server would call it. {SERVED}",
    )


def channel(setting: Setting) -> Workload:
    """Return workload 11: a channel over HTTP."""
    cases, goals = over_http(setting, setting.scaled(1000), "channel")
    return Workload(
        11,
        "Fan-out, one channel to many subscribers",
        tuple(cases),
        tuple(goals),
        f"In memory; each event is published by a task of its own, as requests do. {SERVED}",
    )
