"""Scenarios of reading: pages, what comes back, what asking leaves behind, scans."""

from __future__ import annotations

import gc
import unicodedata
from contextlib import suppress

from anyio import create_task_group, move_on_after
from anyio.lowlevel import checkpoint

from resumable_core import (
    ABSENT,
    TOP,
    Claim,
    Delete,
    Finish,
    Message,
    Observe,
    Outcome,
    Retention,
    State,
)
from resumable_core.testing import NASTY_BYTES, NASTY_TEXTS, append

from ._inbox import following
from ._stage import (
    KEEP,
    LEASE,
    OpenBackend,
    claim,
    data,
    ensure,
    expect,
    is_absent,
    new_id,
    read,
    started,
    texts,
    two,
)


async def asking_leaves_nothing_behind(open_backend: OpenBackend) -> None:
    """Law 9: reads, follows and changes of what is not there create nothing."""
    async with two(open_backend) as (one, other):
        x = new_id()
        for after in (0, 7, TOP):
            page = await read(one, x, after)
            expect((page.sentinel, page.first_seq, page.events), (ABSENT, 1, ()), "an empty page")
        async with following(one, x), following(one, x, events=False):
            await read(one, x)
        expect(await one.apply(x, Observe()), ABSENT, "what is not there")
        expect(await one.apply(x, Delete()), ABSENT, "what is not there")
        ensure(await is_absent(other, x), "nothing was made")


async def pages_are_one_log(open_backend: OpenBackend) -> None:
    """Laws 1 and 3: read page by page, from any place, a log is the same."""
    async with two(open_backend) as (one, other):
        x = new_id()
        await started(one, x)
        whole = [f"{number}é" for number in range(1, 51)]
        for start in range(0, 50, 7):
            await one.apply(x, texts(start + 1, *whole[start : start + 7]))
        for limit in (3, 7, 50):
            for start in (0, 6, 7, 8, 49, 50):
                found: list[str | bytes] = []
                after = start
                while (page := await read(other, x, after, limit)).events:
                    ensure(len(page.events) <= limit, f"at most {limit} events in a page")
                    seqs = [event.id.seq for event in page.events]
                    expect(seqs, [*range(after + 1, after + 1 + len(seqs))], "no hole in a page")
                    expect(page.offset, sum(map(len, whole[:after])), "the characters before it")
                    found += [event.data for event in page.events]
                    after += len(page.events)
                expect(found, whole[start:], "pages are one log")


async def a_page_belongs_to_its_sentinel(open_backend: OpenBackend) -> None:
    """Sentinel and events are read in one step, whatever is appended meanwhile."""
    async with two(open_backend) as (one, other):
        x = new_id()
        await started(one, x)

        async def produce() -> None:
            for seq in range(1, 60):
                await one.apply(x, texts(seq, str(seq)))
            await one.apply(x, Finish("a", Outcome.DONE, 59))

        async with create_task_group() as tasks:
            tasks.start_soon(produce)
            state = State.ACTIVE
            while state is State.ACTIVE:
                page = await read(other, x)
                state = page.sentinel.state
                seqs = [event.id.seq for event in page.events]
                expect(seqs, [*range(1, page.sentinel.last_seq + 1)], "events up to the last seq")


async def an_event_may_be_large(open_backend: OpenBackend) -> None:
    """Law 8: a page ends early rather than late, but holds at least one event."""
    async with two(open_backend) as (one, other):
        x = new_id()
        whole: list[str | bytes] = ["é" * 2**19, "small", b"\xff" * 2**20]
        await started(one, x, *whole)
        await one.apply(x, texts(4, "last"))
        ensure(await data(other, x) == [*whole, "last"], "large events come back")


async def the_top_is_read_without_events(open_backend: OpenBackend) -> None:
    """Who asks for the state alone is not sent the log."""
    async with two(open_backend) as (one, other):
        x = new_id()
        await started(one, x, "one", "two")
        page = await read(other, x, TOP)
        found = (page.events, page.first_seq, page.sentinel.last_seq, page.offset)
        expect(found, ((), 1, 2, 6), "the top")


