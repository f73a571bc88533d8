"""Streams and batches as rows: what `decide` returned is kept, nothing is decided here.

All of these are called inside a transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
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
    Retention,
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
    try:
        sentinel = decode_sentinel(record, lease_until=lease_until, expires_at=expires_at)
    except ForeignData as error:
        raise BackendError(f"foreign data at stream {stream_id!r}: {error}") from error
    return Row(stream_id, key, sentinel, count, size)


def published(db: sqlite3.Connection, row: Row, change: Change) -> Mapping[str, int]:
    """Return which keys of a `Publish` the log holds, and at which seqs; else nothing."""
    if not isinstance(change, Publish):
        return {}
    query = "SELECT key, seq FROM published WHERE stream = ? AND key = ?"
    wanted = ((row.key, each.key) for each in change.publications)
    return dict(found for key in wanted for found in db.execute(query, key))


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
        count, size = _trim(
            db, key, sentinel.retention, now, count=count + batch.count, size=size + batch.size
        )
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


@dataclass(slots=True)
class _Oldest:
    """Iterate over the batches of a log from the oldest on, as far as retention looks."""

    rows: Iterator[tuple[Any, ...]]
    seen: list[_Kept] = field(default_factory=list["_Kept"])

    def __iter__(self) -> Iterator[_Kept]:
        for row in self.rows:
            self.seen.append(_Kept(*row))
            yield self.seen[-1]


@dataclass(frozen=True, slots=True)
class _Kept:
    last_seq: int
    count: int
    size: int
    time: float


def _trim(
    db: sqlite3.Connection, key: int, retention: Retention, now: float, *, count: int, size: int
) -> tuple[int, int]:
    """Remove what retention does not ask for; return the count and the size of what is left."""
    oldest = _Oldest(
        db.execute(
            "SELECT last_seq, count, size, time FROM batch WHERE stream = ? ORDER BY last_seq",
            (key,),
        )
    )
    gone = oldest.seen[: retention.excess(oldest, count, size, now)]
    if gone:
        last = gone[-1].last_seq
        db.execute("DELETE FROM batch WHERE stream = ? AND last_seq <= ?", (key, last))
        db.execute("DELETE FROM published WHERE stream = ? AND seq <= ?", (key, last))
    return count - sum(batch.count for batch in gone), size - sum(batch.size for batch in gone)


def batches_after(db: sqlite3.Connection, row: Row, after: int, limit: int) -> list[Batch]:
    """Return the batches that a page after the seq `after` is cut from. Raises `BackendError`."""
    found = db.execute(
        "SELECT record, last_seq FROM batch WHERE stream = ? AND last_seq > ? ORDER BY last_seq",
        (row.key, after),
    )
    batches: list[Batch] = []
    size = 0
    for record, last_seq in found:
        try:
            batches.append(decode_batch(record))
        except ForeignData as error:
            raise BackendError(f"foreign data in the log of {row.stream_id!r}: {error}") from error
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
    first_seq = sentinel.last_seq + 1 if first is None else first[0]
    events, offset = page_of(batches_after(db, row, after, limit), after, limit)
    return Page(sentinel, after, first_seq, events, offset if events else sentinel.characters)
