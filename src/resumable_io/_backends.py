"""Which backend a URL names."""

from __future__ import annotations

from resumable_core import InvalidInput

from .abc import Backend
from .memory import MemoryBackend


def open_backend(url: str) -> Backend:
    """Return the backend for a URL.

    Raises `InvalidInput` for a scheme that no backend has.
    """
    match url.partition("://")[0]:
        case "memory":
            return MemoryBackend()
        case "redis" | "rediss" | "unix":
            from .redis import RedisBackend

            return RedisBackend(url)
        case scheme:  # the rest of a URL may hold a password
            raise InvalidInput(
                f"no backend for {scheme[:20]!r}: expected memory, redis, rediss or unix://, "
                "or a Backend"
            )
