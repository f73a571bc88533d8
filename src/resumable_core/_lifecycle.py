"""THE lifecycle table: what may happen to a stream or a channel in which state, and what then.

    state × input → the next state, or why it is refused

The guards that look at more than the state stand in `_sentinel`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, StrEnum, auto
from typing import Final

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
)
from ._records import Outcome


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
    OPEN = "open"
    """A channel: anybody may publish to it, and it has no end."""


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
    PUBLISH = "publish"


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
    Input.PUBLISH: Refusal.EXISTS,
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
        Input.PUBLISH: Refusal.EXISTS,
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
        Input.PUBLISH: State.OPEN,
    },
    State.ACTIVE: _LIVES_ON,
    State.DONE: _ended(State.DONE),
    State.FAILED: _ended(State.FAILED),
    State.STOPPED: _ended(State.STOPPED),
    State.LOST: _ended(State.LOST),
    State.DELETED: {
        **_ended(State.DELETED),
        Input.STOP: Refusal.NOT_FOUND,
        Input.PUBLISH: State.OPEN,
    },
    State.OPEN: {
        **_ended(State.OPEN),
        Input.CLAIM: Refusal.EXISTS,
        Input.STOP: Refusal.FENCED,
        Input.PUBLISH: State.OPEN,
    },
}
"""The next state of every pair, or why it is refused. The diagram in the docs is drawn from it."""


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
    Publish: Input.PUBLISH,
}
_FINISHES: Final[Mapping[Outcome, Input]] = {
    Outcome.DONE: Input.FINISH,
    Outcome.FAILED: Input.FAIL,
    Outcome.LOST: Input.RELEASE,
}
