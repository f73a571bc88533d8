"""Authorizers: bearer tokens, and cookies with a check of where the request comes from.

They say who somebody is. Who may do what on which channel is yours to say: call one, and return
None for a principal that has no business there.
"""

from __future__ import annotations

import hashlib
import hmac
import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final, TypeAlias

from resumable_core import InvalidInput

from ._access import Connection, Forbidden, Principal, Unauthorized

Lookup: TypeAlias = (
    Mapping[str, Principal] | Callable[[str], Principal | Awaitable[Principal | None] | None]
)
"""Whose a secret is: a mapping, of which every entry is compared in constant time, or a function,
sync or async. One that looks in a table should look for a hash of the secret."""

Find: TypeAlias = Callable[[str], Awaitable[Principal | None]]

_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/?#@A-Z]+")


def bearer(lookup: Lookup) -> Callable[[Connection, str], Awaitable[Principal]]:
    """Return an authorizer for `Authorization: Bearer …` (RFC 6750): whoever has a token may in.

    A token is never looked for in the URL, which is logged and shared. A browser's `EventSource`
    can send no header: use `cookie`, or a client that is built on `fetch`.

    Raises `InvalidInput` for a mapping with an empty token, as an unset setting makes one.
    """
    find = finder(lookup)

    async def authorize(connection: Connection, _: str) -> Principal:
        scheme, _, token = connection.headers.get("authorization", "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise Unauthorized("a bearer token is needed")
        principal = await find(token)
        if principal is None:
            raise Unauthorized("unknown token", challenge='Bearer error="invalid_token"')
        return principal

    return authorize


def cookie(
    name: str, lookup: Lookup, origins: str | Iterable[str]
) -> Callable[[Connection, str], Awaitable[Principal]]:
    """Return an authorizer for a cookie, for requests from pages of `origins` alone.

    A browser sends cookies along with whatever request any page makes. So the page's origin is
    checked: `origins` are all that may ask, your own among them, as `https://app.example`.

    The browser tells it in the header `Origin`, but for a GET to the page's own origin, where
    `Sec-Fetch-Site: same-origin` says so; browsers that are old, or on plain HTTP, say neither.
    Without either a GET is granted: no page of another origin could read the answer, since to do
    so it must ask in a way that has an `Origin`. A POST is refused. Give the cookie the attributes
    `HttpOnly`, `Secure` and `SameSite`, too.

    Raises `InvalidInput` for origins that could never match, and for an empty value in a mapping.
    """
    find = finder(lookup)
    allowed = frozenset([origins] if isinstance(origins, str) else origins)
    for origin in allowed:
        if _ORIGIN.fullmatch(origin) is None:
            raise InvalidInput(f"an origin is like https://app.example, got {origin!r}")

    async def authorize(connection: Connection, _: str) -> Principal:
        if not _comes_from(allowed, connection):
            raise Forbidden("requests from this origin are not allowed")
        value = connection.cookies.get(name)
        principal = await find(value) if value else None
        if principal is None:
            raise Unauthorized("a valid session is needed", challenge="Cookie")
        return principal

    return authorize


def _comes_from(allowed: frozenset[str], connection: Connection) -> bool:
    headers = connection.headers
    if (origin := headers.get("origin")) is not None:
        return origin in allowed
    return connection.method != "POST" and headers.get("sec-fetch-site") in {None, "same-origin"}


def finder(lookup: Lookup) -> Find:
    """Return a function that finds whose a secret is."""
    if not callable(lookup):
        return _table(lookup)
    ask = lookup

    async def find(secret: str) -> Principal | None:
        answer = ask(secret)
        return await answer if inspect.isawaitable(answer) else answer

    return find


def _table(entries: Mapping[str, Principal]) -> Find:
    if "" in entries:
        raise InvalidInput("an empty secret would let everybody in: is a setting missing?")
    known = [(_digest(secret), principal) for secret, principal in entries.items()]

    async def find(secret: str) -> Principal | None:
        given, found = _digest(secret), None
        # All of them are compared, as digests of one length: the time tells nothing about any.
        for digest, principal in known:
            if hmac.compare_digest(digest, given):
                found = principal
        return found

    return find


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
