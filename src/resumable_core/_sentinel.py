"""THE lifecycle table: what may happen to a stream in which state, and what becomes of it.

A stream's one state record is its sentinel. Whatever happens to a stream is a `Change`, and
`transition` is the only place that decides what a change does. Backends call it inside an atomic
step and keep what it returns; they add no rule of their own.

Three guards stand before the table, because they look at more than the state:

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
from dataclasses import dataclass, field, replace
from enum import Enum, StrEnum, auto
from typing import Final, assert_never

from ._changes import (
    Append,
    Change,
    Claim,
    Delete,
    Expire,
    Finish,
    Observe,
    Recover,
    Renew,
    Stop,
    Takeover,
)
from ._errors import Fenced, StreamExists, StreamNotFound
from ._lineage import Lineage
from ._records import Outcome
from ._retention import Retention


class State(StrEnum):
    """Where a stream is in its life."""

    ABSENT = "absent"
    ACTIVE = "active"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"
    LOST = "lost"
    DELETED = "deleted"
    """Absent to readers; the tombstone keeps its producer from restoring it."""


class Input(StrEnum):
    """What can happen to a stream."""

    CLAIM = "claim"
    APPEND = "append"
    RENEW = "renew"
    FINISH = "finish"
    FAIL = "fail"
    RELEASE = "release"
    STOP = "stop"
    LEASE_EXPIRED = "lease-expired"
    RECOVER = "recover"
    EXPIRE = "expire"
    DELETE = "delete"


class Refusal(Enum):
    """Why a pair of state and input is illegal."""

    NOT_FOUND = auto()
    """There is no such stream."""
    EXISTS = auto()
    """Somebody produces it."""
    FENCED = auto()
    """Whoever asks is not its producer any more."""


_LIVES_ON: Final[Mapping[Input, State | Refusal]] = {
    Input.CLAIM: Refusal.EXISTS,
    Input.APPEND: State.ACTIVE,
    Input.RENEW: State.ACTIVE,
    Input.FINISH: State.DONE,
    Input.FAIL: State.FAILED,
    Input.RELEASE: State.LOST,
    Input.STOP: State.STOPPED,
    Input.LEASE_EXPIRED: State.LOST,
    Input.RECOVER: State.ACTIVE,
    Input.EXPIRE: State.ABSENT,
    Input.DELETE: State.DELETED,
}


def _ended(state: State) -> Mapping[Input, State | Refusal]:
    """Return the row of a state in which nothing is appended any more."""
    return {
        Input.CLAIM: State.ACTIVE,
        Input.APPEND: Refusal.FENCED,
        Input.RENEW: Refusal.FENCED,
        Input.FINISH: Refusal.FENCED,
        Input.FAIL: Refusal.FENCED,
        Input.RELEASE: Refusal.FENCED,
        Input.STOP: state,
        Input.LEASE_EXPIRED: state,
        Input.RECOVER: Refusal.FENCED,
        Input.EXPIRE: State.ABSENT,
        Input.DELETE: State.DELETED,
    }


TABLE: Final[Mapping[State, Mapping[Input, State | Refusal]]] = {
    State.ABSENT: {
        Input.CLAIM: State.ACTIVE,
        Input.APPEND: Refusal.NOT_FOUND,
        Input.RENEW: Refusal.NOT_FOUND,
        Input.FINISH: Refusal.NOT_FOUND,
        Input.FAIL: Refusal.NOT_FOUND,
        Input.RELEASE: Refusal.NOT_FOUND,
        Input.STOP: Refusal.NOT_FOUND,
        Input.LEASE_EXPIRED: State.ABSENT,
        Input.RECOVER: State.ACTIVE,
        Input.EXPIRE: State.ABSENT,
        Input.DELETE: State.ABSENT,
    },
    State.ACTIVE: _LIVES_ON,
    State.DONE: _ended(State.DONE),
    State.FAILED: _ended(State.FAILED),
    State.STOPPED: _ended(State.STOPPED),
    State.LOST: _ended(State.LOST),
    State.DELETED: {**_ended(State.DELETED), Input.STOP: Refusal.NOT_FOUND},
}
"""The next state of every pair, or why it is refused. The diagram in the docs is drawn from it."""


@dataclass(frozen=True, slots=True)
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

    @property
    def outcome(self) -> Outcome | None:
        """Return how the stream ended; None while it is active or not there."""
        return Outcome(self.state) if self.state in _OUTCOMES else None

    @property
    def known(self) -> bool:
        """Say whether there is such a stream for a reader."""
        return self.state not in _NOT_THERE


_OUTCOMES: Final = frozenset({State.DONE, State.FAILED, State.STOPPED, State.LOST})
_NOT_THERE: Final = frozenset({State.ABSENT, State.DELETED})

ABSENT: Final = Sentinel(State.ABSENT)
"""The sentinel of every stream that is not there."""


def is_startable(sentinel: Sentinel, on_lost: Takeover) -> bool:
    """Say whether a claim with `on_lost`, and nothing to replace, would be granted."""
    if sentinel.state is State.LOST:
        return on_lost is not Takeover.REFUSE
    return not sentinel.known


def input_of(change: Change) -> Input:
    """Return the column of the table that `change` belongs to."""
    if isinstance(change, Finish):
        return _FINISHES[change.outcome]
    return _INPUTS[type(change)]


_INPUTS: Final[Mapping[type[Change], Input]] = {
    Claim: Input.CLAIM,
    Append: Input.APPEND,
    Renew: Input.RENEW,
    Stop: Input.STOP,
    Observe: Input.LEASE_EXPIRED,
    Recover: Input.RECOVER,
    Expire: Input.EXPIRE,
    Delete: Input.DELETE,
}
_FINISHES: Final[Mapping[Outcome, Input]] = {
    Outcome.DONE: Input.FINISH,
    Outcome.FAILED: Input.FAIL,
    Outcome.LOST: Input.RELEASE,
}


def transition(sentinel: Sentinel, change: Change, now: float) -> Sentinel:
    """Return the sentinel after `change`; the same object when nothing changes.

    Raises `StreamNotFound`, `StreamExists` or `Fenced` for what the table refuses.
    """
    if not isinstance(change, Expire):
        sentinel = transition(sentinel, Expire(), now)
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
        case Stop():
            return _ended_as(sentinel, target, change.reason, now)
        case Observe():
            if _lease_is_over(sentinel, change.connected_for, now):
                return _ended_as(sentinel, target, _LEASE_ERROR, now)
            return sentinel
        case Recover():
            return _recovered(sentinel, change, now)
        case Expire():
            return ABSENT if now >= sentinel.expires_at else sentinel
        case Delete():
            return _deleted(sentinel, now)
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
        case Append(epoch) | Renew(epoch) | Finish(epoch) | Recover(epoch):
            fenced = sentinel.known and epoch != sentinel.epoch
        case Claim(epoch):
            fenced = sentinel.lineage.knows(epoch)
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
    return _alive(
        replace(sentinel, last_seq=last, characters=sentinel.characters + characters), now
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
