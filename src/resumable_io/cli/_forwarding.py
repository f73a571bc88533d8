"""One request to the upstream: what of it is passed on, and its event stream as a source."""

from __future__ import annotations

import re
import zlib
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import httpx2
from anyio import Event, move_on_after
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from resumable_core import (
    Decoder,
    End,
    EventTooLarge,
    Message,
    Outcome,
    ServerSentEvent,
    read_notice,
)
from resumable_core._reconnect import is_event_stream
from resumable_io import SourceError
from resumable_io._subscription import interruption
from resumable_io.asgi import ResponseCut
from resumable_io.client._content import decoder_of
from resumable_io.client._upstream import SILENCE, Place

STREAM_HEADER: Final = "resumable-stream"
STREAM_PARAMETER: Final = "resumable_stream"

MAX_ANSWER: Final = 16 * 2**20
"""Bytes of an answer to a named request that is no event stream; it is held in memory."""

CLEANUP_SECONDS: Final = 5.0

Headers: TypeAlias = list[tuple[bytes, bytes]]

_TIMES: Final = httpx2.Timeout(SILENCE, connect=10.0).as_dict()

_HOP_BY_HOP: Final = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer "
    b"transfer-encoding upgrade".split()
)
"""RFC 9110, section 7.6.1; and whatever `Connection` names."""

_OURS: Final = frozenset({STREAM_HEADER.encode(), b"last-event-id", b"accept-encoding"})
"""Of a request that names a stream; what is stored is not compressed."""

_OUR_PARAMETER: Final = re.compile(rb"(?:resumable_stream|last_event_id)(?:=|$)")


@dataclass(frozen=True, slots=True)
class Upstream:
    """Know where requests go, and who asks."""

    client: httpx2.AsyncClient
    url: httpx2.URL
    key: str | None = field(repr=False)
    """A bearer token that is sent in place of the clients' own; None: nothing is."""
    guarded: bool
    """Whether the clients' own `Authorization` is for us, and not to be passed on."""

    def named(self, asked: Request, content: bytes) -> httpx2.Request:
        """Return the request that makes a stream."""
        query: bytes = asked.scope["query_string"]
        kept = [each for each in query.split(b"&") if not _OUR_PARAMETER.match(each)]
        headers = [each for each in self._headers(asked) if each[0] not in _OURS]
        headers = [each for each in headers if each[0] != b"content-length"]
        headers.append((b"accept-encoding", b"identity"))
        return self._request(asked, b"&".join(kept), headers, content)

    async def pass_through(self, asked: Request) -> Response:
        """Ask the upstream, and answer with what it answers, as it comes."""
        has_body = {"content-length", "transfer-encoding"} & set(asked.headers)
        content = asked.stream() if has_body else None
        headers = self._headers(asked)
        request = self._request(asked, asked.scope["query_string"], headers, content)
        try:
            return Passing(await self.client.send(request, stream=True))
        except httpx2.HTTPError as error:
            return refusal_of(error)
        except ClientDisconnect:
            raise HTTPException(400, "the request broke off") from None

    def _headers(self, asked: Request) -> Headers:
        headers = end_to_end(asked.scope["headers"], without={b"host"})
        if self.guarded:
            headers = [each for each in headers if each[0] != b"authorization"]
        if self.key is not None:
            headers.append((b"authorization", f"Bearer {self.key}".encode()))
        return headers

    def _request(
        self,
        asked: Request,
        query: bytes,
        headers: Headers,
        content: bytes | AsyncIterable[bytes] | None,
    ) -> httpx2.Request:
        path: bytes = asked.scope["raw_path"]
        base = self.url.raw_path.rstrip(b"/")
        try:
            url = self.url.copy_with(raw_path=base + path + (b"?" + query if query else b""))
        except (httpx2.InvalidURL, UnicodeDecodeError):
            raise HTTPException(400, "the path is none that can be passed on") from None
        if not path.startswith(b"/") or not url.raw_path.startswith(base + b"/"):
            raise HTTPException(400, "the path leads out of the upstream")
        # Not the client's `build_request`, which adds headers and the cookies of other people.
        return httpx2.Request(
            asked.method,
            url,
            headers=headers,
            content=content,
            extensions={"timeout": _TIMES},
        )


