"""What is asked for: the request of each connection, made with httpx2 or httpx."""

from __future__ import annotations

import re
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

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
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(
    rb"([\x21-\x7e\x80-\xff]([ \t\x21-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?"
)
"""What a header may be: RFC 9110, sections 5.1 and 5.5."""
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
        if not _leads_somewhere(url):
            raise InvalidInput("the URL is invalid: no host, or a port that is not 1 to 65535")
        fields = dict(_DEFAULTS)
        if json is not None:
            if content is not None:
                raise InvalidInput("content and json are both given, expected one of them at most")
            content = encode_json(json)
            fields["content-type"] = "application/json"
        fields |= {name.lower(): value for name, value in (headers or {}).items()}
        raw = tuple(_header(name, value) for name, value in fields.items())
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


def _leads_somewhere(url: str) -> bool:
    """Say whether a URL names a host, and a port that there can be."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _header(name: str, value: str) -> tuple[bytes, bytes]:
    """Return a header as it is sent. Raises `InvalidInput`, which does not tell the value."""
    try:
        raw = name.encode("ascii"), value.encode()
    except UnicodeEncodeError:
        raise InvalidInput("a header cannot be sent: its name is ASCII, its value text") from None
    if not _NAME.fullmatch(raw[0]):
        raise InvalidInput(f"a header cannot be sent: {name!r} is no name of one")
    if not _VALUE.fullmatch(raw[1]):
        raise InvalidInput(
            f"the header {name!r} cannot be sent: its value has a line break or another control "
            "character in it, or whitespace around it"
        )
    return raw


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
