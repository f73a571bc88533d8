"""Event ids and positions: their order, their text form, and the strict reading of both.

An event id is `epoch-seq`: which producer's claim, and the place in the stream. The epoch is 1 to
32 ASCII letters and digits, the seq a canonical decimal up to 2**53 - 1 (what a JavaScript client
can hold exactly). Seq 0 stands before the first event. The id of an end is the id of the last event
with `-end` behind it, so that a client that has seen the end can say so.

What a client sends as its Last-Event-ID is attacker input: it is matched against this grammar, and
anything else is a position of its own, `Unreadable`, which makes the consumer start again with a
`Reset` that says why.
"""

from __future__ import annotations

import re
from typing import Final, TypeAlias, assert_never

from ._errors import InvalidInput, InvalidPosition, InvalidStreamId
from ._frozen import frozen

MAX_SEQ: Final = 2**53 - 1
"""The highest seq: the largest integer that a JSON number carries exactly everywhere."""

MAX_NAME_BYTES: Final = 255
"""Bytes of UTF-8 in a stream id, or the name of a channel, a recipient or a key, at most."""

MAX_LAST_EVENT_ID_BYTES: Final = 256

_CHANNEL: Final = "\x1f"
"""Begins the id of a channel's log: no stream id holds a control character."""

_EPOCH: Final = re.compile(r"[0-9A-Za-z]{1,32}")
_EVENT_ID: Final = re.compile(r"([0-9A-Za-z]{1,32})-(0|[1-9][0-9]{0,15})(-end)?")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@frozen
class EventId:
    """Name one event of one stream: the producer's claim and the place.

    Ids of one epoch are ordered by `seq`; across epochs only a `Lineage` can compare them.
    """

    epoch: str
    seq: int

    def __str__(self) -> str:
        """Return the text form, `epoch-seq`."""
        return f"{self.epoch}-{self.seq}"

    @classmethod
    def parse(cls, text: str) -> EventId:
        """Read the text form.

        Raises `InvalidPosition` when `text` is anything but a canonical `epoch-seq`.
        """
        position = parse_last_event_id(text)
        if isinstance(position, Unreadable) or position.end:
            raise InvalidPosition(f"not an event id: expected epoch-seq, got {text[:80]!r}")
        return position.id


@frozen
class Beginning:
    """Start at the first event."""


@frozen
class After:
    """Go on after an event; with `end`, after the end of the stream, which has been seen."""

    id: EventId
    end: bool = False

    def __str__(self) -> str:
        """Return the text that a client sends as its Last-Event-ID."""
        return f"{self.id}-end" if self.end else str(self.id)


@frozen
class AtCharacter:
    """Go on behind the first `offset` Unicode code points of the stream's text.

    Raises `InvalidPosition` when `offset` is negative.
    """

    offset: int

    def __post_init__(self) -> None:
        """Refuse a negative offset."""
        if self.offset < 0:
            raise InvalidPosition(f"a character offset is 0 or more, got {self.offset}")


@frozen
class Live:
    """Skip what is there and start with the next event."""


@frozen
class Unreadable:
    """Stand for a Last-Event-ID that is none; `reason` is `malformed` or `oversized`."""

    reason: str


Position: TypeAlias = Beginning | After | AtCharacter | Live | Unreadable
"""Where a consumer wants to go on."""


def has_received(position: Position) -> bool:
    """Say whether whoever comes with `position` has received something of the stream before.

    Such a consumer resumes and never starts a stream: the source would run a second time.
    """
    match position:
        case After() | Unreadable():
            return True
        case AtCharacter(offset):
            return offset > 0
        case Beginning() | Live():
            return False
        case _:
            assert_never(position)


def parse_last_event_id(text: str | bytes) -> After | Unreadable:
    """Read what a client sent as its Last-Event-ID; never raises.

    `text` is the header's value; more than 256 bytes of it, as UTF-8, are not looked at.
    """
    if isinstance(text, str):
        text = text[: MAX_LAST_EVENT_ID_BYTES + 1].encode("utf-8", "surrogatepass")
    if len(text) > MAX_LAST_EVENT_ID_BYTES:
        return Unreadable("oversized")
    found = _EVENT_ID.fullmatch(text.decode("latin-1"))
    if found is None or (seq := int(found[2])) > MAX_SEQ:
        return Unreadable("malformed")
    return After(EventId(found[1], seq), end=found[3] is not None)


def check_epoch(epoch: str) -> None:
    """Raise `InvalidInput` unless `epoch` is 1 to 32 ASCII letters and digits."""
    if _EPOCH.fullmatch(epoch) is None:
        raise InvalidInput(f"an epoch is 1 to 32 ASCII letters and digits, got {epoch[:80]!r}")


def check_stream_id(stream_id: object) -> None:
    """Raise `InvalidStreamId` unless `stream_id` can name a stream in every backend.

    That is text of 1 to 255 bytes of UTF-8 without control characters or line separators.
    """
    if (wrong := _what_is_wrong_with(stream_id)) is not None:
        raise InvalidStreamId(f"a stream id {wrong}")


def check_name(kind: str, name: object) -> None:
    """Raise `InvalidInput` unless `name`, of a channel for example, is as a stream id has to be."""
    if (wrong := _what_is_wrong_with(name)) is not None:
        raise InvalidInput(f"{kind} {wrong}")


def _what_is_wrong_with(name: object) -> str | None:
    """Say what keeps `name` from naming anything, or return None."""
    if not isinstance(name, str):
        return f"is text, got {type(name).__name__}"
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        return "must be valid Unicode, got a lone surrogate"
    if not 1 <= length <= MAX_NAME_BYTES:
        return f"has 1 to {MAX_NAME_BYTES} bytes of UTF-8, got {length}"
    if _CONTROL.search(name):
        return f"has no control characters, got {name!r}"
    return None


def channel_log_id(channel: str) -> str:
    """Return the id under which a backend keeps a channel: none that a stream could have.

    Raises `InvalidInput` when `channel` is no name for a channel.
    """
    check_name("a channel's name", channel)
    return _CHANNEL + channel


def is_channel(log_id: str) -> bool:
    """Say whether what a backend keeps under an id is a channel, rather than a stream."""
    return log_id.startswith(_CHANNEL)
