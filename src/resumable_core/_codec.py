"""Batches and sentinels as bytes: what a store keeps and what a live feed carries.

A batch is one JSON array, whatever the number of its events, so that an event costs its text and
three characters. Bytes are written as Latin-1 text and marked. The first element is the version of
the format: a reader that does not know it refuses the record instead of guessing.

    [1, epoch, first_seq, offset, size, characters, time,
     [data, …], {index: type}, [index of bytes], {index: [recipient, …]}]
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from types import UnionType
from typing import Any, Final

from ._changes import Publication
from ._errors import ResumableError
from ._ids import MAX_SEQ, check_epoch
from ._lifecycle import State
from ._lineage import Lineage
from ._pages import FOR_EVERYBODY, NO_TYPES, Batch
from ._records import Message
from ._retention import Retention
from ._sentinel import Sentinel

VERSION: Final = 1

_GARBAGE: Final = (ValueError, TypeError, LookupError, AttributeError, RecursionError)
"""What reading something else than a record of ours may end in."""


class ForeignData(ResumableError):
    """Refuse bytes that are not a record of ours, or of a version that is not known here."""


def encode_batch(batch: Batch) -> bytes:
    """Return `batch` as bytes."""
    binary: list[int] = []
    texts: Sequence[str | bytes] = batch.data
    if {*map(type, texts)} != {str}:
        binary = [index for index, data in enumerate(texts) if isinstance(data, bytes)]
        texts = [data if isinstance(data, str) else data.decode("latin-1") for data in texts]
    return _dump(
        (
            VERSION,
            batch.epoch,
            batch.first_seq,
            batch.offset,
            batch.size,
            batch.characters,
            batch.time,
            texts,
            batch.types,
            binary,
            {index: sorted(names) for index, names in batch.to.items()},
        )
    )


def decode_batch(record: bytes) -> Batch:
    """Return the batch that `encode_batch` wrote. Raises `ForeignData`."""
    try:
        (
            version,
            epoch,
            first_seq,
            offset,
            size,
            characters,
            time,
            data,
            types,
            binary,
            to,
        ) = _load(record)
        if not (
            version == VERSION
            and _are(int, first_seq, offset, size, characters)
            and _are(_NUMBER, time)
            and _are(list, data, binary)
            and _are(dict, types, to)
            and data
            and 1 <= first_seq <= MAX_SEQ - len(data)
        ):
            raise ValueError("it has another form")
        # These fail where something could not be delivered, as a lone surrogate.
        check_epoch(epoch)
        "".join(data).encode()
        for index in binary:
            data[index] = data[index].encode("latin-1")
        return Batch(
            epoch,
            first_seq,
            tuple(data),
            size,
            characters,
            offset,
            time,
            _types(types) if types else NO_TYPES,
            _recipients(to) if to else FOR_EVERYBODY,
        )
    except _GARBAGE as error:
        raise ForeignData(f"not a batch of version {VERSION}: {record[:80]!r}") from error


def _types(found: dict[str, str]) -> dict[int, str]:
    for type_ in set(found.values()):
        Message("", type_)
    return {int(index): type_ for index, type_ in found.items()}


def _recipients(found: dict[str, list[str]]) -> dict[int, frozenset[str]]:
    recipients = {int(index): frozenset(names) for index, names in found.items()}
    for names in recipients.values():
        Publication(Message(""), "-", names)
    return recipients


def encode_sentinel(sentinel: Sentinel) -> bytes:
    """Return `sentinel` as bytes, without its deadlines, which are the store's to keep.

    Raises `InvalidInput` when its metadata cannot be JSON.
    """
    retention = sentinel.retention
    return _dump(
        (
            VERSION,
            sentinel.state,
            sentinel.epoch,
            sentinel.lineage.epochs,
            sentinel.last_seq,
            sentinel.characters,
            sentinel.lease,
            (retention.count, retention.bytes, retention.age, retention.keep),
            sentinel.error,
            sentinel.metadata,
            sentinel.store,
        )
    )


def decode_sentinel(record: bytes, *, lease_until: float, expires_at: float) -> Sentinel:
    """Return the sentinel that `encode_sentinel` wrote, with the store's deadlines.

    Raises `ForeignData`.
    """
    try:
        (
            version,
            state,
            epoch,
            lineage,
            last_seq,
            characters,
            lease,
            (count, bytes_, age, keep),
            error,
            metadata,
            store,
        ) = _load(record)
        epochs = tuple((name, first_seq) for name, first_seq in lineage)
        sentinel = Sentinel(
            State(state),
            epoch,
            Lineage(epochs),
            last_seq,
            characters,
            lease,
            lease_until,
            expires_at,
            Retention(count, bytes_, age, keep),
            error,
            metadata,
            store,
        )
        if not (
            version == VERSION
            and _are(str, epoch, store)
            and _are(int, last_seq, characters, count, bytes_, *(first for _, first in epochs))
            and _are(_NUMBER, lease)
            and _are(_TEXT_OR_NONE, error)
            and _are(dict, metadata)
            and 0 <= last_seq <= MAX_SEQ
            and 0 <= lease < math.inf
            and (epochs or not sentinel.known)
        ):
            raise ValueError("it has another form")
        for name, _ in ((epoch, 0), *epochs) if sentinel.known else ():
            check_epoch(name)
    except _GARBAGE as wrong:
        raise ForeignData(f"not a sentinel of version {VERSION}: {record[:80]!r}") from wrong
    else:
        return sentinel


def _are(kind: type | UnionType, *values: object) -> bool:
    for value in values:  # noqa: SIM110 - a generator takes longer than all the rest
        if not isinstance(value, kind):
            return False
    return True


_NUMBER: Final = int | float
_TEXT_OR_NONE: Final = str | None


def _dump(record: tuple[Any, ...]) -> bytes:
    try:
        return _AS_IT_IS.encode(record).encode()
    except UnicodeEncodeError:  # a lone surrogate, in what an application says about a stream
        return _ESCAPED.encode(record).encode()


def _load(record: bytes) -> Any:
    text = record.decode()
    loaded, end = _DECODER.raw_decode(text)
    if end != len(text):
        raise ValueError("something stands behind it")
    return loaded


_DECODER: Final = json.JSONDecoder()
_AS_IT_IS: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_ESCAPED: Final = json.JSONEncoder(separators=(",", ":"))
