"""A process of an application: does what it reads from stdin, and writes what happens to stdout.

Both are lines of JSON. What it is asked is `{"do": …, "as": name, …}`; whatever happens on account
of that carries the same `"as"`. It ends when stdin does.

    start     a stream whose source yields `<word>1 `, `<word>2 `, … up to `count`, with a pause
    follow    a stream, from the beginning to the end
    ask       `times` tasks start or resume one stream at once, and read it to its end
    publish   `writers` tasks publish `<word>-<writer>:1`, … up to `count` to a channel
    subscribe to a channel, and receive `count` records
    stop, delete
"""

import json
import sys
import time
from contextlib import AsyncExitStack

import anyio
import coredis
from anyio import create_task_group, sleep
from anyio.to_thread import run_sync

from resumable_core import End, Event, ResumableError
from resumable_io import Streams
from resumable_io.redis import RedisBackend


def tell(name, **what):
    """Write one line."""
    sys.stdout.write(json.dumps({"as": name, "at": time.monotonic(), **what}) + "\n")
    sys.stdout.flush()


async def source(name, word, count, pause):
    """Yield words, and tell how that begins and ends."""
    tell(name, source="begun")
    yielded = 0
    try:
        while yielded < count:
            yielded += 1
            yield f"{word}{yielded} "
            await sleep(pause)
    finally:
        tell(name, source="ended", yielded=yielded, whole=yielded == count)


async def follow(name, subscription):
    """Tell what a subscription brings."""
    async for record in subscription.records():
        match record:
            case Event(data=data):
                tell(name, event=data)
            case End(outcome=outcome, error=error):
                tell(name, end=outcome, error=error)
            case other:
                tell(name, other=type(other).__name__)


async def ask(streams, name, stream_id, times):
    """Tell what many got who asked at once."""
    texts = []

    async def one():
        subscription = await streams.start_or_resume(stream_id, source(name, "w", 30, 0.005))
        texts.append("".join([event.data async for event in subscription]))

    async with create_task_group() as tasks:
        for _ in range(times):
            tasks.start_soon(one)
    tell(name, texts=texts)


async def publish(channel, name, word, writers, count):
    """Tell under which ids many have published."""
    ids = {}

    async def write(writer):
        for number in range(1, count + 1):
            text = f"{word}-{writer}:{number}"
            ids[text] = str(await channel.publish(text))

    async with create_task_group() as tasks:
        for writer in range(writers):
            tasks.start_soon(write, writer)
    tell(name, ids=ids)


async def receive(name, subscription, count):
    """Tell what a subscription to a channel brings, as pairs of id and data or kind of record."""
    records = []
    while len(records) < count:
        for record in await subscription.receive():
            said = record.data if isinstance(record, Event) else type(record).__name__
            records.append((str(record.id), said))
    tell(name, records=records)


async def do(streams, order):
    """Carry out one line."""
    name, stream_id = order["as"], order["id"]
    try:
        match order["do"]:
            case "start":
                words = source(name, order["word"], order["count"], order["pause"])
                await streams.start(stream_id, words, on_lost=order.get("on_lost", "refuse"))
                tell(name, started=stream_id)
            case "follow":
                subscription = await streams.resume(stream_id)
                tell(name, following=stream_id)
                await follow(name, subscription)
            case "ask":
                await ask(streams, name, stream_id, order["times"])
            case "publish":
                channel = streams.channel(stream_id)
                await publish(channel, name, order["word"], order["writers"], order["count"])
            case "subscribe":
                async with await streams.channel(stream_id).subscribe() as subscription:
                    tell(name, following=stream_id)
                    await receive(name, subscription, order["count"])
            case "stop":
                await streams.stop(stream_id, order["reason"])
            case "delete":
                await streams.delete(stream_id)
    except ResumableError as error:
        tell(name, error=type(error).__name__)


async def main(url, library, options):
    """Serve until stdin ends."""
    async with AsyncExitStack() as stack:
        client = url
        if library == "coredis":
            client = await stack.enter_async_context(coredis.Redis.from_url(url))
        backend = RedisBackend(client, prefix="processes")
        streams = await stack.enter_async_context(Streams(backend, grace=0.0, **options))
        tasks = await stack.enter_async_context(create_task_group())
        tell("worker", ready=True)
        while line := await run_sync(sys.stdin.readline):
            tasks.start_soon(do, streams, json.loads(line))
        tasks.cancel_scope.cancel()


if __name__ == "__main__":
    url, library, loop, options = sys.argv[1:]
    backend, backend_options = json.loads(loop)
    anyio.run(
        main,
        url,
        library,
        json.loads(options),
        backend=backend,
        backend_options=backend_options,
    )
