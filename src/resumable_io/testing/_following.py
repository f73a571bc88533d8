"""Scenarios of following: the confirmed subscription, waking up, order, what is reported."""

from __future__ import annotations

from threading import get_ident

from anyio import create_task_group, move_on_after, sleep

from resumable_core import (
    Appended,
    Delete,
    FeedItem,
    Finish,
    Outcome,
    Renew,
    State,
    Stop,
    StreamError,
    Takeover,
)

from ._inbox import following
from ._stage import (
    Listener,
    OpenBackend,
    claim,
    data,
    ended,
    ensure,
    expect,
    expect_refusal,
    new_id,
    read,
    started,
    texts,
    two,
)

PATIENCE = 10
"""Seconds after which a visit counts as hanging."""


async def what_is_applied_after_following_is_heard(open_backend: OpenBackend) -> None:
    """Law 2: entering returns when the subscription is confirmed, not before."""
    async with two(open_backend) as (one, other):
        for _ in range(20):
            x = new_id()
            await started(one, x)
            async with following(other, x) as feed:
                await one.apply(x, texts(1, "one"))
                listener = Listener(feed)
                await listener.hear_event(1)
            ensure(listener.interrupted or listener.heard == ["one"], "it is heard")


async def who_waits_is_woken(open_backend: OpenBackend) -> None:
    """Law 7: by what happens in the same process, and in another one."""
    async with two(open_backend) as both:
        for backend in both:
            x = new_id()
            async with following(both[1], x) as feed, create_task_group() as tasks:
                listener = Listener(feed)
                tasks.start_soon(listener.hear_event, 1)
                await sleep(0.05)  # so that it waits, if the event loop is not too busy
                expect(listener.last_seq, 0, "nothing has happened yet")
                await started(backend, x, "one")


async def what_is_told_can_be_read(open_backend: OpenBackend) -> None:
    """Law 2: nothing is told before it is kept, whoever reads it at once, and wherever."""
    async with two(open_backend) as both:
        for number in range(10):
            x = new_id()
            async with following(both[0], x) as feed, create_task_group() as tasks:
                tasks.start_soon(started, both[number % 2], x, "one")
                listener = Listener(feed)
                while listener.last_seq < 1:
                    await listener.hear()
                    known = (await read(both[1], x)).sentinel
                    told = (listener.last_seq, listener.sentinel.state)
                    ensure(
                        told[0] <= known.last_seq and (known.known or told[1] == State.ABSENT),
                        f"what is told was kept before, but event {told[0]} and the state {told[1]}"
                        f" were told while the log had {known.last_seq} events: {known.state}",
                    )


async def everything_is_told_in_order(open_backend: OpenBackend) -> None:
    """Laws 1, 2 and 5: batches by their seqs, and the end after the last one."""
    async with two(open_backend) as (one, other):
        x = new_id()

        async def produce() -> None:
            await started(one, x)
            for seq in range(1, 100):
                await one.apply(x, texts(seq, str(seq)))
            await one.apply(x, Finish("a", Outcome.DONE, 99))

        async with following(other, x) as feed:
            listener = Listener(feed)
            async with create_task_group() as tasks:
                tasks.start_soon(produce)
                await listener.hear_state(State.DONE)
            if not listener.interrupted:
                expect(listener.heard, [*map(str, range(1, 100))], "everything is told")

        y = new_id()
        async with following(other, y) as feed:
            await ended(one, y, "one")
            listener = Listener(feed)  # late: everything is there
            await listener.hear_state(State.DONE)
            ensure(listener.interrupted or listener.heard == ["one"], "the event, then the end")


async def a_state_alone_is_told(open_backend: OpenBackend) -> None:
    """Law 5: by whatever it ends, with no event beside it, to who knows all the rest."""
    changes = (Stop(), Finish("a", Outcome.DONE, 1), Finish("a", Outcome.LOST, 1), Delete())
    async with two(open_backend) as (one, other):
        for change in changes:
            for events in (True, False):
                x = new_id()
                await started(one, x, "one")
                async with following(other, x, events=events) as feed:
                    sentinel = await one.apply(x, change)
                    await Listener(feed, 1).hear_state(sentinel.state)


async def what_is_trimmed_before_it_is_told_is_reported(open_backend: OpenBackend) -> None:
    """Law 2: a feed that looks now and then finds less than there was."""
    async with two(open_backend) as (one, other):
        x = new_id()
        await one.apply(x, claim(count=2))
        async with following(other, x) as feed:
            for seq in range(1, 50):
                await one.apply(x, texts(seq, str(seq)))
            await Listener(feed).hear_event(49)


