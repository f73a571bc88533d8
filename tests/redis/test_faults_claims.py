"""Faults around the one producer: claims whose outcome nobody knows, and deleted streams."""

from contextlib import suppress

import pytest
from anyio import Event, create_task_group, current_time, fail_after, move_on_after, sleep

from resumable_core import BackendUnavailable, Fenced, Outcome, State, StreamExists
from resumable_io import StreamsClosed
from resumable_io.redis._stored import COMMIT
from tests.redis.history import message
from tests.redis.proxy import proxied
from tests.redis.traffic import (
    CHECK_INTERVAL,
    LEASE,
    PATIENCE,
    POLL,
    QUIET,
    SLOW,
    process,
    traffic,
    two_processes,
)

pytestmark = QUIET

COMMITS = COMMIT.sha.encode()


class Source:
    """Yields a few messages, and counts how often it was asked to."""

    def __init__(self) -> None:
        self.runs = 0

    async def __call__(self):
        self.runs += 1
        for number in range(1, 6):
            yield message("anna", number)
            await sleep(POLL)


async def text_of(subscription) -> str:
    async with subscription:
        return "".join([event.data async for event in subscription])


WHOLE = "".join(message("anna", number) for number in range(1, 6))


@pytest.mark.parametrize("hang", [False, True], ids=["cut", "mute"])
async def test_the_reply_to_a_claim_is_lost(redis_server, pair, hang):
    """It is repeated: one claim, and the source runs once."""
    source = Source()
    async with (
        proxied(redis_server) as proxy,
        process(pair, proxy.url, "x", timeout=0.5) as streams,
    ):
        proxy.lose_replies(COMMITS, hang=hang)
        with fail_after(PATIENCE):
            assert await text_of(await streams.start("x", source)) == WHOLE
        state = await streams.state("x")
    assert proxy.lost > 0
    assert source.runs == 1
    assert len(state.lineage.epochs) == 1


async def test_many_start_one_stream_while_replies_are_lost(redis_server, pair):
    """In two processes, one of which learns nothing of its first three claims."""
    source, texts = Source(), []
    async with (
        proxied(redis_server) as one,
        two_processes(pair, one.url, redis_server.url) as processes,
    ):
        one.lose_replies(COMMITS, COMMITS, COMMITS)

        async def start(streams):
            subscription = None
            while subscription is None:  # as a client does that gets a 503
                with suppress(BackendUnavailable):
                    subscription = await streams.start_or_resume("x", source)
            texts.append(await text_of(subscription))

        with fail_after(PATIENCE):
            async with create_task_group() as tasks:
                for number in range(20):
                    tasks.start_soon(start, processes[number % 2])
    assert texts == [WHOLE] * 20
    assert source.runs == 1


async def test_a_start_is_cancelled_in_mid_claim(redis_server, pair):
    """What was claimed is nobody's: it is lost after one lease, and free again."""
    source, other = Source(), Source()
    async with (
        proxied(redis_server) as proxy,
        two_processes(pair, proxy.url, redis_server.url) as (starting, watching),
    ):
        proxy.lose_replies(COMMITS, hang=True)
        with move_on_after(PATIENCE) as scope:
            async with create_task_group() as tasks:
                tasks.start_soon(starting.start, "x", source)
                with fail_after(PATIENCE):
                    while not proxy.lost:
                        await sleep(POLL)
                tasks.cancel_scope.cancel()
        assert not scope.cancelled_caught

        claimed = current_time()
        assert (await watching.state("x")).state is State.ACTIVE
        with pytest.raises(StreamExists):
            await watching.start("x", other, on_lost="restart")
        with fail_after(LEASE + CHECK_INTERVAL + SLOW):
            *_, end = [each async for each in (await watching.resume("x")).records()]
        assert end.outcome is Outcome.LOST
        assert current_time() - claimed > LEASE / 2, "the lease was not waited for"
        with fail_after(PATIENCE):
            assert await text_of(await watching.start("x", other, on_lost="restart")) == WHOLE
    assert (source.runs, other.runs) == (0, 1)


