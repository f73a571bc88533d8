"""The sentinel, the one state record of a stream or a channel, and what a change makes of it.

Whatever happens to a stream is a `Change`, and `transition` is the only place that decides what a
change does. Backends call it inside an atomic step and keep what it returns; they add no rule of
their own. The table of `_lifecycle` says it all but for three guards, which look at more than the
state and stand before it:

- **Repeats.** A change that has already taken effect, recognised by its epoch, returns the sentinel
  as it is. So every change may be sent again when its outcome is unknown.
- **Fencing.** What only a producer may do needs the current epoch; anybody else is `Fenced`, and so
  is a claim that comes again when others have taken over.
- **Time.** A lease that has not run out, or that the observer has not watched for its whole
  length, and a record that is still to be kept, change nothing.

And one behind it: a claim on a stream that has ended needs a permission (`Takeover`, `replaces`).
Whoever touches a stream observes first: a record past its time is absent, and a claim meets a
producer whose lease has run out as lost.

Every pair that the table refuses raises and changes nothing. Deadlines are in seconds of the
store's own clock, `now`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import field, replace
from typing import Final, assert_never

from ._changes import (
    Append,
    Change,
    Claim,
    Delete,
    Expire,
    Finish,
    Observe,
    Publish,
    Recover,
    Renew,
    Stop,
    Takeover,
)
from ._errors import Fenced, StreamExists, StreamNotFound
from ._frozen import frozen
from ._lifecycle import TABLE, Refusal, State, input_of
from ._lineage import Lineage
from ._records import Outcome
from ._retention import Retention


@frozen
class Sentinel:
    """Hold a stream's one state record.

    `epoch`        the current claim
    `lineage`      all claims of this log; `()` where nothing is known
    `last_seq`     seq of the last event, 0 before the first
    `characters`   code points of all events up to it, whether retained or not
    `lease`        seconds for which a producer's sign of life holds
    `lease_until`  when the producer counts as dead, while active
    `expires_at`   when the record goes away
    `error`        why the stream ended, safe to show
    `metadata`     small JSON of the application, to authorize a resume
    `store`        of a channel: what the store's memory went back to when it was published to last
    """

    state: State
    epoch: str = ""
    lineage: Lineage = field(default_factory=Lineage)
    last_seq: int = 0
    characters: int = 0
    lease: float = 0.0
    lease_until: float = 0.0
    expires_at: float = math.inf
    retention: Retention = field(default_factory=Retention)
    error: str | None = None
    metadata: Mapping[str, object] = field(default_factory=dict[str, object])
    store: str = ""

    @property
    def growing(self) -> bool:
        """Say whether something may still be appended."""
        return self.state is State.ACTIVE or self.state is State.OPEN

    @property
    def outcome(self) -> Outcome | None:
        """Return how the stream ended; None while it is active or not there."""
        return Outcome(self.state) if self.state in _OUTCOMES else None

    @property
    def known(self) -> bool:
        """Say whether there is such a stream for a reader."""
        return self.state not in _NOT_THERE

    def reaching(
        self, last_seq: int, characters: int, lease_until: float, expires_at: float
    ) -> Sentinel:
        """Return it with another top and other deadlines.

        It is what `replace` would make, in a third of its time: this is for every append.
        """
        return Sentinel(
            self.state,
            self.epoch,
            self.lineage,
            last_seq,
            characters,
            self.lease,
            lease_until,
            expires_at,
            self.retention,
            self.error,
            self.metadata,
            self.store,
        )


_OUTCOMES: Final = frozenset({State.DONE, State.FAILED, State.STOPPED, State.LOST})
_NOT_THERE: Final = frozenset({State.ABSENT, State.DELETED})

ABSENT: Final = Sentinel(State.ABSENT)
"""The sentinel of every stream that is not there."""


def is_startable(sentinel: Sentinel, on_lost: Takeover) -> bool:
    """Say whether a claim with `on_lost`, and nothing to replace, would be granted."""
    if sentinel.state is State.LOST:
        return on_lost is not Takeover.REFUSE
    return not sentinel.known


def is_told(before: Sentinel, after: Sentinel) -> bool:
    """Say whether who follows is told of a state: it is another one, or that of another claim."""
    return (before.state, before.epoch) != (after.state, after.epoch)


def unexpired(sentinel: Sentinel, now: float) -> Sentinel:
    """Return `sentinel`, or `ABSENT` when its time is over."""
    return ABSENT if now >= sentinel.expires_at else sentinel


def transition(sentinel: Sentinel, change: Change, now: float) -> Sentinel:
    """Return the sentinel after `change`; the same object when nothing changes.

    Raises `StreamNotFound`, `StreamExists` or `Fenced` for what the table refuses.
    """
    sentinel = unexpired(sentinel, now)
    if isinstance(change, Claim):
        sentinel = transition(sentinel, Observe(change.connected_for), now)
    if _is_repeat(sentinel, change):
        return sentinel
    _check_fence(sentinel, change)
    target = TABLE[sentinel.state][input_of(change)]
    if isinstance(target, Refusal):
        raise _refused(target, sentinel)
    match change:
        case Claim():
            return _claimed(sentinel, change, now)
        case Append():
            return _appended(sentinel, change, now)
        case Renew():
            return _alive(sentinel, now)
        case Finish():
            if sentinel.last_seq < change.last_seq:
                return sentinel
            return _ended_as(sentinel, target, change.error, now)
        case Stop(reason, epoch):
            if epoch is not None and not sentinel.lineage.knows(epoch):
                return sentinel
            return _ended_as(sentinel, target, reason, now)
        case Observe():
            if _lease_is_over(sentinel, change.connected_for, now):
                return _ended_as(sentinel, target, _LEASE_ERROR, now)
            return sentinel
        case Recover():
            return _recovered(sentinel, change, now)
        case Expire():
            return sentinel  # or it would be absent already
        case Delete():
            return _deleted(sentinel, now)
        case Publish():
            return _published(sentinel, change, now)
        case _:
            assert_never(change)


_LEASE_ERROR: Final = "the producer is gone: its lease ran out"


def _is_repeat(sentinel: Sentinel, change: Change) -> bool:
    match change:
        case Claim():
            return sentinel.epoch == change.epoch
        case Finish():
            return sentinel.epoch == change.epoch and sentinel.outcome is change.outcome
        case _:
            return False


def _check_fence(sentinel: Sentinel, change: Change) -> None:
    match change:
        case Append(epoch) | Renew(epoch) | Finish(epoch) | Recover(epoch) | Delete(str() as epoch):
            fenced = sentinel.known and epoch != sentinel.epoch
        case Claim(epoch):
            fenced = sentinel.lineage.knows(epoch)
        case Publish(epoch) if not _goes_on(sentinel, change):
            fenced = epoch == sentinel.epoch or sentinel.lineage.knows(epoch)
        case _:
            return
    if fenced:
        raise Fenced(f"epoch {epoch} is not the current one: another producer took over")


def _refused(refusal: Refusal, sentinel: Sentinel) -> Exception:
    match refusal:
        case Refusal.NOT_FOUND:
            return StreamNotFound(
                "no such stream: it was never started, has expired, or was deleted"
            )
        case Refusal.EXISTS:
            return StreamExists(
                "the stream is being produced already: resume it. "
                "An id names one answer: a new answer needs a new id"
            )
        case Refusal.FENCED:
            return Fenced(f"the stream is {sentinel.state}: nothing can be appended to it")
        case _:
            assert_never(refusal)


def _lease_is_over(sentinel: Sentinel, connected_for: float, now: float) -> bool:
    return (
        sentinel.state is State.ACTIVE
        and now >= sentinel.lease_until
        and connected_for >= sentinel.lease
    )


def _claimed(sentinel: Sentinel, claim: Claim, now: float) -> Sentinel:
    fresh = Sentinel(
        State.ACTIVE,
        epoch=claim.epoch,
        lineage=Lineage.starting(claim.epoch),
        lease=claim.lease,
        retention=claim.retention,
        metadata=claim.metadata,
    )
    if not sentinel.known:
        return _alive(fresh, now)
    if claim.replaces is not None:
        if claim.replaces == sentinel.epoch:
            return _alive(fresh, now)
        raise StreamExists(
            f"the restart names epoch {claim.replaces}, but the current one is {sentinel.epoch}: "
            "somebody has restarted the stream already"
        )
    if sentinel.state is State.LOST and claim.on_lost is Takeover.RESTART:
        return _alive(fresh, now)
    if sentinel.state is State.LOST and claim.on_lost is Takeover.CONTINUE:
        if sentinel.lineage.full:
            raise StreamExists("the stream was taken over too many times: restart it")
        lineage = sentinel.lineage.grown(claim.epoch, sentinel.last_seq + 1)
        top = replace(fresh, last_seq=sentinel.last_seq, characters=sentinel.characters)
        return _alive(replace(top, lineage=lineage), now)
    raise StreamExists(
        f"the stream is {sentinel.state}: resume it, or start a new answer under a new id; "
        "to restart it, name the epoch that is replaced"
    )


def _appended(sentinel: Sentinel, append: Append, now: float) -> Sentinel:
    last = append.first_seq + len(append.messages) - 1
    if append.first_seq > sentinel.last_seq + 1 or last <= sentinel.last_seq:
        return sentinel
    known = sentinel.last_seq + 1 - append.first_seq
    characters = append.characters
    for message in append.messages[:known]:
        characters -= message.characters
    until = now + sentinel.lease
    return sentinel.reaching(last, sentinel.characters + characters, until, until + _keep(sentinel))


def begins_anew(sentinel: Sentinel, publish: Publish) -> bool:
    """Say whether `publish` finds no channel to go on with, or one whose lineage is full."""
    if sentinel.state is not State.OPEN:
        return True
    return sentinel.lineage.full and not _goes_on(sentinel, publish)


def _goes_on(sentinel: Sentinel, publish: Publish) -> bool:
    """Say whether what is published gets ids of the epoch that the channel has."""
    return sentinel.state is State.OPEN and sentinel.store == publish.store


def _published(sentinel: Sentinel, publish: Publish, now: float) -> Sentinel:
    if begins_anew(sentinel, publish):
        sentinel = Sentinel(
            State.OPEN, epoch=publish.epoch, lineage=Lineage.starting(publish.epoch)
        )
    elif not _goes_on(sentinel, publish):
        # The first seq is nobody's, so that all who go past it are told of a gap: what the store
        # may have lost, they may not have seen either.
        skipped = sentinel.last_seq + 1
        lineage = sentinel.lineage.grown(publish.epoch, skipped)
        sentinel = replace(sentinel, epoch=publish.epoch, lineage=lineage, last_seq=skipped)
    characters = sum(each.message.characters for each in publish.publications)
    return replace(
        sentinel,
        last_seq=sentinel.last_seq + len(publish.publications),
        characters=sentinel.characters + characters,
        retention=publish.retention,
        expires_at=now + publish.retention.keep,
        store=publish.store,
    )


def _recovered(sentinel: Sentinel, recover: Recover, now: float) -> Sentinel:
    if sentinel.state is State.ACTIVE and recover.last_seq <= sentinel.last_seq:
        return sentinel
    return _alive(
        Sentinel(
            State.ACTIVE,
            epoch=recover.epoch,
            lineage=recover.lineage,
            last_seq=recover.last_seq,
            characters=recover.characters,
            lease=recover.lease,
            retention=recover.retention,
            metadata=recover.metadata,
        ),
        now,
    )


def _alive(sentinel: Sentinel, now: float) -> Sentinel:
    until = now + sentinel.lease
    return replace(sentinel, lease_until=until, expires_at=until + _keep(sentinel))


def _ended_as(sentinel: Sentinel, state: State, error: str | None, now: float) -> Sentinel:
    if sentinel.state is not State.ACTIVE:
        return sentinel
    return replace(sentinel, state=state, error=error, expires_at=now + _keep(sentinel))


def _deleted(sentinel: Sentinel, now: float) -> Sentinel:
    if not sentinel.known:
        return sentinel
    return Sentinel(State.DELETED, epoch=sentinel.epoch, expires_at=now + _keep(sentinel))


def _keep(sentinel: Sentinel) -> float:
    """Return for how long a stream is kept: a lease at least, so that a repeat finds its result."""
    return max(sentinel.lease, sentinel.retention.keep)
