"""The listener's side of the handshake: ask, receive, notice silence, and ask again.

The wire has no sequence numbers, so a channel is trusted until its subscription breaks or it falls
silent. Then the listener asks again, as another listener but from the same offset, and passes over
what it has: whatever was missed comes again, and a text that has become another one shows. What
still comes on the former channel is taken until the new one answers.

    what happens                                    what follows
    ──────────────────────────────────────────────  ─────────────────────────────────────────
    the request reaches nobody                      again after a pause, then look
    no answer in time                               look
    silence, or the subscription was interrupted    ask, as another listener
    DONE_MESSAGE                                    the end: this is the whole
    FAILED_MESSAGE                                  `StreamFailed`
    looked: nothing there, or free                  `StreamNotFound`; `StreamLost` if attached
    looked: ended, and never attached               the end: there is nothing to be had any more
    looked: ended, and attached                     wait for the last message, then `StreamLost`
    looked: in progress                             `StreamLost`: the producer is dead, or stuck
    the text repeated is not the one received       `StreamReset`
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum, auto
from typing import Final

from ._errors import (
    InvalidInput,
    ResumableError,
    StreamFailed,
    StreamLost,
    StreamNotFound,
    StreamReset,
)
from ._handshake import DONE_MESSAGE, FAILED_MESSAGE, SENTINEL_DONE, SENTINEL_FREE, ResumeRequest
from ._transcript import skip_units, utf16_units

TAIL: Final = 64
"""Characters by which a listener recognises the text that it has."""

TRIES: Final = 2
TRY_AGAIN_AFTER: Final = 0.2
"""Seconds after which a request that reached nobody is published again.

