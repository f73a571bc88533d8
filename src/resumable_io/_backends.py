"""Which backend a URL names."""

from __future__ import annotations

from resumable_core import InvalidInput

from .abc import Backend
from .memory import MemoryBackend


def open_backend(url: str) -> Backend:
    """Return the backend for a URL.

    Raises `InvalidInput` for a scheme that no backend has, and for what is no path of a file.
    """
    scheme, found, rest = url.partition("://")
    match scheme if found else "":
        case "memory":
            if rest:
                raise InvalidInput("memory:// has no name: each is a store of its own")
            return MemoryBackend()
        case (
            "redis" | "rediss" | "unix"
            | "redis+cluster" | "rediss+cluster" | "redis+sentinel" | "rediss+sentinel"
        ):  # fmt: skip
            from .redis import RedisBackend

            return RedisBackend(url)
        case "sqlite":
            from .sqlite import SQLiteBackend

            return SQLiteBackend(_path_of(url))
        case _:  # the rest of a URL may hold a password
            raise InvalidInput(
                f"no backend for {(scheme + found)[:20]!r}: expected memory://, "
                "sqlite:///path.db, redis://host:6379 or the like, or a Backend"
            )


def _path_of(url: str) -> str:
    """Return the path in `sqlite:///relative.db` and `sqlite:////absolute.db`."""
    path = url.removeprefix("sqlite:///")
    if path in {url, ""} or "?" in path:
        raise InvalidInput(
            f"{url!r} names no file: expected sqlite:///relative/path.db or "
            "sqlite:////absolute/path.db, without options"
        )
    return path
