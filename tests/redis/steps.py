"""What tests do with a backend, in few words."""

import math
import re
import secrets
from pathlib import Path

from anyio import fail_after, sleep

from resumable_core import Claim, Finish, Message, Outcome, Publication, Publish, Retention
from resumable_core.testing import append

LEASE, KEEP = 100.0, 1000.0
PATIENCE = 20
"""Seconds after which a test gives up waiting."""


def claim(epoch="a", *, lease=LEASE, keep=KEEP, count=100_000, size=2**26, age=None, **kwargs):
    """Return a claim that outlives the test, unless told otherwise."""
    return Claim(epoch, lease, Retention(count, size, age, keep), **kwargs)


def texts(first_seq, *data, epoch="a"):
    """Return the append of some messages."""
    return append(epoch, first_seq, map(Message, data))


def publish(*data, keys=None, count=100_000, keep=KEEP, **kwargs):
    """Return one attempt to publish some messages, each under itself as the key."""
    items = zip(keys or data, data, strict=True)
    publications = tuple(Publication(Message(each), key) for key, each in items)
    return Publish(secrets.token_hex(8), publications, Retention(count, keep=keep, **kwargs))


async def started(backend, stream_id, *data, epoch="a", **kwargs):
    """Claim a stream, and append some messages in one batch."""
    await backend.apply(stream_id, claim(epoch, **kwargs))
    if data:
        await backend.apply(stream_id, texts(1, *data, epoch=epoch))


async def ended(backend, stream_id, *data, **kwargs):
    """Make a stream that is done."""
    await started(backend, stream_id, *data, **kwargs)
    await backend.apply(stream_id, Finish("a", Outcome.DONE, len(data)))


async def read(backend, stream_id, after=0, limit=100):
    """Return a page, observed by somebody who has watched for ever."""
    with fail_after(PATIENCE):
        return await backend.read(stream_id, after, limit, connected_for=math.inf)


async def data(backend, stream_id):
    """Return what a log holds."""
    found, after = [], 0
    while True:
        page = await read(backend, stream_id, after)
        if not page.events:
            return found
        found += [event.data for event in page.events]
        after = page.events[-1].id.seq


async def hear(feed, count=1):
    """Return the next items of a feed, at least so many."""
    items = []
    with fail_after(PATIENCE):
        while len(items) < count:
            items += await feed.receive()
    return items


async def wait_for(condition):
    """Wait until something is the case that wakes nobody here."""
    with fail_after(PATIENCE):
        while not condition():
            await sleep(0.001)


def documented_permissions(also=None):
    """Return the rules of an ACL that the documentation names, and those that something needs
    `also`, which begins a line of its table.
    """
    page = Path(__file__).parents[2].joinpath("docs", "howto", "redis.md").read_text("utf-8")
    (block,) = re.findall(r"^ACL SETUSER .*?```$", page, re.MULTILINE | re.DOTALL)
    rules = re.findall(r"[+-]\S+", block)
    if also is not None:
        (row,) = re.findall(rf"^\| {also} \|(.*)\|$", page, re.MULTILINE)
        rules += re.findall(r"\+[a-z|]+", row.replace("\\", ""))
    return rules
