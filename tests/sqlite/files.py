"""What tests do with a file: put a stream into it, read it, and look in from outside."""

import contextlib
import sqlite3

from resumable_core import Claim, Message, Retention
from resumable_core.testing import append


@contextlib.contextmanager
def looking_into(path):
    with contextlib.closing(sqlite3.connect(path)) as db:
        yield db


async def started(backend, stream_id, *texts, lease=100.0, keep=1000.0, count=100_000):
    await backend.apply(stream_id, Claim("a", lease, Retention(count, keep=keep)))
    await backend.apply(stream_id, append("a", 1, map(Message, texts)))


async def read(backend, stream_id, **kwargs):
    return await backend.read(stream_id, 0, 1000, connected_for=float("inf"), **kwargs)
