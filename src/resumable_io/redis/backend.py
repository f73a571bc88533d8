"""Streams in Redis: every process sees the same, and nothing lives in any of them alone.

A change is decided here and kept there: read the sentinel, let core `decide`, and replace the
sentinel if it is still the same one. The script that does so appends the batch, publishes it, and
sets the expiry in the same atomic step. The sentinel that a producer left behind last is
remembered, so that an append takes one round trip.
"""

from __future__ import annotations

import logging
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Hashable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from types import TracebackType
from typing import Final, Self

from anyio import Event, create_task_group, current_time, fail_after, get_cancelled_exc_class

from resumable_core import (
    Append,
    BackendFull,
    BackendUnavailable,
    Change,
    Claim,
    Delete,
    EventId,
    Finish,
    InvalidInput,
    Message,
    Observe,
    Outcome,
    Page,
    Publication,
    Publish,
    Renew,
    Retention,
    Sentinel,
    State,
    StreamError,
    Watch,
    decide,
    transition,
)
from resumable_io.abc import Backend, Tell, Unfollow

from ._drivers import driver_for
from ._errors import RefusesForNow
from ._feed import LiveFeed
from ._keys import Keys, encoded, keys_of
from ._port import REPLY_TIMEOUT, Command, Driver
from ._publishing import Publishing
from ._scan import Scan
from ._stored import (
    Stored,
    commit_call,
    look_call,
    news,
    page_read,
    read_call,
    stored,
)
from ._writer import ATTEMPTS, Lanes

HINT: Final = (
    "is the address right, do both sides use TLS (rediss://) or neither, may this user publish, "
    "and are there no more clients than `maxclients`?"
)
EVICTS: Final = (
    "Redis may throw away streams, also running ones, when its memory is full: "
    "its maxmemory-policy is %s, and should be noeviction"
)

logger: Final = logging.getLogger("resumable_io")


