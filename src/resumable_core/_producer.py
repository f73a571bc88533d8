"""The producer machine: claim, buffer, flush, renew, finish; and restore what the store lost.

The driver has two lanes, so that a renewal never queues behind an append:

    write lane     next_write(now) → Claim · Append · Recover · Finish · Observe
    renew lane     next_renew(now) → Renew

What the write lane is asked for depends on the phase, and on what the store lacks of the run of
messages (`_run.py`) by its last reply:

    phase        the store …                               next_write
    ───────────  ────────────────────────────────────────  ──────────────────────────────────────
    CLAIMING     has not granted the claim yet             Claim
    PRODUCING    has forgotten the stream, or has lost     Recover: what nobody has is skipped,
                 events from before the run                and readers are told by a `Gap`
                 lacks messages of the run                 Append: all that it lacks
                 has all, and the source has ended         Finish
    LINGERING    has recorded the end, and may lose it     Observe now and then; PRODUCING again
                                                           if the end is lost
    CLOSED       is done, or is not to be asked any more   nothing

Each lane has one command under way at most; the driver reports `replied`, `refused` or `failed` for
it before it asks for the next. `write_deadline` and `renew_deadline` say when to ask again although
nothing happened; the limits on time run while commands are under way, so both lanes are to be asked
then, too.

Answers of the two lanes may arrive in any order. An old one may make the machine repeat something,
which changes nothing; once the source has ended, only the write lane is listened to.
"""

from __future__ import annotations

import math
from dataclasses import replace
from enum import Enum, auto
from typing import Final, TypeAlias, assert_never

from ._changes import Append, Claim, Delete, Finish, Observe, Recover, Renew, Takeover
from ._errors import (
    BackendError,
    BackendFull,
    BackendUnavailable,
    Fenced,
    InvalidMessage,
    ResumableError,
    StreamError,
    StreamNotFound,
)
from ._ids import EventId
from ._lane import Lane
from ._lifecycle import State
from ._limits import ProducerLimits
from ._lineage import Lineage
from ._records import Event, Message, Outcome
from ._run import Run
from ._sentinel import ABSENT, Sentinel
from ._ticks import on_tick

RENEWALS_PER_LEASE: Final = 3
"""Two renewals may be lost before a lease runs out."""

GATHER: Final = 0.001
"""Seconds from one append to the next at least, while the source goes on and there is room."""

LINGER_INTERVAL: Final = 1.0
"""Seconds between two looks at a stream that has ended but might be lost again."""


class Phase(Enum):
    """Where a producer is."""

    CLAIMING = auto()
    """The claim is not confirmed yet."""
    PRODUCING = auto()
    """The source is wanted, or its messages are being appended."""
    LINGERING = auto()
    """The end is recorded; the machine stands by to restore it."""
    CLOSED = auto()
    """Nothing is left to do."""


_UNFINISHED: Final = (Phase.CLAIMING, Phase.PRODUCING)

WriteCommand: TypeAlias = Claim | Append | Recover | Finish | Observe
Command: TypeAlias = WriteCommand | Renew


