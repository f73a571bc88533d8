"""Test a backend: give a function that opens it, and it is compared with the reference.

    check_backend     plays scenarios that chance seldom brings about: two processes, waiting,
                      takeovers, leases, cancellation at each await
    backend_machine   a Hypothesis state machine that compares random programs with `EventLog`
    FaultyBackend     a backend that refuses, forgets, delays and loses what it is told to
    following         a feed whose items wait in an inbox, for tests of one's own

Nothing here needs pytest. Needs Hypothesis: `pip install "resumable-io[testing]"`.
"""

from ._check import SCENARIOS, Scenario, check_backend
from ._cut import Cut, at_each_await
from ._faulty import Fault, FaultyBackend
from ._inbox import Following, Inbox, following
from ._machine import backend_machine
from ._stage import OpenBackend

__all__ = [
    "SCENARIOS",
    "Cut",
    "Fault",
    "FaultyBackend",
    "Following",
    "Inbox",
    "OpenBackend",
    "Scenario",
    "at_each_await",
    "backend_machine",
    "check_backend",
    "following",
]
