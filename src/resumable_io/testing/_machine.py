"""A state machine for Hypothesis: random programs, on a backend and on `EventLog`."""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeVar

from anyio import fail_after
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from resumable_core import (
    TOP,
    Change,
    Claim,
    Finish,
    Message,
    Outcome,
    Recover,
    Retention,
    Sentinel,
    State,
    Stop,
    StreamError,
    Takeover,
)
from resumable_core.testing import Plan, append, messages, plans, retentions
from resumable_io.abc import Backend

from ._cut import Cut
from ._stage import KEEP, LEASE, OpenBackend, claim, expect, new_id, timeless
from ._story import Ear, Story

T = TypeVar("T")

NAMES: Final = ("x", "y")
"""The streams of a program."""

MOST_FEEDS: Final = 4

ALL: Final = Retention()


@contextmanager
def backend_machine(
    open_backend: OpenBackend, *, event_loop: str = "asyncio"
) -> Generator[type[RuleBasedStateMachine]]:
    """Open two backends, as two processes do, for a state machine that drives them.

        with backend_machine(open_backend) as machine:
            hypothesis.stateful.run_state_machine_as_test(machine)

    Every answer, every refusal, every page and everything that a feed tells is compared with
    `EventLog`. `open_backend` is called twice, and what it opens share their streams: see
    `OpenBackend`. They run in a thread, on `event_loop`: `asyncio` or `trio`. No time passes in a
    program: leases are a matter for `check_backend`.

    A class that is derived from the machine can have rules of its own, and another `patience`: the
    seconds after which a step counts as hanging.
    """
    with (
        start_blocking_portal(event_loop) as portal,
        portal.wrap_async_context_manager(open_backend()) as one,
        portal.wrap_async_context_manager(open_backend()) as other,
    ):

        class BackendMachine(_BackendMachine):
            def __init__(self) -> None:
                super().__init__(portal, (one, other))

        yield BackendMachine


