"""A stream as plainly as can be: a list of rows that forgets nothing. The oracle of any log."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from resumable_core import (
    Append,
    Change,
    Claim,
    Delete,
    Event,
    EventId,
    Expire,
    Fenced,
    Finish,
    Message,
    Observe,
    Publish,
    Recover,
    Renew,
    Stop,
    StreamExists,
    StreamNotFound,
    Takeover,
)


def code_points(data: str | bytes) -> int:
    """Count code points: bytes by those that no character goes on with."""
    return len(data) if isinstance(data, str) else sum(byte >> 6 != 0b10 for byte in data)


@dataclass(frozen=True)
class Row:
    """One event, or a hole: the seqs up to this one that were skipped, with their code points."""

    seq: int
    epoch: str
    message: Message | None
    characters: int


@dataclass(frozen=True)
class Model:
    """What a stream is, as plainly as can be: all its rows, and nothing is ever trimmed."""

    state: str = "absent"
    epoch: str = ""
    epochs: tuple[tuple[str, int], ...] = ()
    rows: tuple[Row, ...] = ()
    lease: float = 0.0
    keep: float = 0.0
    lease_until: float = 0.0
    expires_at: float = math.inf

    @property
    def last_seq(self) -> int:
        return self.rows[-1].seq if self.rows else 0

    @property
    def there(self) -> bool:
        return self.state not in {"absent", "deleted"}

    def characters_before(self, seq: int) -> int:
        return sum(row.characters for row in self.rows if row.seq < seq)

    def events(self) -> dict[int, Event]:
        return {
            row.seq: Event(EventId(row.epoch, row.seq), row.message.data, row.message.type)
            for row in self.rows
            if row.message is not None
        }

    def alive(self, now: float, **changed: Any) -> Model:
        model = replace(self, state="active", **changed)
        until = now + model.lease
        return replace(model, lease_until=until, expires_at=until + max(model.lease, model.keep))

    def ended(self, state: str, now: float) -> Model:
        return replace(self, state=state, expires_at=now + max(self.lease, self.keep))

    def after(self, change: Change, now: float) -> Model:
        """Return what becomes of the stream, or raise why not."""
        if now >= self.expires_at:
            return Model().after(change, now)
        match change:
            case Expire():
                return self
            case Delete(epoch) if not self.there or epoch in {None, self.epoch}:
                until = now + max(self.lease, self.keep)
                return Model("deleted", self.epoch, expires_at=until) if self.there else self
            case Delete():
                raise Fenced
            case Observe(seconds):
                dead = self.state == "active" and now >= self.lease_until and seconds >= self.lease
                return self.ended("lost", now) if dead else self
            case Stop(_, epoch):
                if not self.there:
                    raise StreamNotFound
                own = epoch in {None, *(each for each, _ in self.epochs)}
                return self.ended("stopped", now) if self.state == "active" and own else self
            case Claim():
                return self.after(Observe(change.connected_for), now).claimed(change, now)
            case Recover() if self.state == "absent":
                hole = Row(change.last_seq, change.epoch, None, change.characters)
                return Model().alive(
                    now,
                    epoch=change.epoch,
                    epochs=change.lineage.epochs,
                    rows=(hole,) if change.last_seq else (),
                    lease=change.lease,
                    keep=change.retention.keep,
                )
            case _ if self.state == "absent":
                raise StreamNotFound
            case Finish(epoch, outcome) if epoch == self.epoch and outcome == self.state:
                return self
            case _ if change.epoch != self.epoch or self.state != "active":
                raise Fenced
            case Renew():
                return self.alive(now)
            case Finish(_, outcome, last_seq):
                return self if last_seq > self.last_seq else self.ended(outcome, now)
            case Recover():
                if change.last_seq <= self.last_seq:
                    return self
                skipped = change.characters - self.characters_before(change.last_seq + 1)
                hole = Row(change.last_seq, change.epoch, None, skipped)
                lease, keep = change.lease, change.retention.keep
                return self.alive(now, rows=(*self.rows, hole), lease=lease, keep=keep)
            case Append(_, first_seq, messages):
                rows = tuple(
                    Row(seq, self.epoch, message, code_points(message.data))
                    for seq, message in enumerate(messages, first_seq)
                    if seq > self.last_seq
                )
                fits = bool(rows) and rows[0].seq == self.last_seq + 1
                return self.alive(now, rows=self.rows + rows) if fits else self
            case Publish():
                raise NotImplementedError("channels have a machine of their own")

    def claimed(self, claim: Claim, now: float) -> Model:
        if claim.epoch == self.epoch:
            return self
        if claim.epoch in dict(self.epochs):
            raise Fenced
        if self.state == "active":
            raise StreamExists
        new = Model(epoch=claim.epoch, lease=claim.lease, keep=claim.retention.keep)
        first = new.alive(now, epochs=((claim.epoch, 1),))
        if not self.there:
            return first
        if claim.replaces is not None and claim.replaces != self.epoch:
            raise StreamExists
        if claim.replaces is not None or (self.state, claim.on_lost) == ("lost", Takeover.RESTART):
            return first
        if (self.state, claim.on_lost) == ("lost", Takeover.CONTINUE):
            epochs = (*self.epochs, (claim.epoch, self.last_seq + 1))
            return new.alive(now, epochs=epochs, rows=self.rows)
        raise StreamExists
