"""A machine that lets anything happen to a stream, its feed, and the reads of a follower.

The feed's items are lost, repeated, delayed and reordered, the feed is interrupted, reads fail or
take their time; and the stream is appended to, trimmed, taken over, restarted, deleted, and loses
its newest part. The laws are checked after each step, and once more when all is quiet.
"""

# pyright: reportPrivateUsage=false
# That the window is a part of the log can only be seen inside.

from __future__ import annotations

from math import inf
from typing import Final, TypeAlias

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from resumable_core import (
    Delete,
    Follower,
    FollowerLimits,
    Lineage,
    Outcome,
    Renew,
    State,
    Stop,
    Takeover,
)
from resumable_core._follower import LONGEST_RETRY, SHARED_PAGES
from resumable_core._records import byte_length
from resumable_core.testing.worlds.follower import LEASE, LIMITS, FollowerWorld

View: TypeAlias = tuple[bool, State, Lineage, int]

ACTIONS: Final = (
    *(
        "nothing",
        "claim",
        "append",
        "append",
        "skip",
        "end",
        "renew",
        "delete",
        "wipe",
        "fail_over",
    ),
    *("keep_up", "keep_up", "keep_up", "subscribe", "deliver", "deliver", "deliver_all"),
    *("lose_items", "interrupt", "ask", "read", "read", "answer", "answer", "fail", "doubt"),
    *("wait_for", "wait_for", "append_during_a_read"),
    *("settle", "settle", "wait", "wait"),
)
data_of_a_batch: Final = st.lists(st.text("aé", max_size=4), min_size=1, max_size=5)


