"""A state machine for Hypothesis: random programs, on a backend and on `EventLog`."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Final

from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from resumable_core import (
    TOP,
    Change,
    Delete,
    Finish,
    Message,
    Outcome,
    Publish,
    Retention,
    Sentinel,
    State,
    Stop,
    StreamError,
    Takeover,
)
from resumable_core.testing import Plan, append, copy_of, messages, plans, retentions
from resumable_core.testing.machines.channel import publications
from resumable_io.abc import Backend

from ._cut import Cut
from ._playing import Player
from ._stage import OpenBackend, claim, expect, new_channel, new_id, timeless
from ._story import Ear, Story

NAMES: Final = ("x", "y")
"""The streams of a program."""

CHANNEL: Final = "c"
"""Its channel."""

MOST_FEEDS: Final = 4

ATTEMPTS: Final = st.builds(
    Publish, st.just(""), st.lists(publications(), min_size=1, max_size=4).map(tuple), retentions()
)
"""Attempts to publish, often under keys that were used before."""


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


class _BackendMachine(Player):
    def __init__(self, portal: BlockingPortal, backends: tuple[Backend, Backend]) -> None:
        super().__init__(portal, backends)
        self._stories = {name: Story(new_id(name)) for name in NAMES}
        self._stories[CHANNEL] = Story(new_channel())
        self._ears: list[Ear] = []

    # What a program does

    @rule(name=st.sampled_from(NAMES), process=st.integers(0, 1), plan=plans())
    def change(self, name: str, process: int, plan: Plan) -> None:
        """Do anything, rightly or wrongly aimed."""
        story = self._stories[name]
        change = self.lasting(story, plan.aimed_at(story.log.sentinel))
        self.play(story, [(process, change)])

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
                yield process, self.claim(story, retention=retention)
            for batch in batches:
                top = story.log.sentinel
                yield process, append(top.epoch, max(1, top.last_seq + 1 - overlap), batch)

        self.play(story, steps())
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
                yield process, self.claim(story)
            lost = story.log.sentinel
            yield process, Finish(lost.epoch, Outcome.LOST, lost.last_seq)
            yield 1 - process, self.claim(story, on_lost)
            yield process, append(lost.epoch, lost.last_seq + 1, late)

        self.play(story, steps())

    @rule(
        name=st.sampled_from((CHANNEL, CHANNEL, CHANNEL, *NAMES)),
        process=st.integers(0, 1),
        attempts=st.lists(ATTEMPTS, min_size=1, max_size=3),
    )
    def publish(self, name: str, process: int, attempts: Sequence[Publish]) -> None:
        """Publish to the channel, or wrongly to a stream; let the other process read the whole."""
        story = self._stories[name]
        self.play(story, ((process, self.lasting(story, each)) for each in attempts))
        self.read(name, 1 - process, 0, 100, math.inf)

    @rule(process=st.integers(0, 1), attempt=ATTEMPTS, step=st.integers(0, 5))
    def cut_publication(self, process: int, attempt: Publish, step: int) -> None:
        """Cancel an attempt to publish at one of its awaits, then repeat it."""
        story = self._stories[CHANNEL]
        attempt = self.lasting(story, attempt)
        once = copy_of(story.log)
        once.apply(attempt, 0.0)
        if once.apply(attempt, 0.0).batch is None:  # or what it finds is trimmed by what it adds
            self.play(story, [(process, attempt)], Cut(step))

    @rule(process=st.integers(0, 1))
    def delete_channel(self, process: int) -> None:
        """Delete the channel."""
        self.play(self._stories[CHANNEL], [(process, Delete())])

    @precondition(lambda self: any(story.last for story in self._stories.values()))
    @rule(process=st.integers(0, 1))
    def repeat(self, process: int) -> None:
        """Repeat the last change of each stream, as whoever does not know its outcome."""
        for story in self._stories.values():
            if story.last is not None:
                last = story.last
                if isinstance(last, Publish):  # each attempt has an epoch of its own
                    last = self.lasting(story, last)
                self.play(story, [(process, last)])

    @rule(
        name=st.sampled_from(NAMES),
        process=st.integers(0, 1),
        plan=plans(),
        step=st.integers(0, 5),
    )
    def cut(self, name: str, process: int, plan: Plan, step: int) -> None:
        """Cancel a change at one of its awaits, then repeat it."""
        story = self._stories[name]
        change = self.lasting(story, plan.aimed_at(story.log.sentinel))
        self.play(story, [(process, change)], Cut(step))

    @rule(
        name=st.sampled_from((*NAMES, CHANNEL)),
        process=st.integers(0, 1),
        after=st.integers(0, 8) | st.just(TOP),
        limit=st.integers(1, 8),
        connected_for=st.sampled_from([0.0, math.inf]),
    )
    def read(self, name: str, process: int, after: int, limit: int, connected_for: float) -> None:
        """Read a page."""
        story, backend = self._stories[name], self.backends[process]
        page = self.run(
            lambda: backend.read(story.stream_id, after, limit, connected_for=connected_for)
        )
        expected = story.log.read(after, 0.0, limit=limit)
        expect(timeless(page), timeless(expected), f"the page after {after}, of {limit} at most")

    @rule(process=st.integers(0, 1))
    def scan(self, process: int) -> None:
        """List the streams."""
        backend = self.backends[process]

        async def listed() -> list[tuple[str, Sentinel]]:
            return [each async for each in backend.scan()]

        found = self.run(listed)
        for story in self._stories.values():
            there = [timeless(each) for stream_id, each in found if stream_id == story.stream_id]
            expected = [timeless(story.log.sentinel)] if story.log.sentinel.known else []
            expect(there, expected, "a scan lists once what is there")

    @precondition(lambda self: len(self._ears) < MOST_FEEDS)
    @rule(name=st.sampled_from((*NAMES, CHANNEL)), process=st.integers(0, 1), events=st.booleans())
    def follow(self, name: str, process: int, events: bool) -> None:  # noqa: FBT001 - it is drawn
        """Follow a stream."""
        story, backend = self._stories[name], self.backends[process]
        ear = Ear(story, events=events)
        ear.unfollow = self.run(lambda: backend.follow(story.stream_id, ear.tell, events=events))
        self._ears.append(ear)

    @precondition(lambda self: self._ears)
    @rule(leaves=st.booleans())
    def hear(self, leaves: bool) -> None:  # noqa: FBT001 - it is drawn
        """Hear what has happened since, in all feeds; leave the oldest one."""
        for ear in self._ears:
            while missing := ear.missing:
                try:
                    self.run(ear.hear)
                except TimeoutError:
                    silent = f"this one not {missing[0]} within {self.patience:g} s"
                    raise AssertionError(f"a feed tells what happens, but {silent}") from None
        if leaves:
            self.portal.call(self._ears.pop(0).unfollow)

    def teardown(self) -> None:
        """Hear and read everything once more, leave the feeds, and remove the streams."""
        try:
            self.hear(leaves=False)
            self.scan(0)
            for name in self._stories:
                self.read(name, 1, 0, 100, math.inf)
        finally:
            for ear in self._ears:
                self.portal.call(ear.unfollow)
        for story in self._stories.values():
            self.run(partial(self._remove, story))

    async def _remove(self, story: Story) -> None:
        """Let a stream expire at once: the next programs are to find few streams to list."""
        sentinel = story.log.sentinel
        if sentinel.state is State.ABSENT:
            return
        backend = self.backends[0]
        replaces = sentinel.epoch if sentinel.known else None
        moment = claim(self.new_epoch(), lease=0.001, keep=0, replaces=replaces)
        with suppress(StreamError):  # where the backend is at fault
            if sentinel.state is State.ACTIVE:
                await backend.apply(story.stream_id, Stop())
            if sentinel.state is State.OPEN:
                await backend.apply(story.stream_id, Delete())
            await backend.apply(story.stream_id, moment)
