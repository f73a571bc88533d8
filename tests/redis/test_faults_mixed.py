"""One fault after the other, or two at once, in an order that nobody has thought of."""

import os
import random

import pytest
from anyio import sleep

from resumable_io.redis._stored import COMMIT, READ
from tests.redis.proxy import proxied
from tests.redis.traffic import LEASE, QUIET, traffic, two_processes

pytestmark = QUIET

SEEDS = range(int(os.environ.get("RESUMABLE_TEST_FAULTS", "2")))
"""Name a higher number to have more of them tried."""


class Faults:
    """What can go wrong, by name."""

    def __init__(self, server, proxies, running, dice):
        self.server = server
        self.proxies = proxies
        self.running = running
        self.dice = dice

    async def kill_connections(self):
        self.server.run("CLIENT", "KILL", "TYPE", self.dice.choice(("normal", "pubsub")))

    async def cut(self):
        self.dice.choice(self.proxies).cut()

    async def lose_replies(self):
        proxy, marker = self.dice.choice(self.proxies), self.dice.choice((COMMIT, READ)).sha
        proxy.lose_replies(
            *[marker.encode()] * self.dice.randint(1, 3), hang=self.dice.random() < 0.3
        )

    async def go_deaf(self):
        self.dice.choice(self.proxies).deafen()

    async def flush_scripts(self):
        self.server.run("SCRIPT", "FLUSH")

    async def pause(self):
        self.server.run(
            "CLIENT", "PAUSE", self.dice.randint(50, 900), self.dice.choice(("ALL", "WRITE"))
        )

    async def freeze(self):
        with self.server.frozen():
            await sleep(self.dice.uniform(0.05, 1.5 * LEASE))

    async def stall(self):
        with self.dice.choice(self.proxies).stalled():
            await sleep(self.dice.uniform(0.05, LEASE))

    async def restart(self):
        self.server.restart()

    async def restart_empty(self):
        self.server.restart(empty=True)


@pytest.mark.parametrize("seed", SEEDS)
async def test_many_faults(start_redis, pair, seed):
    dice = random.Random(seed)
    server = start_redis(appendonly="yes", appendfsync="always")
    async with (
        proxied(server) as one,
        proxied(server) as other,
        two_processes(pair, one.url, other.url, timeout=0.5) as processes,
        traffic(*processes, count=2) as running,
    ):
        faults = Faults(server, (one, other), running, dice)
        names = sorted(name for name in dir(faults) if not name.startswith("_"))
        kinds = [fault for name in names if callable(fault := getattr(faults, name))]
        for _ in range(6):
            for fault in dice.sample(kinds, k=dice.choice((1, 1, 2))):
                await fault()
            await running.progress(events=3)
        assert not running.errors
