"""From text, reasoning and chunks to a whole message: the parts are begun and ended on the way.

    what comes             what is written before it
    ─────────────────────  ──────────────────────────────────────────────────────────────
    anything               start, unless that is what comes
    text or reasoning      start-step, unless in a step; the end of the other kind of part, and the
                           beginning of its own, unless in such a part
    finish-step            the end of the part
    finish, or the end     the end of the part and of the step
    a chunk of no part     nothing more: data that is transient, metadata, error, abort
    any other chunk        the end of the part; start-step, unless in a step

The clients of the SDK refuse a delta of a part that has not begun, and show one that has not ended
as if more were to come.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias, cast

from resumable_core._errors import InvalidMessage
from resumable_core._frozen import frozen

from ._chunks import Chunk, FinishReason, finish, start

_OF_NO_PART: Final = frozenset({"message-metadata", "error", "abort"})


@frozen
class Reasoning:
    """Carry a piece of the model's reasoning."""

    text: str


Piece: TypeAlias = str | Reasoning | Chunk
"""What a message is written from: a piece of its text, of its reasoning, or a chunk as it is."""


class MessageWriter:
    """Write the chunks of one message.

    Hand it each piece, and at the end ask it to `end`. `message_id` is the id under which the
    client keeps the message; without one it makes up an id.
    """

    def __init__(self, message_id: str | None = None) -> None:
        self._message_id = message_id
        self._started = False
        self._finished = False
        self._in_step = False
        self._part: str | None = None  # text or reasoning
        self._parts = 0

    def write(self, piece: Piece) -> list[Chunk]:
        """Return the chunks that `piece` makes.

        Raises `InvalidMessage` for what is no piece, for a chunk without a type, for a second
        `start`, and for anything after `finish`.
        """
        match piece:
            case str():
                chunks = self._delta("text", piece)
            case Reasoning(text):
                chunks = self._delta("reasoning", text)
            case {"type": str(type_)}:
                chunks = self._chunk(type_, piece)
            case _:
                raise InvalidMessage(
                    "a message is written from text, Reasoning, and chunks, which have a type; "
                    f"got {piece!r:.80}"
                )
        return chunks

    def end(self, reason: FinishReason = "stop") -> list[Chunk]:
        """Return the chunks that complete the message; none if it has finished already."""
        return [] if self._finished else self._chunk("finish", finish(reason))

    def _delta(self, kind: str, text: str) -> list[Chunk]:
        self._check_open()
        if not text:
            return []
        chunks = [*self._begin()]
        if self._part != kind:
            chunks += [*self._end_part(), *self._begin_step()]
            self._part = kind
            self._parts += 1
            chunks.append(self._of_part("start"))
        return [*chunks, self._of_part("delta", delta=text)]

    def _chunk(self, type_: str, chunk: Mapping[str, object]) -> list[Chunk]:
        self._check_open()
        if type_ == "start":
            if self._started:
                raise InvalidMessage("a message has one start: a second one would void the first")
            self._started = True
            return [cast(Chunk, chunk)]
        before = [*self._begin()]
        if type_ not in _OF_NO_PART and not chunk.get("transient"):
            before += self._end_part()
            match type_:
                case "start-step":
                    before += self._end_step()
                    self._in_step = True
                case "finish-step":
                    self._in_step = False
                case "finish":
                    before += self._end_step()
                    self._finished = True
                case _:
                    before += self._begin_step()
        return [*before, cast(Chunk, chunk)]

    def _begin(self) -> list[Chunk]:
        if self._started:
            return []
        self._started = True
        return [start(self._message_id)]

    def _begin_step(self) -> list[Chunk]:
        if self._in_step:
            return []
        self._in_step = True
        return [{"type": "start-step"}]

    def _end_step(self) -> list[Chunk]:
        if not self._in_step:
            return []
        self._in_step = False
        return [{"type": "finish-step"}]

    def _end_part(self) -> list[Chunk]:
        if self._part is None:
            return []
        ended = self._of_part("end")
        self._part = None
        return [ended]

    def _of_part(self, what: str, **keys: str) -> Chunk:
        return cast(Chunk, {"type": f"{self._part}-{what}", "id": str(self._parts), **keys})

    def _check_open(self) -> None:
        if self._finished:
            raise InvalidMessage("the message is finished: nothing follows its finish chunk")
