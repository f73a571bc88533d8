"""A process in which many publish to one channel, and one subscribes to it; prints what they tell.

That is one line of JSON: the ids under which each message was published, and all that was received.
"""

import json
import sys

import anyio
from anyio import create_task_group

from resumable_io import Streams
from resumable_io.sqlite import SQLiteBackend


async def main(path: str, process: str, writers: int, each: int, count: int) -> None:
    """Publish `each` messages from every one of the `writers`, and receive `count`."""
    ids: dict[str, str] = {}
    async with Streams(SQLiteBackend(path)) as streams:
        channel = streams.channel("news")

        async def write(writer: int) -> None:
            for number in range(1, each + 1):
                text = f"{process}.{writer}:{number}"
                ids[text] = str(await channel.publish(text))

        async with await channel.subscribe() as subscription, create_task_group() as tasks:
            for writer in range(writers):
                tasks.start_soon(write, writer)
            records: list[tuple[str, str]] = []
            while len(records) < count:
                records += [
                    (str(r.id), getattr(r, "data", r)) for r in await subscription.receive()
                ]
    print(json.dumps({"ids": ids, "records": records}, default=repr))  # noqa: T201 - it is for that


anyio.run(main, *sys.argv[1:3], *map(int, sys.argv[3:]))
