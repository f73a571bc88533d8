"""The store cannot be reached: at the start, for a while, or for longer than anybody waits."""

import json
import secrets
from contextlib import nullcontext

import pytest
from anyio import (
    create_task_group,
    current_time,
    fail_after,
    move_on_after,
    sleep,
    sleep_forever,
)

from resumable_core import (
    PAGE_EVENTS,
    BackendUnavailable,
    Decoder,
    Outcome,
    SSEFraming,
    State,
    StreamExists,
)
from resumable_io import Streams
from resumable_io.asgi import EventStreamResponse, ResponseCut
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
    unopened,
)

pytestmark = QUIET


class Response:
    """An event stream as a client gets it."""

    def __init__(self, streams: Streams, stream_id: str) -> None:
        self.body = b""
        self.complete = False
        self.cut = False
        self._app = EventStreamResponse(streams, stream_id, heartbeat=0.1)

    @property
    def events(self):
        return Decoder().feed(self.body)

    @property
    def heartbeats(self) -> int:
        return self.body.count(SSEFraming.heartbeat)

    async def run(self) -> None:
        scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
        try:
            await self._app(scope, sleep_forever, self._send)
        except ResponseCut:
            self.cut = True

    async def _send(self, message) -> None:
        if message["type"] == "http.response.body":
            self.body += message["body"]
            self.complete = not message["more_body"]


# At the start


@pytest.mark.parametrize("how", ["refused", "silent", "frozen"])
async def test_the_store_cannot_be_reached_at_the_start(start_redis, pair, how):
    """A clear error within the timeout, and no group of them."""
    server = start_redis()
    async with proxied(server) as proxy:
        if how == "refused":
            await proxy.refuse()
        elif how == "frozen":
            server.freeze()
        async with unopened(pair, proxy.url, "x", timeout=0.5) as streams:
            began = current_time()
            with (
                proxy.stalled() if how == "silent" else nullcontext(),
                fail_after(PATIENCE),
                pytest.raises(BackendUnavailable, match="Redis"),
            ):
                await streams.__aenter__()
            assert current_time() - began < 0.5 + SLOW


# For a while


@pytest.mark.parametrize("how", ["refused", "silent"])
async def test_no_stream_is_lost_whose_producer_lives(redis_server, pair, how):
    """Everybody is cut off for two leases; who comes back first must not judge the others."""
    async with (
        proxied(redis_server) as one,
        proxied(redis_server) as other,
        two_processes(pair, one.url, other.url, timeout=0.5) as processes,
        traffic(*processes) as running,
    ):
        if how == "refused":
            await one.refuse()
            await other.refuse()
            await sleep(2 * LEASE)
            await other.accept()
            await one.accept()
        else:
            with one.stalled(), other.stalled():
                await sleep(2 * LEASE)
        await running.progress()
        assert not running.errors


@pytest.mark.parametrize("timeout", [0.5, 5.0], ids=["failed", "late"])
async def test_who_is_back_first_does_not_judge(redis_server, pair, timeout):
    """Commands hang while the feeds stand; the producers come back last. Meanwhile the leases have
    run out for whoever looks; and somebody tries to take a stream over, whose claim hangs, too.
    """
    async with (
        proxied(redis_server) as one,
        proxied(redis_server) as other,
        two_processes(pair, one.url, other.url, timeout=timeout) as (producing, consuming),
        traffic(producing, consuming) as running,
        create_task_group() as tasks,
    ):
        refused = []

        async def take_over():
            with pytest.raises(StreamExists):
                await consuming.start("stream 0", ["mine"], on_lost="continue")
            refused.append(True)

        await sleep(LEASE)  # who has watched for that long may judge
        with one.stalled(feeds=False):
            with other.stalled(feeds=False):
                tasks.start_soon(take_over)
                await sleep(2 * LEASE)
            await sleep(LEASE / 2)
        await running.progress()
        await running.until(lambda: refused, "the claim is refused")
        assert not running.errors


