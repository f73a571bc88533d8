"""One module for each kind of work. What a peer does stands beside what we do."""

from collections.abc import Callable

from tests.bench.model import Setting, Workload
from tests.bench.workloads import (
    fan_out,
    growth,
    idle,
    memory,
    pace,
    redis_live,
    replay,
    starting,
    wire,
)

WORKLOADS: dict[int, Callable[[Setting], Workload]] = {
    1: memory.one,
    2: redis_live.one,
    3: redis_live.many,
    4: pace.pace,
    5: replay.replay,
    6: fan_out.fan_out,
    7: idle.idle,
    8: wire.wire,
    9: starting.starting,
    10: growth.growth,
    11: fan_out.channel,
}
"""By number, which is the order in which they run."""
