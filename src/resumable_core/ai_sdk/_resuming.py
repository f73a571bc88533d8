"""What a client of the AI SDK that comes back is to get.

    it comes …           the stream is …              it gets
    ───────────────────  ───────────────────────────  ────────────────────────────────────
    without a cursor     active, failed or lost       all of it, from the first chunk
    without a cursor     unknown, done or stopped     nothing to resume: 204
    with a cursor        known                        what follows its cursor
    with a cursor        known, and it has all        nothing to resume: 204
    with a cursor        unknown                      refused: what it has stays a part

The SDK's own client has no cursor. It asks whenever a page is opened, so a stream that has ended is
not replayed each time; but one that broke off is, with its error, since to that client 204 means
that what it has is all there is. A cursor is a Last-Event-ID, or the number of chunks that the
client has (`startIndex`): 0 asks for everything, and less than 0 for the last chunks.
"""

from __future__ import annotations

from resumable_core._errors import InvalidPosition, StreamExpired
from resumable_core._frozen import frozen
from resumable_core._ids import MAX_SEQ, After, Beginning, Position, Unreadable
from resumable_core._records import Outcome
from resumable_core._sentinel import Sentinel


@frozen
class Resumption:
    """Say where a client goes on."""

    position: Position
    last_index: int
    """The index of the last chunk that was there; -1 before the first."""


def resumption(
    sentinel: Sentinel | None, cursor: int | After | Unreadable | None
) -> Resumption | None:
    """Return where a client goes on in a stream; None when there is nothing to resume.

    Raises `StreamExpired` when it has a part of a stream that is gone, and `InvalidPosition` when
    no stream has as many chunks.
    """
    if isinstance(cursor, int) and abs(cursor) > MAX_SEQ:
        raise InvalidPosition(f"startIndex is a number of chunks, at most {MAX_SEQ}")
    if sentinel is None:
        if cursor:
            raise StreamExpired("the stream is gone, and whoever asks has received a part of it")
        return None
    last_seq, outcome = sentinel.last_seq, sentinel.outcome
    match cursor:
        case None if outcome in {Outcome.DONE, Outcome.STOPPED}:
            return None
        case None:
            position: Position = Beginning()
        case int():
            seq = cursor if cursor >= 0 else max(0, last_seq + cursor)
            # What did not end well has a chunk more than the log: an error or an abort.
            if outcome is not None and seq >= last_seq + (outcome is not Outcome.DONE):
                return None
            position = After(sentinel.lineage.id_at(seq)) if seq else Beginning()
        case _:
            position = cursor
    return Resumption(position, last_seq - 1)