async def who_follows_and_reads_misses_nothing(open_backend: OpenBackend) -> None:
    """Law 2: what was there when the feed was confirmed is read, what comes later is heard."""
    async with two(open_backend) as (one, other):
        x = new_id()
        await started(one, x)
        async with create_task_group() as tasks:

            async def produce() -> None:
                for seq in range(1, 60):
                    await one.apply(x, texts(seq, str(seq)))

            tasks.start_soon(produce)
            for _ in range(10):
                async with following(other, x) as feed:
                    page = await read(other, x)
                    if (top := page.sentinel.last_seq) == 59:
                        break
                    listener = Listener(feed, top)
                    await listener.hear_event(top + 1)


async def a_feed_without_events_tells_the_states(open_backend: OpenBackend) -> None:
    """Law 8: a producer watches for stops, and does not hear itself."""
    async with two(open_backend) as (one, other):
        x = new_id()
        async with following(other, x, events=False) as feed:
            listener = Listener(feed)
            await started(one, x, "one", "two")
            await one.apply(x, Renew("a"))
            await one.apply(x, Stop("enough"))
            await listener.hear_state(State.STOPPED)
            if not listener.interrupted:
                expect(listener.sentinel.error, "enough", "the reason is told")
            await one.apply(x, Delete())
            await listener.hear_state(State.DELETED)
            expect(listener.heard, [], "no events are told")


async def feeds_are_apart(open_backend: OpenBackend) -> None:
    """Law 10: every feed of a stream gets everything, and nothing of another stream."""
    async with two(open_backend) as (one, other):
        x, y = new_id(), new_id()
        async with (
            following(other, x) as first,
            following(other, x) as second,
            following(other, y) as third,
        ):
            await started(one, x, "for x")
            await started(one, y, "for y")
            for feed, text in ((first, "for x"), (second, "for x"), (third, "for y")):
                listener = Listener(feed)
                await listener.hear_event(1)
                ensure(listener.heard in ([text], []), "each hears of its own stream")


async def what_changes_nothing_is_not_told(open_backend: OpenBackend) -> None:
    """Law 6: neither a repeat nor what is refused is heard, and renewals are no news."""
    async with two(open_backend) as (one, other):
        x = new_id()
        await started(one, x, "one")
        async with following(other, x) as feed:
            listener = Listener(feed, 1)
            await started(one, x, "one")
            await one.apply(x, Renew("a"))
            for change in (claim("b"), texts(2, "two", epoch="b")):
                await expect_refusal(one.apply(x, change), StreamError)
            await one.apply(x, texts(3, "three"))
            await one.apply(x, texts(2, "two"))
            items = await listener.hear()
            if not listener.interrupted:
                expect([type(item) for item in items], [Appended], "one batch is news, once")
                expect(listener.heard, ["two"], "what is new in it")


async def who_takes_over_is_heard(open_backend: OpenBackend) -> None:
    """Law 2: those who follow learn of another producer, and of what it appends."""
    async with two(open_backend) as (one, other):
        x = new_id()
        await started(one, x, "one")
        async with following(other, x) as feed:
            listener = Listener(feed, 1)
            await one.apply(x, Finish("a", Outcome.LOST, 1))
            await one.apply(x, claim("b", on_lost=Takeover.CONTINUE))
            await listener.hear_state(State.ACTIVE)
            if not listener.interrupted:
                expect(listener.sentinel.epoch, "b", "the new producer is told")
            await one.apply(x, texts(2, "two", epoch="b"))
            await listener.hear_event(2)
        expect(await data(other, x), ["one", "two"], "the log goes on")


async def who_follows_is_called_in_the_event_loop(open_backend: OpenBackend) -> None:
    """Law 10: whoever is told may touch what belongs to the event loop."""
    async with two(open_backend) as both:
        for backend in both:
            x, threads = new_id(), list[int]()

            def tell(_: FeedItem, threads: list[int] = threads) -> None:
                threads.append(get_ident())

            unfollow = await both[1].follow(x, tell, events=True)
            await started(backend, x, "one")
            with move_on_after(PATIENCE):
                while not threads:  # noqa: ASYNC110 - a thread of the backend's wakes nobody
                    await sleep(0.01)
            unfollow()
            expect(set(threads), {get_ident()}, "a feed tells in the event loop")


async def an_end_is_told_to_who_comes_late(open_backend: OpenBackend) -> None:
    """Law 5: a feed tells what happens; what has happened is read."""
    async with two(open_backend) as (one, other):
        x = new_id()
        await ended(one, x, "one")
        async with following(other, x):
            page = await read(other, x)
        expect((page.sentinel.state, len(page.events)), (State.DONE, 1), "it is read")


SCENARIOS = (
    what_is_applied_after_following_is_heard,
    who_waits_is_woken,
    what_is_told_can_be_read,
    everything_is_told_in_order,
    a_state_alone_is_told,
    what_is_trimmed_before_it_is_told_is_reported,
    who_follows_and_reads_misses_nothing,
    a_feed_without_events_tells_the_states,
    feeds_are_apart,
    what_changes_nothing_is_not_told,
    who_takes_over_is_heard,
    who_follows_is_called_in_the_event_loop,
    an_end_is_told_to_who_comes_late,
)