class FollowerMachine(RuleBasedStateMachine):
    """Anything may happen at any time, in any order."""

    @initialize(wide=st.booleans(), forgets=st.booleans(), ends=st.booleans())
    def start(self, *, wide: bool, forgets: bool, ends: bool) -> None:
        self.world: FollowerWorld = FollowerWorld(
            FollowerLimits(pending=2, window_count=4) if wide else LIMITS
        )
        self.forgets: bool = forgets
        self.ends: bool = ends
        self.seen: tuple[int, View | None] = (0, None)

    @rule(data=st.data(), action=st.sampled_from(ACTIONS))
    def step(self, data: st.DataObject, action: str) -> None:
        """One rule for all: of many, Hypothesis would leave out half in each run."""
        getattr(self, action)(data.draw)

    def nothing(self, draw: st.DrawFn) -> None:
        pass

    @property
    def follower(self) -> Follower:
        return self.world.follower

    # What becomes of the stream

    def claim(self, draw: st.DrawFn) -> None:
        at = self.world.log.sentinel
        if at.state is State.LOST:
            self.world.claim(on_lost=draw(st.sampled_from([Takeover.CONTINUE, Takeover.RESTART])))
        elif not self.world.active:
            self.world.claim(replaces=at.epoch if at.known else None)

    def append(self, draw: st.DrawFn) -> None:
        if self.world.active:
            self.world.append(*draw(data_of_a_batch))

    def skip(self, draw: st.DrawFn) -> None:
        if self.world.active and self.forgets:
            self.world.skip(draw(st.integers(1, 3)))

    def end(self, draw: st.DrawFn) -> None:
        if self.world.active and self.ends:
            outcome = draw(st.sampled_from(Outcome))
            if outcome is Outcome.STOPPED:
                self.world.apply(Stop())
            else:
                self.world.end(outcome)

    def renew(self, draw: st.DrawFn) -> None:
        if self.world.active:
            self.world.apply(Renew(self.world.log.sentinel.epoch))

    def delete(self, draw: st.DrawFn) -> None:
        if self.ends:
            self.world.apply(Delete())

    def wipe(self, draw: st.DrawFn) -> None:
        if self.forgets:
            self.world.wipe()

    def fail_over(self, draw: st.DrawFn) -> None:
        if self.forgets:
            back = draw(st.integers(1, min(8, len(self.world.past))))
            self.world.roll_back(self.world.past[-back])

    def keep_up(self, draw: st.DrawFn) -> None:
        """Time without faults, so that something comes about."""
        self.claim(draw)
        self.subscribe(draw)
        self.append(draw)
        self.world.deliver_all()
        self.world.settle()

    def append_during_a_read(self, draw: st.DrawFn) -> None:
        """What joins what a read under way will bring is held until then."""
        self.keep_up(draw)
        self.world.doubt()
        self.world.settle()
        if self.world.active:
            self.append(draw)
            self.world.feed.clear()
            self.world.doubt()
            self.world.ask_when_due()
            self.world.read()
            self.append(draw)
            self.world.deliver_all()
            self.world.answer()
            self.world.settle()
            self.world.assert_same()

    # What becomes of the feed

    @property
    def subscribed(self) -> bool:
        return self.world.since < inf

    def subscribe(self, draw: st.DrawFn) -> None:
        if not self.subscribed:
            self.world.subscribe()

    def deliver(self, draw: st.DrawFn) -> None:
        if self.world.feed and self.subscribed:
            index = draw(st.integers(0, len(self.world.feed) - 1))
            self.world.deliver(index)
            if draw(st.booleans()):
                del self.world.feed[index]

    def deliver_all(self, draw: st.DrawFn) -> None:
        if self.subscribed:
            self.world.deliver_all()

    def lose_items(self, draw: st.DrawFn) -> None:
        self.world.feed.clear()

    def interrupt(self, draw: st.DrawFn) -> None:
        if self.subscribed:
            self.world.interrupt()

    # What becomes of the reads

    def ask(self, draw: st.DrawFn) -> None:
        if self.world.fetch is None:
            self.world.ask()

    def read(self, draw: st.DrawFn) -> None:
        if self.world.fetch is not None and self.world.page is None:
            self.world.read(draw(st.integers(1, 3)))

    def answer(self, draw: st.DrawFn) -> None:
        if self.world.page is not None:
            self.world.answer()

    def fail(self, draw: st.DrawFn) -> None:
        if self.world.fetch is not None:
            self.world.fail(draw(st.floats(0, 1)))

    def doubt(self, draw: st.DrawFn) -> None:
        if self.subscribed:
            self.world.doubt()

    def wait_for(self, draw: st.DrawFn) -> None:
        """Whoever waits before the window is woken by the next answer."""
        if self.subscribed:
            after, version = draw(st.integers(0, 6)), self.follower.version
            waits = self.follower.ready and self.follower.page(after) is None
            self.world.wait_for(after)
            if waits and draw(st.booleans()):
                if self.world.fetch is None:
                    self.world.ask_when_due()
                self.world.settle()
                assert self.follower.version > version

    def settle(self, draw: st.DrawFn) -> None:
        self.world.settle(draw(st.integers(1, 3)))

    def wait(self, draw: st.DrawFn) -> None:
        self.world.now += draw(st.sampled_from([0.01, 0.2, 1.0, 5.0, LEASE, LIMITS.outage]))

    # The laws

    @invariant()
    def the_window_is_a_part_of_the_log(self) -> None:
        """Contiguous, up to the top, and what stood under those ids."""
        follower = self.follower
        window, top = follower._window.events, follower._window.top
        assert [event.id.seq for event in window] == list(range(top + 1 - len(window), top + 1))
        for event in window:
            assert event == self.world.held[event.id]
            assert follower.sentinel.lineage.id_at(event.id.seq) == event.id
        assert follower.sentinel.last_seq == top

    @invariant()
    def pages_are_parts_of_the_window(self) -> None:
        follower, window = self.follower, self.follower._window
        first = window.top + 1 - len(window.events)
        for after in range(max(0, first - 3), window.top + 3):
            page = follower.page(after)
            if not follower.ready or after < first - 1:
                assert page is None
            else:
                assert page is not None
                assert page is follower.page(after)
                assert page.events == tuple(window.events[after + 1 - first :])
                assert page.after == after
                assert page.sentinel.last_seq == window.top

    @invariant()
    def consumers_are_woken(self) -> None:
        """What a consumer might want to see has another version."""
        at = self.follower.sentinel
        view = (self.follower.ready, at.state, at.lineage, at.last_seq)
        version, before = self.seen
        assert version <= self.follower.version
        assert view == before or version < self.follower.version or before is None
        self.seen = (self.follower.version, view)

    @invariant()
    def memory_is_bounded(self) -> None:
        """Law 8."""
        follower, limits = self.follower, self.follower._limits
        window = follower._window
        size = sum(byte_length(event.data) for event in window.events)
        assert window._bytes == size
        one_batch = len(window._batches) == 1
        assert len(window.events) <= limits.window_count or one_batch
        assert size <= limits.window_bytes or one_batch
        assert len(follower._pending) <= limits.pending
        assert len(follower._pages) <= SHARED_PAGES

    @invariant()
    def reads_are_few(self) -> None:
        """One for each cause, and one in a check interval; there is no hot loop."""
        world = self.world
        assert world.fetches <= world.causes + world.now / LIMITS.check_interval + 1

    def teardown(self) -> None:
        """Law 7: when all is quiet, the follower knows what there is after one check interval."""
        if not hasattr(self, "world"):
            return
        world = self.world
        if world.since == inf:
            world.subscribe()
        world.feed.clear()
        world.run(max(LIMITS.check_interval, LONGEST_RETRY), limit=3)
        self.reads_are_few()
        world.assert_same()
        assert world.follower.sentinel == world.log.sentinel
        assert not world.follower.unreachable
        assert not world.follower.given_up
