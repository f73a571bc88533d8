"""Streams in an SQLite file: durable, shared by the processes of one host. No server."""

from .backend import SQLiteBackend

__all__ = ["SQLiteBackend"]
