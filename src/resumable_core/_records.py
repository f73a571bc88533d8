"""The frozen records of a stream: `Message` goes in; `Event`, `Gap`, `Reset` and `End` come out.

    a source yields        Message(data, type)
    the log makes of it    Event(id, data, type)
    a consumer receives    Event | Gap | Reset | End

Every record has an id from which the consumer can go on. `Gap` and `Reset` differ in what they say
about the past: after a gap it is still valid, after a reset it is void.
"""

from __future__ import annotations

import re
from dataclasses import field
from enum import StrEnum
from typing import Any, Final, TypeAlias, cast

from ._errors import InvalidMessage
from ._frozen import frozen
from ._ids import EventId

RESERVED_TYPES: Final = frozenset({"end", "expired", "gap", "reset"})
"""Event types that carry our own notices in band; sources may not use them."""

MAX_TYPE_BYTES: Final = 255

_RESERVED: Final = ", ".join(sorted(RESERVED_TYPES))
_BREAKS_A_FIELD: Final = re.compile(r"[\r\n\x00]")
_CONTINUATION_BYTES: Final = bytes(range(0x80, 0xC0))


class Outcome(StrEnum):
    """How a stream ended."""

    DONE = "done"
    """The source is exhausted: this is the whole."""
    FAILED = "failed"
    """The source raised, or a limit was reached: this is what there is."""
    STOPPED = "stopped"
    """Somebody stopped or deleted the stream."""
    LOST = "lost"
    """The producer is gone; somebody may take over."""


class GapReason(StrEnum):
    """Why events are missing in the middle of a stream."""

    TRIMMED = "trimmed"
    """Retention has removed them."""
    LOST = "lost"
    """The store has lost them."""
    BINARY = "binary"
    """They are bytes that this framing cannot carry."""
    BEHIND = "behind"
    """They are farther back than a subscription to this channel may go."""


class ResetReason(StrEnum):
    """Why what a consumer has is not part of the stream."""

    MALFORMED = "malformed"
    """The position is not an event id."""
    OVERSIZED = "oversized"
    """The position is longer than any event id."""
    UNKNOWN = "unknown"
    """The event id was never in this stream's lineage."""
    RESTARTED = "restarted"
    """The stream has been started anew, or taken over before this event."""
    AHEAD = "ahead"
    """The event id is ahead of what the stream holds, and nobody restored what was lost."""


@frozen
class Message:
    """Carry what a source yields: text or bytes, and an optional event type.

    Raises `InvalidMessage` when the data is neither, when the type is empty, reserved (end,
    expired, gap, reset), over 255 bytes, or holds CR, LF or NUL, and when text or type holds a
    lone surrogate, which UTF-8 cannot carry.
    """

    data: str | bytes
    type: str | None = None
    size: int = field(init=False, repr=False, compare=False)
    """Bytes that data and type take as UTF-8."""
    characters: int = field(init=False, repr=False, compare=False)
    """Code points of the data."""

    def __post_init__(self) -> None:
        """Refuse what could not be delivered, before anything is stored."""
        match self.data:
            case str() as text:
                characters = len(text)
                size = characters if text.isascii() else _check_unicode("data", text)
            case bytes() as data:
                characters = character_count(data)
                size = len(data)
            case _:
                raise InvalidMessage(f"data is text or bytes, got {type(self.data).__name__}")
        if self.type is not None:
            size += _check_type(self.type)
        _put_size(self, size)
        _put_characters(self, characters)


# As `frozen` does it, without looking them up by name.
_put_size: Final = cast("Any", Message).size.__set__
_put_characters: Final = cast("Any", Message).characters.__set__


@frozen
class Event:
    """Hand a consumer a message that has been appended."""

    id: EventId
    data: str | bytes
    type: str | None = None
    to: frozenset[str] | None = None
    """Who alone may see it; None: everybody. Only channels have such events; no framing tells."""

    @property
    def text(self) -> str:
        """Return the data of an event that is text. Raises `TypeError` when it is bytes."""
        if isinstance(self.data, str):
            return self.data
        raise TypeError(f"event {self.id} holds bytes: read its data")


@frozen
class Gap:
    """Report a hole: keep what you have; something between it and what follows is missing."""

    id: EventId
    reason: GapReason


@frozen
class Reset:
    """Report that what you have is not part of this stream: discard it, here it starts."""

    id: EventId
    reason: ResetReason


@frozen
class End:
    """Report how the stream ended; always the last record, once.

    `error` is a message that is safe to show, or None.
    """

    id: EventId
    outcome: Outcome
    error: str | None = None


Record: TypeAlias = Event | Gap | Reset | End
"""What a consumer receives."""


def byte_length(data: str | bytes) -> int:
    """Return how many bytes `data` takes as UTF-8."""
    if isinstance(data, bytes) or data.isascii():
        return len(data)
    return len(data.encode())


def character_count(data: str | bytes) -> int:
    """Return how many code points `data` holds.

    Bytes are counted as UTF-8, by their lead bytes, so that a character whose bytes are spread
    over several events counts once, in the event that begins it.
    """
    if isinstance(data, str):
        return len(data)
    return len(data.translate(None, _CONTINUATION_BYTES))


def skip_characters(data: str | bytes, count: int) -> str | bytes:
    """Return `data` without its first `count` code points, counted as `character_count` does."""
    if isinstance(data, str):
        return data[count:]
    for index, byte in enumerate(data):
        if byte & 0xC0 != 0x80:
            if count == 0:
                return data[index:]
            count -= 1
    return b""


def _check_type(type_: str) -> int:
    if not type_:
        raise InvalidMessage("an event type is not empty; leave it out for the default")
    if _BREAKS_A_FIELD.search(type_):
        raise InvalidMessage(f"an event type holds no CR, LF or NUL, got {type_[:80]!r}")
    if type_ in RESERVED_TYPES:
        raise InvalidMessage(f"the event types {_RESERVED} are reserved, got {type_!r}")
    size = _check_unicode("type", type_)
    if size > MAX_TYPE_BYTES:
        raise InvalidMessage(f"an event type has at most {MAX_TYPE_BYTES} bytes of UTF-8")
    return size


def _check_unicode(field: str, text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidMessage(
            f"{field} must be valid Unicode, got a lone surrogate at index {error.start}"
        ) from None
