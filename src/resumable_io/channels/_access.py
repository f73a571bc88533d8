"""Who asks, what they may do, and how they are told that they may not."""

from __future__ import annotations

import inspect
import math
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeAlias, cast
from urllib.parse import parse_qsl

from resumable_core import InvalidInput, check_name
from resumable_io._http import RequestRefused, Scope


@dataclass(frozen=True, slots=True)
class Principal:
    """Say who somebody is, and what they may do on the channel they asked for.

    `name`          who: limits are counted by it. 1 to 255 bytes of UTF-8, no control characters
    `recipients`    the names under which they see targeted messages; a single one may be text
    `may_publish`   whether they may publish
    `expires_at`    when this ends, in seconds of Unix time (as `exp` of a JWT); None: never

    Raises `InvalidInput` for what is none of this.
    """

    name: str
    recipients: Collection[str] = frozenset()
    may_publish: bool = False
    expires_at: float | None = None

    def __post_init__(self) -> None:
        """Refuse what could only be a mistake."""
        names = [self.recipients] if isinstance(self.recipients, str) else self.recipients
        object.__setattr__(self, "recipients", frozenset(names))
        check_name("a principal's name", self.name)
        for recipient in self.recipients:
            check_name("a recipient", recipient)
        if self.expires_at is not None and not math.isfinite(self.expires_at):
            raise InvalidInput(
                f"expires_at is in seconds of Unix time, or None, got {self.expires_at}"
            )


class Connection:
    """Show an authorizer who asks for what, whatever the framework.

    All of it comes from the client, and so may be anything.
    """

    def __init__(self, scope: Scope) -> None:
        self.scope: Scope = scope
        """The connection as the server has it: an ASGI scope."""
        self.method: str = scope["method"]
        """GET or HEAD to subscribe, POST to publish."""
        self.path: str = scope["path"]
        """The path of the URL, decoded."""
        client = scope.get("client")
        self.client: tuple[str, int] | None = (client[0], client[1]) if client else None
        """Address and port of the client, or of the proxy in front."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the headers by their lower-case names; the first, where there are several."""
        headers: dict[str, str] = {}
        for name, value in self.scope["headers"]:
            headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
        return headers

    @property
    def query(self) -> Mapping[str, str]:
        """Return the query's parameters; the first, where there are several of a name.

        URLs are logged and shared: they are no place for a secret.
        """
        text = self.scope.get("query_string", b"").decode("latin-1")
        return dict(reversed(parse_qsl(text, keep_blank_values=True)))

    @property
    def cookies(self) -> Mapping[str, str]:
        """Return the cookies, their values as they are; the first, where there are several.

        That is the one with the longest path (RFC 6265, section 5.4).
        """
        cookies: dict[str, str] = {}
        for header, line in self.scope["headers"]:
            if header.lower() == b"cookie":  # HTTP/2 may have several (RFC 9113, section 8.2.3)
                for pair in line.decode("latin-1").split(";"):
                    name, found, value = pair.partition("=")
                    if found:
                        cookies.setdefault(name.strip(), value.strip())
        return cookies

    @property
    def has_credentials(self) -> bool:
        """Say whether there is an `Authorization` header, or a cookie."""
        return not self.headers.keys().isdisjoint({"authorization", "cookie"})


Authorize: TypeAlias = Callable[[Connection, str], Principal | Awaitable[Principal | None] | None]
"""Says who asks for a channel, by its name, or None: then the answer is 403, or 401 when there were
no credentials at all. May raise `Unauthorized` or `Forbidden` instead. Sync ones must not block."""


class Unauthorized(RequestRefused):
    """Refuse a request whose credentials are missing, wrong, or have expired: 401.

    `challenge` says what is asked for, as the header `WWW-Authenticate` (RFC 9110, section 11.6.1).
    """

    status: ClassVar[int] = 401

    def __init__(
        self, message: str = "credentials are needed", *, challenge: str = "Bearer"
    ) -> None:
        super().__init__(message)
        self.challenge: str = challenge

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the challenge."""
        return {"www-authenticate": self.challenge}


class Forbidden(RequestRefused):
    """Refuse a request of somebody who has not the right: 403."""

    status: ClassVar[int] = 403

    def __init__(self, message: str = "that is not allowed") -> None:
        super().__init__(message)


async def authorized(
    authorize: Authorize, connection: Connection, channel: str, clock: Callable[[], float]
) -> Principal:
    """Return who asks. Raises `Unauthorized`, `Forbidden`, and whatever the authorizer raises."""
    answer = cast("object", authorize(connection, channel))
    principal: object = await answer if inspect.isawaitable(answer) else answer
    if principal is None:
        raise Forbidden if connection.has_credentials else Unauthorized
    if not isinstance(principal, Principal):
        raise TypeError(f"authorize returns a Principal or None, got {type(principal).__name__}")
    if principal.expires_at is not None and principal.expires_at <= clock():
        raise Unauthorized("the credentials have expired")
    return principal
