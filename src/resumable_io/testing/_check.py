"""Check a backend by scenarios that chance seldom brings about."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, TypeAlias

from anyio import fail_after

from . import (
    _cancelling,
    _changing,
    _failing,
    _following,
    _leaving,
    _processes,
    _publishing,
    _reading,
)
from ._stage import OpenBackend, Outage

Scenario: TypeAlias = Callable[[OpenBackend], Awaitable[None]]
"""Plays one scenario; its name says what is promised. Raises `AssertionError`."""

OutageScenario: TypeAlias = Callable[[OpenBackend, Outage], Awaitable[None]]
"""The same, with a store that cannot be reached for a while."""

ProcessScenario: TypeAlias = Callable[[OpenBackend, str], Awaitable[None]]
"""The same, with other processes, which run on the event loop of that name."""

SCENARIOS: Final[Sequence[Scenario]] = (
    *_changing.SCENARIOS,
    *_publishing.SCENARIOS,
    *_reading.SCENARIOS,
    *_following.SCENARIOS,
    *_leaving.SCENARIOS,
    *_cancelling.SCENARIOS,
)
"""All there are. They use stream ids of their own, and leave their streams in the store."""

OUTAGES: Final[Sequence[OutageScenario]] = _failing.SCENARIOS
"""All there are with a store that cannot be reached for a while."""

PROCESSES: Final[Sequence[ProcessScenario]] = _processes.SCENARIOS
"""All there are with several processes."""

PATIENCE: Final = 60.0
"""Seconds after which a scenario counts as hanging."""


async def check_backend(
    open_backend: OpenBackend, scenarios: Sequence[Scenario] = SCENARIOS
) -> None:
    """Play the scenarios one after the other.

    `open_backend` is called several times, and all that it opens share their streams: see
    `OpenBackend`. Run this on each event loop that the backend supports.

    Raises what a scenario raises, mostly `AssertionError`, with a note that names the scenario and
    the law; `TimeoutError` when it waits for something for a minute. Takes seconds, since there are
    leases that have to run out.
    """
    for scenario in scenarios:
        await _play(scenario, partial(scenario, open_backend))


async def check_outages(
    open_backend: OpenBackend, outage: Outage, scenarios: Sequence[OutageScenario] = OUTAGES
) -> None:
    """Play the scenarios in which a backend is kept from its store; see `check_backend`.

    `outage` is called with what `open_backend` has opened: see `Outage`. What is not answered is
    waited for, so that this takes seconds.
    """
    for scenario in scenarios:
        await _play(scenario, partial(scenario, open_backend, outage))


async def check_processes(
    open_backend: OpenBackend,
    scenarios: Sequence[ProcessScenario] = PROCESSES,
    *,
    event_loop: str = "asyncio",
) -> None:
    """Play the scenarios in which other processes write to the store; see `check_backend`.

    `open_backend` is called in them, too, on `event_loop`: `asyncio` or `trio`. So it has to be
    something that can be pickled, such as a function of a module, or a `partial` of a class. The
    module that is run as the program is imported by them: see the guidelines of `multiprocessing`.
    """
    for scenario in scenarios:
        await _play(scenario, partial(scenario, open_backend, event_loop))


async def _play(
    scenario: Scenario | OutageScenario | ProcessScenario, play: Callable[[], Awaitable[None]]
) -> None:
    try:
        with fail_after(PATIENCE):
            await play()
    except Exception as raised:  # noqa: BLE001 - it is raised again
        error = _single(raised)
        name = getattr(scenario, "__name__", repr(scenario))
        error.add_note(f"in the scenario {name}: {scenario.__doc__}")
        raise error from error.__cause__


def _single(error: Exception) -> Exception:
    """Return what a task group of a scenario has wrapped."""
    errors: Sequence[Exception] = getattr(error, "exceptions", ())
    return _single(errors[0]) if len(errors) == 1 else error
