"""Reading the store: in turn, once for all who wait for the same page, and never from the past."""

from functools import partial

import pytest
from anyio import create_task_group, fail_after, sleep
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from resumable_core import (
    PAGE_EVENTS,
    Append,
    BackendUnavailable,
    Claim,
    Finish,
    Message,
    Outcome,
)
from resumable_io import After, EventId, MemoryBackend, Streams
from resumable_io._reads import CONCURRENT_READS, Reads
from tests.io.cancelling import at_each_await
from tests.io.scripted import data_of

pytestmark = pytest.mark.virtual_time

TAKES = 0.01
"""Seconds for which a read is under way."""

CLAIM = Claim("a", 15.0)


class Slow(MemoryBackend):
    """Answers in its own time with what was so when the read began; counts the reads."""

    def __init__(self):
        super().__init__()
        self.reads = self.reading = self.most = 0
        self.failures = 0
        """How many of the next reads fail."""

    async def read(self, *args, **kwargs):
        self.reads += 1
        self.reading += 1
        self.most = max(self.most, self.reading)
        try:
            page = await super().read(*args, **kwargs)
            await sleep(TAKES)
            if self.failures:
                self.failures -= 1
                raise BackendUnavailable("the store is away")
        finally:
            self.reading -= 1
        return page


@pytest.fixture
async def store():
    async with Slow() as backend:
        yield backend


async def at_once(count, read):
    """Return what `count` calls of `read` return that begin together."""
    answers = []

    async def one():
        answers.append(await read())

    async with create_task_group() as group:
        for _ in range(count):
            group.start_soon(one)
    return answers


async def test_who_asks_at_once_shares_a_read(store):
    """The first does not wait for others; these wait for the one read that begins after it."""
    pages = await at_once(1000, partial(Reads(store).read, "x", 0, 10))
    assert store.reads == 2
    assert len({id(page) for page in pages}) == 2


async def test_pages_that_differ_are_read_in_turn(store):
    """Law 8: ten thousand who come back at once do not ask the store at once."""
    reads = Reads(store)
    numbers = iter(range(10 * CONCURRENT_READS))
    await at_once(10 * CONCURRENT_READS, lambda: reads.read(f"{next(numbers)}", 0, 10))
    assert (store.reads, store.most) == (10 * CONCURRENT_READS, CONCURRENT_READS)


@given(st.lists(st.sampled_from([0, TAKES / 4, TAKES]), min_size=1, max_size=12))
async def test_a_page_is_never_older_than_the_question(pauses):
    """Law 2: whoever reads after something was acknowledged, sees it."""
    async with Slow() as store, create_task_group() as group:
        reads = Reads(store)
        await store.apply("x", CLAIM)

        async def ask(acknowledged):
            page = await reads.read("x", 0, 100)
            assert len(page.events) >= acknowledged

        for acknowledged, pause in enumerate(pauses, 1):
            message = Message(f"{acknowledged}")
            await store.apply(
                "x", Append(CLAIM.epoch, acknowledged, (message,), message.characters)
            )
            for _ in range(3):
                group.start_soon(ask, acknowledged)
            await sleep(pause)


async def test_a_failure_is_told_to_all_who_share_it_and_to_nobody_else(store):
    reads = Reads(store)
    store.failures = 2

    async def told():
        try:
            return await reads.read("x", 0, 10)
        except BackendUnavailable as error:
            return str(error)

    assert await at_once(100, told) == ["the store is away"] * 100
    assert store.reads == 2
    assert not (await reads.read("x", 0, 10)).sentinel.known


@pytest.mark.parametrize("others", [0, 1], ids=["under way", "about to begin"])
@at_each_await(at_least=2)
async def test_whoever_is_cancelled_takes_no_page_from_others(cut, others):
    """Whether its read was about to begin or under way, somebody else reads for the rest."""
    async with Slow() as store:
        reads = Reads(store)
        pages = []

        async def ask():
            pages.append(await reads.read("x", 0, 10))

        async def ask_and_be_cut():
            await cut(reads.read("x", 0, 10))

        async with create_task_group() as group:
            for asking in [*[ask] * others, ask_and_be_cut, *[ask] * 10]:
                group.start_soon(asking)
                await checkpoint()
        assert [page.after for page in pages] == [0] * (others + 10)
        assert store.reads <= 4
        with fail_after(1):
            await reads.read("x", 0, 10)


async def test_consumers_who_come_back_from_anywhere_read_together():
    """Work for the store does not grow with consumers: a first page for each place, and then theirs
    are the pages of one reader. Each is told the rest from its own place, whatever it shares.
    """
    store, count, length = Slow(), 300, 3 * PAGE_EVENTS
    async with Streams(store) as streams:
        whole = [f"{number}" for number in range(length)]
        await data_of(await streams.start("x", whole))
        epoch = (await streams.state("x")).epoch
        store.reads = 0
        places = iter(range(count))

        async def rest():
            after = next(places)
            position = After(EventId(epoch, after))
            assert await data_of(await streams.resume("x", position)) == whole[after:]

        await at_once(count, rest)
    assert store.reads < count + 20


async def test_the_end_of_a_stream_is_read_once_for_all(store):
    reads = Reads(store)
    await store.apply("x", CLAIM)
    await store.apply("x", Finish(CLAIM.epoch, Outcome.DONE, 0, None))
    pages = await at_once(50, partial(reads.read, "x", 0, 10))
    assert {page.sentinel.outcome for page in pages} == {Outcome.DONE}
