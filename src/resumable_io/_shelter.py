"""Keep a context open until its user has left it in order, although the user is cancelled."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from anyio import CancelScope, Event, create_task_group, current_time

from ._sources import CLEANUP_SECONDS


@asynccontextmanager
async def sheltered(context: AbstractAsyncContextManager[object]) -> AsyncGenerator[None]:
    """Hold a context in a task of its own, out of reach of cancellation until the block is left.

    What a cancelled user has to do at the end can then still be done with what the context gives.
    Entering it may be cancelled as ever; leaving it is given five seconds. Raises what entering it
    raises.
    """
    entered, leave = Event(), Event()
    refusal: Exception | None = None

    async def hold() -> None:
        nonlocal refusal
        with CancelScope() as scope:
            try:
                await context.__aenter__()
            except Exception as error:  # noqa: BLE001 - it is raised below
                refusal = error
                entered.set()
                return
            scope.shield = True
            entered.set()
            try:
                await leave.wait()
            finally:
                scope.deadline = current_time() + CLEANUP_SECONDS
                await context.__aexit__(None, None, None)

    async with create_task_group() as tasks:
        tasks.start_soon(hold)
        try:
            await entered.wait()
            if refusal is None:
                yield
        finally:
            leave.set()
    if refusal is not None:
        raise refusal
