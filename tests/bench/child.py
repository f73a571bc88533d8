"""Run one part of a measurement in a process of its own.

    python -m tests.bench.child tests.bench.workloads.memory ours '{"count": 1000}'

A part is a function, an async function, or an async generator. What it returns goes to the parent,
a line of JSON. Whatever a generator yields does, too, and then it waits to be told to go on.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import sys


def say(said: object) -> None:
    print(json.dumps(said), flush=True)


async def perform(part) -> None:
    async for said in part:
        say(said)
        if not await asyncio.to_thread(sys.stdin.readline):
            return  # the parent is gone


def loop_runner(uvloop: bool):
    """Return what runs a coroutine."""
    if not uvloop:
        return asyncio.run
    import uvloop as it

    return it.run


def main() -> None:
    module, name, arguments = sys.argv[1:]
    try:
        options = json.loads(arguments)
        run = loop_runner(options.pop("uvloop", False))
        part = getattr(importlib.import_module(module), name)(**options)
        if inspect.isasyncgen(part):
            run(perform(part))
        else:
            say(run(part) if inspect.iscoroutine(part) else part)
    except Exception as error:
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        say({"failed": f"{type(error).__name__}: {error}"[:200]})
        raise


if __name__ == "__main__":
    main()
