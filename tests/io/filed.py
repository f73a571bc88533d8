"""A backend that keeps everything in one file, for several processes; and what is wrong with it."""

import fcntl
import math
import os
import pickle
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path

import anyio
from anyio.lowlevel import checkpoint

from resumable_core import EventLog, Interrupted
from resumable_io._feed import Feeds
from resumable_io.abc import Backend

CACHES = {}
"""By their paths, what the backends of this process believe to be in the files."""


class Filed(Backend):
    """Reads the whole file, changes it, and puts another one in its place."""

    may_forget = False
    connected_since = -math.inf

    def __init__(self, path: Path) -> None:
        self.path = path
        self.feeds = Feeds()
        self.seen = {}

    async def __aenter__(self):
        self.tasks = await anyio.create_task_group().__aenter__()
        self.tasks.start_soon(self.look)
        return self

    async def __aexit__(self, *error):
        self.tasks.cancel_scope.cancel()
        await self.tasks.__aexit__(*error)

    async def look(self):
        while True:
            await anyio.sleep(0.02)
            logs = self.load()
            for stream_id in tuple(self.seen):
                now = self.place(logs.get(stream_id, EventLog()))
                if self.seen[stream_id] != now:
                    self.seen[stream_id] = now
                    self.feeds.tell(stream_id, Interrupted())

    def place(self, log):
        return log.sentinel.state, log.sentinel.epoch, log.sentinel.last_seq

    @contextmanager
    def locked(self):
        with self.path.with_suffix(".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def load(self):
        return pickle.loads(self.path.read_bytes()) if self.path.exists() else {}

    def keep(self, logs):
        new = self.path.with_suffix(f".{os.getpid()}")
        new.write_bytes(pickle.dumps(logs))
        new.replace(self.path)

    def step(self, stream_id, call):
        with self.locked():
            logs = self.load()
            log = logs.get(stream_id) or EventLog()
            before = log.sentinel
            answer = call(log, time.time())
            if log.sentinel is not before:
                self.keep(logs | {stream_id: log})
            return answer

    async def apply(self, stream_id, change):
        await checkpoint()
        return self.step(stream_id, lambda log, now: log.apply(change, now)).sentinel

    async def publish(self, log_id, change):
        await checkpoint()
        return self.step(log_id, lambda log, now: log.apply(change, now)).ids

    async def read(self, stream_id, after, limit, *, connected_for):
        await checkpoint()
        options = {"limit": limit, "connected_for": connected_for}
        return self.step(stream_id, lambda log, now: log.read(after, now, **options))

    async def follow(self, stream_id, tell, *, events):
        await checkpoint()
        self.seen[stream_id] = self.place(self.load().get(stream_id, EventLog()))
        feed = self.feeds.add(stream_id, tell, events=events)
        return lambda: self.feeds.discard(stream_id, feed)

    def scan(self):
        return self.scanned([*self.load().items()])

    async def scanned(self, logs):
        for stream_id, log in logs:
            await checkpoint()
            if log.sentinel.known and time.time() < log.sentinel.expires_at:
                yield stream_id, log.sentinel


class Lockless(Filed):
    """Takes its turns one after the other, as all do in its own process."""

    def locked(self):
        return nullcontext()

    def keep(self, logs):
        time.sleep(0.002)  # a race is to be lost
        super().keep(logs)


class Caching(Filed):
    """Knows what is in the file, since it has put it there."""

    def load(self):
        return CACHES.setdefault(self.path, {})

    def keep(self, logs):
        CACHES[self.path] = logs
        super().keep(super().load() | logs)


FEEDS = Feeds()
"""All of this process."""


class Introverted(Filed):
    """Tells what this process has done itself."""

    def __init__(self, path):
        super().__init__(path)
        self.feeds = FEEDS

    async def look(self):
        pass

    def step(self, stream_id, call):
        before = self.place(self.load().get(stream_id, EventLog()))
        answer = super().step(stream_id, call)
        if self.place(self.load().get(stream_id, EventLog())) != before:
            self.feeds.tell(stream_id, Interrupted())
        return answer
