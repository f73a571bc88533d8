"""What a caller may give as a position."""

from __future__ import annotations

from typing import TypeAlias

from resumable_core import After, Beginning, EventId, Position, parse_last_event_id

PositionLike: TypeAlias = Position | EventId | str | None
"""A position, an event id, or the text of a Last-Event-ID header; None: the beginning."""


def to_position(position: PositionLike) -> Position:
    """Return what a caller gave as a position as a `Position`."""
    match position:
        case None:
            return Beginning()
        case EventId():
            return After(position)
        case str():
            return parse_last_event_id(position)
        case _:
            return position
