"""The simulator, or else a machine of the kit, rejects every broken variant of the core.

So both prove that they would find such a thing. A mutant whose place in the source is gone fails:
it is to be aimed anew.
"""

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from .mutants import CHANNEL_MUTANTS, MUTANTS, SIMULATED_CHANNEL_MUTANTS
from .mutated import mutated

WORLDS = 400
KIT = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],  # that it fails is enough
)


def rejected() -> str | None:
    """Return by whom the core is rejected that can be imported now."""
    from resumable_core import testing
    from resumable_core.testing.simulation import draw_script
    from resumable_core.testing.simulation._shrink import played

    for seed in range(WORLDS):
        _, broken = played(draw_script(seed))
        if broken is not None:
            return f"seed {seed}: {broken}"
    return rejected_by(
        testing.LogMachine,
        testing.FollowerMachine,
        testing.ProducerMachine,
        testing.CursorMachine,
    )


def rejected_as_a_channel() -> str | None:
    """Return which world of a channel rejects the core that can be imported now."""
    from resumable_core.testing.simulation import ChannelPlay
    from resumable_core.testing.simulation._shrink import played

    for seed in range(WORLDS):
        _, broken = played(ChannelPlay.draw(seed, ()), ChannelPlay)
        if broken is not None:
            return f"seed {seed}: {broken}"
    return None


def rejected_by(*machines, kit=KIT) -> str | None:
    """Return what one of some machines says against the core that can be imported now."""
    for machine in machines:
        try:
            run_state_machine_as_test(machine, settings=kit)
        except Exception as error:  # noqa: BLE001 - whatever it is
            return f"{machine.__name__}: {error!r}"
    return None


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_every_mutant_is_rejected(mutant):
    with mutated(mutant.old, mutant.new):
        assert rejected() is not None, "it survives: what would have found it?"


@pytest.mark.parametrize(
    "mutant", CHANNEL_MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-")
)
def test_every_mutant_of_a_channel_is_rejected(mutant):
    with mutated(mutant.old, mutant.new):
        from resumable_core import testing

        # There is one machine alone, and what is drawn depends on what else is imported.
        thorough = settings(KIT, max_examples=2000)
        assert rejected_by(testing.ChannelMachine, kit=thorough) is not None, "it survives"


@pytest.mark.parametrize(
    "mutant", SIMULATED_CHANNEL_MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-")
)
def test_every_mutant_beside_the_log_of_a_channel_is_rejected(mutant):
    with mutated(mutant.old, mutant.new):
        assert rejected_as_a_channel() is not None, "it survives"


def test_there_are_enough():
    mutants = (*MUTANTS, *CHANNEL_MUTANTS, *SIMULATED_CHANNEL_MUTANTS)
    names = [mutant.name for mutant in mutants]
    assert len({*names}) == len(names) >= 20