class RedisBackend(Backend):
    """Keep streams in Redis (6.2 or newer) or Valkey.

    `client`        a URL, or a `redis.asyncio` client on asyncio, or a `coredis` client on asyncio
                    and trio. A client that is handed in stays open. One for a cluster only says
                    where that is and how to connect: the connections to its nodes are our own.
    `prefix`        begins the names of all keys and channels: one for each application
    `timeout`       seconds for which Redis may take to answer, or to be connected to (5)
    `min_replicas`  replicas that must have got a claim, an end or a publication before it counts
                    (0); where they have not within a second, it is tried again, for as long as an
                    outage may take

    URLs are `redis://host:port/0`, `unix:///path`, `redis+cluster://host:port,host:port` and
    `redis+sentinel://host:port,host:port/service`; with `rediss` for TLS.

    A URL is opened with redis-py on asyncio and with coredis on trio. Needs the extra `redis` or
    `trio`. Three connections serve a process, or four with `min_replicas`, whatever the number of
    its streams and consumers; in a cluster, as many to each master. Raises `InvalidInput`, on
    entering for a client that is none.
    """

    def __init__(
        self,
        client: object,
        *,
        prefix: str = "resumable",
        timeout: float = REPLY_TIMEOUT,
        min_replicas: int = 0,
    ) -> None:
        if min_replicas < 0:
            raise InvalidInput(f"min_replicas is a number from 0 on, got {min_replicas}")
        self._client = client
        self._prefix = prefix
        self._timeout = timeout
        self._min_replicas = min_replicas
        self._known: dict[str, Stored] = {}
        self._watches: defaultdict[Hashable, Watch] = defaultdict(Watch)  # of each server
        self._stack: AsyncExitStack
        self._driver: Driver
        self._appends: Lanes
        self._others: Lanes
        self._replicated: Lanes | None = None
        self._publishing: Publishing
        self._feed: LiveFeed

    async def __aenter__(self) -> Self:
        """Connect. Raises `BackendUnavailable` when Redis cannot be reached."""
        self._driver = driver_for(self._client, self._timeout)
        home = f"{encoded(self._prefix)}:home"
        self._feed = LiveFeed(self._driver, home, news, self._timeout)
        self._stack = AsyncExitStack()
        try:
            await self._stack.enter_async_context(self._driver.connected())
            tasks = await self._stack.enter_async_context(create_task_group())
            self._stack.callback(tasks.cancel_scope.cancel)
            self._appends = Lanes(self._driver, self._timeout, tasks)
            self._others = Lanes(self._driver, self._timeout, tasks)
            self._publishing = Publishing(self._driver, self._others, self._appends)
            tasks.start_soon(self._feed.run)
            await self._probe()  # not in need of replicas: who only reads gets along without
            if self._min_replicas:
                self._replicated = Lanes(self._driver, self._timeout, tasks, self._min_replicas)
                self._publishing = Publishing(
                    self._driver, self._others, self._replicated, replicated=True
                )
        except BaseException as error:
            await self._close(error)
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Disconnect. Streams stay as they are."""
        await self._close(exc)

    async def _close(self, error: BaseException | None) -> None:
        # An exception that is not the task groups' own would come back in a group.
        if isinstance(error, get_cancelled_exc_class()):
            await self._stack.__aexit__(type(error), error, error.__traceback__)
        else:
            await self._stack.aclose()

    async def _probe(self) -> None:
        """Do once what will be done all the time: what is not allowed here shows now.

        Raises `BackendError`. The stream and the channel that it makes have ids that are none, and
        are gone at once.
        """
        try:
            with fail_after(self._timeout):
                await self._feed.stands()
                await self._driver.check()
                await self._try_everything()
                policy = await self._driver.eviction_policy()
        except TimeoutError:
            error = f"Redis did not answer within {self._timeout:g} s"
            raise BackendUnavailable(f"{error}: {HINT}") from None
        except RefusesForNow:
            raise  # it has understood
        except BackendUnavailable as error:
            raise BackendUnavailable(f"{error} ({HINT})") from error
        if policy:
            logger.warning(EVICTS, policy)

    async def _try_everything(self) -> None:
        stream_id = f"\n{secrets.token_hex(8)}"
        channel_id = f"{stream_id}-channel"
        made = [keys_of(self._prefix, each) for each in (stream_id, channel_id)]
        short = Retention(keep=self._timeout)
        try:
            await self.apply(stream_id, Claim("probe", self._timeout / 2, Retention(keep=0)))
            heard = Event()
            unfollow = await self.follow(stream_id, lambda _: heard.set(), events=True)
            try:
                await self.apply(stream_id, Append("probe", 1, (Message(""),), 0))
                await self.apply(stream_id, Finish("probe", Outcome.DONE, 1))
                await heard.wait()
            finally:
                unfollow()
            probe = Publication(Message(""), "probe")
            await self.publish(channel_id, Publish("probe", (probe,), short))
            names = (name for keys in made for name in (keys.sentinel, keys.log, keys.published))
            last: list[Command] = [("UNLINK", name) for name in names]
            if self._min_replicas:
                last.append(("WAIT", 0, 1))
            for reply in await self._driver.pipeline(last):
                if isinstance(reply, Exception):
                    raise reply
        except BackendFull:
            pass  # it can still be read

    @property
    def may_forget(self) -> bool:
        """Return True: a failover or a restart may lose what Redis has acknowledged."""
        return True

    @property
    def connected_since(self) -> float:
        """Return since when all of Redis is watched; see `Backend.connected_since`.

        Whether the server of one stream answers is looked at with each change.
        """
        watches = (watch.since for watch in self._watches.values())
        return max((self._feed.connected_since, *watches))

    def _connected_for(self, keys: Keys) -> float:
        """Return for how many seconds the server of a stream has been watched without a break."""
        listening_since = self._feed.listening_since(keys.state)
        answering_since = self._others.answering_since(keys.sentinel)
        watched_since = self._watches[self._driver.shard_of(keys.sentinel)].since
        return current_time() - max(listening_since, answering_since, watched_since)

    async def apply(self, stream_id: str, change: Change) -> Sentinel:
        """Carry out one change and return the sentinel after it; see `Backend.apply`."""
        keys, lanes = keys_of(self._prefix, stream_id), self._lanes_for(change)
        known, fresh = self._known.pop(stream_id, None), False
        for _ in range(ATTEMPTS):
            if known is None:
                # What is to end may be a claim that is under way: then in the same lane.
                looks = lanes if isinstance(change, Delete | Finish) else self._others
                known, fresh = await self._look(keys, looks), True
            if isinstance(change, _OBSERVERS):  # what it says may be long ago
                watched = min(change.connected_for, self._connected_for(keys))
                change = replace(change, connected_for=watched)
            try:
                now = known.now()
                effect = decide(known.sentinel, change, now)
            except StreamError:
                if fresh:
                    raise
                known = None
                continue
            if effect.sentinel is known.sentinel and not (fresh and lanes is self._replicated):
                if fresh:
                    return effect.sentinel
                known = None
                continue
            # A new one each time: no two states share it, not even those of two masters.
            token = secrets.token_hex(8)
            reply = await lanes.ask(
                commit_call(keys, known, token, effect, now=now, publish=self._driver.publish)
            )
            if reply[0] == 1:
                if effect.sentinel.state is State.ACTIVE and isinstance(change, _PRODUCERS):
                    self._remember(stream_id, effect.sentinel, token, reply[1] / 1000)
                return effect.sentinel
            known, fresh = self._answered(keys, stored(keys, reply[1:]), current_time()), True
        raise BackendUnavailable(f"{keys.sentinel} is contended: {ATTEMPTS} changes came first")

    async def publish(self, log_id: str, change: Publish) -> Sequence[EventId]:
        """Append to a channel and return the ids; see `Backend.publish`."""
        return await self._publishing.publish(keys_of(self._prefix, log_id), change)

    async def read(self, stream_id: str, after: int, limit: int, *, connected_for: float) -> Page:
        """Return the sentinel and the events after `after`; see `Backend.read`."""
        keys = keys_of(self._prefix, stream_id)
        while True:
            asked = current_time()
            reply = await self._others.ask(read_call(keys, after, limit))
            known = self._answered(keys, stored(keys, reply[:7]), asked)
            sentinel = known.sentinel
            observe = Observe(min(connected_for, self._connected_for(keys)))
            if transition(sentinel, observe, known.now()) is sentinel:
                break
            await self.apply(stream_id, observe)
        return page_read(keys, sentinel, reply[7:], after, limit)

    async def follow(self, stream_id: str, tell: Tell, *, events: bool) -> Unfollow:
        """Have what happens to a stream told; see `Backend.follow`."""
        keys = keys_of(self._prefix, stream_id)
        channels = (keys.live, keys.state) if events else (keys.state,)
        return await self._feed.follow(channels, tell)

    def scan(self) -> AsyncIterator[tuple[str, Sentinel]]:
        """Yield the id and the sentinel of every known stream; see `Backend.scan`.

        Redis may name a key twice, so that names are remembered until the scan ends: about a
        hundred bytes for each.
        """
        return Scan(self._driver, self._prefix, self._timeout, self._look)

    def _lanes_for(self, change: Change) -> Lanes:
        match change:
            case Append():
                return self._appends
            case Claim() | Finish() | Delete(str()) if self._replicated is not None:
                # A repeat, too, writes something: of what it finds, replicas may know nothing yet.
                return self._replicated
            case _:
                return self._others

    def _remember(self, stream_id: str, left: Sentinel, token: str, now_there: float) -> None:
        """Remember what a producer left behind, and forget one that was silent for a lease."""
        now = current_time()
        self._known.pop(stream_id, None)
        self._known[stream_id] = Stored(left, token, now_there - now)
        longest_silent = next(iter(self._known))
        former = self._known[longest_silent]
        if now + former.clock >= former.sentinel.lease_until:
            del self._known[longest_silent]

    async def _look(self, keys: Keys, lanes: Lanes | None = None) -> Stored:
        asked = current_time()
        reply = await (lanes or self._others).ask(look_call(keys))
        return self._answered(keys, stored(keys, reply[:7]), asked)

    def _answered(self, keys: Keys, known: Stored, asked: float) -> Stored:
        """Note what its clock shows, and whether the answer was late: then so it was for others."""
        now, watch = current_time(), self._watches[self._driver.shard_of(keys.sentinel)]
        watch.told(now + known.clock, now)
        watch.answered(known.sentinel, asked, now)
        return known


_OBSERVERS: Final = (Claim, Observe)
_PRODUCERS: Final = (Claim, Append, Renew)
