"""What is asked for: the request of each connection, made with httpx2 or httpx."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, Final, Protocol

from resumable_core import InvalidInput
from resumable_io._sources import encode_json

CONNECT_TIMEOUT: Final = 10.0
"""Seconds to connect to one address; everything else is timed by the client machine."""

REPEATABLE: Final = frozenset({"GET", "HEAD", "OPTIONS", "QUERY", "REPORT", "PUT", "DELETE"})
"""Methods that mean the same when they are sent twice (RFC 9110, section 9.2.2)."""

_DEFAULTS: Final = {
    "accept": "text/event-stream",
    "accept-encoding": "identity",
    "cache-control": "no-store",
}
_MADE_ANEW: Final = {b"host", b"content-length", b"transfer-encoding", b"last-event-id"}


class HTTPClient(Protocol):
    """What is used of an `AsyncClient` of httpx2 or httpx."""

    @property
    def build_request(self) -> Callable[..., Any]:
        """Return a request."""
        ...

    @property
    def send(self) -> Callable[..., Awaitable[Any]]:
        """Send a request and return the response, its body yet unread."""
        ...


@dataclass(frozen=True, slots=True)
class Template:
    """Hold what the requests of all connections have in common."""

    method: str
    url: str
    headers: tuple[tuple[bytes, bytes], ...]
    content: bytes | None

    @classmethod
    def make(
        cls,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        content: str | bytes | None,
        json: object,
    ) -> Template:
        """Return a template. Raises `InvalidInput`."""
        if not url.lower().startswith(("http://", "https://")):
            raise InvalidInput("a URL that begins with http:// or https:// was expected")
        fields = dict(_DEFAULTS)
        if json is not None:
            if content is not None:
                raise InvalidInput("content and json are both given, expected one of them at most")
            content = encode_json(json)
            fields["content-type"] = "application/json"
        fields |= {name.lower(): value for name, value in (headers or {}).items()}
        try:
            raw = tuple((name.encode("ascii"), value.encode()) for name, value in fields.items())
        except UnicodeEncodeError as error:
            raise InvalidInput("a header cannot be sent: its name is ASCII, its value text") from (
                error
            )
        body = content.encode() if isinstance(content, str) else content
        return cls(method.upper(), url, raw, body)

    def request(self, client: HTTPClient, last_event_id: str) -> Any:
        """Return the request of one connection."""
        headers = list(self.headers)
        if last_event_id:
            headers = [each for each in headers if each[0] != b"last-event-id"]
            headers.append((b"last-event-id", last_event_id.encode()))
        return client.build_request(
            self.method,
            self.url,
            headers=headers,
            content=self.content,
            timeout=(CONNECT_TIMEOUT, None, None, None),
        )

    def moved(self, request: Any) -> Template:
        """Return the template for good after a redirect that led to `request`."""
        return replace(
            self,
            method=request.method,
            url=str(request.url),
            headers=tuple(
                (name.lower(), value)
                for name, value in request.headers.raw
                if name.lower() not in _MADE_ANEW
            ),
            content=self.content if request.method == self.method else None,
        )


def library_of(client: HTTPClient) -> ModuleType:
    """Return the library whose exceptions a client raises.

    Raises `InvalidInput` for an object that is no `AsyncClient` of httpx2 or httpx.
    """
    for cls in type(client).__mro__:
        package = cls.__module__.partition(".")[0]
        if cls.__name__ == "AsyncClient" and package in {"httpx", "httpx2"}:
            return sys.modules[package]
    raise InvalidInput(
        f"a client is an AsyncClient of httpx2 or httpx, got {type(client).__name__}"
    )
