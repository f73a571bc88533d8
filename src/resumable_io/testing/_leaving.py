"""Scenarios of leaving: who has left hears nothing and is forgotten; others hear everything."""

from __future__ import annotations

import gc
import weakref

from anyio import Event, create_task_group, move_on_after, sleep
from anyio.lowlevel import checkpoint

from resumable_core import FeedItem
from resumable_io.abc import Unfollow

from ._inbox import Inbox, following
from ._stage import Listener, OpenBackend, ensure, expect, new_id, started, texts, two

PATIENCE = 10
"""Seconds after which a visit counts as hanging."""

FOLLOWERS = 3
"""Those who let each other go."""


async def who_has_left_is_told_nothing(open_backend: OpenBackend) -> None:
    """Law 10: neither at once, nor when the others are told; and it may be said again."""
    async with two(open_backend) as (one, other):
        x = new_id()
        await started(one, x)
        left = Inbox()
        async with following(other, x) as feed:
            for seq in range(1, 10):
                unfollow = await other.follow(x, left.tell, events=True)
                unfollow()
                told = len(left.told)
                unfollow()
                await one.apply(x, texts(seq, str(seq)))
                await Listener(feed, seq - 1).hear_event(seq)
                expect(len(left.told), told, "nothing is told")


async def who_has_left_is_forgotten(open_backend: OpenBackend) -> None:
    """Law 8: nothing of theirs is held."""
    async with two(open_backend) as (one, other):
        x = new_id()
        await started(one, x)
        left = Inbox()
        forgotten = weakref.ref(left)
        unfollow = await other.follow(x, left.tell, events=True)
        unfollow()
        del left, unfollow
        await one.apply(x, texts(1, "one"))
        with move_on_after(PATIENCE):
            while forgotten():
                await sleep(0.5)
                gc.collect()
        ensure(forgotten() is None, "a feed that was ended is let go")


async def who_is_told_may_leave(open_backend: OpenBackend) -> None:
    """Law 10: in the middle of being told; others hear it all the same."""
    async with two(open_backend) as (one, other):
        x = new_id()
        await started(one, x)
        leaving: list[Unfollow] = []

        def leave(_: FeedItem) -> None:
            for unfollow in leaving:
                unfollow()

        async with following(other, x) as before:
            leaving.append(await other.follow(x, leave, events=True))
            async with following(other, x) as after:
                for seq in range(1, 4):
                    await one.apply(x, texts(seq, str(seq)))
                for feed in (before, after):
                    await Listener(feed).hear_event(3)


async def who_was_let_go_is_told_nothing(open_backend: OpenBackend) -> None:
    """Law 10: not even the item that somebody else was being told when they let them go."""
    async with two(open_backend) as (one, other):
        x = new_id()
        await started(one, x)
        leaving: list[Unfollow] = []
        told, heard = list[FeedItem](), Event()

        def let_all_go(item: FeedItem) -> None:
            if len(leaving) == FOLLOWERS:  # else it is told before the last one has followed
                told.append(item)
                heard.set()
                for unfollow in leaving:
                    unfollow()

        while len(leaving) < FOLLOWERS:
            leaving.append(await other.follow(x, let_all_go, events=True))
        async with following(other, x) as feed:
            await one.apply(x, texts(1, "one"))
            with move_on_after(PATIENCE):
                await heard.wait()
            await one.apply(x, texts(2, "two"))
            await Listener(feed).hear_event(2)
        expect(len(told), 1, "the first that is told lets all go")


async def who_comes_when_others_leave_hears_everything(open_backend: OpenBackend) -> None:
    """Law 10: leaving, and entering anew while that is under way, never leaves a feed deaf."""
    async with two(open_backend) as (one, other):
        x = new_id()
        await started(one, x)

        async def visit(turns: int) -> None:
            with move_on_after(PATIENCE) as scope:
                async with following(other, x):
                    for _ in range(turns):
                        await checkpoint()
                    scope.cancel()
                    await checkpoint()

        for turn in range(20):
            async with create_task_group() as tasks:
                for turns in (0, turn % 5, turn):
                    tasks.start_soon(visit, turns)
                for _ in range(turn % 7):
                    await checkpoint()
                tasks.cancel_scope.cancel()
            async with following(other, x) as feed:
                await one.apply(x, texts(turn + 1, str(turn)))
                await Listener(feed, turn).hear_event(turn + 1)


SCENARIOS = (
    who_has_left_is_told_nothing,
    who_has_left_is_forgotten,
    who_is_told_may_leave,
    who_was_let_go_is_told_nothing,
    who_comes_when_others_leave_hears_everything,
)