@pytest.mark.parametrize("how", ["CLIENT PAUSE", "SIGSTOP"])
async def test_a_start_is_cancelled_while_redis_pauses(start_redis, pair, how):
    """Its claim is applied when nobody waits for it any more, and taken back: the id is free."""
    server, source, other = start_redis(), Source(), Source()
    paused = Event()

    def pauses(request: bytes) -> bool:
        if COMMITS in request and not paused.is_set():
            if how == "SIGSTOP":
                server.freeze()
            else:
                server.run("CLIENT", "PAUSE", 60_000, "WRITE")
            paused.set()
        return False

    async with (
        proxied(server) as proxy,
        two_processes(pair, proxy.url, server.url, lease=60.0) as (starting, watching),
    ):
        proxy.loses = pauses
        with fail_after(PATIENCE):
            async with create_task_group() as tasks:
                tasks.start_soon(starting.start, "x", source)
                await paused.wait()
                tasks.cancel_scope.cancel()
            if how == "SIGSTOP":
                server.thaw()
            else:
                server.run("CLIENT", "UNPAUSE")
            subscription = None
            while subscription is None:
                with suppress(StreamExists):  # for as long as it takes to be taken back
                    subscription = await watching.start("x", other)
            assert await text_of(subscription) == WHOLE
    assert (source.runs, other.runs) == (0, 1)


async def test_streams_are_left_while_a_claim_hangs(start_redis, pair):
    """Law 7: who started something is told at once; leaving takes five seconds at most."""
    server, told = start_redis(), []

    async def start(streams):
        with pytest.raises(StreamsClosed):
            await streams.start("x", Source())
        told.append(current_time())

    async with create_task_group() as tasks:
        async with process(pair, server.url, "x", lease=60.0) as streams:
            server.freeze()
            tasks.start_soon(start, streams)
            await sleep(POLL)
            left = current_time()
        assert current_time() - left < 5 + SLOW
        server.thaw()
        with fail_after(PATIENCE):
            while not told:
                await sleep(POLL)
    assert told[0] - left < SLOW + streams._grace


async def test_a_stream_is_deleted_while_it_runs(redis_server, pair):
    """It stays deleted, its source is cancelled, and its consumers are told."""
    async with (
        two_processes(pair, redis_server.url, redis_server.url) as processes,
        traffic(*processes, count=0) as running,
    ):
        running.history.keeps = False
        running.history.ends_agree = False
        sent = await running.produce(processes[0], "x", "anna")
        stories = [running.consume(streams, "x", "stays") for streams in processes]
        await running.progress()
        await processes[1].delete("x")
        await running.until(running.all_finished, "the consumers are told")
        await running.until(lambda: sent.error is not None, "the source is cancelled")
        await stays_deleted(processes[1])
    assert isinstance(sent.error, Fenced)
    ends = {(each.outcome, each.records[-1].error) for each in stories}
    assert ends == {(Outcome.STOPPED, "the stream was deleted")}


async def test_a_stream_is_deleted_while_its_producer_is_cut_off(redis_server, pair):
    """When the producer comes back it must not take the stream for one that the store has lost."""
    async with (
        proxied(redis_server) as one,
        two_processes(pair, one.url, redis_server.url) as processes,
        traffic(*processes, count=0) as running,
    ):
        running.history.keeps = False
        sent = await running.produce(processes[0], "x", "anna")
        story = running.consume(processes[1], "x", "stays")
        await running.progress()
        await one.refuse()
        await processes[1].delete("x")
        await one.accept()
        await running.until(lambda: sent.error is not None, "the source is cancelled")
        await running.until(lambda: story.finished, "the consumer is told")
        await stays_deleted(processes[1])
    assert isinstance(sent.error, Fenced)
    assert story.outcome is Outcome.STOPPED


async def stays_deleted(streams) -> None:
    """Look for two leases: a producer that restores what it takes for lost does so within one."""
    until = current_time() + 2 * LEASE
    while current_time() < until:
        assert await streams.state("x") is None
        await sleep(POLL)
