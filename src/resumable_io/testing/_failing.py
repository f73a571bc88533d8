"""Scenarios of a store that cannot be reached for a while."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar

from anyio import current_time, fail_after, move_on_after, sleep

from resumable_core import BackendUnavailable, Finish, Outcome, Renew, State, Stop
from resumable_io.abc import Unfollow

from ._inbox import Following, following
from ._stage import (
    NEWS,
    Listener,
    OpenBackend,
    Outage,
    data,
    ensure,
    expect,
    new_channel,
    new_id,
    publish,
    read,
    started,
    texts,
    two,
)

T = TypeVar("T")

ATTEMPT: Final = 0.5
"""Seconds after which an attempt is given up, in an outage."""


async def _attempt(call: Awaitable[object]) -> bool:
    """Do what may fail: then nobody knows whether it was carried out; return whether it said so."""
    with move_on_after(ATTEMPT):
        try:
            await call
        except BackendUnavailable:
            return True
    return False


async def _insist(call: Callable[[], Awaitable[T]]) -> T:
    """Call again until the store can be reached: a backend may take its time to notice that."""
    with fail_after(NEWS):
        while True:
            with suppress(BackendUnavailable):
                return await call()
            await sleep(0.05)


async def a_feed_goes_on_after_an_outage(open_backend: OpenBackend, outage: Outage) -> None:
    """Law 2: what happened meanwhile is told or reported, and what happens next is told."""
    async with two(open_backend) as (one, other):
        x = new_id()
        await started(one, x, "1")
        async with following(other, x) as feed:
            listener = Listener(feed, 1)
            async with outage(other):
                await _attempt(one.apply(x, texts(2, "2")))
                await _attempt(one.apply(x, texts(3, "3")))
                await listener.overhear()
            await _insist(partial(one.apply, x, texts(2, "2", "3")))
            for seq in range(4, 8):
                await _insist(partial(one.apply, x, texts(seq, str(seq))))
                await listener.hear_event(seq)
            await one.apply(x, Finish("a", Outcome.DONE, 7))
            await listener.hear_state(State.DONE)
        expect(await data(one, x), [*map(str, range(1, 8))], "everything is there")


async def an_end_in_an_outage_is_told(open_backend: OpenBackend, outage: Outage) -> None:
    """Laws 5 and 7: by a feed with events, and by one without."""
    async with two(open_backend) as (one, other):
        for events in (True, False):
            x = new_id()
            await started(one, x, "one")
            async with following(other, x, events=events) as feed:
                listener = Listener(feed, 1)
                async with outage(other):
                    await _attempt(one.apply(x, Stop()))
                    await listener.overhear()
                await _insist(partial(one.apply, x, Stop()))
                await listener.hear_state(State.STOPPED)


async def what_fails_is_told_as_it_was_kept(open_backend: OpenBackend, outage: Outage) -> None:
    """Laws 2 and 6: nothing is told that the log has not, or has otherwise."""
    async with two(open_backend) as (one, other):
        x = new_id()
        await started(one, x, "one")
        async with following(one, x) as near, following(other, x) as far:
            listeners = Listener(near, 1), Listener(far, 1)
            async with outage(one):
                await _attempt(one.apply(x, texts(2, "first")))
            await _insist(partial(one.apply, x, texts(2, "second")))  # unless it was kept
            await _insist(partial(one.apply, x, texts(3, "three")))
            for listener in listeners:
                await listener.hear_event(3)
        kept = {event.id: event for event in (await read(one, x)).events}
        for listener in listeners:
            for event in listener.events:
                expect(event, kept.get(event.id), f"what is told of {event.id} was kept")


async def who_cannot_follow_is_told_nothing(open_backend: OpenBackend, outage: Outage) -> None:
    """Law 10: whoever was refused hears nothing; who was not, and who comes next, hear all."""
    async with two(open_backend) as (one, other):
        x = new_id()
        await started(one, x)
        early = Following(other, x)
        unfollow: Unfollow | None = None
        async with outage(other):
            with move_on_after(ATTEMPT), suppress(BackendUnavailable):
                unfollow = await other.follow(x, early.tell, events=True)
        late = Following(other, x)
        leave = await _insist(partial(other.follow, x, late.tell, events=True))
        await _insist(partial(one.apply, x, texts(1, "one")))
        await Listener(late).hear_event(1)
        leave()
        if unfollow is None:
            expect(early.told, [], "who could not follow is told nothing")
        else:
            await Listener(early).hear_event(1)
            unfollow()


async def what_is_repeated_after_an_outage_is_there_once(
    open_backend: OpenBackend, outage: Outage
) -> None:
    """Law 6: appended or published, whatever became of the first attempt."""
    async with two(open_backend) as (one, other):
        x, c = new_id(), new_channel()
        await started(one, x, "one")
        await one.publish(c, publish("one"))
        async with outage(one):
            await _attempt(one.apply(x, texts(2, "two")))
            await _attempt(one.publish(c, publish("two")))
        await _insist(partial(one.apply, x, texts(2, "two")))
        ids = await _insist(partial(one.publish, c, publish("two", "three")))
        expect(len({*ids}), 2, "each has an id of its own")
        for log_id, expected in ((x, ["one", "two"]), (c, ["one", "two", "three"])):
            found = await _insist(partial(data, other, log_id))
            expect(found, expected, "everything is there, once")


async def who_was_cut_off_watches_anew(open_backend: OpenBackend, outage: Outage) -> None:
    """Law 7: an outage looks like a dead producer, until somebody has watched for a lease.

    A backend that waits for longer than an attempt does here has noticed nothing.
    """
    async with open_backend() as backend:
        x = new_id()
        await started(backend, x)
        async with outage(backend):
            began = current_time()
            noticed = await _attempt(read(backend, x))
            noticed |= await _attempt(backend.apply(x, Renew("a")))
        await _insist(partial(read, backend, x))
        with move_on_after(NEWS):
            while noticed and backend.connected_since < began:  # noqa: ASYNC110 - a backend tells nobody
                await sleep(0.01)
        ensure(
            not noticed or backend.connected_since >= began,
            "an outage is followed by a new connection, but `connected_since` is before it",
        )


SCENARIOS: Final = (
    a_feed_goes_on_after_an_outage,
    an_end_in_an_outage_is_told,
    what_fails_is_told_as_it_was_kept,
    who_cannot_follow_is_told_nothing,
    what_is_repeated_after_an_outage_is_there_once,
    who_was_cut_off_watches_anew,
)
