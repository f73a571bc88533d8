"""Streams and batches as rows: what `decide` returned is kept, nothing is decided here.

All of these are called inside a transaction. Whatever they raise, they leave no cursor open, which
would keep the connection at what it has read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Final

from resumable_core import (
    ABSENT,
    PAGE_BYTES,
    BackendError,
    Batch,
    Change,
    Effect,
    ForeignData,
    Page,
    Publish,
    Sentinel,
    State,
    decode_batch,
    decode_sentinel,
    encode_batch,
    encode_sentinel,
    page_of,
)

COLUMNS: Final = "id, key, sentinel, lease_until, expires_at, count, size"


@dataclass(frozen=True, slots=True)
class Row:
    """Hold a stream as it is stored, and what its log amounts to."""

    stream_id: str
    key: int | None = None
    """None when it is not stored."""
    sentinel: Sentinel = ABSENT
    count: int = 0
    size: int = 0


def load(db: sqlite3.Connection, stream_id: str) -> Row:
    """Return a stream. Raises `BackendError` when it is not ours."""
    query = f"SELECT {COLUMNS} FROM stream WHERE id = ?"  # noqa: S608 - of constants
    found = db.execute(query, (stream_id,)).fetchone()
    return Row(stream_id) if found is None else read_row(found)


def read_row(found: tuple[Any, ...]) -> Row:
    """Return what was found in the columns of a stream. Raises `BackendError`."""
    stream_id, key, record, lease_until, expires_at, count, size = found
    _check(stream_id, found, str, int, bytes, float, float, int, int)
    try:
        sentinel = decode_sentinel(record, lease_until=lease_until, expires_at=expires_at)
    except ForeignData as error:
        raise BackendError(f"foreign data at stream {stream_id!r}: {error}") from error
    return Row(stream_id, key, sentinel, count, size)


def _check(stream_id: str, found: Iterable[object], *kinds: type) -> None:
    """Refuse what others have written: SQLite keeps in a column whatever it is given."""
    types = (*map(type, found),)
    if types != kinds:
        wrong, right = (", ".join(kind.__name__ for kind in each) for each in (types, kinds))
        raise BackendError(
            f"foreign data at stream {stream_id!r}: ({wrong}) where ({right}) was written"
        )


def published(db: sqlite3.Connection, row: Row, change: Change) -> Mapping[str, int]:
    """Return which keys of a `Publish` the log holds, and at which seqs; else nothing."""
    if not isinstance(change, Publish):
        return {}
    query = "SELECT seq FROM published WHERE stream = ? AND key = ?"
    seqs: dict[str, int] = {}
    for each in change.publications:
        found = db.execute(query, (row.key, each.key)).fetchone()
        if found is not None:
            _check(row.stream_id, found, int)
            seqs[each.key] = found[0]
    return seqs


def keep(db: sqlite3.Connection, row: Row, effect: Effect, turn: int, now: float) -> None:
    """Put an effect in the place of `row`."""
    sentinel, batch, key = effect.sentinel, effect.batch, row.key
    count, size = row.count, row.size
    if effect.clear and key is not None:
        db.execute("DELETE FROM batch WHERE stream = ?", (key,))
        db.execute("DELETE FROM published WHERE stream = ?", (key,))
        count = size = 0
    if sentinel.state is State.ABSENT:
        db.execute("DELETE FROM stream WHERE key = ?", (key,))
        return
    if key is None:
        key = db.execute("INSERT INTO stream (id) VALUES (?)", (row.stream_id,)).lastrowid
        assert key is not None  # noqa: S101 - a row was inserted
    if batch is not None:
        values = (key, batch.last_seq, batch.first_seq, batch.count, batch.size, batch.time)
        db.execute("INSERT INTO batch VALUES (?, ?, ?, ?, ?, ?, ?)", (*values, encode_batch(batch)))
        db.executemany(
            "INSERT INTO published VALUES (?, ?, ?)",
            ((key, name, seq) for name, seq in effect.keys.items()),
        )
        row = Row(row.stream_id, key, sentinel, count + batch.count, size + batch.size)
        count, size = _trim(db, row, now)
    db.execute(
        "UPDATE stream SET sentinel = ?, lease_until = ?, expires_at = ?, count = ?, size = ?,"
        " changed = ? WHERE key = ?",
        (
            encode_sentinel(sentinel),
            sentinel.lease_until,
            sentinel.expires_at,
            count,
            size,
            turn,
            key,
        ),
    )


def remove(db: sqlite3.Connection, key: int) -> None:
    """Remove a stream, whatever it holds."""
    db.execute("DELETE FROM batch WHERE stream = ?", (key,))
    db.execute("DELETE FROM published WHERE stream = ?", (key,))
    db.execute("DELETE FROM stream WHERE key = ?", (key,))


@dataclass(slots=True)
class _Oldest:
    """Iterate over the batches of a log from the oldest on, as far as retention looks."""

    stream_id: str
    rows: Iterable[tuple[Any, ...]]
    seen: list[_Kept] = field(default_factory=list["_Kept"])

    def __iter__(self) -> Iterator[_Kept]:
        for row in self.rows:
            _check(self.stream_id, row, int, int, int, float)
            self.seen.append(_Kept(*row))
            yield self.seen[-1]


@dataclass(frozen=True, slots=True)
class _Kept:
    last_seq: int
    count: int
    size: int
    time: float


def _trim(db: sqlite3.Connection, row: Row, now: float) -> tuple[int, int]:
    """Remove what retention does not ask for; return the count and the size of what is left."""
    query = "SELECT last_seq, count, size, time FROM batch WHERE stream = ? ORDER BY last_seq"
    with closing(db.execute(query, (row.key,))) as found:
        oldest = _Oldest(row.stream_id, found)
        excess = row.sentinel.retention.excess(oldest, row.count, row.size, now)
    gone = oldest.seen[:excess]
    if gone:
        last = gone[-1].last_seq
        db.execute("DELETE FROM batch WHERE stream = ? AND last_seq <= ?", (row.key, last))
        db.execute("DELETE FROM published WHERE stream = ? AND seq <= ?", (row.key, last))
    count = row.count - sum(batch.count for batch in gone)
    size = row.size - sum(batch.size for batch in gone)
    return count, size


def batches_after(db: sqlite3.Connection, row: Row, after: int, limit: int) -> list[Batch]:
    """Return the batches that a page after the seq `after` is cut from. Raises `BackendError`."""
    query = "SELECT record, last_seq FROM batch WHERE stream = ? AND last_seq > ? ORDER BY last_seq"
    batches: list[Batch] = []
    size = 0
    with closing(db.execute(query, (row.key, after))) as found:
        for record, last_seq in found:
            _check(row.stream_id, (record, last_seq), bytes, int)
            try:
                batches.append(decode_batch(record))
            except ForeignData as error:
                raise BackendError(f"foreign data at stream {row.stream_id!r}: {error}") from error
            size += batches[-1].size
            first_seq = max(after + 1, batches[0].first_seq)
            if size >= PAGE_BYTES or last_seq >= first_seq + limit - 1:
                break
    return batches


def page_after(db: sqlite3.Connection, stream_id: str, after: int, limit: int) -> Page:
    """Return the sentinel as it is stored, and a page of events. Raises `BackendError`."""
    row = load(db, stream_id)
    sentinel = row.sentinel
    first = db.execute(
        "SELECT first_seq FROM batch WHERE stream = ? ORDER BY last_seq LIMIT 1", (row.key,)
    ).fetchone()
    first_seq = sentinel.last_seq + 1
    if first is not None:
        _check(stream_id, first, int)
        (first_seq,) = first
    events, offset = page_of(batches_after(db, row, after, limit), after, limit)
    return Page(sentinel, after, first_seq, events, offset if events else sentinel.characters)
