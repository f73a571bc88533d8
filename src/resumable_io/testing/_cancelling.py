"""Scenarios of cancellation: at each await of each call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from resumable_core import Finish, Outcome
from resumable_io.abc import Backend

from ._cut import Cut, at_each_await
from ._inbox import Inbox, following
from ._stage import (
    Listener,
    OpenBackend,
    claim,
    data,
    ensure,
    expect,
    is_absent,
    new_channel,
    new_id,
    publish,
    read,
    started,
    texts,
    timeless,
)

MOST_AWAITS: Final = 30
"""A scan of a large store has as many as there are streams."""


async def _cutting(
    open_backend: OpenBackend, play: Callable[[Backend, str, Cut], Awaitable[None]]
) -> None:
    async with open_backend() as backend:

        async def once(cut: Cut) -> None:
            await play(backend, new_id(), cut)

        if await at_each_await(once, most=MOST_AWAITS) == 0:
            raise AssertionError("the call never noticed that it was cancelled")


async def a_cancelled_change_is_made_or_not(open_backend: OpenBackend) -> None:
    """Law 10: never half, told once, and its repeat is the same."""

    async def play(backend: Backend, x: str, cut: Cut) -> None:
        await started(backend, x, "one")
        change = texts(2, "two", "three")
        async with following(backend, x) as feed:
            await cut(backend.apply(x, change))
            half = await data(backend, x)
            ensure(half in (["one"], ["one", "two", "three"]), f"all or nothing, not {half}")
            await backend.apply(x, change)
            expect(await data(backend, x), ["one", "two", "three"], "the repeat makes it whole")
            listener = Listener(feed, 1)
            await listener.hear_event(3)
            if not listener.interrupted:
                expect(listener.heard, ["two", "three"], "it is told once")

    await _cutting(open_backend, play)


async def a_cancelled_claim_can_be_repeated(open_backend: OpenBackend) -> None:
    """Laws 4 and 10: the same epoch again is the same claim."""

    async def play(backend: Backend, x: str, cut: Cut) -> None:
        await cut(backend.apply(x, claim()))
        expect((await backend.apply(x, claim())).epoch, "a", "the claim is repeated")
        await backend.apply(x, texts(1, "one"))
        expect(await data(backend, x), ["one"], "and can be used")

    await _cutting(open_backend, play)


async def a_cancelled_finish_can_be_repeated(open_backend: OpenBackend) -> None:
    """Laws 5 and 10: one end."""

    async def play(backend: Backend, x: str, cut: Cut) -> None:
        await started(backend, x, "one")
        finish = Finish("a", Outcome.DONE, 1)
        await cut(backend.apply(x, finish))
        expect((await backend.apply(x, finish)).outcome, Outcome.DONE, "it ends")
        expect(await data(backend, x), ["one"], "its events stay")

    await _cutting(open_backend, play)


async def a_cancelled_publication_is_made_or_not(open_backend: OpenBackend) -> None:
    """Laws 6 and 10: never half, told once, and its repeat has the same ids."""

    async def play(backend: Backend, _: str, cut: Cut) -> None:
        c = new_channel()
        await backend.publish(c, publish("one"))
        async with following(backend, c) as feed:
            await cut(backend.publish(c, publish("two", "three")))
            half = await data(backend, c)
            ensure(half in (["one"], ["one", "two", "three"]), f"all or nothing, not {half}")
            ids = await backend.publish(c, publish("two", "three"))
            expect([id.seq for id in ids], [2, 3], "the repeat has the same ids")
            expect(await data(backend, c), ["one", "two", "three"], "the repeat makes it whole")
            listener = Listener(feed, 1)
            await listener.hear_event(3)
            if not listener.interrupted:
                expect(listener.heard, ["two", "three"], "it is told once")

    await _cutting(open_backend, play)


async def a_cancelled_read_changes_nothing(open_backend: OpenBackend) -> None:
    """Laws 9 and 10: neither the log nor what is not there."""

    async def play(backend: Backend, x: str, cut: Cut) -> None:
        await started(backend, x, "one")
        page = await cut(read(backend, x))
        again = timeless(await read(backend, x))
        ensure(page is None or timeless(page) == again, "the page is the same")
        y = new_id()
        await cut(read(backend, y))
        ensure(await is_absent(backend, y), "nothing is made")

    await _cutting(open_backend, play)


async def a_cancelled_follow_leaves_others_alone(open_backend: OpenBackend) -> None:
    """Law 10: who was cancelled hears nothing, who was there and who comes next hear everything."""

    async def play(backend: Backend, x: str, cut: Cut) -> None:
        await started(backend, x)
        inbox = Inbox()

        async def visit() -> None:
            unfollow = await cut(backend.follow(x, inbox.tell, events=True))
            if unfollow is not None:
                unfollow()

        await visit()
        async with following(backend, x) as before:
            await visit()
            told = len(inbox.told)
            async with following(backend, x) as after:
                await backend.apply(x, texts(1, "one"))
                for feed in (before, after):
                    await Listener(feed).hear_event(1)
            expect(len(inbox.told), told, "nothing is told to who was cancelled, or has left")

    await _cutting(open_backend, play)


async def a_cancelled_scan_can_be_begun_again(open_backend: OpenBackend) -> None:
    """Law 10."""
    x = new_id()
    async with open_backend() as backend:
        await started(backend, x)

    async def play(backend: Backend, _: str, cut: Cut) -> None:
        async def scan() -> list[str]:
            return [stream_id async for stream_id, _ in backend.scan()]

        await cut(scan())
        expect((await scan()).count(x), 1, "it is listed once")

    await _cutting(open_backend, play)


SCENARIOS = (
    a_cancelled_change_is_made_or_not,
    a_cancelled_claim_can_be_repeated,
    a_cancelled_finish_can_be_repeated,
    a_cancelled_publication_is_made_or_not,
    a_cancelled_read_changes_nothing,
    a_cancelled_follow_leaves_others_alone,
    a_cancelled_scan_can_be_begun_again,
)
