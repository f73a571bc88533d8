"""Test a backend: give a function that opens it, and it is compared with the reference.

    check_backend     plays scenarios that chance seldom brings about: two processes, waiting,
                      takeovers, leases, cancellation at each await
    check_outages     the same while it is kept from its store, in a way that you give
    check_processes   the same with real processes, of which one is killed
    backend_machine   a Hypothesis state machine that compares random programs with `EventLog`
    FaultyBackend     a backend that refuses, forgets, delays and loses what it is told to
    following         a feed whose items wait in an inbox, for tests of one's own

Nothing here needs pytest. Needs Hypothesis: `pip install "resumable-io[testing]"`.
"""

from ._check import (
    OUTAGES,
    PROCESSES,
    SCENARIOS,
    OutageScenario,
    ProcessScenario,
    Scenario,
    check_backend,
    check_outages,
    check_processes,
)
from ._cut import Cut, at_each_await
from ._faulty import Fault, FaultyBackend
from ._inbox import Following, Inbox, following
from ._machine import backend_machine
from ._stage import OpenBackend, Outage

__all__ = [
    "OUTAGES",
    "PROCESSES",
    "SCENARIOS",
    "Cut",
    "Fault",
    "FaultyBackend",
    "Following",
    "Inbox",
    "OpenBackend",
    "Outage",
    "OutageScenario",
    "ProcessScenario",
    "Scenario",
    "at_each_await",
    "backend_machine",
    "check_backend",
    "check_outages",
    "check_processes",
    "following",
]
