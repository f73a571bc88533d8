"""The exception tree: whose fault it was, and what to do.

ResumableError
├── InvalidInput (ValueError)     the caller's: refused before anything was changed
│   ├── InvalidStreamId
│   ├── InvalidMessage
│   └── InvalidPosition
├── StreamError                   the stream's state does not allow it; nothing was changed
│   ├── StreamNotFound            no such stream: start it, or tell the user it is gone
│   ├── StreamExists              somebody produces it, or it has ended: resume it instead
│   ├── StreamExpired             it was there once: only its creator may start it anew
│   └── Fenced                    another claim, a stop or a delete took the stream: stop producing
├── Interruption                  told to a consumer that asked for events alone
│   ├── StreamFailed              the producer gave up; what came is all there is
│   ├── StreamStopped             somebody stopped or deleted it
│   ├── StreamLost                the producer died
│   ├── StreamGap                 something is missing here; iterating again goes on behind it
│   └── StreamReset               what came before is void; iterating again starts anew
└── BackendError                  the store's
    ├── BackendUnavailable        outcome unknown: repeat the very same change, it is safe
    └── BackendFull               a stated limit is reached: later, or raise the limit
"""

from __future__ import annotations

from typing import ClassVar


class ResumableError(Exception):
    """Be the common base of everything this library raises on purpose."""


class InvalidInput(ResumableError, ValueError):
    """Refuse what the caller handed in; nothing was changed."""


class InvalidStreamId(InvalidInput):
    """Refuse a stream id: no text, empty, over 255 bytes of UTF-8, or with control characters."""


class InvalidMessage(InvalidInput):
    """Refuse a message whose data, type or size no consumer could receive."""


class InvalidPosition(InvalidInput):
    """Refuse a position that is none, such as a negative character offset."""


class StreamError(ResumableError):
    """Refuse what the state of a stream does not allow; nothing was changed."""


class StreamNotFound(StreamError):
    """Say that no such stream is known: never started, expired, or deleted."""


class StreamExists(StreamError):
    """Refuse a claim: the stream has a producer, or has ended and no restart was asked for.

    An id names one answer, not a conversation: give every answer an id of its own.
    """


class StreamExpired(StreamError):
    """Refuse to start a stream for a consumer that has already received a part of it."""


class Fenced(StreamError):
    """Tell a producer that the stream is no longer its own: stop producing."""


class Interruption(ResumableError):
    """Interrupt a consumer that iterates over events and must not mistake a part for the whole."""


class StreamFailed(Interruption):
    """Say that the stream ended as failed; `str()` is the producer's safe message."""


class StreamStopped(Interruption):
    """Say that somebody stopped or deleted the stream."""


class StreamLost(Interruption):
    """Say that the producer died before the stream was complete."""


class StreamGap(Interruption):
    """Say that events are missing here; what was received remains valid."""


class StreamReset(Interruption):
    """Say that what was received is not part of this stream; it starts anew from here."""


class BackendError(ResumableError):
    """Report a failure of the store."""

    may_pass: ClassVar[bool] = False
    """Whether the very same may succeed later, so that it is worth repeating."""

    safe_reason: ClassVar[str] = "the store failed"
    """What everybody may be told: the message itself may name hosts, files and keys."""


class BackendUnavailable(BackendError):
    """Report that the store did not answer: the change may have been applied or not.

    Every change may be repeated as it is; a repeat returns the first result.
    """

    may_pass: ClassVar[bool] = True
    safe_reason: ClassVar[str] = "the store did not answer"


class BackendFull(BackendError):
    """Report that the store has reached a stated limit and changed nothing."""

    may_pass: ClassVar[bool] = True
    safe_reason: ClassVar[str] = "the store is full"
