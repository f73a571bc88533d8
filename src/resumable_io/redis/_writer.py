"""Gather what many tasks ask of Redis into one round trip after the other.

While one round trip is under way, the next one fills: the busier the process, the larger the
batches. Two lanes keep renewals and reads from queueing behind appends. In a cluster each node has
lanes of its own, so that one that hangs holds up nobody else's streams.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable, Sequence
from typing import Any, Final

from anyio import CancelScope, Event, current_time, sleep_until
from anyio.abc import TaskGroup

from resumable_core import BackendError, BackendUnavailable
from resumable_io._wakeup import Wakeup

from ._port import Call, Driver

CALLS_PER_ROUND_TRIP: Final = 512
"""More would make the first wait for the last."""


ATTEMPTS: Final = 50
"""Times that a change is decided anew because another one came first."""


class _Pending:
    __slots__ = ("call", "done", "reply", "wanted")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.wanted = True
        self.done = Event()
        self.reply: Any = BackendUnavailable("the connection to Redis was closed")


class Lane:
    """Run scripts of one server, many in one round trip, one round trip at a time."""

    def __init__(self, driver: Driver, timeout: float, replicas: int) -> None:
        self.answering_since = -math.inf
        """Since when Redis answers, in seconds of the event loop's clock; inf while it doesn't."""
        self._driver = driver
        self._timeout = timeout
        self._replicas = replicas
        self._waiting: deque[_Pending] = deque()
        self._closed = False
        self._batch: Sequence[_Pending] = ()  # what is under way
        self._work = Wakeup()
        self._began = math.inf  # when the round trip under way did
        self._patience = CancelScope()

    async def run(self) -> None:
        """Carry out what is asked until cancelled."""
        try:
            while True:
                with CancelScope() as self._patience:
                    while not self._patience.cancel_called:
                        await self._round_trip()
                self._answer([self._as_ours(TimeoutError())] * len(self._batch))
        finally:
            self._closed = True
            for pending in (*self._batch, *self._waiting):
                pending.done.set()

    async def watch(self) -> None:
        """Give up the round trip that takes too long, until cancelled.

        It looks when one could be late: a timer for each would cost as much as all the rest of it.
        """
        while True:
            await sleep_until(min(self._began, current_time()) + self._timeout)
            if current_time() >= self._began + self._timeout:
                self._began = math.inf
                self._patience.cancel()

    async def _round_trip(self) -> None:
        self._batch = self._next()
        if self._batch:
            self._answer(await self._evaluate([pending.call for pending in self._batch]))
        else:
            await self._work.wait()

    def _answer(self, replies: Sequence[Any]) -> None:
        for pending, reply in zip(self._batch, replies, strict=True):
            pending.reply = reply
            pending.done.set()
        self._batch = ()

    def _next(self) -> Sequence[_Pending]:
        """Return what goes into the next round trip, without those whom nobody waits for."""
        batch: list[_Pending] = []
        while self._waiting and len(batch) < CALLS_PER_ROUND_TRIP:
            pending = self._waiting.popleft()
            if pending.wanted:
                batch.append(pending)
        return batch

    async def _evaluate(self, calls: Sequence[Call]) -> Sequence[Any]:
        self._began = current_time()
        try:
            try:
                replies = await self._driver.evaluate(calls, replicas=self._replicas)
            except BackendUnavailable:
                # Often it is but the connection, which broke while it was idle. Scripts may be
                # repeated: what one has done already, the next one finds.
                self.answering_since = math.inf
                replies = await self._driver.evaluate(calls, replicas=self._replicas)
        except Exception as error:  # noqa: BLE001
            # Whatever it is, this lane goes on: it serves all streams of the process.
            return [self._as_ours(error)] * len(calls)
        finally:
            self._began = math.inf
        if math.isinf(self.answering_since) and self.answering_since > 0:
            self.answering_since = current_time()
        return replies

    def _as_ours(self, error: Exception) -> Exception:
        """Return what is told of what went wrong."""
        self.answering_since = math.inf
        match error:
            case BackendError():
                return error
            case TimeoutError():
                return BackendUnavailable(f"Redis did not answer within {self._timeout:g} s")
            case _:
                return BackendError(f"the Redis client failed: {error!r}")

    async def ask(self, call: Call) -> Any:
        """Run one script and return its reply; see `Lanes.ask`."""
        pending = _Pending(call)
        if self._closed:
            raise pending.reply
        self._waiting.append(pending)
        self._work.wake()
        try:
            await pending.done.wait()
        finally:
            pending.wanted = False
        if isinstance(pending.reply, Exception):
            if isinstance(pending.reply, BackendUnavailable):
                self.answering_since = math.inf  # others may be refused, too, who have to renew
            raise pending.reply
        return pending.reply


class Lanes:
    """Run scripts in one lane for each server.

    `timeout` is for how many seconds an answer is waited for; then nobody knows what was done.
    `replicas` is how many of them must have got what a script has written.
    """

    def __init__(self, driver: Driver, timeout: float, tasks: TaskGroup, replicas: int = 0) -> None:
        self._driver = driver
        self._timeout = timeout
        self._replicas = replicas
        self._tasks = tasks
        self._lanes: dict[Hashable, Lane] = {}

    def answering_since(self, key: str) -> float:
        """Return since when the server of a key answers, in seconds of the event loop's clock."""
        lane = self._lanes.get(self._driver.shard_of(key))
        return -math.inf if lane is None else lane.answering_since

    async def ask(self, call: Call) -> Any:
        """Run one script and return its reply.

        Raises what the driver raises, or the script's own error. Cancelled, the script may have
        run or may still run, unless it was still waiting.
        """
        shard = self._driver.shard_of(call.keys[0])
        lane = self._lanes.get(shard)
        if lane is None:
            lane = self._lanes[shard] = Lane(self._driver, self._timeout, self._replicas)
            self._tasks.start_soon(lane.run)
            self._tasks.start_soon(lane.watch)
        try:
            return await lane.ask(call)
        except BackendUnavailable:
            raise
        except BackendError as error:
            raise type(error)(f"{', '.join(call.keys)}: {error}") from error
