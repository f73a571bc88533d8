"""Publish to channels: any process does, and the one that comes second decides anew.

It is done as `RedisBackend.apply` does it, and two things more are part of what must still be the
same when an effect is stored: under which keys something was published, and what the server's
memory goes back to, which is another after every restart and failover. What a process left behind
last is remembered, so that one that publishes alone takes one round trip. Where others were refused
meanwhile it is not: then who was fast would be so for ever.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from resumable_core import (
    BackendError,
    BackendUnavailable,
    EventId,
    Publish,
    StreamError,
    decide,
)

from ._keys import Keys
from ._port import Driver
from ._stored import Stored, clock_ahead, commit_call, look_call, stored
from ._writer import ATTEMPTS, Lanes

REMEMBERED: Final = 1024
"""Channels of which a process remembers what it left behind; more are looked at anew."""


class Publishing:
    """Publish; `looks` and `commits` are the lanes for each.

    `replicated`: those for commits wait until replicas have got them.
    """

    def __init__(
        self, driver: Driver, looks: Lanes, commits: Lanes, *, replicated: bool = False
    ) -> None:
        self._driver = driver
        self._looks = looks
        self._commits = commits
        self._replicated = replicated
        self._left: dict[str, Stored] = {}
        """What was left behind, of the channel that was published to last behind all others."""

    async def publish(self, keys: Keys, change: Publish) -> Sequence[EventId]:
        """Append to the channel with `keys`, and return the ids; see `Backend.publish`."""
        wanted = tuple({each.key: None for each in change.publications})
        known, fresh = self._left.pop(keys.sentinel, None), False
        for _ in range(ATTEMPTS):
            if known is None:
                known, fresh = await self._look(keys, wanted), True
            now = known.now()
            try:
                aimed = replace(change, store=known.store)
                effect = decide(known.sentinel, aimed, now, known.published)
            except StreamError:
                if fresh:
                    raise
                known = None
                continue
            if effect.batch is None and fresh and not self._replicated:
                return effect.ids  # else it is written: of what it finds, replicas may know nothing
            token = secrets.token_hex(8)
            reply = await self._commits.ask(
                commit_call(
                    keys, known, token, effect, now=now, publish=self._driver.publish, wanted=wanted
                )
            )
            if reply[0] == 1:
                _, now_there, contended = reply
                if not contended:  # else a look comes first the next time: the others' turn
                    clock = clock_ahead(now_there)
                    self._remember(keys, Stored(effect.sentinel, token, clock, known.store))
                return effect.ids
            found = stored(keys, reply[1:], wanted)
            if found.store != known.store:
                # It may have been done, and be forgotten: this epoch must not be used again.
                raise BackendUnavailable(
                    "Redis was restarted, or another server took over: "
                    "what was published last may be lost"
                )
            known, fresh = found, True
        raise BackendUnavailable(f"{keys.sentinel} is contended: {ATTEMPTS} changes came first")

    async def _look(self, keys: Keys, wanted: Sequence[str]) -> Stored:
        found = stored(keys, (await self._looks.ask(look_call(keys, wanted)))[:7], wanted)
        if not found.store:
            raise BackendError(
                "this server has no `master_replid` in `INFO replication`: "
                "channels need Redis or Valkey"
            )
        return found

    def _remember(self, keys: Keys, known: Stored) -> None:
        self._left.pop(keys.sentinel, None)
        self._left[keys.sentinel] = known
        if len(self._left) > REMEMBERED:
            del self._left[next(iter(self._left))]
