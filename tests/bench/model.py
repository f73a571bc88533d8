"""What a workload is, and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.bench.processes import Processes

Figures = dict[str, float]
"""What was measured once, by metric; a metric's name says its unit."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a contender has done in one round."""

    figures: Figures
    verdict: dict[str, int] = field(default_factory=dict)
    """How many events arrived, and what was wrong with them: see check.py."""
    notes: Mapping[str, str] = field(default_factory=dict)


Contender = Callable[[], Measured]
"""Do the work once, in processes that end with it. Raises `Failed`."""


@dataclass(frozen=True, slots=True)
class Case:
    """The same work for several contenders. Ours is called "ours", or begins with that."""

    name: str
    contenders: Mapping[str, Contender]
    rounds: int | None = None
    """Rounds at most, where the work is long."""


@dataclass(frozen=True, slots=True)
class Of:
    """Name a figure: in which case, whose, and which metric."""

    case: str
    who: str
    metric: str


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure, or its ratio to another one, and how far it is to go."""

    text: str
    figure: Of
    bound: float
    to: Of | None = None
    at_most: bool = False

    def met_by(self, value: float) -> bool:
        """Say whether it goes far enough."""
        return value <= self.bound if self.at_most else value >= self.bound


@dataclass(frozen=True, slots=True)
class Workload:
    """One row of work, with the reason to measure it."""

    number: int
    title: str
    cases: tuple[Case, ...]
    goals: tuple[Goal, ...] = ()
    about: str = ""


@dataclass(frozen=True, slots=True)
class Setting:
    """What workloads are made for."""

    processes: Processes
    redis_url: str
    redis_port: int
    empty_redis: Callable[[], object]
    redis_entries: Callable[[], int]
    """Count the entries of all its streams."""
    folder: str
    """For files, on a disk."""
    quick: bool

    def scaled(self, count: int, quick: int | None = None) -> int:
        """Return how much of something to do: all of it, or in a quick run a tenth."""
        return (quick or max(1, count // 10)) if self.quick else count


def spread(values: list[float]) -> tuple[float, float, float]:
    """Return the median, the least and the greatest."""
    return median(values), min(values), max(values)
