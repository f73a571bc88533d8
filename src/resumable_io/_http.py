"""Read requests and answer them: what every ASGI application here needs."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any, ClassVar, Final, TypeAlias
from urllib.parse import parse_qsl

from resumable_core import (
    AtCharacter,
    BackendError,
    Beginning,
    InvalidInput,
    InvalidPosition,
    Position,
    ResumableError,
    StreamExists,
    StreamExpired,
    StreamNotFound,
    parse_last_event_id,
)

from ._followers import StreamsClosed

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
"""What an ASGI application is called with (the ASGI specification, version 3)."""

logger: Final = logging.getLogger("resumable_io")

MAX_OFFSET_DIGITS: Final = 16


class RequestRefused(ResumableError):
    """Refuse a request: the base of what has a status of its own."""

    status: ClassVar[int]
    """The HTTP status."""
    retry_after: int | None = None
    """Seconds after which it may be granted; None: that is not a matter of time."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the headers that the status asks for."""
        return {} if self.retry_after is None else {"retry-after": str(self.retry_after)}


def last_event_id(scope: Scope) -> Position:
    """Return the position that an event-stream client asks for.

    It is the `Last-Event-ID` header, else the query parameter `last_event_id`, since a page that
    was reloaded has no header to send. Neither, or an empty one, is the beginning.
    """
    text: str | bytes | None = header(scope, b"last-event-id") or query(scope, "last_event_id")
    return parse_last_event_id(text) if text else Beginning()


def resume_at(scope: Scope) -> Position:
    """Return the position that a plain-text client asks for: `?resume_at=` code points.

    Raises `InvalidPosition` when it is not a canonical number of 0 or more.
    """
    text = query(scope, "resume_at")
    if text is None:
        return Beginning()
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_OFFSET_DIGITS):
        raise InvalidPosition("resume_at is a number of characters, 0 or more")
    return AtCharacter(int(text))


def status_of(error: ResumableError) -> int:
    """Return the HTTP status that tells a client about `error`."""
    match error:
        case RequestRefused():
            return error.status
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


def reason_of(error: ResumableError) -> str:
    """Return what a client is told about `error`; log what the store has said, for nobody else."""
    if not isinstance(error, BackendError):
        return str(error)
    logger.log(
        logging.INFO if error.may_pass else logging.ERROR, "a request was refused: %s", error
    )
    return error.safe_reason


def response_start(status: int, headers: Iterable[tuple[bytes, bytes]]) -> Message:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


async def answer(
    send: Send, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes = b""
) -> None:
    await send(response_start(status, headers))
    await send({"type": "http.response.body", "body": body, "more_body": False})


def headers_of(error: ResumableError) -> Mapping[str, str]:
    """Return the headers that belong to the status of `error`."""
    if isinstance(error, RequestRefused):
        return error.headers
    return {"retry-after": "1"} if status_of(error) == 503 else {}


async def refuse(
    send: Send, status: int, text: str, headers: Mapping[str, str] | None = None
) -> None:
    body = text.encode()
    sent = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *((name.encode(), value.encode("latin-1")) for name, value in (headers or {}).items()),
    ]
    await answer(send, status, sent, body)


def header(scope: Scope, name: bytes) -> bytes | None:
    for key, value in scope["headers"]:
        if key.lower() == name:
            return bytes(value)
    return None


def query(scope: Scope, name: str) -> str | None:
    text = scope.get("query_string", b"").decode("latin-1")
    for key, value in parse_qsl(text, keep_blank_values=True):
        if key == name:
            return str(value)
    return None
