"""How a program is played: on a backend and on `EventLog`, and their answers compared."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, TypeAlias, TypeVar

from anyio import fail_after
from anyio.from_thread import BlockingPortal
from hypothesis.stateful import RuleBasedStateMachine

from resumable_core import (
    Change,
    Claim,
    EventId,
    Outcome,
    Publish,
    Recover,
    Retention,
    Sentinel,
    StreamError,
    Takeover,
)
from resumable_io.abc import Backend

from ._cut import Cut
from ._stage import KEEP, LEASE, expect, timeless
from ._story import Story

T = TypeVar("T")
T_change = TypeVar("T_change", bound=Change)

Answer: TypeAlias = Sentinel | Sequence[EventId] | str
"""What a change returns, or why it is refused."""

ALL: Final = Retention()


class Player(RuleBasedStateMachine):
    """Play changes in two processes, which are two backends that share their streams."""

    patience: float = 30.0

    def __init__(self, portal: BlockingPortal, backends: tuple[Backend, Backend]) -> None:
        super().__init__()
        self.portal: BlockingPortal = portal
        self.backends: tuple[Backend, Backend] = backends
        self._drawn = 0

    def claim(
        self, story: Story, on_lost: Takeover = Takeover.CONTINUE, retention: Retention = ALL
    ) -> Claim:
        """Return a claim that the stream allows, unless it is active."""
        ended = story.log.sentinel.outcome not in {None, Outcome.LOST}
        replaces = story.log.sentinel.epoch if ended else None
        kept = _lasting(retention)
        return Claim(self.new_epoch(), LEASE, kept, on_lost=on_lost, replaces=replaces)

    def play(
        self, story: Story, steps: Iterable[tuple[int, Change]], cut: Cut | None = None
    ) -> None:
        """Apply changes, each in a process, and compare the answers; `cut` one before it is made.

        `steps` may look at the story, to which the former ones have been applied.
        """
        played: list[tuple[int, Change, int]] = []
        expected: list[Answer] = []
        for process, change in steps:
            story.last = change
            try:
                effect = story.apply(change)
                done = effect.ids if isinstance(change, Publish) else timeless(effect.sentinel)
                expected.append(done)
            except StreamError as error:
                expected.append(repr(error))
            played.append((process, change, len(story.told)))

        async def apply() -> list[Answer]:
            found: list[Answer] = []
            for process, change, told in played:
                story.begun = told
                if cut is not None:
                    with suppress(StreamError):
                        await cut(self.carry_out(story, process, change))
                try:
                    found.append(await self.carry_out(story, process, change))
                except StreamError as error:
                    found.append(repr(error))
            return found

        for (_, change, _), found, wanted in zip(played, self.run(apply), expected, strict=True):
            if found != wanted:  # or it would be much to format
                expect(found, wanted, f"the answer to {change}")

    async def carry_out(self, story: Story, process: int, change: Change) -> Answer:
        """Apply or publish a change in a process."""
        backend = self.backends[process]
        if isinstance(change, Publish):
            return tuple(await backend.publish(story.stream_id, change))
        return timeless(await backend.apply(story.stream_id, change))

    def lasting(self, story: Story, change: T_change) -> T_change:
        """Return a change with times that no test reaches, and with an epoch that is new."""
        match change:
            case (
                Claim(epoch=epoch, retention=retention) | Recover(epoch=epoch, retention=retention)
            ):
                lineage = story.log.sentinel.lineage
                if epoch in story.epochs and not lineage.knows(epoch):
                    epoch = self.new_epoch()  # nobody draws the same one twice
                return replace(change, epoch=epoch, lease=LEASE, retention=_lasting(retention))
            case Publish(retention=retention):
                return replace(change, epoch=self.new_epoch(), retention=_lasting(retention))
            case _:
                return change

    def new_epoch(self) -> str:
        """Draw an epoch."""
        self._drawn += 1
        return f"e{self._drawn}"

    def run(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Call the backends, in the thread where they are."""

        async def in_time() -> T:
            with fail_after(self.patience):
                return await call()

        return self.portal.call(in_time)


def _lasting(retention: Retention) -> Retention:
    """Return a retention without times that a program reaches."""
    return replace(retention, age=retention.age and KEEP, keep=KEEP)
