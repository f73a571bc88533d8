"""A real Redis Cluster of our own: masters that know each other, each with a part of the slots."""

from __future__ import annotations

import time
from collections.abc import Sequence

from resumable_io.redis._slots import SLOTS, slot_of
from tests.redis.server import PATIENCE, RedisServer

MASTERS = 3

NODE_TIMEOUT = 1_000
"""Milliseconds after which the others take a node for dead."""

POLL = 0.01


def cluster_options(**options: object) -> dict[str, object]:
    """Return the options of a node."""
    return {
        "cluster_enabled": "yes",
        "cluster_node_timeout": NODE_TIMEOUT,
        "repl_diskless_sync_delay": 0,
        **options,
    }


class RedisCluster:
    """Make a cluster of servers that run; `replicas` of its masters, in the same order."""

    def __init__(
        self, masters: Sequence[RedisServer], replicas: Sequence[RedisServer] = ()
    ) -> None:
        self.masters = masters
        self.replicas = replicas
        first, size = masters[0], -(-SLOTS // len(masters))
        for number, master in enumerate(masters):
            slots = range(number * size, min(SLOTS, (number + 1) * size))
            master.run("CLUSTER", "ADDSLOTS", *slots)
            master.run("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in self.nodes[1:]:
            first.run("CLUSTER", "MEET", "127.0.0.1", node.port)
        self.until(lambda: all(self.knows(node) == len(self.nodes) for node in self.nodes))
        for master, replica in zip(masters, replicas, strict=False):
            replica.run("CLUSTER", "REPLICATE", self.id_of(master))
        self.until(self.is_ready)

    @property
    def nodes(self) -> list[RedisServer]:
        """Return all nodes."""
        return [*self.masters, *self.replicas]

    @property
    def url(self) -> str:
        """Return its URL, which names two of its nodes."""
        names = ",".join(f"127.0.0.1:{node.port}" for node in self.masters[:2])
        return f"redis+cluster://{names}"

    @property
    def address(self) -> tuple[str, int]:
        """Return the host and the port of one of its nodes."""
        return "127.0.0.1", self.masters[-1].port

    @property
    def is_sharded(self) -> bool:
        """Say whether it can publish to a part of its nodes."""
        return self.masters[0].version >= (7,)

    def flush(self) -> None:
        """Empty it."""
        for master in self.masters:
            master.run("FLUSHALL")

    def owner_of(self, key: str) -> RedisServer:
        """Return the node that has a key, as the first one sees it."""
        slot = slot_of(key)
        for first, last, (_, port, *_), *_ in self.nodes[-1].run("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                (owner,) = [node for node in self.nodes if node.port == port]
                return owner
        raise AssertionError(f"slot {slot} is nobody's")

    def id_of(self, node: RedisServer) -> str:
        """Return the name by which the nodes know one of them."""
        return node.run("CLUSTER", "MYID").decode()

    def knows(self, node: RedisServer) -> int:
        """Return how many nodes one of them can reach."""
        lines = node.run("CLUSTER", "NODES").decode().splitlines()
        return sum(line.split()[7] == "connected" and "handshake" not in line for line in lines)

    def is_ready(self) -> bool:
        """Say whether all nodes that run take commands, and replicas have what they need."""
        running = [node for node in self.nodes if node.running]
        links = [node.info("replication") for node in self.replicas if node.running]
        return all(b"cluster_state:ok" in node.run("CLUSTER", "INFO") for node in running) and all(
            link.get("master_link_status", "up") == "up" for link in links
        )

    def until(self, condition) -> None:
        """Wait until the nodes have come to an agreement."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, self.nodes[0].run("CLUSTER", "NODES").decode()
            time.sleep(POLL)

    def begin_to_move(self, slot: int, source: RedisServer, target: RedisServer) -> None:
        """Say that a slot is about to be moved."""
        target.run("CLUSTER", "SETSLOT", slot, "IMPORTING", self.id_of(source))
        source.run("CLUSTER", "SETSLOT", slot, "MIGRATING", self.id_of(target))

    def move_key(self, key: str, source: RedisServer, target: RedisServer) -> None:
        """Move one key of a slot that is about to be moved."""
        source.run("MIGRATE", "127.0.0.1", target.port, key, 0, 1000 * int(PATIENCE))

    def end_moving(self, slot: int, target: RedisServer) -> None:
        """Say that a slot has been moved: its new owner first, then everybody else."""
        for node in (target, *[each for each in self.masters if each is not target]):
            node.run("CLUSTER", "SETSLOT", slot, "NODE", self.id_of(target))
