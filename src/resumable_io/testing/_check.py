"""Check a backend by scenarios that chance seldom brings about."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

from anyio import fail_after

from . import _cancelling, _changing, _following, _leaving, _publishing, _reading
from ._stage import OpenBackend

Scenario: TypeAlias = Callable[[OpenBackend], Awaitable[None]]
"""Plays one scenario; its name says what is promised. Raises `AssertionError`."""

SCENARIOS: Final[Sequence[Scenario]] = (
    *_changing.SCENARIOS,
    *_publishing.SCENARIOS,
    *_reading.SCENARIOS,
    *_following.SCENARIOS,
    *_leaving.SCENARIOS,
    *_cancelling.SCENARIOS,
)
"""All there are. They use stream ids of their own, and leave their streams in the store."""

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
        try:
            with fail_after(PATIENCE):
                await scenario(open_backend)
        except Exception as raised:  # noqa: BLE001 - it is raised again
            error = _single(raised)
            name = getattr(scenario, "__name__", repr(scenario))
            error.add_note(f"in the scenario {name}: {scenario.__doc__}")
            raise error from error.__cause__


def _single(error: Exception) -> Exception:
    """Return what a task group of a scenario has wrapped."""
    errors: Sequence[Exception] = getattr(error, "exceptions", ())
    return _single(errors[0]) if len(errors) == 1 else error
