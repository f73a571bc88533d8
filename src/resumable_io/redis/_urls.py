"""What a URL of several servers says: `redis+cluster://` and `redis+sentinel://`.

    redis+cluster://user:password@host:port,host:port?option=…
    redis+sentinel://user:password@host:port,host:port/service/database?option=…

`rediss+…` is TLS. User, password, database and options are those of the servers that hold the data,
as they are in the URL of one server. A port that is left out is 6379, or 26379 for Sentinel.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import unquote, urlsplit

from resumable_core import InvalidInput

from ._port import Address

EXPECTED: Final = "expected redis://host:port/0 or another URL of Redis"
SLASH: Final = "a / in a password is written %2F"
PORTS: Final = {"cluster": 6379, "sentinel": 26379}


@dataclass(frozen=True, slots=True)
class ServersUrl:
    """Hold what a URL of several servers says."""

    scheme: str
    """That of one server: redis or rediss."""
    kind: str
    """cluster or sentinel."""
    addresses: tuple[Address, ...]
    service: str
    """What Sentinel calls the master."""
    _login: str
    _database: str
    _query: str

    @classmethod
    def parse(cls, url: str) -> Self | None:
        """Read a URL; None when it is one of a single server.

        Raises `InvalidInput`, without repeating what might be a password.
        """
        try:
            parts = urlsplit(url)
            one = parts.scheme in {"redis", "rediss", "unix"}
            _ = one and parts.port  # which the clients read
        except ValueError:
            raise InvalidInput(f"no address of a server: {EXPECTED}; {SLASH}") from None
        if one:
            if parts.scheme != "unix":  # whose path is that of the socket
                _check_database(parts.path)
            return None
        scheme, _, kind = parts.scheme.partition("+")
        if scheme not in {"redis", "rediss"} or kind not in PORTS:
            raise InvalidInput(f"no URL of Redis: {EXPECTED}")
        login, at, hosts = parts.netloc.rpartition("@")
        path = parts.path.strip("/")
        service, _, database = path.partition("/") if kind == "sentinel" else ("", "", path)
        if kind == "sentinel" and not service:
            raise InvalidInput("no service: expected redis+sentinel://host:port,host:port/service")
        _check_database(database)
        addresses = tuple(_address(host, PORTS[kind]) for host in hosts.split(","))
        return cls(scheme, kind, addresses, unquote(service), login + at, database, parts.query)

    @property
    def is_tls(self) -> bool:
        """Say whether connections are encrypted."""
        return self.scheme == "rediss"

    def of(self, address: Address) -> str:
        """Return the URL of one of the servers that hold the data."""
        host, port = address
        query = f"?{self._query}" if self._query else ""
        return f"{self.scheme}://{self._login}{_bracketed(host)}:{port}/{self._database}{query}"


def _address(text: str, port: int) -> Address:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port or port
    except ValueError:
        host = None
    if not host:
        raise InvalidInput("no address of a server: expected host:port,host:port after the login")
    return host, port


def _check_database(path: str) -> None:
    """Raise `InvalidInput` for what the clients would take for database 0 without a word."""
    if not re.fullmatch("/?[0-9]*/?", path):
        raise InvalidInput(
            f"no number of a database at the end of the URL: {EXPECTED}; {SLASH}, and a prefix of "
            "keys is named apart from the URL"
        )


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
