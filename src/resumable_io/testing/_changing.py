"""Scenarios of changes: one producer, repeats, takeovers, leases, retention."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

from anyio import create_task_group, sleep

from resumable_core import (
    ABSENT,
    Change,
    Delete,
    Fenced,
    Finish,
    Lineage,
    Observe,
    Outcome,
    Recover,
    Renew,
    Retention,
    State,
    Stop,
    StreamError,
    StreamExists,
    StreamNotFound,
    Takeover,
)
from resumable_io.abc import Backend

from ._inbox import following
from ._stage import (
    KEEP,
    LEASE,
    Listener,
    OpenBackend,
    claim,
    data,
    ended,
    ensure,
    expect,
    expect_refusal,
    is_absent,
    new_id,
    read,
    started,
    texts,
    timeless,
    two,
)

SHORT = 0.3
"""Seconds of a lease that runs out, and of a stream that expires, in a scenario."""

SKEW = 0.1
"""Seconds by which a clock may be set back while a scenario looks at it."""


async def a_change_that_is_repeated_returns_the_same(open_backend: OpenBackend) -> None:
    """Law 6: whoever repeats it, in whatever process, when its outcome was unknown."""
    async with two(open_backend) as (one, other):
        x = new_id()
        changes: list[Change] = [
            claim(),
            texts(1, "one", "two"),
            texts(3, "three"),
            Renew("a"),
            Finish("a", Outcome.DONE, 3),
            Stop("too late"),
        ]
        for change in changes:
            first = timeless(await one.apply(x, change))
            expect(timeless(await one.apply(x, change)), first, "a repeat returns the same")
            expect(timeless(await other.apply(x, change)), first, "so does one elsewhere")
        expect(await data(other, x), ["one", "two", "three"], "a repeat adds nothing")


async def of_many_claims_one_succeeds(open_backend: OpenBackend) -> None:
    """Law 4: at most one producer."""
    async with two(open_backend) as both:
        x = new_id()
        won: list[str] = []

        async def try_to(backend: Backend, epoch: str) -> None:
            with suppress(StreamExists):
                won.append((await backend.apply(x, claim(epoch))).epoch)

        async with create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(try_to, both[number % 2], f"e{number}")
        expect(won, [(await read(both[0], x)).sentinel.epoch], "one claim of many succeeds")


async def of_many_restarts_one_succeeds(open_backend: OpenBackend) -> None:
    """Law 4: two clicks on "retry" make one, and nothing of the old log is left."""
    async with two(open_backend) as both:
        x = new_id()
        await ended(both[0], x, "one", "two")
        won: list[str] = []

        async def try_to(backend: Backend, epoch: str) -> None:
            with suppress(StreamExists):
                won.append((await backend.apply(x, claim(epoch, replaces="a"))).epoch)

        async with create_task_group() as tasks:
            for number in range(10):
                tasks.start_soon(try_to, both[number % 2], f"e{number}")
        page = await read(both[1], x)
        expect(won, [page.sentinel.epoch], "one restart of many succeeds")
        expect((page.sentinel.last_seq, page.first_seq, page.events), (0, 1, ()), "the log is new")
        await both[0].apply(x, texts(1, "new", epoch=won[0]))
        expect(await data(both[1], x), ["new"], "nothing of the old log is left")


async def of_many_like_appends_one_is_made(open_backend: OpenBackend) -> None:
    """Law 6: appends that overlap, from many tasks at once, are one log."""
    async with two(open_backend) as both:
        x = new_id()
        await started(both[0], x)
        tops: list[int] = []

        async def try_to(backend: Backend, count: int) -> None:
            await backend.apply(x, texts(1, *"abcdef"[:count]))
            tops.append((await backend.apply(x, texts(1, *"abcdef"))).last_seq)

        async with create_task_group() as tasks:
            for number in range(12):
                tasks.start_soon(try_to, both[number % 2], 1 + number % 6)
        expect(tops, [6] * 12, "all of them return the same")
        expect(await data(both[0], x), [*"abcdef"], "each event is kept once")


async def a_renewal_beside_an_append_disturbs_neither(open_backend: OpenBackend) -> None:
    """Law 10: a producer's own changes overlap, and readers come in between."""
    async with two(open_backend) as (one, other):
        x = new_id()
        await started(one, x)
        for seq in range(1, 20):
            async with create_task_group() as tasks:
                tasks.start_soon(one.apply, x, texts(seq, str(seq)))
                tasks.start_soon(one.apply, x, Renew("a"))
                tasks.start_soon(read, other, x)
        expect(await data(other, x), [*map(str, range(1, 20))], "all of it is kept")


