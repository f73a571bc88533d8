"""A file for each test, and backends on it."""

import pytest

from resumable_io.sqlite import SQLiteBackend


@pytest.fixture
def path(tmp_path):
    return tmp_path / "streams.db"


@pytest.fixture
def open_backend(path):
    """Open a backend on the file: all of them share their streams, as processes do."""
    return lambda **options: SQLiteBackend(path, **options)
