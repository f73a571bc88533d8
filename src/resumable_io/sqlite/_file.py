"""The file: how it is opened, how it is recognised, and what its errors mean."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from resumable_core import BackendError, BackendFull, BackendUnavailable

T = TypeVar("T")

APPLICATION: Final = 0x52534D42
"""Marks a file as ours, in its header: `RSMB`."""

VERSION: Final = 2
"""Of the tables below."""

TABLES: Final = (
    # `changed` is the number of the turn that changed the stream last, whoever took it.
    """
    CREATE TABLE stream (
        key INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        sentinel BLOB NOT NULL DEFAULT x'',
        lease_until REAL NOT NULL DEFAULT 0,
        expires_at REAL NOT NULL DEFAULT 0,
        count INTEGER NOT NULL DEFAULT 0,
        size INTEGER NOT NULL DEFAULT 0,
        changed INTEGER NOT NULL DEFAULT 0
    )
    """,
    "CREATE INDEX stream_by_expiry ON stream (expires_at)",
    "CREATE INDEX stream_by_change ON stream (changed)",
    """
    CREATE TABLE batch (
        stream INTEGER NOT NULL,
        last_seq INTEGER NOT NULL,
        first_seq INTEGER NOT NULL,
        count INTEGER NOT NULL,
        size INTEGER NOT NULL,
        time REAL NOT NULL,
        record BLOB NOT NULL,
        PRIMARY KEY (stream, last_seq)
    )
    """,
    # Under which keys the events of a channel were published.
    """
    CREATE TABLE published (
        stream INTEGER NOT NULL,
        key TEXT NOT NULL,
        seq INTEGER NOT NULL,
        PRIMARY KEY (stream, key)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX published_by_seq ON published (stream, seq)",
    "CREATE TABLE turn (number INTEGER NOT NULL)",
    "INSERT INTO turn VALUES (0)",
)

RETRY: Final = 0.01
"""Seconds between two attempts at what SQLite itself does not wait for."""


def open_file(path: str, timeout: float) -> sqlite3.Connection:
    """Open the file, and make it when there is none.

    `timeout` is how many seconds a call waits for the locks of other processes. Raises
    `BackendError` when that is no file of ours, and `BackendUnavailable` when it is locked.
    """
    with errors_of(path):
        db = sqlite3.connect(path, timeout, isolation_level=None, check_same_thread=False)
        db.text_factory = _text
        try:
            with transaction(db, "DEFERRED"):  # somebody may be making it
                ours = _is_ours(db, path)
            if not ours:
                _create(db, path, timeout)
            db.execute("PRAGMA synchronous = FULL")  # what is acknowledged survives a power cut
        except BaseException:
            db.close()
            raise
        return db


def _text(found: bytes) -> str | bytes:
    """Return text; what others have written may be none."""
    try:
        return found.decode()
    except UnicodeDecodeError:
        return found


def _is_ours(db: sqlite3.Connection, path: str) -> bool:
    """Say whether the file holds our tables; False when it holds nothing. Raises otherwise."""
    application = db.execute("PRAGMA application_id").fetchone()[0]
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if (application, version) == (APPLICATION, VERSION):
        return True
    if application == APPLICATION:
        raise BackendError(
            f"{path} has tables of version {version}, but version {VERSION} is expected: "
            "use the release of resumable-io that made it, or a new file"
        )
    if db.execute("SELECT EXISTS (SELECT 1 FROM sqlite_master)").fetchone()[0]:
        raise BackendError(
            f"{path} is the database of another application: give streams a file of their own"
        )
    return False


def _create(db: sqlite3.Connection, path: str, timeout: float) -> None:
    mode = _waiting(lambda: db.execute("PRAGMA journal_mode = WAL").fetchone()[0], timeout)
    if mode != "wal":
        raise BackendError(
            f"{path} cannot have a write-ahead log (its journal is {mode!r}): "
            "it has to be a file on a local disk"
        )
    with transaction(db, "IMMEDIATE"):
        if not _is_ours(db, path):  # nobody was faster
            for statement in TABLES:
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {VERSION}")
            db.execute(f"PRAGMA application_id = {APPLICATION}")


def _waiting(act: Callable[[], T], timeout: float) -> T:
    """Do what SQLite refuses at once while others have the file locked."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            return act()
        except sqlite3.OperationalError as error:
            if not _is_locked(error) or time.monotonic() > deadline:
                raise
            time.sleep(RETRY)


class Place:
    """Know where an open file is, and notice when others have taken it away.

    SQLite would go on with what has no name any more, and other processes with a new file: two
    stores, of which one is forgotten; or, without the `-shm` by which they agree, one that both
    write to, and break.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self.path: str = db.execute("PRAGMA database_list").fetchone()[2]
        """The whole path, whatever folder this process is in by now."""
        self._files = (*(Path(f"{self.path}{end}") for end in ("", "-wal", "-shm")),)
        self._found = self._look()

    def check(self) -> None:
        """Raise `BackendError` when one of its files is not there any more, or is another."""
        if self._look() != self._found:
            raise BackendError(
                f"{self.path}, its -wal or its -shm was removed, moved or replaced while it was in "
                "use: put it back, or restart all processes that use it"
            )

    def _look(self) -> tuple[object, ...]:
        try:
            found = [each.stat() for each in self._files]
        except FileNotFoundError:
            return ()
        return tuple((each.st_dev, each.st_ino) for each in found)


@contextmanager
def transaction(db: sqlite3.Connection, kind: str) -> Generator[None]:
    """Do all of a block, or nothing. `kind`: `DEFERRED` to read, `IMMEDIATE` to write."""
    db.execute(f"BEGIN {kind}")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


@contextmanager
def errors_of(path: str) -> Generator[None]:
    """Raise what SQLite reports as an error of ours."""
    try:
        yield
    except sqlite3.ProgrammingError:  # ours, or that of who uses what was closed
        raise
    except sqlite3.Error as error:
        raise _translated(path, error) from error


def _translated(path: str, error: sqlite3.Error) -> BackendError:
    match _code(error):
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return BackendUnavailable(
                f"{path} is locked: somebody else writes to it for longer than the timeout"
            )
        case sqlite3.SQLITE_FULL:
            return BackendFull(f"{path} cannot grow: the disk is full")
        case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT:
            return BackendError(f"{path} is no SQLite database, or a broken one: {error}")
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return BackendError(
                f"{path} cannot be written: {error}. Its folder must exist, and this process must "
                "be allowed to write there: SQLite keeps two more files beside it"
            )
        case 0 | sqlite3.SQLITE_ERROR | sqlite3.SQLITE_CONSTRAINT | sqlite3.SQLITE_MISMATCH:
            return BackendError(
                f"{path} does not hold what was written to it: {error}. "
                "Somebody else has changed it: restore it, or use a new file"
            )
        case _:
            return BackendUnavailable(f"{path}: {error}")


def _is_locked(error: sqlite3.Error) -> bool:
    return _code(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def _code(error: sqlite3.Error) -> int:
    """Return the primary code of an error; errors of Python's own have none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
