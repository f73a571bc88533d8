"""Read the notices that `SSEFraming` sends in band: gap, reset and end, as records again."""

from __future__ import annotations

import json
from typing import Any, Final

from ._ids import Unreadable, parse_last_event_id
from ._records import RESERVED_TYPES, End, Gap, GapReason, Outcome, Reset, ResetReason
from ._sse import ServerSentEvent

_LONGEST: Final = 64 * 1024  # characters; a notice holds a reason, and maybe a line of text


def read_notice(event: ServerSentEvent) -> Gap | Reset | End | None:
    """Return the record that an event stands for, or None when it is an event like any other.

    Servers that are not ours may use the same types. So an event is a notice only if its id and its
    data are what ours would be.
    """
    if event.type not in RESERVED_TYPES or len(event.data) > _LONGEST:
        return None
    place = parse_last_event_id(event.last_event_id)
    if isinstance(place, Unreadable) or place.end is not (event.type == "end"):
        return None
    try:
        data: Any = json.loads(event.data)
        match event.type, data:
            case "gap", {"reason": str(reason)}:
                return Gap(place.id, GapReason(reason))
            case "reset", {"reason": str(reason)}:
                return Reset(place.id, ResetReason(reason))
            case "end", {"outcome": str(outcome), "error": str() | None as error}:
                return End(place.id, Outcome(outcome), error)
            case _:
                return None
    except (ValueError, RecursionError):
        return None
