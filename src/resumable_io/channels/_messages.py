"""Read what is to be published from a request: JSON, read strictly.

    {"data": …, "type": "…", "to": "…" | ["…", …], "key": "…"}

Only `data` is needed. Text is published as it is, anything else as compact JSON. `key` makes a
repeat harmless; it may be in the header `Idempotency-Key` instead.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, NoReturn, cast

from resumable_core import InvalidMessage, Message, check_name
from resumable_io._http import Receive, RequestRefused, Scope
from resumable_io._sources import encode_json

from ._access import Connection

MEMBERS: Final = frozenset({"data", "type", "to", "key"})


class UnsupportedType(RequestRefused):
    """Refuse what is not said to be JSON: 415.

    A page of another origin may send a form, or plain text, without asking first; JSON it may not.
    """

    status: ClassVar[int] = 415


class TooLarge(RequestRefused):
    """Refuse a body that is too large: 413."""

    status: ClassVar[int] = 413


class TooSlow(RequestRefused):
    """Refuse a body that takes too long to arrive: 408."""

    status: ClassVar[int] = 408


class Disconnected(Exception):
    """Say that the client has left before its request was complete."""


@dataclass(frozen=True, slots=True)
class Post:
    """Hold a message that is to be published, for whom, and under which key."""

    message: Message
    to: frozenset[str] | None
    key: str | None


def check_type(connection: Connection) -> None:
    """Raise `UnsupportedType` unless the request says that it has JSON."""
    kind = connection.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise UnsupportedType("a message is sent as application/json")


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """Return the body of a request.

    Raises `TooLarge` for one over `limit` bytes, before it is read where that is said before;
    `InvalidMessage` when it is not as long as was said; `Disconnected`.
    """
    said = {value for name, value in scope["headers"] if name.lower() == b"content-length"}
    if len(said) > 1 or any(not length.isdigit() for length in said):
        raise InvalidMessage("content-length is one number")
    length = next((int(length[:20]) for length in said), None)
    if length is not None and length > limit:
        raise _too_large(limit)
    body, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        body += message.get("body", b"")
        if len(body) > limit:
            raise _too_large(limit)
        more = message.get("more_body", False)
    if length is not None and length != len(body):
        raise InvalidMessage(f"content-length is {length}, got {len(body)} bytes")
    return bytes(body)


def parse(body: bytes, connection: Connection) -> Post:
    """Return what is to be published. Raises `InvalidInput` for what is not as it should be."""
    try:
        parsed: Any = json.loads(
            body.decode(), object_pairs_hook=_object, parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as error:
        raise InvalidMessage(f"a message is JSON in UTF-8: {error}") from None
    if not isinstance(parsed, dict):
        raise InvalidMessage(f"a message is a JSON object, got {_kind(parsed)}")
    members = cast("dict[str, Any]", parsed)
    if unknown := sorted(members.keys() - MEMBERS):
        raise InvalidMessage(f"a message has no member {unknown[0][:80]!r}")
    if "data" not in members:
        raise InvalidMessage("a message has data")
    data = members["data"]
    text = data if isinstance(data, str) else encode_json(data)
    return Post(Message(text, _text(members, "type")), _to(members), _key(members, connection))


def _text(members: Mapping[str, Any], name: str) -> str | None:
    if name not in members:
        return None
    value = members[name]
    if not isinstance(value, str):
        raise InvalidMessage(f"{name} is text, got {_kind(value)}")
    return value


def _to(members: Mapping[str, Any]) -> frozenset[str] | None:
    match members:
        case {"to": str(recipient)}:
            return frozenset([recipient])
        case {"to": [*recipients]} if all(isinstance(each, str) for each in recipients):
            return frozenset(recipients)
        case {"to": other}:
            raise InvalidMessage(f"to is a recipient, or a list of some, got {_kind(other)}")
        case _:
            return None


def _key(members: Mapping[str, Any], connection: Connection) -> str | None:
    header = connection.headers.get("idempotency-key")
    if header is not None and len(header) > 1 and header[0] == header[-1] == '"':
        header = header[1:-1]  # a string, as in RFC 9651
    key = _text(members, "key")
    if None not in {header, key} and header != key:
        raise InvalidMessage("key and Idempotency-Key differ: give one of them")
    key = header if key is None else key
    if key is not None:
        check_name("a key", key)
    return key


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a member is there twice")
    return members


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case _:
            return "an object"


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"a message has at most {limit} bytes as JSON")
