"""The handshake of vercel/resumable-stream: a sentinel, requests, and chunks by pub/sub.

    listener                                           producer
    ──────────────────────────────────────────────────────────────────────────────
    listens to its own channel
    publishes a request: listener, skip  ──────────▶   remembers it
                                         ◀──────────   the text so far, after `skip`
                                         ◀──────────   each chunk, as it comes
                                         ◀──────────   DONE_MESSAGE

The text lives in the producer alone. Offsets count UTF-16 code units. The first message of the
answer is always sent, even when it is empty: the listener waits for it. What the wire lacks is a
message that says that the source has failed: one is added, for listeners that ask for it. Members
of a request that a producer does not know, it ignores.

Here is the producer's side; the other one is in `_listener`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ._errors import InvalidMessage
from ._frozen import frozen
from ._transcript import Transcript, utf16_units

SENTINEL_DONE: Final = "DONE"
"""The sentinel of a stream that has ended."""

SENTINEL_FREE: Final = "0"
"""The sentinel of a stream that has no producer any more: whoever increments it becomes one."""

DONE_MESSAGE: Final = "\n\n\nDONE_SENTINEL_hasdfasudfyge374%$%^$EDSATRTYFtydryrte\n"
"""Published when the text is complete; recognised when it is a whole message."""

FAILED_MESSAGE: Final = "\n\n\nFAILED_SENTINEL_b1c79d2e60f84a35\n"
"""Begins the message that says why the source has failed; ours, for listeners that ask for it."""

MAX_UNITS: Final = 16 * 1024 * 1024
"""Code units of a text at most: some 32 MiB, in the memory of its producer until it ends."""

MAX_LISTENERS: Final = 10_000
"""Listeners of a stream at most; further ones get no answer."""

MAX_REQUEST: Final = 4096
MAX_LISTENER_ID: Final = 256
"""Characters of a request and of a listener's id at most; what is longer is none."""


# Requests


@frozen
class ResumeRequest:
    """Ask for a text after `skip` code units; negative: so many before its end as it is now."""

    listener: str
    skip: int = 0
    hears_failures: bool = False
    """Whether the listener knows `FAILED_MESSAGE`."""

    def encode(self) -> str:
        """Return the message to be published."""
        members = {"listenerId": self.listener, "skipCharacters": self.skip}
        return json.dumps(members | {"hearsFailures": self.hears_failures})

    @classmethod
    def parse(cls, message: str) -> ResumeRequest | None:
        """Read a request; None for what is none.

        The listener's id is any text, not only a UUID. A number with a fraction loses it, and what
        is no number counts as 0.
        """
        if len(message) > MAX_REQUEST:
            return None
        try:
            members = json.loads(message)
            json.dumps(members, ensure_ascii=False).encode()  # no lone surrogates
        except (ValueError, RecursionError):
            return None
        match members:
            case {"listenerId": str(listener), **others} if 0 < len(listener) <= MAX_LISTENER_ID:
                hears_failures = others.get("hearsFailures") is True
                return cls(listener, _whole(others.get("skipCharacters")), hears_failures)
            case _:
                return None


def _whole(number: object) -> int:
    match number:
        case int():
            return int(number)
        case float() if math.isfinite(number):
            return int(number)
        case _:
            return 0


# The producer's side


@frozen
class Delivery:
    """Carry one message to one listener."""

    listener: str
    text: str


@dataclass(slots=True)
class _Reader:
    place: int
    hears_failures: bool
    greeted: bool = False  # has got the message that it waits for


class HandshakeProducer:
    """Decide what each listener of one stream is sent: the text, once, from its offset.

    After each call, its driver publishes the `deliveries`, in their order.
    """

    def __init__(self, *, max_units: int = MAX_UNITS, max_listeners: int = MAX_LISTENERS) -> None:
        self.text: Transcript = Transcript()
        """All that came."""
        self.ended: bool = False
        """Whether the source has ended, one way or the other."""
        self.failure: str | None = None
        """Why the source has failed."""
        self._readers: dict[str, _Reader] = {}
        self._max_units = max_units
        self._max_listeners = max_listeners

    @property
    def listeners(self) -> int:
        """Return how many listeners are remembered."""
        return len(self._readers)

    def append(self, piece: str) -> None:
        """Add what the source has yielded.

        Raises `InvalidMessage` for a lone surrogate, which cannot be published, and when the text
        gets too long; nothing is added then.
        """
        try:
            piece.encode()
        except UnicodeEncodeError as error:
            raise InvalidMessage(
                f"text must be valid Unicode, got a lone surrogate at index {error.start}"
            ) from None
        if self.text.units + utf16_units(piece) > self._max_units:
            raise InvalidMessage(f"the text is longer than {self._max_units} UTF-16 code units")
        self.text.append(piece)

    def end(self, failure: str | None = None) -> None:
        """Say that the source has ended, and if it has failed why: text that is safe to show.

        The first end counts.
        """
        if not self.ended:
            self.ended = True
            self.failure = failure

    def requested(self, message: str) -> None:
        """Take what came on the channel of requests; what is no request is ignored."""
        request = ResumeRequest.parse(message)
        if request is None or request.listener in self._readers:
            return
        if len(self._readers) < self._max_listeners:
            from_the_end = self.text.units if request.skip < 0 else 0
            place = max(0, from_the_end + request.skip)
            self._readers[request.listener] = _Reader(place, request.hears_failures)

    def forget(self, listener: str) -> None:
        """Forget a listener: nobody listens there, or it is not known what it has received."""
        self._readers.pop(listener, None)

    def deliveries(self) -> Sequence[Delivery]:
        """Return what is owed to all listeners; it counts as sent."""
        tails: dict[int, str] = {}
        owed: list[Delivery] = []
        for listener, reader in self._readers.items():
            if reader.place not in tails:
                tails[reader.place] = self.text.after(reader.place)
            text = tails[reader.place]
            if text or not reader.greeted:
                owed += (Delivery(listener, part) for part in _unmistakable(text))
            if self.ended:
                owed.append(Delivery(listener, self._last_message(reader)))
            reader.place = max(reader.place, self.text.units)
            reader.greeted = True
        if self.ended:
            self._readers.clear()
        return owed

    def _last_message(self, reader: _Reader) -> str:
        if self.failure is not None and reader.hears_failures:
            return FAILED_MESSAGE + self.failure
        return DONE_MESSAGE


def _unmistakable(text: str) -> Sequence[str]:
    """Return `text` in messages none of which says that the stream has ended."""
    if text == DONE_MESSAGE or text.startswith(FAILED_MESSAGE):
        return text[:1], text[1:]
    return (text,)