async def who_was_replaced_is_fenced(open_backend: OpenBackend) -> None:
    """Law 4: at most one epoch appends, whatever the other process remembers."""
    async with two(open_backend) as (one, other):
        x = new_id()
        await started(one, x, "one")
        await other.apply(x, Finish("a", Outcome.LOST, 1))
        await other.apply(x, claim("b", on_lost=Takeover.CONTINUE))
        await other.apply(x, texts(2, "two", epoch="b"))
        late: list[Change] = [
            texts(2, "mine"),
            texts(3, "mine"),
            Renew("a"),
            Finish("a", Outcome.DONE, 1),
        ]
        for change in late:
            await expect_refusal(one.apply(x, change), Fenced)
        page = await read(one, x)
        expect([event.data for event in page.events], ["one", "two"], "the log goes on")
        expect(page.sentinel.lineage.epochs, (("a", 1), ("b", 2)), "its lineage grows")


async def a_producer_that_hears_nothing_is_stopped(open_backend: OpenBackend) -> None:
    """Law 5: a stop comes from anywhere; what its producer appends later is refused."""
    async with two(open_backend) as (one, other):
        x = new_id()
        await started(one, x, "one")
        sentinel = await other.apply(x, Stop("enough"))
        expect((sentinel.state, sentinel.error), (State.STOPPED, "enough"), "it is stopped")
        await expect_refusal(one.apply(x, texts(2, "two")), Fenced)
        await expect_refusal(one.apply(x, Renew("a")), Fenced)
        expect(await data(other, x), ["one"], "nothing comes after the end")


async def what_is_refused_changes_nothing(open_backend: OpenBackend) -> None:
    """Check, then change."""
    async with two(open_backend) as (one, other):
        x, unknown = new_id(), new_id("unknown")
        await started(one, x, "one")
        before = await read(other, x)
        for wrong in (claim("b"), texts(2, "two", epoch="b"), Renew("b")):
            await expect_refusal(one.apply(x, wrong), StreamError)
        others: list[Change] = [
            *(Stop(), Renew("a"), texts(1, "one")),
            Finish("a", Outcome.DONE, 0),
        ]
        for change in others:
            await expect_refusal(one.apply(unknown, change), StreamNotFound)
        sentinel = await one.apply(x, texts(3, "three"))
        expect(timeless(sentinel), timeless(before.sentinel), "a hole is not made")
        expect(timeless(await read(other, x)), timeless(before), "nothing has changed")
        ensure(await is_absent(other, unknown), "nothing is made")


async def what_was_deleted_stays_away(open_backend: OpenBackend) -> None:
    """Law 4: a tombstone fences the producer; a new claim finds nothing left over."""
    async with two(open_backend) as (one, other):
        x = new_id()
        await started(one, x, "one", "two")
        await other.apply(x, Delete())
        ensure(await is_absent(one, x), "it is gone at once")
        recover = Recover("a", Lineage.starting("a"), 2, 6, LEASE, Retention(keep=KEEP), {})
        await expect_refusal(one.apply(x, recover), Fenced)
        await expect_refusal(one.apply(x, texts(3, "three")), Fenced)
        await expect_refusal(one.apply(x, Stop()), StreamNotFound)
        await other.apply(x, claim("b"))
        await other.apply(x, texts(1, "new", epoch="b"))
        page = await read(one, x)
        expect([event.data for event in page.events], ["new"], "nothing is left over")
        expect((page.first_seq, page.offset), (1, 0), "seqs and characters start anew")


async def a_producer_restores_what_the_store_has_lost(open_backend: OpenBackend) -> None:
    """Law 2: what it has lost as well is a hole at the front, which readers can see."""
    async with two(open_backend) as (one, other):
        x = new_id()
        recover = Recover("a", Lineage.starting("a"), 4, 16, LEASE, Retention(keep=KEEP), {"of": 1})
        for _ in range(2):
            await one.apply(x, recover)
        await one.apply(x, texts(5, "five", "six"))
        page = await read(other, x)
        found = (page.first_seq, page.offset, [event.id.seq for event in page.events])
        expect(found, (5, 16, [5, 6]), "the log goes on where it was")
        expect(page.sentinel.metadata, {"of": 1}, "metadata comes back")


