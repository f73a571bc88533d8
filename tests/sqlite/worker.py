"""A process that produces: each line it prints is a seq that was acknowledged."""

import sys

import anyio

from resumable_core import Claim, Message
from resumable_core.testing import append
from resumable_io.sqlite import SQLiteBackend


async def main(path: str, stream_id: str) -> None:
    async with SQLiteBackend(path) as backend:
        await backend.apply(stream_id, Claim("a", 1000.0))
        seq = 0
        while True:
            texts = [Message(f"{stream_id} {seq + i} {'.' * 500}") for i in (1, 2, 3)]
            seq = (await backend.apply(stream_id, append("a", seq + 1, texts))).last_seq
            print(seq, flush=True)  # noqa: T201 - that is what it is for


anyio.run(main, *sys.argv[1:])
