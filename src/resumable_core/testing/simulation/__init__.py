"""Simulate whole worlds by a seed: producers, processes, clients, and a store that fails.

    simulate(seed)    draw a script, play it, and judge it by the laws
    replay(script)    the same with a script of your own, or of a failure

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

from ._laws import LawBroken
from ._script import Script, Setup, Step
from ._shrink import played, shrunk
from ._stories import draw_script

__all__ = ["LawBroken", "Script", "Setup", "Step", "draw_script", "replay", "simulate"]


def simulate(seed: int) -> Counter[str]:
    """Play the script of a seed; return how often clients and producers were told what.

    The same seed is the same world for ever, as long as neither the core nor this module changes.
    Raises `LawBroken`, with the shortest script that was found to break the same law.
    """
    script = draw_script(seed)
    seen, error = played(script)
    if error is None:
        return seen
    short = shrunk(script, error.law)
    _, cause = played(short)
    raise _explained(cause or error, short, f"seed {seed}, cut down to") from cause


def replay(script: Script) -> Counter[str]:
    """Play a script; return how often clients and producers were told what.

    Raises `LawBroken`.
    """
    seen, error = played(script)
    if error is not None:
        raise _explained(error, script, "the script") from error
    return seen


def _explained(error: LawBroken, script: Script, what: str) -> LawBroken:
    return LawBroken(error.law, f"{error.what}\n\n{what}:\n\n{script}\n\nreplay({script!r})")