The producer may be about to listen, or to be connected again."""


class HandshakeStep(Enum):
    """What a driver is to do next for a listener."""

    ASK = auto()
    """Listen to a channel of a new id, then publish what `asking` returns."""
    ASK_AGAIN = auto()
    """Publish the same request again."""
    WAIT = auto()
    """Wait for a message, until `deadline`."""
    LOOK = auto()
    """Read the sentinel and say what it `looked` like."""
    STOP = auto()
    """Stop listening: it is over."""


class HandshakeListener:
    """Decide what one listener receives, and when it is over. Times are seconds of any clock.

    `skip`          code units that the consumer has already
    `ack_timeout`   seconds for which a producer may take to answer
    `watchdog`      seconds of silence after which the producer is asked again
    """

    def __init__(self, skip: int = 0, *, ack_timeout: float = 1.0, watchdog: float = 10.0) -> None:
        if skip < 0:
            raise InvalidInput(f"characters to skip are counted from 0, got {skip}")
        self.attached: bool = False
        """Whether the producer has ever answered."""
        self.error: ResumableError | None = None
        """Why it is over, when the text is not complete."""
        self.dead: bool = False
        """Whether the sentinel says that there is a producer, and there is none."""
        self.deadline: float = -math.inf
        """Until when to wait."""
        self._step = HandshakeStep.ASK
        self._skip = skip
        self._ack_timeout = ack_timeout
        self._watchdog = watchdog
        self._request = ResumeRequest("")
        self._listeners: tuple[str, ...] = ()  # that may be heard: the newest first
        self._answered = False  # by the newest
        self._unheard = 0  # requests in a row that have reached nobody
        self._ending = False  # the sentinel says so; a last message may be under way
        self._received = 0  # code units
        self._tail = ""
        self._repeated = 0  # code units still to come that were received before
        self._repeated_tail = ""

    @property
    def listeners(self) -> Sequence[str]:
        """Return the ids whose channels are still to be listened to."""
        return self._listeners

    def next(self, now: float) -> HandshakeStep:
        """Return what to do next."""
        if self._step is HandshakeStep.WAIT and now >= self.deadline:
            self._waited_too_long()
        return self._step

    # Asking

    def asking(self, listener: str) -> str:
        """Return the request that asks for the text as `listener`, an id nobody has used before."""
        self._request = ResumeRequest(listener, self._skip, hears_failures=True)
        self._listeners = (listener, *self._listeners[:1])
        self._answered = False
        self._repeated = self._received
        self._repeated_tail = ""
        return self.asking_again()

    def asking_again(self) -> str:
        """Return the same request once more."""
        return self._request.encode()

    def asked(self, receivers: int | None, now: float) -> None:
        """Take how many have received the request; None: nobody knows."""
        if self._answered or not self._listeners:
            return
        self._unheard = self._unheard + 1 if receivers == 0 else 0
        if self._unheard >= TRIES:
            self._step = HandshakeStep.LOOK
        else:
            self._wait(TRY_AGAIN_AFTER if self._unheard else self._ack_timeout, now)

    def interrupted(self, listener: str) -> None:
        """Take that messages for `listener` may have been lost."""
        if listener not in self._listeners:
            return
        if listener == self._listeners[0]:
            self._listeners = ()
            self._step = HandshakeStep.ASK
        else:
            self._listeners = self._listeners[:1]

    def paused(self, now: float) -> None:
        """Take that nothing was received because the consumer was slow, not the producer silent."""
        if self._answered and not self._ending:
            self.deadline = now + self._watchdog

    def _wait(self, seconds: float, now: float) -> None:
        self._step = HandshakeStep.WAIT
        self.deadline = now + seconds

    def _waited_too_long(self) -> None:
        if self._ending:
            self._lose("the stream has ended, and its last part was not received")
        elif self._answered:
            self._step = HandshakeStep.ASK
        elif self._unheard:
            self._step = HandshakeStep.ASK_AGAIN
        else:
            self._step = HandshakeStep.LOOK

    # Receiving

    def received(self, listener: str, message: str, now: float) -> str:
        """Take a message and return the part of the text that is new, if there is any."""
        if listener not in self._listeners:
            return ""
        newest = listener == self._listeners[0]
        if newest:
            self.attached = self._answered = True
            self._unheard = 0
            self._listeners = (listener,)
        if message == DONE_MESSAGE:
            self._complete(newest=newest)
        elif message.startswith(FAILED_MESSAGE):
            self._stop(StreamFailed(message.removeprefix(FAILED_MESSAGE)))
        else:
            if newest:
                self._ending = False
                self._wait(self._watchdog, now)
                message = self._without_repeated(message)
            self._received += utf16_units(message)
            self._tail = (self._tail + message)[-TAIL:]
            if not newest:  # what has come on the former channel, the newest one repeats
                self._repeated += utf16_units(message)
            return message
        return ""

    def _without_repeated(self, message: str) -> str:
        if not self._repeated:
            return message
        rest = skip_units(message, self._repeated)
        self._repeated = max(0, self._repeated - utf16_units(message))
        self._repeated_tail = (self._repeated_tail + message.removesuffix(rest))[-TAIL:]
        if not self._repeated and self._repeated_tail != self._tail:
            self._restarted()
            return ""
        return rest

    def _complete(self, *, newest: bool) -> None:
        if newest and self._repeated:
            self._restarted()
        else:
            self._stop(None)

    def _restarted(self) -> None:
        self._stop(StreamReset("the stream was started anew: what was received is void"))

    # The end

    def looked(self, sentinel: str | None, now: float) -> None:
        """Take the sentinel; None when there is none."""
        if self._step is not HandshakeStep.LOOK:
            return
        if sentinel == SENTINEL_DONE:
            if self.attached:
                self._ending = True
                self._wait(self._ack_timeout, now)
            else:
                self._stop(None)
        elif sentinel is None or sentinel == SENTINEL_FREE:
            if self.attached:
                self._lose("the stream is gone before it was complete")
            else:
                self._stop(StreamNotFound("no such stream: never started, expired, or failed"))
        elif self._unheard:
            self.dead = True
            self._lose("the producer died before the stream was complete")
        else:
            self._lose(f"the producer did not answer within {self._ack_timeout:g} s")

    def _lose(self, reason: str) -> None:
        self._stop(StreamLost(reason))

    def _stop(self, error: ResumableError | None) -> None:
        self._step = HandshakeStep.STOP
        self._listeners = ()
        self.error = error
