"""What happens in one simulated world, as data: printed, cut down, and run again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

LEASE: Final = 6.0
"""Seconds for which a producer's sign of life holds."""

CHECK: Final = 2.0
"""Seconds of silence after which a follower asks the store, where the feed is not to be trusted."""

NEVER: Final = 1000.0
"""The same where it is: longer than any world lasts."""

LINGER: Final = 4.0
"""Seconds for which a producer stands by after the end."""

OUTAGE: Final = 10.0
"""Seconds for which a producer waits for the store; a follower waits half as long again."""

TIMEOUT: Final = 1.0
"""Seconds after which a call to the store without an answer counts as failed."""

ANN: Final = "ann"
"""As whom all clients of a channel read it."""

JITTER: Final = 0.5
"""What stands for a random number from 0 to 1 where a machine wants one."""


@dataclass(frozen=True, slots=True)
class Setup:
    """How a world is before anything happens."""

    latencies: tuple[float, ...] = (0.02, 0.02)
    """Seconds from each process to the store, one way; as many processes as there are numbers."""
    retention: int = 1000
    """Events that are kept."""
    page: int = 512
    """Events in a page that is read from the store."""
    window: int = 1024
    """Events in a follower's window."""
    buffer: int = 8
    """Messages that a producer buffers, and keeps for repair."""
    binary: bool = False
    """Whether sources yield bytes that are cut inside of characters, rather than text."""
    check: float = CHECK
    """Seconds of silence after which a follower asks the store."""
    held_back: int = 0
    """Bytes of every response that are still on their way when the next piece comes."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happens at a time, in seconds: the name of a method of `Play`."""

    at: float
    do: str
    arguments: tuple[object, ...] = ()

    def __str__(self) -> str:
        """Return one line of a script."""
        return f"{self.at:6.2f} s  {self.do}({', '.join(map(repr, self.arguments))})"


@dataclass(frozen=True, slots=True)
class Script:
    """What happens in a world: its `repr` can be pasted into a test."""

    setup: Setup
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        """Return the script in lines, in the order of time."""
        return "\n".join([str(self.setup), *(f"  {step}" for step in in_order(self.steps))])


def in_order(steps: Sequence[Step]) -> list[Step]:
    """Return the steps in the order of time; of those at one time, the first stays first."""
    return sorted(steps, key=lambda step: step.at)
