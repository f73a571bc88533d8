"""One lane of commands to a store: one under way at most, and pauses after failures."""

from __future__ import annotations

import math
from typing import Final

from ._errors import BackendError

FIRST_RETRY: Final = 0.05
LONGEST_RETRY: Final = 2.0
"""Seconds before the first repeat, and at most; doubled each time, with jitter."""


class Lane:
    """Keep what is known of a lane. Times are seconds of the caller's own clock."""

    def __init__(self, now: float) -> None:
        self.at = now
        """When the next command may be asked for."""
        self.busy = False
        """Whether a command is under way."""
        self.asked = -math.inf
        """When the first command since the last answer was asked for."""
        self.error: BackendError | None = None
        """What the store has said of the last command, if that failed."""
        self._failures = 0  # since the last answer

    @property
    def unanswered(self) -> bool:
        """Say whether the store owes an answer."""
        return self.busy or self._failures > 0

    def ask(self, now: float) -> None:
        """Note that a command is under way."""
        if not self.unanswered:
            self.asked = now
        self.busy = True

    def answered(self) -> None:
        """Note an answer."""
        self.busy = False
        self.error = None
        self._failures = 0

    def failed(self, now: float, jitter: float, longest: float, error: BackendError | None) -> None:
        """Note that no answer will come, and pause for `longest` seconds at most."""
        self.error = error
        pause = min(LONGEST_RETRY, longest, FIRST_RETRY * 2 ** min(self._failures, 10))
        self.at = now + pause * (1 + jitter) / 2
        self.busy = False
        self._failures += 1