class Producer:
    """Decide what a producer asks of the store. Times are seconds of the caller's own clock.

    At most 2 × `buffer_count` messages are held, and 2 × `buffer_bytes` and one message.
    """

    def __init__(self, claim: Claim, limits: ProducerLimits, now: float) -> None:
        self.phase: Phase = Phase.CLAIMING
        self.sentinel: Sentinel = ABSENT
        """What the store said last."""
        self.outcome: Outcome | None = None
        """How the stream is to end; None while the source goes on."""
        self.reason: str | None = None
        """The safe message that goes with the outcome."""
        self.error: ResumableError | None = None
        """Why the machine closed without having recorded an end."""
        self.has_room: bool = True
        """Whether another message may be offered now; when not, the source waits."""

        self._claim = claim
        self._limits = limits
        self._lineage = Lineage()
        self._run = Run()

        self._gather_until = -math.inf
        self._writes = Lane(now)
        self._renewals = Lane(now)
        self._heard = now  # when the store last replied
        self._started = now
        self._waiting_since = now  # since when there is room, and the source has yielded nothing
        self._offered = False  # whether a message came since; `offer` is not told the time
        self._linger_until = now

    # What the source says and asks

    @property
    def source_wanted(self) -> bool:
        """Say whether the source is to go on; when it isn't, cancel it.

        It is started when the phase is `PRODUCING`: before, it may turn out not to be needed.
        """
        return self.outcome is None and self.phase in _UNFINISHED

    @property
    def flushed(self) -> bool:
        """Say whether the store has acknowledged everything that was offered."""
        return self._run.unacked == 0

    def offer(self, message: Message) -> bool:
        """Take a message from the source. To be called while `source_wanted` and `has_room`.

        Returns whether `next_write` is to be called now; else the message goes with those that wait
        already.

        Raises `InvalidMessage` when it is too large; the machine is then as it was.
        """
        if message.size > self._limits.message_bytes:
            raise InvalidMessage(
                f"a message has at most {self._limits.message_bytes} bytes, got {message.size}: "
                "yield smaller pieces, or raise message_bytes"
            )
        run = self._run
        first = run.last == run.acked
        run.push(message)
        self._offered = True
        self._look_for_room()
        return first or not self.has_room

    def end(self, outcome: Outcome, reason: str | None = None) -> None:
        """Say that the source has ended (done, failed), or gives its lease up (lost).

        `reason` must be safe to show. Only the first end counts.
        """
        if self.outcome is None:
            self.outcome, self.reason = outcome, reason

    def shut_down(self) -> None:
        """Say that the source will not go on here, whether or not it has ended."""
        self.end(Outcome.LOST, "the producer was shut down")

    def hurry(self) -> None:
        """Say that somebody waits for what was offered: append it without gathering any more."""
        self._gather_until = -math.inf

    @property
    def kept(self) -> tuple[Event, ...]:
        """Return the newest events that the store has acknowledged, as far as they are held."""
        return tuple(
            Event(EventId(self._claim.epoch, seq), message.data, message.type)
            for seq, message in self._run.kept()
        )

    @property
    def abandoned(self) -> Sentinel | None:
        """Return how the stream ended, where the store could not be told; else None.

        Nobody but this process knows of it: who follows the stream here is to be told that it has
        failed, and `kept`.
        """
        if not isinstance(self.error, BackendError):
            return None
        return replace(self.sentinel, state=State.FAILED, error=self.error.safe_reason)

    # What the driver asks

    def next_write(self, now: float) -> WriteCommand | None:
        """Return the next command of the write lane, or None while there is none."""
        self._check_limits(now)
        if self._writes.busy or now < self._write_at:
            return None
        command = self._next_write(now)
        if command is not None:
            self._writes.ask(now)
            if isinstance(command, Append):
                self._gather_until = now + GATHER
        return command

    @property
    def write_deadline(self) -> float | None:
        """Return when to call `next_write` again although nothing happened; None: never."""
        if self.phase is Phase.CLOSED:
            return None
        deadline = min(self._outage_at, self._total_at, self._idle_at)
        if self._has_work and not self._writes.busy:
            deadline = min(deadline, self._write_at)
        return None if math.isinf(deadline) else deadline

    def next_renew(self, now: float) -> Renew | None:
        """Return the next command of the renew lane, or None while there is none."""
        deadline = self.renew_deadline
        if deadline is None or now < deadline:
            return None
        self._renewals.ask(now)
        return Renew(self._claim.epoch)

    @property
    def renew_deadline(self) -> float | None:
        """Return when to call `next_renew` again although nothing happened; None: never."""
        renews = self.phase is Phase.PRODUCING and not self._renewals.busy
        return self._renewals.at if renews else None

    @property
    def withdrawal(self) -> Delete | Finish | None:
        """Return the change that takes the claim back; None where it was refused.

        For a claim that nobody waits for any more, and whether it was applied need not be known. A
        stream that it has started is then as if it had never been; one that it was to continue is
        lost again.
        """
        if isinstance(self.error, StreamError | BackendFull):
            return None
        if self._claim.on_lost is Takeover.CONTINUE:
            return Finish(self._claim.epoch, Outcome.LOST, 0, "whoever continued it went away")
        return Delete(self._claim.epoch)

    # What the driver reports

    def replied(self, command: Command, sentinel: Sentinel, now: float) -> None:
        """Take the store's answer to a command."""
        self._answered(command)
        self._heard = now
        if self.phase is Phase.CLOSED:
            return
        if self._fences(sentinel):
            self.sentinel = sentinel
            self._close(_fenced(sentinel))
        elif self.outcome is None or not isinstance(command, Renew):
            self.sentinel = sentinel
            self._go_on(sentinel, now)
            self._forgive_writes()

    def refused(self, command: Command, error: StreamError) -> None:
        """Take the store's refusal of a command."""
        self._answered(command)
        if isinstance(command, Renew) and self.outcome is not None:
            return  # the end may have been recorded just before
        if isinstance(error, StreamNotFound):
            self.sentinel = ABSENT
        else:
            self._close(error)

    def failed(
        self, command: Command, now: float, jitter: float, error: BackendError | None = None
    ) -> None:
        """Note that a command was not carried out, or that nobody knows whether it was.

        It is repeated after a pause, unless the `error` that the store has raised says that this is
        of no use. A store that is full may have room for an append later, but is not to be asked
        for another stream. `jitter` is a random number from 0 to 1.
        """
        no_room = isinstance(command, Claim) and isinstance(error, BackendFull)
        if error is not None and (no_room or not error.may_pass):
            self._close(error)
            return
        # A store that is back is to hear of the producer before anybody may take it for dead.
        longest = self._claim.lease / RENEWALS_PER_LEASE
        self._lane_of(command).failed(now, jitter, longest, error)
        self._forgive_writes()

    def learned(self, sentinel: Sentinel, now: float) -> None:
        """Take a sentinel from the live feed.

        A feed may be late, so that only what is said of this very claim is believed; for anything
        else the store is asked at once.
        """
        if sentinel.epoch == self._claim.epoch and self._ended_by_others(sentinel):
            self._close(_fenced(sentinel))
        elif sentinel.epoch != self._claim.epoch or not sentinel.known:
            self._renewals.at = now

    def left(self) -> None:
        """Note that nobody carries out commands any more, whatever is recorded by now."""
        self.shut_down()
        self.phase = Phase.CLOSED

    # The rules: what is asked for next

    @property
    def _write_at(self) -> float:
        """Return when the next write is due, if there is one.

        What follows closely on an append is gathered, so that a fast source does not cost an append
        for every message. The first message after a pause is never held up.
        """
        gathers = self._source_runs and self.has_room and not self._store_forgot
        return max(self._writes.at, self._gather_until) if gathers else self._writes.at

    @property
    def _has_work(self) -> bool:
        return not self._source_runs or self._store_forgot or self._run.unacked > 0

    @property
    def _store_forgot(self) -> bool:
        return self.sentinel.state is State.ABSENT or self._run.torn

    def _next_write(self, now: float) -> WriteCommand | None:
        match self.phase:
            case Phase.CLAIMING:
                return self._claim
            case Phase.PRODUCING if self._store_forgot:
                return self._recover()
            case Phase.PRODUCING if self._run.unacked:
                return self._append()
            case Phase.PRODUCING if self.outcome is not None:
                return Finish(self._claim.epoch, self.outcome, self._run.last, self.reason)
            case Phase.LINGERING if now < self._linger_until:
                # Watched for 0 s, nobody is taken for dead: our own lease may have run out while
                # the store was away.
                return Observe(connected_for=0.0)
            case Phase.LINGERING:
                self.phase = Phase.CLOSED
                return None
            case Phase.PRODUCING | Phase.CLOSED:
                return None
            case _:
                assert_never(self.phase)

    def _append(self) -> Append:
        messages = self._run.to_append()
        characters = sum([message.characters for message in messages])
        return Append(self._claim.epoch, self._run.acked + 1, messages, characters)

    def _recover(self) -> Recover:
        claim = self._claim
        return Recover(
            claim.epoch,
            self._lineage,
            last_seq=self._run.before,
            characters=self._run.characters_before,
            lease=claim.lease,
            retention=claim.retention,
            metadata=claim.metadata,
        )

    # The rules: what an answer means

    def _go_on(self, sentinel: Sentinel, now: float) -> None:
        """Go on from what the store has."""
        if self.phase is Phase.CLAIMING:
            self._begin(sentinel, now)
        elif sentinel.outcome is not None:
            self._linger(now)
        elif self.phase is Phase.LINGERING and now >= self._linger_until:
            self.phase = Phase.CLOSED  # too late to tell what was lost from what has expired
        else:
            self.phase = Phase.PRODUCING
            self._store_has(sentinel.last_seq, now)

    def _begin(self, sentinel: Sentinel, now: float) -> None:
        self.phase = Phase.PRODUCING
        self._lineage = sentinel.lineage
        self._run.begin_after(sentinel.last_seq, sentinel.characters)
        self._started = self._waiting_since = now

    def _store_has(self, last_seq: int, now: float) -> None:
        """Move the mark to what the store has, and let go of what is kept beyond the limits."""
        was_full = not self.has_room
        self._run.acknowledge(last_seq)
        self._run.forget(count=self._limits.buffer_count, size=self._limits.buffer_bytes)
        self._look_for_room()
        if was_full and self.has_room:
            self._waiting_since = now

    def _look_for_room(self) -> None:
        run, limits = self._run, self._limits
        self.has_room = (
            run.last - run.acked < limits.buffer_count and run.unacked_bytes < limits.buffer_bytes
        )

    def _linger(self, now: float) -> None:
        if self.phase is not Phase.LINGERING:
            keep = self._claim.retention.keep
            self.phase = Phase.LINGERING
            self._linger_until = now + min(self._limits.linger, keep / 2)
        self._writes.at = min(now + LINGER_INTERVAL, self._linger_until)

    def _fences(self, sentinel: Sentinel) -> bool:
        """Say whether the stream is no longer this producer's."""
        if not sentinel.known:
            return sentinel.state is State.DELETED
        return sentinel.epoch != self._claim.epoch or self._ended_by_others(sentinel)

    def _ended_by_others(self, sentinel: Sentinel) -> bool:
        return sentinel.outcome is not None and sentinel.outcome is not self.outcome

    def _close(self, error: ResumableError) -> None:
        """Close the machine; with an `error` only where it has neither ended nor closed before."""
        if self.phase in _UNFINISHED:
            self.error = error
        self.phase = Phase.CLOSED

    # The rules: how long the store and the source may take

    def _check_limits(self, now: float) -> None:
        limits = self._limits
        if self._offered:
            self._offered, self._waiting_since = False, now
        if now >= self._outage_at:
            self._close(self._outage())
        elif now >= self._total_at:
            self.end(Outcome.FAILED, f"the source ran for more than {limits.total:g} s")
        elif now >= self._idle_at:
            self.end(Outcome.FAILED, f"the source yielded nothing for {limits.idle:g} s")

    def _outage(self) -> BackendError:
        """Return the error that an outage ends with; it tells what the store has said last."""
        error = self._writes.error
        if isinstance(error, BackendFull):
            return error
        said = f": {error}" if error else ""
        return BackendUnavailable(f"the store did not answer for {self._limits.outage:g} s{said}")

    @property
    def _outage_at(self) -> float:
        """Return when the store will have been silent for too long.

        Renewals may fail while writes are answered, since these renew the lease, too. Writes that
        fail while renewals are answered are an outage.
        """
        since = math.inf
        if self._writes.unanswered:
            since = self._writes.asked
        if self._renewals.unanswered:
            since = min(since, max(self._renewals.asked, self._heard))
        return since + self._limits.outage

    @property
    def _total_at(self) -> float:
        return self._started + self._limits.total if self._source_runs else math.inf

    @property
    def _idle_at(self) -> float:
        waits = self._source_runs and self.has_room
        return self._waiting_since + self._limits.idle if waits else math.inf

    @property
    def _source_runs(self) -> bool:
        return self.phase is Phase.PRODUCING and self.outcome is None

    # The rules: the lanes

    def _lane_of(self, command: Command) -> Lane:
        return self._renewals if isinstance(command, Renew) else self._writes

    def _forgive_writes(self) -> None:
        """Forget that a write failed, if the store has shown since that nothing is lacking."""
        if not self._writes.busy and not self._has_work:
            self._writes.answered()

    def _answered(self, command: Command) -> None:
        lane = self._lane_of(command)
        lane.answered()
        # What is answered now has renewed the lease, and not before it was asked for.
        period = self._claim.lease / RENEWALS_PER_LEASE
        self._renewals.at = max(self._renewals.at, on_tick(lane.asked + period, period))


def _fenced(sentinel: Sentinel) -> Fenced:
    match sentinel.state:
        case State.DELETED:
            return Fenced("the stream was deleted")
        case State.STOPPED:
            return Fenced(f"the stream was stopped: {sentinel.error or 'no reason given'}")
        case State.LOST:
            return Fenced("the stream was recorded as lost: the producer was silent for a lease")
        case _:
            return Fenced("another producer has taken the stream over")
