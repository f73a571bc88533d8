"""Cut a script down to what is needed to break the same law."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from ._laws import LawBroken
from ._play import Play
from ._script import Script, Setup

RUNS = 400
"""Scripts that are tried at most: some seconds."""


def played(script: Script, world: type[Play] = Play) -> tuple[Counter[str], LawBroken | None]:
    """Play a script; return what was seen, and what it breaks.

    Whatever the core raises where it should not is a broken law, too.
    """
    play = world(script)
    try:
        play.run()
    except LawBroken as error:
        return play.seen, error
    except Exception as error:  # noqa: BLE001 - that is what is looked for
        wrong = LawBroken(0, f"{type(error).__name__}: {error}")
        wrong.__cause__ = error
        return play.seen, wrong
    return play.seen, None


def shrunk(script: Script, law: int, world: type[Play] = Play) -> Script:
    """Return the script without steps, and without peculiarities, that the broken law can spare."""
    runs = 0

    def still_breaks(candidate: Script) -> bool:
        nonlocal runs
        runs += 1
        _, error = played(candidate, world) if runs <= RUNS else (None, None)
        return error is not None and error.law == law

    size = max(1, len(script.steps) // 2)
    while size:
        start, before = 0, script
        while start < len(script.steps):
            fewer = script.steps[:start] + script.steps[start + size :]
            candidate = replace(script, steps=fewer)
            if still_breaks(candidate):
                script = candidate
            else:
                start += size
        if script is before:
            size //= 2
    plain = Setup(latencies=script.setup.latencies)
    for name in ("retention", "page", "window", "buffer", "binary", "check", "held_back"):
        setup = replace(script.setup, **{name: getattr(plain, name)})
        if still_breaks(candidate := replace(script, setup=setup)):
            script = candidate
    return script