class _BackendMachine(RuleBasedStateMachine):
    patience: float = 30.0

    def __init__(self, portal: BlockingPortal, backends: tuple[Backend, Backend]) -> None:
        super().__init__()
        self._portal = portal
        self._backends = backends
        self._stories = {name: Story(new_id(name)) for name in NAMES}
        self._ears: list[Ear] = []
        self._drawn = 0

    # What a program does

    @rule(name=st.sampled_from(NAMES), process=st.integers(0, 1), plan=plans())
    def change(self, name: str, process: int, plan: Plan) -> None:
        """Do anything, rightly or wrongly aimed."""
        story = self._stories[name]
        change = self._lasting(story, plan.aimed_at(story.log.sentinel))
        self._play(story, [(process, change)])

    @rule(
        name=st.sampled_from(NAMES),
        process=st.integers(0, 1),
        batches=st.lists(st.lists(messages(), min_size=1, max_size=3), min_size=1, max_size=4),
        overlap=st.integers(0, 2),
        retention=retentions(),
    )
    def produce(
        self,
        name: str,
        process: int,
        batches: Sequence[Sequence[Message]],
        overlap: int,
        retention: Retention,
    ) -> None:
        """Append some batches as a producer does; let the other process read the whole."""
        story = self._stories[name]

        def steps() -> Iterator[tuple[int, Change]]:
            if story.log.sentinel.state is not State.ACTIVE:
                yield process, self._claim(story, retention=retention)
            for batch in batches:
                top = story.log.sentinel
                yield process, append(top.epoch, max(1, top.last_seq + 1 - overlap), batch)

        self._play(story, steps())
        self.read(name, 1 - process, 0, 100, math.inf)

    @rule(
        name=st.sampled_from(NAMES),
        process=st.integers(0, 1),
        on_lost=st.sampled_from([Takeover.CONTINUE, Takeover.RESTART]),
        late=st.lists(messages(), min_size=1, max_size=2),
    )
    def take_over(
        self, name: str, process: int, on_lost: Takeover, late: Sequence[Message]
    ) -> None:
        """Lose a producer, let the other process go on, and let the first one come too late."""
        story = self._stories[name]

        def steps() -> Iterator[tuple[int, Change]]:
            if story.log.sentinel.state is not State.ACTIVE:
                yield process, self._claim(story)
            lost = story.log.sentinel
            yield process, Finish(lost.epoch, Outcome.LOST, lost.last_seq)
            yield 1 - process, self._claim(story, on_lost)
            yield process, append(lost.epoch, lost.last_seq + 1, late)

        self._play(story, steps())

    @precondition(lambda self: any(story.last for story in self._stories.values()))
    @rule(process=st.integers(0, 1))
    def repeat(self, process: int) -> None:
        """Repeat the last change of each stream, as whoever does not know its outcome."""
        for story in self._stories.values():
            if story.last is not None:
                self._play(story, [(process, story.last)])

    @rule(
        name=st.sampled_from(NAMES),
        process=st.integers(0, 1),
        plan=plans(),
        step=st.integers(0, 5),
    )
    def cut(self, name: str, process: int, plan: Plan, step: int) -> None:
        """Cancel a change at one of its awaits, then repeat it."""
        story, backend = self._stories[name], self._backends[process]
        change = self._lasting(story, plan.aimed_at(story.log.sentinel))

        async def cut_off() -> None:
            with suppress(StreamError):
                await Cut(step)(backend.apply(story.stream_id, change))

        self._run(cut_off)
        self._play(story, [(process, change)])

    @rule(
        name=st.sampled_from(NAMES),
        process=st.integers(0, 1),
        after=st.integers(0, 8) | st.just(TOP),
        limit=st.integers(1, 8),
        connected_for=st.sampled_from([0.0, math.inf]),
    )
    def read(self, name: str, process: int, after: int, limit: int, connected_for: float) -> None:
        """Read a page."""
        story, backend = self._stories[name], self._backends[process]
        page = self._run(
            lambda: backend.read(story.stream_id, after, limit, connected_for=connected_for)
        )
        expected = story.log.read(after, 0.0, limit=limit)
        expect(timeless(page), timeless(expected), f"the page after {after}, of {limit} at most")

    @rule(process=st.integers(0, 1))
    def scan(self, process: int) -> None:
        """List the streams."""
        backend = self._backends[process]

        async def listed() -> list[tuple[str, Sentinel]]:
            return [each async for each in backend.scan()]

        found = self._run(listed)
        for story in self._stories.values():
            there = [timeless(each) for stream_id, each in found if stream_id == story.stream_id]
            expected = [timeless(story.log.sentinel)] if story.log.sentinel.known else []
            expect(there, expected, "a scan lists once what is there")

    @precondition(lambda self: len(self._ears) < MOST_FEEDS)
    @rule(name=st.sampled_from(NAMES), process=st.integers(0, 1), events=st.booleans())
    def follow(self, name: str, process: int, events: bool) -> None:  # noqa: FBT001 - it is drawn
        """Follow a stream."""
        story, stack = self._stories[name], ExitStack()
        follow = self._backends[process].follow(story.stream_id, events=events)
        feed = stack.enter_context(self._portal.wrap_async_context_manager(follow))
        told = story.told if events else story.states
        self._ears.append(Ear(feed, stack, told, len(told)))

    @precondition(lambda self: self._ears)
    @rule(leaves=st.booleans())
    def hear(self, leaves: bool) -> None:  # noqa: FBT001 - it is drawn
        """Hear what has happened since, in all feeds; leave the oldest one."""
        for ear in self._ears:
            while ear.place < len(ear.told):
                for item in self._run(ear.feed.receive):
                    ear.take(item)
        if leaves:
            self._ears.pop(0).stack.close()

    def teardown(self) -> None:
        """Hear and read everything once more, leave the feeds, and remove the streams."""
        try:
            self.hear(leaves=False)
            self.scan(0)
            for name in NAMES:
                self.read(name, 1, 0, 100, math.inf)
        finally:
            for ear in self._ears:
                ear.stack.close()
        for story in self._stories.values():
            self._run(partial(self._remove, story))

    async def _remove(self, story: Story) -> None:
        """Let a stream expire at once: the next programs are to find few streams to list."""
        sentinel = story.log.sentinel
        if sentinel.state is State.ABSENT:
            return
        backend = self._backends[0]
        replaces = sentinel.epoch if sentinel.known else None
        moment = claim(self._new_epoch(), lease=0.001, keep=0, replaces=replaces)
        with suppress(StreamError):  # where the backend is at fault
            if sentinel.state is State.ACTIVE:
                await backend.apply(story.stream_id, Stop())
            await backend.apply(story.stream_id, moment)

    # How it is done, and compared

    def _claim(
        self, story: Story, on_lost: Takeover = Takeover.CONTINUE, retention: Retention = ALL
    ) -> Claim:
        """Return a claim that the stream allows, unless it is active."""
        ended = story.log.sentinel.outcome not in {None, Outcome.LOST}
        replaces = story.log.sentinel.epoch if ended else None
        kept = _lasting(retention)
        return Claim(self._new_epoch(), LEASE, kept, on_lost=on_lost, replaces=replaces)

    def _play(self, story: Story, steps: Iterable[tuple[int, Change]]) -> None:
        """Apply changes, each in a process, and compare the answers.

        `steps` may look at the story, to which the former ones have been applied.
        """
        played: list[tuple[int, Change]] = []
        expected: list[Sentinel | str] = []
        for process, change in steps:
            played.append((process, change))
            story.last = change
            try:
                expected.append(timeless(story.apply(change)))
            except StreamError as error:
                expected.append(repr(error))

        async def apply() -> list[Sentinel | str]:
            found: list[Sentinel | str] = []
            for process, change in played:
                try:
                    answer = await self._backends[process].apply(story.stream_id, change)
                    found.append(timeless(answer))
                except StreamError as error:
                    found.append(repr(error))
            return found

        for (_, change), found, wanted in zip(played, self._run(apply), expected, strict=True):
            if found != wanted:  # or it would be much to format
                expect(found, wanted, f"the answer to {change}")

    def _lasting(self, story: Story, change: Change) -> Change:
        """Return a change with times that no test reaches, and with an epoch that is new."""
        match change:
            case (
                Claim(epoch=epoch, retention=retention) | Recover(epoch=epoch, retention=retention)
            ):
                lineage = story.log.sentinel.lineage
                if epoch in story.epochs and not lineage.knows(epoch):
                    epoch = self._new_epoch()  # nobody draws the same one twice
                return replace(change, epoch=epoch, lease=LEASE, retention=_lasting(retention))
            case _:
                return change

    def _new_epoch(self) -> str:
        self._drawn += 1
        return f"e{self._drawn}"

    def _run(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        async def in_time() -> T:
            with fail_after(self.patience):
                return await call()

        return self._portal.call(in_time)


def _lasting(retention: Retention) -> Retention:
    """Return a retention without times that a program reaches."""
    return replace(retention, age=retention.age and KEEP, keep=KEEP)
