"""Serve streams over HTTP, as pure ASGI applications: for any server and any framework.

A response finds its position in the request, starts or resumes the stream, and sends records until
the stream ends, the client leaves, or this process drains.

    position     the Last-Event-ID header, else ?last_event_id= (event streams); ?resume_at= (text)
    200          the records
    204          the client has seen the end: an EventSource stops here
    400          no position, no id, HTTP/1.0 (text)  404   unknown stream
    409          the stream exists                    410   gone, but was here; trimmed (text)
    416          beyond the text                      503   this process is about to stop

What goes wrong after the headers is told in band where the framing has room for it. Where it has
none, the connection breaks: a part of an answer never ends like the whole.
"""

from __future__ import annotations

import math
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from contextlib import suppress
from typing import Any, Final, TypeAlias, TypedDict, Unpack
from urllib.parse import parse_qsl

from anyio import create_task_group, move_on_after

from resumable_core import (
    AtCharacter,
    BackendError,
    Beginning,
    Framed,
    Framing,
    Gap,
    InvalidInput,
    InvalidPosition,
    Position,
    Record,
    Reset,
    ResumableError,
    SSEFraming,
    StreamExists,
    StreamExpired,
    StreamNotFound,
    Takeover,
    TextFraming,
    Then,
    encode_retry,
    parse_last_event_id,
)

from ._drain import drain_on_sigterm, shutdown_trigger
from ._followers import StreamsClosed
from ._sources import Source
from ._streams import Streams
from ._subscription import Subscription

__all__ = [
    "EventStreamResponse",
    "ResponseCut",
    "ResponseOptions",
    "StreamResponse",
    "TextStreamResponse",
    "drain_on_sigterm",
    "last_event_id",
    "resume_at",
    "shutdown_trigger",
    "status_of",
]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

DEFAULT_HEADERS: Final = {"cache-control": "no-store, no-transform", "x-accel-buffering": "no"}

MAX_OFFSET_DIGITS: Final = 16

SLICE_BYTES: Final = 64 * 1024
"""Bytes that a server is given at once: what a slow line can take within the send timeout, and what
a client that has stopped reading makes the server hold."""


UNKNOWN_MESSAGE: Final = {"type": "resumable.response.cut"}
"""Makes whoever receives it fail, which breaks the connection.

To raise is not enough: Starlette's BaseHTTPMiddleware ends the body cleanly when what is behind it
raises, but not when it fails itself.
"""


class ResponseCut(Exception):
    """Break a connection whose response must not look complete; raised through the server.

    Not a `ResumableError`: an application's handlers of those have nothing left to answer.
    """


def last_event_id(scope: Scope) -> Position:
    """Return the position that an event-stream client asks for.

    It is the `Last-Event-ID` header, else the query parameter `last_event_id`, since a page that
    was reloaded has no header to send. Neither, or an empty one, is the beginning.
    """
    text: str | bytes | None = _header(scope, b"last-event-id") or _query(scope, "last_event_id")
    return parse_last_event_id(text) if text else Beginning()


def resume_at(scope: Scope) -> Position:
    """Return the position that a plain-text client asks for: `?resume_at=` code points.

    Raises `InvalidPosition` when it is not a canonical number of 0 or more.
    """
    text = _query(scope, "resume_at")
    if text is None:
        return Beginning()
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_OFFSET_DIGITS):
        raise InvalidPosition("resume_at is a number of characters, 0 or more")
    return AtCharacter(int(text))


def status_of(error: ResumableError) -> int:
    """Return the HTTP status that tells a client about `error`."""
    match error:
        case StreamNotFound():
            return 404
        case StreamExists():
            return 409
        case StreamExpired():
            return 410
        case InvalidInput():
            return 400
        case StreamsClosed() | BackendError():
            return 503
        case _:
            return 500


class ResponseOptions(TypedDict, total=False):
    """State what all stream responses can be told."""

    metadata: Mapping[str, object] | None
    """Small JSON that comes back with the state of a stream that is started here."""
    on_lost: Takeover | str
    """What to do with a stream whose producer died, as in `Streams.start` (refuse)."""
    heartbeat: float
    """Seconds of silence after which a comment is sent (15)."""
    send_timeout: float
    """Seconds for which a client may refuse to read (30)."""
    headers: Mapping[str, str] | None
    """In addition to ours, or instead of them."""