async def what_was_written_comes_back(open_backend: OpenBackend) -> None:
    """Law 11: any text, bytes, type and metadata, unchanged."""
    async with two(open_backend) as (one, other):
        x = new_id()
        metadata = {"owner": "\u2028\0é😀", "deep": [1, 2.5, None, {"": True}]}
        retention = Retention(7, 1000, 3600.0, KEEP)
        made = await one.apply(x, Claim("a", LEASE, retention, metadata))
        expect(made.metadata, metadata, "metadata comes back")
        await one.apply(x, Finish("a", Outcome.FAILED, 0, error="a\r\nb\0c"))
        sentinel = (await read(other, x, TOP)).sentinel
        found = (sentinel.metadata, sentinel.retention, sentinel.error)
        expect(found, (metadata, retention, "a\r\nb\0c"), "the sentinel comes back")

        y = new_id()
        kinds = (None, "type", " é\u2028")
        messages = [Message(each, kind) for each in (*NASTY_TEXTS, *NASTY_BYTES) for kind in kinds]
        await one.apply(y, claim())
        await one.apply(y, append("a", 1, messages))
        events = (await read(other, y, limit=1000)).events
        expect([Message(e.data, e.type) for e in events], messages, "messages come back")


async def ids_are_kept_apart(open_backend: OpenBackend) -> None:
    """No two streams meet, whatever characters their ids hold, and in whatever case."""
    async with two(open_backend) as (one, other):
        base = new_id("é")
        ids = [
            *(base, base.upper(), f"{base} ", f" {base}", f"{base}:log", f"{base}%3Alog"),
            *(f"{{{base}}}", f"{base}*", f"{base}/..", f"../{base}", f"{base}'\"\\", f"{base}😀"),
            *(unicodedata.normalize("NFD", base), f"{base}-{'x' * 200}", f"{base}-{'x' * 201}"),
        ]
        for stream_id in ids:
            await started(one, stream_id, stream_id)
        for stream_id in ids:
            expect(await data(other, stream_id), [stream_id], "each stream holds its own")
        found = {stream_id async for stream_id, _ in other.scan()}
        expect(set(ids) - found, set[str](), "each is listed under its id")


# Scanning


async def a_scan_yields_what_is_there_once(open_backend: OpenBackend) -> None:
    """And nothing that was deleted, or never was."""
    async with two(open_backend) as (one, other):
        wanted = {new_id(f"{number}") for number in range(120)}
        gone = new_id("deleted")
        for stream_id in (*wanted, gone):
            await started(one, stream_id)
        await one.apply(gone, Delete())
        found: list[str] = []
        async for stream_id, sentinel in other.scan():
            found.append(stream_id)
            if stream_id in wanted:
                expect((sentinel.state, sentinel.epoch), (State.ACTIVE, "a"), "with its sentinel")
                await one.apply(stream_id, Delete())
        once = sorted(stream_id for stream_id in found if stream_id in wanted)
        expect(once, sorted(wanted), "what is there is yielded once")
        ensure(gone not in found, "what was deleted is not yielded")


async def a_scan_can_be_left_early(open_backend: OpenBackend) -> None:
    """No generator is left open, about which trio would warn."""
    async with open_backend() as backend:
        for _ in range(3):
            await started(backend, new_id())
        async for _ in backend.scan():
            break
        gc.collect()
        await checkpoint()


async def a_cancelled_step_of_a_scan_loses_nothing(open_backend: OpenBackend) -> None:
    """Law 10: what it would have returned, the next step returns."""
    async with open_backend() as backend:
        wanted = [new_id() for _ in range(10)]
        for stream_id in wanted:
            await started(backend, stream_id)
        scan = backend.scan()
        found: list[str] = []
        with suppress(StopAsyncIteration):
            while True:
                with move_on_after(0):  # cancelled where it waits first, if it waits
                    found.append((await anext(scan))[0])
                found.append((await anext(scan))[0])
        expect(sorted({*found} & {*wanted}), sorted(wanted), "nothing is lost")
        expect(len(found), len({*found}), "nothing comes twice")


SCENARIOS = (
    asking_leaves_nothing_behind,
    pages_are_one_log,
    a_page_belongs_to_its_sentinel,
    an_event_may_be_large,
    the_top_is_read_without_events,
    what_was_written_comes_back,
    ids_are_kept_apart,
    a_scan_yields_what_is_there_once,
    a_scan_can_be_left_early,
    a_cancelled_step_of_a_scan_loses_nothing,
)
