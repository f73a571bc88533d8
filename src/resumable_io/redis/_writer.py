"""Gather what many tasks ask of Redis into one round trip after the other.

While one round trip is under way, the next one fills: the busier the process, the larger the
batches. Two lanes keep renewals and reads from queueing behind appends.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from anyio import Event, current_time, fail_after

from resumable_core import BackendError, BackendUnavailable
from resumable_io._wakeup import Wakeup

from ._port import Call, Driver

CALLS_PER_ROUND_TRIP: Final = 512
"""More would make the first wait for the last."""


class _Pending:
    __slots__ = ("call", "done", "reply", "wanted")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.wanted = True
        self.done = Event()
        self.reply: Any = BackendUnavailable("the connection to Redis was closed")


class Lane:
    """Run scripts, many in one round trip, one round trip at a time.

    `timeout` is for how many seconds an answer is waited for; then nobody knows what was done.
    """

    def __init__(self, driver: Driver, timeout: float) -> None:
        self.answering_since = -math.inf
        """Since when Redis answers, in seconds of the event loop's clock; inf while it doesn't."""
        self._driver = driver
        self._timeout = timeout
        self._waiting: deque[_Pending] = deque()
        self._work = Wakeup()

    async def run(self) -> None:
        """Carry out what is asked until cancelled."""
        batch: Sequence[_Pending] = ()
        try:
            while True:
                batch = self._next()
                if not batch:
                    await self._work.wait()
                    continue
                replies = await self._evaluate([pending.call for pending in batch])
                for pending, reply in zip(batch, replies, strict=True):
                    pending.reply = reply
                    pending.done.set()
        finally:
            for pending in (*batch, *self._waiting):
                pending.done.set()

    def _next(self) -> Sequence[_Pending]:
        """Return what goes into the next round trip, without those whom nobody waits for."""
        batch: list[_Pending] = []
        while self._waiting and len(batch) < CALLS_PER_ROUND_TRIP:
            pending = self._waiting.popleft()
            if pending.wanted:
                batch.append(pending)
        return batch

    async def _evaluate(self, calls: Sequence[Call]) -> Sequence[Any]:
        try:
            with fail_after(self._timeout):
                try:
                    replies = await self._driver.evaluate(calls)
                except BackendUnavailable:
                    # Often it is but the connection, which broke while it was idle. Scripts may be
                    # repeated: what one has done already, the next one finds.
                    self.answering_since = math.inf
                    replies = await self._driver.evaluate(calls)
        except Exception as error:  # noqa: BLE001
            # Whatever it is, this lane goes on: it serves all streams of the process.
            self.answering_since = math.inf
            return [self._as_ours(error)] * len(calls)
        if math.isinf(self.answering_since) and self.answering_since > 0:
            self.answering_since = current_time()
        return replies

    def _as_ours(self, error: Exception) -> Exception:
        match error:
            case BackendError():
                return error
            case TimeoutError():
                return BackendUnavailable(f"Redis did not answer within {self._timeout:g} s")
            case _:
                return BackendError(f"the Redis client failed: {error!r}")

    async def ask(self, call: Call) -> Any:
        """Run one script and return its reply.

        Raises what the driver raises, or the script's own error. Cancelled, the script may have
        run or may still run, unless it was still waiting.
        """
        pending = _Pending(call)
        self._waiting.append(pending)
        self._work.wake()
        try:
            await pending.done.wait()
        finally:
            pending.wanted = False
        if isinstance(pending.reply, Exception):
            raise pending.reply
        return pending.reply
