"""The backend contract of `abc.py` on an SQLite file that is locked for a while."""

import sqlite3
from contextlib import asynccontextmanager, closing

import pytest

from resumable_io.testing import OUTAGES, check_outages


@pytest.mark.parametrize("scenario", OUTAGES, ids=lambda scenario: scenario.__name__)
async def test_it_passes(path, open_backend, scenario):
    """Nobody can write; each says so before a scenario gives an attempt up."""

    @asynccontextmanager
    async def locked(_backend):
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield

    await check_outages(lambda: open_backend(timeout=0.2), locked, [scenario])
