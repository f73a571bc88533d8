"""Hypothesis strategies for whatever can be done to a stream, rightly or wrongly aimed."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterable

from hypothesis import strategies as st

from resumable_core import (
    Append,
    Change,
    Claim,
    Delete,
    EventLog,
    Expire,
    Finish,
    Lineage,
    Message,
    Observe,
    Outcome,
    Recover,
    Renew,
    Retention,
    Sentinel,
    Stop,
    StreamError,
    Takeover,
)

from .strategies import messages, notices, retentions, texts


def pauses() -> st.SearchStrategy[float]:
    """Draw seconds between two changes: often less than a lease, at times more than all limits."""
    return st.sampled_from([0.0, 0.0, 0.0, 1.0, 1.0, 4.0, 10.0, 30.0, 100.0])


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """Hold a change that is still to be aimed at a sentinel, rightly or wrongly."""

    change: Change
    epoch: str
    """Whose change it is; "" stands for the epoch of the sentinel."""
    ahead: int
    """From where on, counted from the last seq of the sentinel."""

    def aimed_at(self, sentinel: Sentinel) -> Change:
        """Return the change, with the epoch and the seqs that `sentinel` suggests."""
        epoch = self.epoch or sentinel.epoch or "a"
        last_seq = max(0, sentinel.last_seq + self.ahead)
        match self.change:
            case Claim() as claim:
                named = sentinel.epoch if claim.replaces == "" else claim.replaces
                return dataclasses.replace(claim, epoch=epoch, replaces=named)
            case Append() as append:
                return dataclasses.replace(append, epoch=epoch, first_seq=last_seq + 1)
            case Finish() as finish:
                return dataclasses.replace(finish, epoch=epoch, last_seq=last_seq)
            case Recover() as recover:
                own = epoch == sentinel.epoch and sentinel.known
                return dataclasses.replace(
                    recover,
                    epoch=epoch,
                    lineage=sentinel.lineage if own else Lineage.starting(epoch),
                    last_seq=last_seq,
                    characters=sentinel.characters + max(0, self.ahead),
                )
            case Renew():
                return Renew(epoch)
            case Delete(str()):
                return Delete(epoch)
            case Stop(reason, str()):
                return Stop(reason, epoch)
            case change:
                return change


def append(epoch: str, first_seq: int, messages: Iterable[Message]) -> Append:
    """Return the append of some messages."""
    batch = tuple(messages)
    return Append(epoch, first_seq, batch, sum(message.characters for message in batch))


def plans() -> st.SearchStrategy[Plan]:
    """Draw a change to be aimed at some sentinel."""
    connected_for = st.sampled_from([0.0, 5.0, math.inf])
    leases = st.sampled_from([5.0, 10.0])
    metadata = st.sampled_from([{}, {"user": 1}])
    appends = st.builds(append, st.just(""), st.just(0), st.lists(messages(), max_size=3))
    claims = st.builds(
        Claim,
        st.just(""),
        leases,
        retentions(),
        metadata,
        st.sampled_from(Takeover),
        st.sampled_from([None, None, "", "b"]),
        connected_for,
    )
    recovers = st.builds(
        Recover,
        st.just(""),
        st.just(Lineage()),
        st.just(0),
        st.just(0),
        leases,
        retentions(),
        metadata,
    )
    outcomes = st.sampled_from([Outcome.DONE, Outcome.FAILED, Outcome.LOST])
    others = st.sampled_from([Renew(""), Expire(), Delete(), Delete("")])
    stops = st.builds(Stop, st.none() | texts(), st.sampled_from([None, None, ""]))
    looks = stops | st.builds(Observe, connected_for)
    finishes = st.builds(Finish, st.just(""), outcomes, st.just(0), notices())
    every = st.one_of(appends, appends, claims, claims, recovers, finishes, looks, others)
    return st.builds(
        Plan,
        every,
        st.sampled_from(["", "", "", *"abcdef"]),
        st.sampled_from([0, 0, 0, -2, -1, 1, 2]),
    )


def logs() -> st.SearchStrategy[tuple[EventLog, float]]:
    """Draw a log that some changes have led to, and the time it is then."""
    steps = st.tuples(pauses(), plans())
    return st.builds(_log_after, st.none() | retentions(), st.lists(steps, max_size=12))


def _log_after(
    claimed: Retention | None, steps: Iterable[tuple[float, Plan]]
) -> tuple[EventLog, float]:
    log, now = EventLog(), 0.0
    if claimed is not None:  # most streams begin like this
        log.apply(Claim("a", lease=10.0, retention=claimed), now)
    for pause, plan in steps:
        now += pause
        with contextlib.suppress(StreamError):
            log.apply(plan.aimed_at(log.sentinel), now)
    return log, now


def sentinels() -> st.SearchStrategy[tuple[Sentinel, float]]:
    """Draw a sentinel that some changes have led to, and the time it is then."""
    return logs().map(lambda drawn: (drawn[0].sentinel, drawn[1]))


def copy_of(log: EventLog) -> EventLog:
    """Return a log that does not change with `log`."""
    return dataclasses.replace(log, batches=[*log.batches], keys={**log.keys})
