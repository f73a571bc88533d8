"""Scenarios of several processes, which share nothing but the store; one of them is killed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, TypeVar

import anyio
from anyio import create_task_group, sleep, to_process
from anyio.lowlevel import checkpoint

from resumable_core import EventId, Finish, Outcome, State, StreamExists, Takeover

from ._inbox import following
from ._stage import (
    Listener,
    OpenBackend,
    claim,
    data,
    expect,
    new_channel,
    new_id,
    publish,
    read,
    started,
    texts,
)

T = TypeVar("T")

WRITERS: Final = 3
EACH: Final = 20
"""Processes that publish at once, and messages of each."""

BATCH: Final = 5
"""Events that are appended at a time."""

SHORT: Final = 1.0
"""Seconds of the lease of somebody who is killed."""


async def _elsewhere(event_loop: str, work: Callable[..., Awaitable[T]], *arguments: Any) -> T:
    """Let another process work; it is killed if this is cancelled."""
    return await to_process.run_sync(_run, event_loop, work, arguments, cancellable=True)


def _run(event_loop: str, work: Callable[..., Awaitable[T]], arguments: tuple[Any, ...]) -> T:
    return anyio.run(partial(work, *arguments), backend=event_loop)


async def what_another_process_does_is_told(open_backend: OpenBackend, event_loop: str) -> None:
    """Laws 1, 2 and 5: the feed of one process tells what happens in another."""
    x, c = new_id(), new_channel()
    async with (
        open_backend() as backend,
        following(backend, x) as feed,
        following(backend, c) as channel,
    ):
        await _elsewhere(event_loop, _produce, open_backend, x, c)
        listener = Listener(feed)
        await listener.hear_event(10 * BATCH)
        await listener.hear_state(State.DONE)
        await Listener(channel).hear_event(1)
        expect(await data(backend, x), [*map(str, range(1, 10 * BATCH + 1))], "all is read")
        expect(await data(backend, c), ["news"], "all is read")


async def _produce(open_backend: OpenBackend, x: str, c: str) -> None:
    async with open_backend() as backend:
        await started(backend, x)
        for seq in range(1, 10 * BATCH, BATCH):
            await backend.apply(x, texts(seq, *map(str, range(seq, seq + BATCH))))
        await backend.apply(x, Finish("a", Outcome.DONE, 10 * BATCH))
        await backend.publish(c, publish("news"))


async def of_many_processes_each_has_its_own(open_backend: OpenBackend, event_loop: str) -> None:
    """Laws 3 and 4: one claim of many succeeds, and no id is given twice."""
    x, c = new_id(), new_channel()
    won: list[str] = []
    given: dict[str, EventId] = {}

    async def compete(number: int) -> None:
        claims, ids = await _elsewhere(event_loop, _compete, open_backend, number, x, c)
        won.extend(claims)
        given.update(ids)

    async with open_backend() as backend:
        async with create_task_group() as tasks:  # so that all are there when it begins
            for _ in range(WRITERS):
                tasks.start_soon(_elsewhere, event_loop, checkpoint)
        async with create_task_group() as tasks:
            for number in range(WRITERS):
                tasks.start_soon(compete, number)
        expect(won, [(await read(backend, x)).sentinel.epoch], "one claim of many succeeds")
        events = (await read(backend, c)).events
        expect({str(event.data): event.id for event in events}, given, "each has its own id")
        expect(
            [event.id.seq for event in events], [*range(1, WRITERS * EACH + 1)], "there is no hole"
        )


async def _compete(
    open_backend: OpenBackend, number: int, x: str, c: str
) -> tuple[list[str], dict[str, EventId]]:
    given: dict[str, EventId] = {}
    async with open_backend() as backend:
        try:
            won = [(await backend.apply(x, claim(f"e{number}"))).epoch]
        except StreamExists:
            won = []
        for each in range(EACH):
            text = f"{number}-{each}"
            (given[text],) = await backend.publish(c, publish(text))
    return won, given


async def who_is_killed_leaves_a_whole_log(open_backend: OpenBackend, event_loop: str) -> None:
    """Laws 2, 6 and 7: nothing is half there, it is known to be lost, and another one goes on."""
    x = new_id()
    async with open_backend() as backend, following(backend, x) as feed:
        listener = Listener(feed)
        async with create_task_group() as tasks:
            tasks.start_soon(_elsewhere, event_loop, _produce_for_ever, open_backend, x)
            await listener.hear_event(20 * BATCH)
            tasks.cancel_scope.cancel()
        log = await data(backend, x)
        top = len(log)
        expect(log, [*map(str, range(1, top + 1))], "the log has no hole")
        expect(top % BATCH, 0, "the last change is made, or it is not")
        await sleep(SHORT)
        expect((await read(backend, x)).sentinel.state, State.LOST, "its lease runs out")
        await listener.hear_state(State.LOST)
        await backend.apply(x, claim("b", on_lost=Takeover.CONTINUE))
        await backend.apply(x, texts(top + 1, "on", epoch="b"))
        await listener.hear_event(top + 1)
        if not listener.interrupted:
            expect(listener.heard, [*log, "on"], "everything is told")


async def _produce_for_ever(open_backend: OpenBackend, x: str) -> None:
    async with open_backend() as backend:
        await backend.apply(x, claim(lease=SHORT))
        seq = 1
        while True:
            await backend.apply(x, texts(seq, *map(str, range(seq, seq + BATCH))))
            seq += BATCH


SCENARIOS: Final = (
    what_another_process_does_is_told,
    of_many_processes_each_has_its_own,
    who_is_killed_leaves_a_whole_log,
)