async def retention_keeps_the_newest(open_backend: OpenBackend) -> None:
    """Law 8: a floor, and at most one batch more."""
    async with two(open_backend) as (one, other):
        x = new_id()
        await one.apply(x, claim(count=10))
        for start in range(1, 100, 3):
            await one.apply(x, texts(start, *(str(start + i) for i in range(3))))
            page = await read(other, x)
            seqs = [event.id.seq for event in page.events]
            top = page.sentinel.last_seq
            expect(seqs, [*range(page.first_seq, top + 1)], "the newest are kept, without a hole")
            ensure(min(top, 10) <= len(seqs) <= 10 + 3, f"{len(seqs)} are kept of 10 and 3")
            expect(page.offset, sum(len(str(n)) for n in range(1, page.first_seq)), "the offset")


# Time


async def a_producer_that_is_silent_is_lost(open_backend: OpenBackend) -> None:
    """Law 7: whoever looks records it, everybody is told, and the producer is fenced."""
    async with two(open_backend) as (one, other):
        x = new_id()
        async with following(other, x, events=False) as feed:
            await one.apply(x, claim(lease=SHORT))
            await one.apply(x, texts(1, "one"))
            while (page := await read(one, x)).sentinel.state is State.ACTIVE:  # noqa: ASYNC110
                await sleep(SHORT / 10)  # time passes, and nobody tells
            expect(page.sentinel.state, State.LOST, "it is lost")
            expect([event.data for event in page.events], ["one"], "its events stay")
            listener = Listener(feed)
            await listener.hear_state(State.LOST)
        await expect_refusal(one.apply(x, Renew("a")), Fenced)
        await expect_refusal(other.apply(x, claim("b")), StreamExists)
        await other.apply(x, claim("b", on_lost=Takeover.RESTART))
        expect(await data(one, x), [], "a restart begins anew")


async def who_has_just_come_declares_nobody_dead(open_backend: OpenBackend) -> None:
    """Law 7: an outage of the store must not look like a thousand dead producers."""
    async with two(open_backend) as (one, other):
        x = new_id()
        await one.apply(x, claim(lease=SHORT))
        await sleep(2 * SHORT)
        page = await other.read(x, 0, 10, connected_for=SHORT / 2)
        expect(page.sentinel.state, State.ACTIVE, "nobody has watched for a whole lease")
        sentinel = await other.apply(x, Observe(connected_for=SHORT / 2))
        expect(sentinel.state, State.ACTIVE, "nobody has watched for a whole lease")
        sentinel = await one.apply(x, Renew("a"))
        expect(sentinel.state, State.ACTIVE, "a late producer may renew until it is recorded")
        page = await other.read(x, 0, 10, connected_for=0)
        expect(page.sentinel.state, State.ACTIVE, "and lives on")


async def there_is_one_clock(open_backend: OpenBackend) -> None:
    """Law 7: who renews later lives longer, whatever the process; nobody is dead before time."""
    async with two(open_backend) as both:
        x = new_id()
        await started(both[0], x)
        ends = [(await each.apply(x, Renew("a"))).lease_until for each in (*both, *both)]
        skew = max(earlier - later for earlier, later in pairwise(ends))
        ensure(skew < SKEW, f"a later renewal ends later, but this one {skew:.3f} s earlier")


async def what_has_expired_is_gone(open_backend: OpenBackend) -> None:
    """Law 8: and a new log under the same id has nothing of the old one."""
    async with two(open_backend) as (one, other):
        x = new_id()
        await one.apply(x, claim(lease=SHORT, keep=0))
        await one.apply(x, texts(1, "one", "two"))
        await one.apply(x, Finish("a", Outcome.DONE, 2))
        while not await is_absent(other, x):  # noqa: ASYNC110
            await sleep(SHORT / 10)
        expect((await read(one, x)).sentinel, ABSENT, "it is gone for everybody")
        await one.apply(x, claim("b"))
        expect((await read(other, x)).first_seq, 1, "seqs start anew")
        await one.apply(x, texts(1, "new", epoch="b"))
        expect(await data(other, x), ["new"], "nothing is left over")


SCENARIOS = (
    a_change_that_is_repeated_returns_the_same,
    of_many_claims_one_succeeds,
    of_many_restarts_one_succeeds,
    of_many_like_appends_one_is_made,
    a_renewal_beside_an_append_disturbs_neither,
    who_was_replaced_is_fenced,
    a_producer_that_hears_nothing_is_stopped,
    what_is_refused_changes_nothing,
    what_was_deleted_stays_away,
    a_producer_restores_what_the_store_has_lost,
    retention_keeps_the_newest,
    a_producer_that_is_silent_is_lost,
    who_has_just_come_declares_nobody_dead,
    there_is_one_clock,
    what_has_expired_is_gone,
)