class Passing(StreamingResponse):
    """Answer with what the upstream answers: left when the client leaves, broken as it breaks."""

    def __init__(self, answer: httpx2.Response) -> None:
        super().__init__(answer.aiter_raw(), answer.status_code)
        self.raw_headers = end_to_end(answer.headers.raw, without=_OUR_SERVERS)
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer."""
        try:
            await super().__call__(scope, receive, send)
        except httpx2.HTTPError as error:
            raise ResponseCut(_reason(error)) from error
        finally:
            await _close(self._answer)


class Call:
    """Call the upstream once, for a stream; whoever waits learns how it has answered."""

    def __init__(self, client: httpx2.AsyncClient, request: httpx2.Request) -> None:
        self.headers: Headers = []
        """What came with the event stream."""
        self.refusal: Response | None = None
        """The answer, if it is no event stream."""
        self.answered = Event()
        self.settled = Event()
        """There is a stream, or the next one may call."""
        self._client = client
        self._request = request

    async def messages(self) -> AsyncGenerator[Message]:
        """Yield the events, data and type as they are: a source.

        Raises `SourceError`, whose text is safe to show.
        """
        answer: httpx2.Response | None = None
        try:
            answer = await self._client.send(self._request, stream=True)
            decode = await self._judge(answer)
            self.answered.set()
            async with aclosing(_messages(answer, decode)) as messages:
                async for message in messages:
                    yield message
        except httpx2.HTTPError as error:
            if not self.answered.is_set():
                self.refusal = refusal_of(error)
            raise SourceError(_reason(error)) from error
        finally:
            self.answered.set()
            if answer is not None:
                await _close(answer)

    async def _judge(self, answer: httpx2.Response) -> Callable[[bytes], Iterator[bytes]]:
        """Return how an event stream is to be decompressed; refuse whatever else it is."""
        type_ = answer.headers.get("content-type", "")
        if answer.status_code != 200 or not is_event_stream(type_):
            self.refusal = await _whole(answer)
            raise SourceError(
                f"the upstream answered {answer.status_code}, and not with an event stream"
            )
        decode = decoder_of(answer.headers.get("content-encoding", ""))
        if decode is None:
            reason = "the upstream compressed its answer, and not as gzip or deflate"
            self.refusal = PlainTextResponse(f"{reason}\n", 502)
            raise SourceError(reason)
        without = {*_NOT_SHARED, *_OF_THE_BODY, b"content-type", b"cache-control"}
        self.headers = end_to_end(answer.headers.raw, without=without)
        return decode


def end_to_end(headers: Iterable[tuple[bytes, bytes]], *, without: Iterable[bytes]) -> Headers:
    """Return the headers that are not about one connection alone, their names in lower case."""
    lower = [(name.lower(), value) for name, value in headers]
    named = b",".join(value.lower() for name, value in lower if name == b"connection")
    left_out = {*_HOP_BY_HOP, *without, *(each.strip() for each in named.split(b","))}
    return [each for each in lower if each[0] not in left_out]


def refusal_of(error: httpx2.HTTPError) -> Response:
    """Return the answer to a client whose request the upstream has not answered."""
    status = 504 if isinstance(error, httpx2.TimeoutException) else 502
    return PlainTextResponse(f"{_reason(error)}\n", status)


_OUR_SERVERS: Final = frozenset({b"date", b"server"})
_NOT_SHARED: Final = _OUR_SERVERS | {b"set-cookie"}
"""A stream is for all who name it, a cookie for one."""
_OF_THE_BODY: Final = frozenset({b"content-length", b"content-encoding"})


def _reason(error: httpx2.HTTPError) -> str:
    match error:
        case httpx2.ConnectError() | httpx2.ConnectTimeout():
            return "the upstream cannot be reached"
        case httpx2.TimeoutException():
            return "the upstream took too long"
        case _:
            return "the connection to the upstream broke"


async def _messages(
    answer: httpx2.Response, decode: Callable[[bytes], Iterator[bytes]]
) -> AsyncGenerator[Message]:
    """Yield messages up to where the answer is complete."""
    place = Place()
    try:
        async with aclosing(_events(answer, decode)) as events:
            async for event in events:
                match read_notice(event):
                    case None:
                        place.take(event)
                        yield Message(event.data, None if event.type == "message" else event.type)
                    case End(outcome=Outcome.DONE):
                        return
                    case notice:
                        raise interruption(notice)
                if place.error is not None:
                    raise SourceError(f"the upstream reported an error: {place.error}")
                if place.complete:
                    return
    except httpx2.HTTPError:
        if place.finishing:
            return
        raise
    except zlib.error as error:
        raise SourceError("the upstream's compressed answer is damaged") from error
    except EventTooLarge as error:
        raise SourceError(str(error)) from error
    if place.known and not place.finishing:
        raise SourceError("the upstream ended its answer before it was complete")


async def _events(
    answer: httpx2.Response, decode: Callable[[bytes], Iterator[bytes]]
) -> AsyncGenerator[ServerSentEvent]:
    decoder = Decoder()
    async with aclosing(answer.aiter_raw()) as chunks:
        async for chunk in chunks:
            for slice_ in decode(chunk):
                for event in decoder.feed(slice_):
                    yield event


async def _whole(answer: httpx2.Response) -> Response:
    """Return an answer with all of its body, as it came."""
    body = bytearray()
    async with aclosing(answer.aiter_raw()) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > MAX_ANSWER:
                text = f"the upstream's answer is no event stream, and over {MAX_ANSWER} bytes\n"
                return PlainTextResponse(text, 502)
    response = Response(bytes(body), answer.status_code)
    without = {*_NOT_SHARED, b"content-length"}
    response.raw_headers += end_to_end(answer.headers.raw, without=without)
    return response


async def _close(answer: httpx2.Response) -> None:
    with move_on_after(CLEANUP_SECONDS, shield=True):
        await answer.aclose()
