"""When what is done regularly is due: for many streams together."""

from __future__ import annotations

import math
from typing import Final

TICKS: Final = 100
"""Moments in a period at which what is done once in it may be due."""


def on_tick(at: float, period: float) -> float:
    """Return the last tick up to `at`.

    What is done regularly for many streams then falls together, so that it goes to the store in few
    round trips: they cost more than what is asked.
    """
    tick = period / TICKS
    return min(at, math.floor(at / tick) * tick)  # a product of floats may be rounded up
