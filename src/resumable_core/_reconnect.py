"""Client machine: whether, when and from where to connect again to an event stream.

It follows the WHATWG HTML standard, section 9.2, the part about connections:

    an answer                        what becomes of the connection
    ───────────────────────────────  ─────────────────────────────────────────────────────────
    200 and text/event-stream        it is read until it ends; then it is established anew
    301, 307, 308 with a location    followed, and remembered for good
    302, 303 with a location         followed, this time
    204                              the server has no more: the client stops
    any other status, another type   final
    none                             it is established anew

Before it connects again a client waits for the reconnection time, which the server may set with
`retry:`, and after failures for longer: exponential backoff with full jitter and a cap.

A driver does what `phase` says. In `PAUSED` it waits until `deadline` and calls `connect`. In
`CONNECTING` it sends the request and calls `answered`, in `OPEN` it calls `listen`, reads and calls
`feed`; when in one of these two the connection ends or breaks, or `deadline` passes, it calls
`lost`. In `CLOSED` nothing more will come.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum, auto
from typing import Final

from ._errors import InvalidInput
from ._frozen import frozen
from ._sse import MAX_EVENT_SIZE, Decoder, ServerSentEvent

MAX_REDIRECTS: Final = 20
"""Redirects in a row that are followed, as in the Fetch standard."""

FIRST_STEP: Final = 0.5
"""Seconds that the backoff begins with at least: a reconnection time of 0 is no reason to rush."""

_PERMANENT: Final = frozenset({301, 307, 308})
_TEMPORARY: Final = frozenset({302, 303})


@frozen
class ReconnectLimits:
    """State how patient a client is. All times are seconds.

    `retry`             the reconnection time, until the server sets another (2)
    `longest_backoff`   what failures add to it at most (30)
    `idle`              of silence, after which a connection counts as dead; comments end the
                        silence as well as events (60)
    `patience`          of failures in a row, after which the client gives up (300); `math.inf`:
                        never
    `retry_statuses`    statuses that are not taken as final, against the standard (none)
    `max_event_size`    characters of an event

    Raises `InvalidInput` for times that are negative, and for an `idle` that is not positive.
    """

    retry: float = 2.0
    longest_backoff: float = 30.0
    idle: float = 60.0
    patience: float = 300.0
    retry_statuses: frozenset[int] = frozenset()
    max_event_size: int = MAX_EVENT_SIZE

    def __post_init__(self) -> None:
        """Refuse limits that are none."""
        for name, value in (("retry", self.retry), ("longest_backoff", self.longest_backoff)):
            if not 0 <= value < math.inf:
                raise InvalidInput(f"{name} is a finite number of seconds from 0, got {value!r}")
        if not self.idle > 0 or not self.patience >= 0:
            raise InvalidInput("idle is above 0 seconds, patience at least 0")


class ClientPhase(Enum):
    """What a driver is to do."""

    PAUSED = auto()
    CONNECTING = auto()
    OPEN = auto()
    CLOSED = auto()


class Verdict(Enum):
    """What an answer, or the loss of a connection, means."""

    READ = auto()
    """The event stream follows."""
    FOLLOW = auto()
    """Send the request to the new location."""
    FOLLOW_FOR_GOOD = auto()
    """The same, and all later requests."""
    RETRY = auto()
    """Connect again at `deadline`."""
    STOP = auto()
    """The server has no more; this is no error."""
    REFUSED = auto()
    """The server's answer is final."""
    GIVEN_UP = auto()
    """The failures took longer than `patience`."""
    UNREPEATABLE = auto()
    """The request may have had its effect, and the server gave no id to go on from."""


