"""A stream, and consumers that are driven through it a page at a time.

`expected` says in the plainest way what a consumer is to be told of a stream that has come to rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from resumable_core import (
    After,
    Append,
    AtCharacter,
    Batch,
    Beginning,
    Claim,
    Cursor,
    Effect,
    End,
    Event,
    EventId,
    EventLog,
    Finish,
    Follower,
    FollowerLimits,
    Gap,
    GapReason,
    Live,
    Message,
    Outcome,
    Page,
    Position,
    Record,
    Reset,
    ResetReason,
    Retention,
    Sentinel,
    State,
    Takeover,
    Unreadable,
)
from resumable_core._records import character_count

LEASE: Final = 10.0
KEEP: Final = 1000.0
BEGINNING: Final = Beginning()


@dataclass
class StreamWorld:
    """A log and everything that was ever in it."""

    log: EventLog
    held: dict[EventId, Event]
    offsets: dict[EventId, int]  # code points before each event
    now: float = 0.0
    claims: int = 0

    @classmethod
    def started(cls, retention: Retention | None = None) -> StreamWorld:
        stream = cls(EventLog(), {}, {})
        stream.claim(retention=retention or Retention(keep=KEEP))
        return stream

    @property
    def sentinel(self) -> Sentinel:
        return self.log.sentinel

    @property
    def events(self) -> list[Event]:
        return [event for batch in self.log.batches for event in batch.events]

    def claim(self, *, retention: Retention | None = None, **options: Any) -> Effect:
        self.claims += 1
        claim = Claim(f"e{self.claims}", LEASE, retention or self.sentinel.retention, **options)
        return self.log.apply(claim, self.now)

    def append(self, *data: str | bytes) -> Batch:
        at = self.sentinel
        messages = tuple(Message(each) for each in data)
        characters = sum(message.characters for message in messages)
        offset = at.characters
        effect = self.log.apply(Append(at.epoch, at.last_seq + 1, messages, characters), self.now)
        assert effect.batch is not None
        for event in effect.batch.events:
            self.held[event.id] = event
            self.offsets[event.id] = offset
            offset += character_count(event.data)
        return effect.batch

    def lose(self, *data: str | bytes) -> None:
        """Append `data`, which the store loses and nobody has any more."""
        before = self.log.batches[:], self.log.count, self.log.size
        self.append(*data)
        self.log.batches, self.log.count, self.log.size = before

    def end(self, outcome: Outcome = Outcome.DONE) -> Effect:
        return self.log.apply(
            Finish(self.sentinel.epoch, outcome, self.sentinel.last_seq), self.now
        )

    def take_over(self) -> Effect:
        self.end(Outcome.LOST)
        return self.claim(on_lost=Takeover.CONTINUE)

    def roll_back(self, last_seq: int) -> None:
        """Let the store lose its newest part: the batches behind `last_seq`."""
        at = self.sentinel
        self.log.batches = [each for each in self.log.batches if each.last_seq <= last_seq]
        last = self.log.batches[-1]
        self.log.sentinel = type(at)(
            State.ACTIVE,
            at.epoch,
            at.lineage,
            last.last_seq,
            last.offset + last.characters,
            LEASE,
            at.lease_until,
            at.expires_at,
            at.retention,
        )


def stream_of(*data: str | bytes) -> StreamWorld:
    """Return a stream that holds `data`, each in a batch of its own."""
    stream = StreamWorld.started()
    for each in data:
        stream.append(each)
    return stream


# What is to be told


def as_bytes(data: str | bytes) -> bytes:
    """Return `data` as it goes over a wire."""
    return data.encode() if isinstance(data, str) else data


def behind(event: Event, stream: StreamWorld, offset: int) -> str | bytes:
    """Return what remains of an event behind the first `offset` code points of the stream."""
    data = event.data
    count = offset - stream.offsets[event.id]
    if count <= 0 and offset > 0 and isinstance(data, bytes):
        count = 0  # the rest of a character that began before
    elif count <= 0:
        return data
    if isinstance(data, str):
        return data[count:]
    starts = [index for index, byte in enumerate(data) if byte & 0xC0 != 0x80] + [len(data)]
    return data[starts[min(count, len(starts) - 1)] :]


def expected(stream: StreamWorld, position: Position) -> list[Record]:
    """Return all that a consumer is told about a stream that has ended, or rests."""
    at, start = stream.sentinel, 0
    records: list[Record] = []
    lineage, last_seq = at.lineage, at.last_seq
    match position:
        case After(id, end):
            former = any(id.epoch == epoch for epoch, _ in lineage.epochs)
            if not lineage.contains(id):
                reason = ResetReason.RESTARTED if former else ResetReason.UNKNOWN
                records = [Reset(lineage.id_at(0), reason)]
            elif id.seq > last_seq:
                records = [Reset(lineage.id_at(0), ResetReason.AHEAD)]
            elif end and at.outcome and id == lineage.id_at(last_seq):
                return []
            else:
                start = id.seq
        case AtCharacter(offset) if offset > at.characters:
            records = [Reset(lineage.id_at(0), ResetReason.AHEAD)]
            position = Beginning()
        case Live():
            start = last_seq
        case Unreadable(reason):
            records = [Reset(lineage.id_at(0), ResetReason(reason))]
        case Beginning() | AtCharacter():
            pass
    retained = {event.id.seq: event for event in stream.events}
    missing = False
    for seq in range(start + 1, last_seq + 1):
        event = retained.get(seq)
        lost = stream.held[lineage.id_at(seq)]
        if isinstance(position, AtCharacter) and position.offset and not missing:
            # Until something is to be told, what was passed over is not told about.
            rest = behind(event or lost, stream, position.offset)
            if not rest and not any(isinstance(each, Event | Gap) for each in records):
                continue
            if event is not None:
                event = Event(event.id, rest, event.type)
                position = Beginning()
        if event is None:
            missing = True
            if seq + 1 in retained or seq == last_seq:
                first_seq = min(retained, default=0)  # the newest is never trimmed
                why = GapReason.TRIMMED if seq < first_seq else GapReason.LOST
                records.append(Gap(lineage.id_at(seq), why))
        else:
            missing = False
            position = Beginning()
            records.append(event)
    if at.outcome is not None:
        records.append(End(lineage.id_at(last_seq), at.outcome, at.error))
    return records


def assert_lawful(records: Sequence[Record]) -> None:
    """Laws 1, 2 and 5, of any consumer: in order, once, and what is missing is reported."""
    assert not any(isinstance(record, End) for record in records[:-1])
    for before, after in pairwise(records):
        match before, after:
            case _, Reset(id=id):
                assert id.seq == 0
            case _, Gap(id=id):
                assert id.seq > before.id.seq, "a gap says that something is missing"
            case _, Event(id=id):
                assert id.seq == before.id.seq + 1
            case Event(id=id) | Gap(id=id), End():
                assert after.id == id
            case _:
                pass  # an end that comes first, or after a reset


def hand_in(cursor: Cursor, page: Page, now: float) -> Sequence[Record]:
    """Let a cursor read a page, and see that where it may just follow, that is the same."""
    short = copy(cursor)
    followed = short.follow(page)
    start = cursor.after
    records = cursor.read(page, now)
    if short.after != start:
        assert followed == records
        assert vars(short) == vars(cursor)
    return records


class Consumer:
    """Drive a cursor until it has to wait, as its docstring says."""

    def __init__(
        self,
        stream: StreamWorld,
        position: Position = BEGINNING,
        follower: Follower | None = None,
        limit: int = 512,
    ) -> None:
        self.stream = stream
        self.cursor: Cursor = Cursor(position)
        self.follower = follower
        self.limit = limit
        self.records: list[Record] = []
        self.log_reads: int = 0

    def read(self) -> Sequence[Record]:
        """Read one page."""
        cursor = self.cursor
        page: Page | None = None
        if self.follower is not None and not cursor.from_log:
            page = self.follower.page(cursor.after)
        if page is None:
            self.log_reads += 1
            limit = min(self.limit, cursor.limit)
            page = self.stream.log.read(
                cursor.after, self.stream.now, limit=limit, connected_for=0.0
            )
        records = hand_in(cursor, page, self.stream.now)
        self.records += records
        return records

    def read_on(self) -> list[Record]:
        """Read until there is nothing to do but wait; return what was told since."""
        before = len(self.records)
        for _ in range(1000):
            records, deadline = self.read(), self.cursor.deadline
            if self.cursor.finished:
                assert deadline is None
                break
            if not records and (deadline is None or deadline > self.stream.now):
                break
        else:
            raise AssertionError("a cursor that never waits")
        assert_lawful(self.records)
        return self.records[before:]


def told(stream: StreamWorld, position: Position = BEGINNING, **options: Any) -> list[Record]:
    """Return what a consumer is told before it has to wait."""
    return Consumer(stream, position, **options).read_on()


def following(stream: StreamWorld) -> Follower:
    """Return a follower that knows of the stream what the log does."""
    follower = Follower(FollowerLimits(), stream.now)
    follower.subscribed(stream.now)
    refresh(follower, stream)
    return follower


def refresh(follower: Follower, stream: StreamWorld) -> None:
    """Carry out the reads that a follower asks for now."""
    while (fetch := follower.next_fetch(stream.now)) is not None:
        follower.fetched(stream.log.read(fetch.after, stream.now, connected_for=0.0), stream.now)
