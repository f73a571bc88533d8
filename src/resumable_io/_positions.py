"""What a caller may give as a position."""

from __future__ import annotations

from typing import TypeAlias

from resumable_core import (
    After,
    AtCharacter,
    Beginning,
    EventId,
    InvalidPosition,
    Live,
    Position,
    Unreadable,
    parse_last_event_id,
)

PositionLike: TypeAlias = Position | EventId | str | None
"""A position, an event id, or the text of a Last-Event-ID header; None: the beginning."""


def to_position(position: object) -> Position:
    """Return what a caller gave as a position, which is `PositionLike`, as a `Position`.

    Raises `InvalidPosition` for anything else.
    """
    match position:
        case None:
            return Beginning()
        case EventId():
            return After(position)
        case str():
            return parse_last_event_id(position)
        case Beginning() | After() | AtCharacter() | Live() | Unreadable():
            return position
        case _:
            raise InvalidPosition(
                "a position is an EventId, the text of a Last-Event-ID, None for the beginning, "
                f"After, AtCharacter or Live; got {position!r:.80}"
            )
