"""A process that produces stream "one" with our library, and is killed: REDIS_URL says where."""

import os

import anyio

from resumable_io.vercel import create_resumable_stream_context


async def source():
    yield "part 😀 "
    await anyio.sleep_forever()


async def main():
    async with create_resumable_stream_context() as context:
        async for _ in await context.resumable_stream("one", source):
            os.write(1, b"started\n")


anyio.run(main)
