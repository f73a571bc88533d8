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
from collections.abc import Awaitable, Iterable, Mapping
from functools import partial
from typing import Final, TypedDict, Unpack

from anyio import CancelScope, create_task_group

from resumable_core import (
    BackendError,
    Framing,
    Gap,
    InvalidPosition,
    Position,
    Record,
    Reset,
    ResumableError,
    SSEFraming,
    StreamNotFound,
    Takeover,
    TextFraming,
    Then,
    check_stream_id,
    encode_retry,
)

from ._body import Body
from ._drain import drain_on_sigterm, shutdown_trigger
from ._followers import StreamsClosed
from ._http import (
    Receive,
    RequestRefused,
    Scope,
    Send,
    answer,
    header,
    headers_of,
    last_event_id,
    reason_of,
    refuse,
    resume_at,
    status_of,
)
from ._options import check_options
from ._sources import Source
from ._streams import Streams
from ._subscription import Subscription

__all__ = [
    "EventStreamResponse",
    "Receive",
    "ResponseCut",
    "ResponseOptions",
    "Scope",
    "Send",
    "StreamResponse",
    "TextStreamResponse",
    "drain_on_sigterm",
    "last_event_id",
    "resume_at",
    "shutdown_trigger",
    "status_of",
]

DEFAULT_HEADERS: Final = {"cache-control": "no-store, no-transform", "x-accel-buffering": "no"}


class ResponseCut(Exception):
    """Break a connection whose response must not look complete; raised through the server.

    Not a `ResumableError`: an application's handlers of those have nothing left to answer.
    """


class ResponseOptions(TypedDict, total=False):
    """State what all stream responses can be told."""

    metadata: Mapping[str, object] | None
    """Small JSON that comes back with the state of a stream that is started here."""
    on_lost: Takeover | str
    """What to do with a stream whose producer died, as in `Streams.start` (refuse)."""
    heartbeat: float
    """Seconds of silence at most (15), a number above 0; `math.inf`: no heartbeats.

    A comment is sent then, or up to half as long before.
    """
    send_timeout: float
    """Seconds for which a client may refuse to read (30), a finite number above 0.

    It is dropped then, or half as long after.
    """
    headers: Mapping[str, str] | None
    """In addition to ours, or instead of them; Latin-1 without control characters."""


class StreamResponse:
    """Answer a request with a stream in some framing: the base of the two kinds below.

    Raises `InvalidInput` for options that are none, and `TypeError` for unknown ones.
    """

    framing: Framing
    expires_at: float = math.inf
    """When a response ends although the stream does not, by the event loop's clock."""

    def __init__(
        self,
        streams: Streams,
        stream_id: str,
        source: Source | None = None,
        **options: Unpack[ResponseOptions],
    ) -> None:
        check_options(options, ResponseOptions.__optional_keys__)
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

    def heartbeat(self, subscription: Subscription) -> bytes:
        """Return what is sent after a time of silence."""
        return self.framing.heartbeat

    def farewell(self, after: float = 0.1) -> bytes | None:
        """Return what ends a response early, or None when nothing can: it is cut off then.

        The client is to come back no sooner than `after` seconds later.
        """
        return None

    def expired(self, subscription: Subscription) -> bytes:
        """Return what is sent when `expires_at` has come, before the end of the response."""
        return b""

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
                await self._look(scope)
                await answer(send, 200, self.raw_response_headers())
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
        status, reason = status_of(error), reason_of(error)
        patient = b"text/event-stream" in (header(scope, b"accept") or b"")
        if status == 503 and patient and (farewell := self.farewell(_delay(error))) is not None:
            await answer(send, 200, self.raw_response_headers(), farewell)
        else:
            await refuse(send, status, reason, headers_of(error))

    async def _look(self, scope: Scope) -> None:
        """Raise what keeps a request from being granted, as far as a look can tell."""
        if self._source is not None:
            await self._streams.discard(self._source)
        self.position(scope)
        self._check_open()
        if self._source is not None:
            check_stream_id(self._stream_id)
        elif await self._streams.state(self._stream_id) is None:
            raise StreamNotFound("no such stream")

    def _check_open(self) -> None:
        if self._streams.shutdown.begun:
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

    def _respond(self, subscription: Subscription, receive: Receive, send: Send) -> Awaitable[None]:
        if subscription.finished:
            return answer(send, 204, [(b"cache-control", b"no-store")])
        match tuple(subscription.waiting[:1]):
            case (Gap() | Reset() as record,) if self._cannot_say(record):
                status, text = (410, "trimmed") if isinstance(record, Gap) else (416, record.reason)
                return refuse(send, status, f"the stream cannot be resumed there: {text}")
            case _:
                return self._stream(subscription, receive, send)

    def _cannot_say(self, record: Record) -> bool:
        return self.framing.frame((record,)).then is Then.CUT_OFF

    async def _stream(self, subscription: Subscription, receive: Receive, send: Send) -> None:
        body = Body(send, self._send_timeout)
        heartbeat = partial(self.heartbeat, subscription)
        left = False
        async with create_task_group() as tasks:
            with self._streams.shutdown.responding(tasks.cancel_scope):
                # In a task of its own: to wake that is not to wake all that has called this.
                tasks.start_soon(self._send_records, subscription, body, tasks.cancel_scope)
                tasks.start_soon(body.keep_watch, heartbeat, self._heartbeat)
                while (await receive())["type"] != "http.disconnect":
                    pass
                left = True
                tasks.cancel_scope.cancel()
        if left or body.unwanted:
            return
        then = body.then
        last = b"" if then is Then.COMPLETE else self.farewell() if then is Then.GO_ON else None
        if body.intact and last is not None:
            await body.finish(last)
        elif body.intact:
            await body.cut(patience=self._send_timeout)
        if body.stalled or last is None:
            raise ResponseCut(f"the response of stream {self._stream_id!r} had to be cut off")

    async def _send_records(
        self, subscription: Subscription, body: Body, response: CancelScope
    ) -> None:
        """Send records until there is a reason to stop, and have the response end."""
        frame, framing = self._streams.frames.framed, self.framing
        with body.patience:
            await body.start(self.raw_response_headers())
            await body.send(self.prelude(subscription))
            with CancelScope(deadline=self.expires_at) as lifetime:
                while body.intact and body.then is Then.GO_ON:
                    try:
                        while not (records := subscription.receive_nowait()):
                            await subscription.wait()
                    except StreamsClosed:
                        break
                    except BackendError:
                        body.then = Then.CUT_OFF
                        break
                    framed = frame(framing, records)
                    await body.send(framed.body)
                    body.then = framed.then
            if lifetime.cancelled_caught:
                await body.send(self.expired(subscription))
                body.then = Then.COMPLETE
        if body.stalled and self.farewell() is None:
            # A middleware between would end the body cleanly as soon as the client reads.
            await subscription.aclose()
            await body.cut(patience=math.inf)
        response.cancel()


def _delay(error: ResumableError) -> float:
    """Return for how many seconds an event source that is refused is to wait at least."""
    return (isinstance(error, RequestRefused) and error.retry_after) or 0.1


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

    def farewell(self, after: float = 0.1) -> bytes | None:
        """Return a random retry time, so that clients come back, but not all at once.

        It is between `after` seconds and ten times as much.
        """
        return encode_retry(round(after * random.uniform(1000, 9990)))


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