async def test_a_response_goes_on_after_an_outage(redis_server, pair):
    """Heartbeats flow meanwhile, here and in another process."""
    async with (
        proxied(redis_server) as proxy,
        two_processes(pair, proxy.url, proxy.url, timeout=0.5) as processes,
        traffic(*processes, count=1) as running,
        create_task_group() as tasks,
    ):
        responses = [Response(streams, "stream 0") for streams in processes]
        for response in responses:
            tasks.start_soon(response.run)
        await running.until(lambda: all(r.events for r in responses), "both have begun")
        await proxy.refuse()
        before = [response.heartbeats for response in responses]
        await running.until(
            lambda: all(r.heartbeats > n + 10 for r, n in zip(responses, before, strict=True)),
            "heartbeats flow",
        )
        await proxy.accept()
        await running.progress()
        await running.finish()
        await running.until(lambda: all(r.complete for r in responses), "both end")
    for response in responses:
        *events, end = response.events
        assert [event.data for event in events] == [
            f"anna:{number} " for number in range(1, running.history.sent[0].count + 1)
        ]
        assert json.loads(end.data)["outcome"] == "done"


# For too long


async def test_an_outage_that_takes_too_long(redis_server, pair):
    """Local consumers are told that the stream has failed, and why; others that they can't know.

    Nothing waits for ever. When the store is back, the stream is found to be lost.
    """
    prefix, outage = secrets.token_hex(4), 1.0
    async with (
        proxied(redis_server) as proxy,
        process(pair, proxy.url, prefix, timeout=0.5, outage=outage) as producing,
        process(pair, proxy.url, prefix, timeout=0.5, outage=outage) as consuming,
        traffic(producing, count=0) as running,
        create_task_group() as tasks,
    ):
        sent = await running.produce(producing, "x", "anna")
        running.history.keeps = False
        running.history.ends_agree = False
        local = running.consume(producing, "x", "local")
        remote = await consuming.resume("x")
        responses = [Response(producing, "x"), Response(consuming, "x")]
        for response in responses:
            tasks.start_soon(response.run)
        await running.progress(events=30)
        await running.until(lambda: all(r.events for r in responses), "the responses run")
        proxy.deafen()
        await running.until(lambda: sent.acked > local.number, "more is kept than was received")
        await proxy.refuse()
        began = current_time()

        await running.until(lambda: local.finished, "the local consumer is told")
        assert outage - LEASE < current_time() - began < outage + LEASE + SLOW
        assert local.outcome is Outcome.FAILED
        assert "did not answer" in local.records[-1].error
        assert local.number >= sent.acked, "what is known to be kept is delivered all the same"
        assert isinstance(sent.error, BackendUnavailable)

        with fail_after(PATIENCE), pytest.raises(BackendUnavailable):
            while not remote.finished:
                await remote.receive()
        assert current_time() - began < outage + 2 * LEASE + CHECK_INTERVAL + SLOW

        await running.until(lambda: responses[1].cut, "the remote response is cut off")
        assert not responses[1].complete
        await running.until(lambda: responses[0].complete, "the local response ends")
        end = responses[0].events[-1]
        assert (end.type, json.loads(end.data)["outcome"]) == ("end", "failed")

        await proxy.accept()
        with fail_after(PATIENCE):
            while (await state_of(consuming, "x")) is not State.LOST:
                await sleep(POLL)
        await running.produce(producing, "x", "ben", on_lost="continue")


async def state_of(streams: Streams, stream_id: str) -> State | None:
    try:
        return (await streams.state(stream_id)).state
    except BackendUnavailable:
        return None


async def test_a_claim_is_given_up_after_an_outage(redis_server, pair):
    """Who starts a stream gets an error, and the source is never used."""
    async with (
        proxied(redis_server) as proxy,
        process(pair, proxy.url, "x", timeout=0.5, outage=0.5) as streams,
    ):
        await proxy.refuse()
        began = current_time()
        with fail_after(PATIENCE), pytest.raises(BackendUnavailable):
            await streams.start("x", lambda: pytest.fail("the source was used"))
        assert current_time() - began < 0.5 + 0.5 + SLOW


async def test_whoever_never_waits_for_long_learns_of_an_outage(redis_server, pair):
    """A read takes longer to fail than a consumer waits at a time."""
    async with (
        proxied(redis_server) as proxy,
        process(pair, proxy.url, "x", timeout=0.5, outage=0.5) as streams,
    ):
        await streams.start("x", [str(number) for number in range(PAGE_EVENTS + 1)])
        with fail_after(PATIENCE):
            while (await streams.state("x")).outcome is None:
                await sleep(POLL)
            subscription = await streams.resume("x")
            assert 0 < len(await subscription.receive()) <= PAGE_EVENTS
            with proxy.stalled(), pytest.raises(BackendUnavailable):
                while True:
                    with move_on_after(0.1):
                        await subscription.receive()
