"""Streams in Redis: the backend for more than one process. Needs the extra `redis` or `trio`."""

from .backend import RedisBackend

__all__ = ["RedisBackend"]
