"""Simulate whole worlds by a seed: producers, processes, clients, and a store that fails.

    simulate(seed)    draw a script, play it, and judge it by the laws
    replay(script)    the same with a script of your own, or of a failure

    Play              what a script can name, to add faults and laws of your own
    ChannelPlay       the same for a channel: `simulate(seed, ChannelPlay)`
    Draft             what a story is told to, to have your faults drawn

The machines are the real ones; what waits between them in a program is played, in virtual time,
so that a world takes milliseconds. The network loses, delays and repeats; the store is away, trims,
and forgets its newest part or everything; processes stand still, die and lose their connections;
clocks jump ahead; sources are started twice, stopped, retried and taken over; clients read slowly,
leave and resume, over a wire that is cut anywhere.

Safety is judged at every step, by what really happened: what the sources have yielded and what the
store has acknowledged. Then all faults end, and everybody has to finish.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ._channel import ChannelPlay
from ._draft import Draft
from ._laws import LawBroken, require
from ._play import Play
from ._script import Script, Setup, Step
from ._shrink import played, shrunk
from ._stories import Story, draw_script

__all__ = [
    "ChannelPlay",
    "Draft",
    "LawBroken",
    "Play",
    "Script",
    "Setup",
    "Step",
    "Story",
    "draw_script",
    "replay",
    "require",
    "simulate",
]


def simulate(seed: int, world: type[Play] = Play, *, stories: Sequence[Story] = ()) -> Counter[str]:
    """Play the script of a seed; return how often clients and producers were told what.

    `world` has faults and laws of its own, if it is a subclass; of `stories` at least one is told.
    The same seed is the same world for ever, as long as neither these, nor the core, nor this
    module changes. Raises `LawBroken`, with the shortest script that was found to break the same
    law.
    """
    script = world.draw(seed, stories)
    seen, error = played(script, world)
    if error is None:
        return seen
    short = shrunk(script, error.law, world)
    _, cause = played(short, world)
    raise _explained(cause or error, short, f"seed {seed}, cut down to", world) from cause


def replay(script: Script, world: type[Play] = Play) -> Counter[str]:
    """Play a script; return how often clients and producers were told what.

    Raises `LawBroken`.
    """
    seen, error = played(script, world)
    if error is not None:
        raise _explained(error, script, "the script", world) from error
    return seen


def _explained(error: LawBroken, script: Script, what: str, world: type[Play]) -> LawBroken:
    line = f"replay({script!r})" if world is Play else f"replay({script!r}, {world.__name__})"
    return LawBroken(error.law, f"{error.what}\n\n{what}:\n\n{script}\n\n{line}")
