"""Serve answers to the clients of Vercel's AI SDK, such as `useChat`, as pure ASGI applications.

    POST {api}                a source, or `start_answer` before: the answer, from its first chunk
    GET {api}/{id}/stream     the same without a source: what goes on, or 204

A `GET` may have a cursor: `?startIndex=`, the number of chunks that the client has (below 0: how
many of the last ones it wants), or a Last-Event-ID. See `resumable_core.ai_sdk` for what a client
gets that comes back, and for the chunks. As Starlette and FastAPI responses, these are in
`resumable_io.starlette`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterable, Mapping
from contextlib import aclosing, nullcontext
from typing import Final, Unpack, cast

from resumable_core import (
    After,
    Framing,
    InvalidPosition,
    Position,
    ResumableError,
    Unreadable,
)
from resumable_core.ai_sdk import (
    Chunk,
    FinishReason,
    MessageWriter,
    Piece,
    Reasoning,
    Resumption,
    UIMessageFraming,
    data,
    file,
    finish,
    metadata,
    resumption,
    source_url,
    start,
    tool_error,
    tool_input,
    tool_output,
)

from ._http import (
    MAX_OFFSET_DIGITS,
    Message,
    Receive,
    Scope,
    Send,
    answer,
    last_event_id,
    query,
)
from ._sources import Source
from ._streams import Streams
from ._subscription import Subscription
from .asgi import ResponseOptions, StreamResponse

__all__ = [
    "Chunk",
    "FinishReason",
    "Piece",
    "Reasoning",
    "UIMessageStreamResponse",
    "data",
    "file",
    "finish",
    "metadata",
    "source_url",
    "start",
    "start_answer",
    "start_index",
    "tool_error",
    "tool_input",
    "tool_output",
    "ui_message",
]

PROTOCOL: Final = {"x-vercel-ai-ui-message-stream": "v1"}
TAIL_INDEX: Final = b"x-workflow-stream-tail-index"
SUPERSEDED: Final = "the next answer of this chat has begun"

_INDEX: Final = re.compile(rf"-?[0-9]{{1,{MAX_OFFSET_DIGITS}}}")


async def ui_message(
    pieces: AsyncIterable[Piece], message_id: str | None = None
) -> AsyncGenerator[Chunk]:
    """Write a whole message from pieces of text, of reasoning, and chunks: a source.

    Parts and steps are begun and ended as needed, and so is the message. `message_id` is the id
    under which the client keeps it; an answer that is stored should have one.

    Raises `InvalidMessage` for pieces that are none, and whatever `pieces` raises; the stream then
    fails, and the client is told by an error chunk.
    """
    writer = MessageWriter(message_id)
    closing = (
        aclosing(cast("AsyncGenerator[Piece]", pieces))
        if isinstance(pieces, AsyncGenerator)
        else nullcontext()
    )
    async with closing:
        async for piece in pieces:
            for chunk in writer.write(piece):
                yield chunk
    for chunk in writer.end():
        yield chunk


async def start_answer(
    streams: Streams,
    chat_id: str,
    source: Source,
    *,
    metadata: Mapping[str, object] | None = None,
) -> Subscription:
    """Start the next answer of a chat, under the chat's id.

    The SDK asks for what goes on in a chat, not for an answer by its id. So the chat's latest
    answer has the chat's id, and takes the place of the one before, which is stopped if it still
    goes on: the SDK's `stop()` only closes the connection.

    Raises what `Streams.start` raises: `StreamExists` when somebody else starts an answer of this
    chat at this moment. The source is then closed.
    """
    try:
        state = await streams.state(chat_id)
        if state is not None and state.outcome is None:
            state = await streams.stop(chat_id, SUPERSEDED, epoch=state.epoch)
    except BaseException:
        await streams.discard(source)
        raise
    replaces = state.epoch if state is not None else None
    return await streams.start(chat_id, source, metadata=metadata, replaces=replaces)


def start_index(scope: Scope) -> int | None:
    """Return the cursor `?startIndex=` of a request: how many chunks the client has.

    Below 0 it is how many of the last chunks the client wants. Raises `InvalidPosition` when it is
    no number of at most 16 digits.
    """
    text = query(scope, "startIndex")
    if text is None:
        return None
    if _INDEX.fullmatch(text) is None:
        raise InvalidPosition("startIndex is a number of chunks")
    return int(text)


class UIMessageStreamResponse(StreamResponse):
    """Answer with a UI message stream of the AI SDK.

    The arguments are those of `EventStreamResponse`, but for `retry`. With a source, or to anything
    but a GET, the answer is sent from its beginning or a Last-Event-ID. A GET without a source
    resumes, and gets 204 when there is nothing to resume.

    A stream that fails, is lost, or misses a part ends with an error chunk, one that is stopped
    with an abort chunk. When the process drains the response is cut off, since the clients take a
    clean end for the end of the answer.
    """

    framing: Framing = UIMessageFraming()

    def __init__(
        self,
        streams: Streams,
        stream_id: str,
        source: Source | None = None,
        **options: Unpack[ResponseOptions],
    ) -> None:
        options["headers"] = {**PROTOCOL, **(options.get("headers") or {})}
        super().__init__(streams, stream_id, source, **options)

    def position(self, scope: Scope) -> Position:
        """Return `last_event_id(scope)`.

        Raises `InvalidPosition` for HTTP/1.0, where a response that is cut off looks complete.
        """
        if scope.get("http_version") == "1.0":
            raise InvalidPosition(
                "a UI message stream needs HTTP/1.1: HTTP/1.0 cannot tell a part from the whole"
            )
        return last_event_id(scope)

    def prelude(self, subscription: Subscription) -> bytes:
        """Return an id-only block with the client's own place."""
        return self.framing.place(subscription.id) if subscription.id is not None else b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if self._source is not None or scope["method"] != "GET":
            await super().__call__(scope, receive, send)
            return
        try:
            resumed = await self._resumption(scope)
        except ResumableError as error:
            await self._refuse(scope, send, error)
            return
        if resumed is None:
            await answer(send, 204, [(b"cache-control", b"no-store")])
            return

        async def send_with_tail(message: Message) -> None:
            if message["type"] == "http.response.start":
                tail = (TAIL_INDEX, str(resumed.last_index).encode())
                message = {**message, "headers": [*message["headers"], tail]}
            await send(message)

        await super().__call__(_at(scope, resumed.position), receive, send_with_tail)

    async def _resumption(self, scope: Scope) -> Resumption | None:
        place = last_event_id(scope)
        cursor = place if isinstance(place, After | Unreadable) else start_index(scope)
        return resumption(await self._streams.state(self._stream_id), cursor)


def _at(scope: Scope, position: Position) -> Scope:
    """Return the request that asks for `position`, whatever cursor it had."""
    if not isinstance(position, After):
        return scope
    headers = [header for header in scope["headers"] if header[0].lower() != b"last-event-id"]
    return {**scope, "headers": [*headers, (b"last-event-id", str(position).encode())]}