class StreamResponse:
    """Answer a request with a stream in some framing: the base of the two kinds below."""

    framing: Framing

    def __init__(
        self,
        streams: Streams,
        stream_id: str,
        source: Source | None = None,
        **options: Unpack[ResponseOptions],
    ) -> None:
        self._streams = streams
        self._stream_id = stream_id
        self._source = source
        self._metadata = options.get("metadata")
        self._on_lost = Takeover(options.get("on_lost", Takeover.REFUSE))
        self._heartbeat = options.get("heartbeat", 15.0)
        self._send_timeout = options.get("send_timeout", 30.0)
        self._sent_headers = {**DEFAULT_HEADERS, "content-type": self.framing.media_type}
        for name, value in (options.get("headers") or {}).items():
            self._sent_headers[name.lower()] = value

    def position(self, scope: Scope) -> Position:
        """Return where the client wants to go on. Raises `InvalidPosition`."""
        raise NotImplementedError

    def prelude(self, subscription: Subscription) -> bytes:
        """Return what is sent before the first record."""
        return b""

    def farewell(self) -> bytes | None:
        """Return what ends a response early, or None when nothing can: it is cut off then."""
        return None

    def raw_response_headers(self) -> Iterable[tuple[bytes, bytes]]:
        """Return the headers of the answer to a request that is granted."""
        return [
            (name.encode("latin-1"), value.encode("latin-1"))
            for name, value in self._sent_headers.items()
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        try:
            if scope["method"] == "HEAD":
                await self._look()
                await _answer(send, 200, self.raw_response_headers())
                return
            subscription = await self._subscribe(scope)
            self._check_open()
        except ResumableError as error:
            await self._refuse(scope, send, error)
            return
        async with subscription:
            await self._respond(subscription, receive, send)

    async def _refuse(self, scope: Scope, send: Send, error: ResumableError) -> None:
        """Refuse a request; but what a retry may cure, an EventSource must not take for final.

        It gives up for good at any status but 200 (WHATWG HTML, section 9.2.3).
        """
        status, farewell = status_of(error), self.farewell()
        patient = b"text/event-stream" in (_header(scope, b"accept") or b"")
        if status == 503 and patient and farewell is not None:
            await _answer(send, 200, self.raw_response_headers(), farewell)
        else:
            await _refuse(send, status, str(error))

    async def _look(self) -> None:
        if self._source is not None:
            await self._streams.discard(self._source)
        elif await self._streams.state(self._stream_id) is None:
            raise StreamNotFound("no such stream")

    def _check_open(self) -> None:
        if self._streams.responses.draining:
            raise StreamsClosed("this process is about to stop: ask again")

    async def _subscribe(self, scope: Scope) -> Subscription:
        try:
            position = self.position(scope)
            self._check_open()
        except ResumableError:
            if self._source is not None:
                await self._streams.discard(self._source)
            raise
        if self._source is None:
            return await self._streams.resume(self._stream_id, position)
        return await self._streams.start_or_resume(
            self._stream_id,
            self._source,
            position,
            metadata=self._metadata,
            on_lost=self._on_lost,
        )

    async def _respond(self, subscription: Subscription, receive: Receive, send: Send) -> None:
        if subscription.finished:
            await _answer(send, 204, [(b"cache-control", b"no-store")])
            return
        match tuple(subscription.waiting[:1]):
            case (Gap() | Reset() as record,) if self._cannot_say(record):
                status, text = (410, "trimmed") if isinstance(record, Gap) else (416, record.reason)
                await _refuse(send, status, f"the stream cannot be resumed there: {text}")
            case _:
                await self._stream(subscription, receive, send)

    def _cannot_say(self, record: Record) -> bool:
        return self.framing.frame((record,)).then is Then.CUT_OFF

    async def _stream(self, subscription: Subscription, receive: Receive, send: Send) -> None:
        body = _Body(send, self._send_timeout)
        left = False

        async def wait_for_disconnect() -> None:
            nonlocal left
            while (await receive())["type"] != "http.disconnect":
                pass
            left = True
            tasks.cancel_scope.cancel()

        then = Then.GO_ON
        async with create_task_group() as tasks:
            with self._streams.responses.responding(tasks.cancel_scope):
                tasks.start_soon(wait_for_disconnect)
                await body.start(self.raw_response_headers())
                await body.send(self.prelude(subscription))
                then = await self._send_records(subscription, body)
                if body.stalled and self.farewell() is None:
                    # A middleware between would end the body cleanly as soon as the client reads.
                    await subscription.aclose()
                    await body.cut(patience=math.inf)
            tasks.cancel_scope.cancel()
        if left or body.unwanted:
            return
        if then is Then.GO_ON and body.intact and (farewell := self.farewell()) is not None:
            await body.send(farewell)
            then = Then.COMPLETE
        if then is not Then.COMPLETE or not body.intact:
            if body.intact:
                await body.cut(patience=self._send_timeout)
            raise ResponseCut(f"the response of stream {self._stream_id!r} had to be cut off")
        await body.complete()

    async def _send_records(self, subscription: Subscription, body: _Body) -> Then:
        """Send records until there is a reason to stop; return what becomes of the response."""
        framed = heartbeat = Framed(self.framing.heartbeat)
        while body.intact and framed.then is Then.GO_ON:
            framed = heartbeat
            try:
                with move_on_after(self._heartbeat):
                    records = await subscription.receive()
                    framed = self._streams.responses.framed(self.framing, records)
            except StreamsClosed:
                return Then.GO_ON
            except BackendError:
                return Then.CUT_OFF
            await body.send(framed.body)
        return framed.then


class EventStreamResponse(StreamResponse):
    """Answer with server-sent events: each with its id; the end, gaps and resets in band.

    `source` is what produces the stream if nobody does yet; without one it is only resumed. `retry`
    is after how many milliseconds a client is to reconnect. The rest is `ResponseOptions`.
    """

    framing: Framing = SSEFraming()

    def __init__(
        self,
        streams: Streams,
        stream_id: str,
        source: Source | None = None,
        *,
        retry: int = 2000,
        **options: Unpack[ResponseOptions],
    ) -> None:
        super().__init__(streams, stream_id, source, **options)
        self._retry = encode_retry(retry)

    def position(self, scope: Scope) -> Position:
        """Return `last_event_id(scope)`."""
        return last_event_id(scope)

    def prelude(self, subscription: Subscription) -> bytes:
        """Return the retry time and an id-only block.

        The id is the client's own place, so that even one that is cut off before the first event
        comes back as one that was here, and never starts the stream a second time.
        """
        place = self.framing.place(subscription.id) if subscription.id is not None else b""
        return self._retry + place

    def farewell(self) -> bytes | None:
        """Return a short, random retry time, so that clients come back soon but not all at once."""
        return encode_retry(random.randrange(100, 1000))


class TextStreamResponse(StreamResponse):
    """Answer with plain text, resumed by `?resume_at=` code points.

    The arguments are those of `EventStreamResponse`, but for `retry`. A response that is not the
    whole rest of the text is cut off, since text has no room to say so.
    """

    framing: Framing = TextFraming()

    def position(self, scope: Scope) -> Position:
        """Return `resume_at(scope)`.

        Raises `InvalidPosition` for HTTP/1.0 too, where a response that is cut off looks complete.
        """
        if scope.get("http_version") == "1.0":
            raise InvalidPosition("text needs HTTP/1.1: HTTP/1.0 cannot tell a part from the whole")
        return resume_at(scope)


class _Body:
    """Send the body of a response, and know whether a piece of it was left half sent."""

    def __init__(self, send: Send, timeout: float) -> None:
        self.intact = True
        self.unwanted = False
        """Whether the server has said that the client is gone."""
        self._send = send
        self._timeout = timeout

    async def start(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Send what comes before the body; the same holds as for a piece of it."""
        await self._deliver(_start(200, headers))

    async def send(self, piece: bytes, *, more: bool = True) -> None:
        """Send a piece; leaves the body not `intact` when it took too long, or was cancelled."""
        last = max(0, len(piece) - 1) // SLICE_BYTES * SLICE_BYTES
        for start in range(0, last, SLICE_BYTES):
            part = piece[start : start + SLICE_BYTES]
            await self._deliver({"type": "http.response.body", "body": part, "more_body": True})
        rest = piece[last:]
        await self._deliver({"type": "http.response.body", "body": rest, "more_body": more})

    async def complete(self) -> None:
        """Mark the body as complete."""
        await self.send(b"", more=False)

    @property
    def stalled(self) -> bool:
        """Say whether the client has refused to read for too long."""
        return not self.intact and not self.unwanted

    async def cut(self, *, patience: float) -> None:
        """Have the connection broken; to be followed by an exception, for those who ignore it.

        What is asked to break it may not listen before the client reads: wait for `patience`
        seconds.
        """
        with move_on_after(patience), suppress(Exception):
            await self._send(dict(UNKNOWN_MESSAGE))

    async def _deliver(self, message: Message) -> None:
        if not self.intact:
            return
        self.intact = False
        with move_on_after(self._timeout) as timer:
            try:
                await self._send(message)
            except OSError:  # the ASGI specification, "Disconnected Client"
                self.unwanted = True
                return
        self.intact = not timer.cancelled_caught


def _start(status: int, headers: Iterable[tuple[bytes, bytes]]) -> Message:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


async def _answer(
    send: Send, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes = b""
) -> None:
    await send(_start(status, headers))
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def _refuse(send: Send, status: int, text: str) -> None:
    body = text.encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *([(b"retry-after", b"1")] if status == 503 else []),
    ]
    await _answer(send, status, headers, body)


def _header(scope: Scope, name: bytes) -> bytes | None:
    for key, value in scope["headers"]:
        if key.lower() == name:
            return bytes(value)
    return None


def _query(scope: Scope, name: str) -> str | None:
    query = scope.get("query_string", b"").decode("latin-1")
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key == name:
            return str(value)
    return None