class Reconnect:
    """Keep a client's place in an event stream over any number of connections.

    `now` is in seconds of the caller's clock; `jitter` is drawn from 0 to 1 by the caller. A
    request that is not `repeatable`, such as most by POST, is sent again only when it cannot have
    reached the server, or when the server has given an id to go on from.
    """

    def __init__(
        self,
        limits: ReconnectLimits,
        now: float,
        *,
        last_event_id: str = "",
        repeatable: bool = True,
    ) -> None:
        self.phase: ClientPhase = ClientPhase.PAUSED
        self.deadline: float = now
        """When to connect, or when the silence has lasted too long; meaningless once closed."""
        self.retry: float = limits.retry
        """The reconnection time."""
        self.failures: int = 0
        """Attempts in a row that brought nothing."""
        self._limits = limits
        self._repeatable = repeatable
        self._decoder = Decoder(limits.max_event_size, last_event_id=last_event_id)
        self._failing_since: float | None = None
        self._redirects = 0
        self._moved_for_good = True

    @property
    def last_event_id(self) -> str:
        """Return what to send as Last-Event-ID; nothing is sent when it is empty."""
        return self._decoder.last_event_id

    def connect(self, now: float) -> None:
        """Note that a request is sent."""
        self._in(ClientPhase.PAUSED)
        self.phase = ClientPhase.CONNECTING
        self.deadline = now + self._limits.idle
        self._redirects = 0
        self._moved_for_good = True

    def answered(
        self, status: int, content_type: str, now: float, jitter: float, *, moved: bool = False
    ) -> Verdict:
        """Judge an answer. `moved`: it names a location to go to."""
        self._in(ClientPhase.CONNECTING)
        if status == 200 and is_event_stream(content_type):
            self.phase = ClientPhase.OPEN
            self.listen(now)
            self._decoder = Decoder(self._limits.max_event_size, last_event_id=self.last_event_id)
            return Verdict.READ
        if moved and status in _PERMANENT | _TEMPORARY and self._redirects < MAX_REDIRECTS:
            self._redirects += 1
            self._moved_for_good = self._moved_for_good and status in _PERMANENT
            self.deadline = now + self._limits.idle
            return Verdict.FOLLOW_FOR_GOOD if self._moved_for_good else Verdict.FOLLOW
        if status in self._limits.retry_statuses:
            return self._failed(now, jitter)
        self.close()
        return Verdict.STOP if status == 204 else Verdict.REFUSED

    def listen(self, now: float) -> None:
        """Note that the driver begins to wait for bytes: silence counts from here.

        What a slow consumer leaves unread is no silence of the server's.
        """
        self._in(ClientPhase.OPEN)
        self.deadline = now + self._limits.idle

    def feed(self, chunk: bytes) -> Sequence[ServerSentEvent]:
        """Take bytes of the body and return the events that they complete.

        Raises `EventTooLarge`; the machine is closed then, since the same would come again.
        """
        self._in(ClientPhase.OPEN)
        self.failures = 0
        self._failing_since = None
        try:
            events = self._decoder.feed(chunk)
        except ValueError:
            self.close()
            raise
        if self._decoder.retry is not None:
            self.retry = self._decoder.retry / 1000
        return events

    def lost(self, now: float, jitter: float, *, reached: bool = True) -> Verdict:
        """Note that the connection is gone: `RETRY`, `GIVEN_UP` or `UNREPEATABLE`.

        `reached` is false when the request cannot have reached the server.
        """
        self._in(ClientPhase.CONNECTING, ClientPhase.OPEN)
        if reached and not (self._repeatable or self.last_event_id):
            self.close()
            return Verdict.UNREPEATABLE
        return self._failed(now, jitter)

    def close(self) -> None:
        """End, whatever the phase."""
        self.phase = ClientPhase.CLOSED

    def _failed(self, now: float, jitter: float) -> Verdict:
        since = self._failing_since = now if self._failing_since is None else self._failing_since
        backoff = max(self.retry, FIRST_STEP) * (2 ** min(self.failures, 30) - 1)
        self.failures += 1
        pause = self.retry + jitter * min(backoff, self._limits.longest_backoff)
        if now + pause > since + self._limits.patience:
            self.close()
            return Verdict.GIVEN_UP
        self.phase = ClientPhase.PAUSED
        self.deadline = now + pause
        return Verdict.RETRY

    def _in(self, *phases: ClientPhase) -> None:
        if self.phase not in phases:
            raise RuntimeError(f"the client is {self.phase.name}: look at its phase first")


def is_event_stream(content_type: str) -> bool:
    """Say whether a Content-Type is that of an event stream; its parameters do not matter."""
    return content_type.partition(";")[0].strip(" \t\r\n").lower() == "text/event-stream"
