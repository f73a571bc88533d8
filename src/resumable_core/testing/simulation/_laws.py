"""What really happened, written down apart from what the core says of it, and the laws about it.

The store reports every change that it has applied, and everything that it has lost. Each is judged
by what came before, by the rules of the laws alone: nothing here asks a sentinel whose turn it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from resumable_core import (
    Append,
    Batch,
    Change,
    Claim,
    Effect,
    Event,
    EventId,
    Finish,
    Lineage,
    Message,
    Observe,
    Outcome,
    Publish,
    Recover,
    Renew,
    Sentinel,
    State,
    Takeover,
)

from ._script import ANN, LEASE


class LawBroken(AssertionError):
    """Say which law was broken, and how.

    `law` is its number; 0 stands for an error that the core raised, where no law allows one.
    """

    def __init__(self, law: int, what: str) -> None:
        super().__init__(f"law {law}: {what}" if law else what)
        self.law: int = law
        self.what: str = what


def require(held: bool, law: int, what: str) -> None:  # noqa: FBT001 - it reads as a sentence
    """Raise `LawBroken` unless the law held."""
    if not held:
        raise LawBroken(law, what)


class Source:
    """What the source of one claim has yielded, in order; each message is another."""

    def __init__(self) -> None:
        self.indices: dict[str | bytes, int] = {}
        self.base: int | None = None
        """The seq before its first message; None until one was appended."""

    def yielded(self, message: Message) -> None:
        """Note a message."""
        self.indices[message.data] = len(self.indices)


class Ledger:
    """Judge what is done to the stream. Times are seconds of the store's clock."""

    def __init__(self, excused: Callable[[str], bool]) -> None:
        self.sources: dict[str, Source] = {}
        self.events: dict[EventId, Event] = {}
        """What ever stood under an id."""
        self.ends: set[tuple[str, Outcome, int]] = set()
        """The ends that were ever recorded, with the seq of the last event."""
        self.ended: set[str] = set()
        """The claims that somebody else has ended."""
        self.forgetful: bool = False
        """Whether the store has ever lost anything."""
        self.deleted: bool = False
        self.hidden: set[int] = set()
        """The seqs of events that are for others than the clients."""
        self.claims: int = 0
        """The claims that were granted."""
        self._excused = excused  # whether a claim's producer had a reason to be silent
        self._lineages: dict[str, Lineage] = {}  # as each claim was granted
        self._holder = ""
        self._active = False
        self._alive_until = 0.0

    def follows(self, seq: int, other: int) -> bool:
        """Say whether a client who is at the seq `other` may be given `seq` next."""
        return seq > other and self.hidden.issuperset(range(other + 1, seq))

    def forgot(self, sentinel: Sentinel) -> None:
        """Note that the store has fallen back to an earlier state."""
        self.forgetful = True
        self._holder = sentinel.epoch
        self._active = sentinel.state is State.ACTIVE
        self._alive_until = sentinel.lease_until

    def applied(
        self, change: Change, before: Sentinel, effect: Effect, now: float, watched_for: float
    ) -> None:
        """Judge a change that was applied at `now`, by somebody who had `watched_for` seconds."""
        after = effect.sentinel
        if isinstance(change, Publish):
            self._published(before, effect)
        elif effect.batch is not None:
            self._appended(change, before, effect.batch)
        match change:
            case Claim() if after.epoch == change.epoch != before.epoch:
                self._claimed(change, before, now)
                self._lineages[change.epoch] = after.lineage
            case Recover() if after is not before:
                require(self.forgetful, 6, "a stream was restored that the store had not lost")
                was = self._lineages.get(change.epoch)
                require(after.lineage == was, 6, f"{was} was restored as {after.lineage}")
                self._holder, self._active = change.epoch, True
                self._alive_until = now + LEASE
            case Append() | Renew() if change.epoch == self._holder and after is not before:
                self._alive_until = now + LEASE
            case _:
                pass
        if before.state is State.DELETED:
            require(after.state is not State.ACTIVE or isinstance(change, Claim), 4, "resurrected")
        dies = before.state is State.ACTIVE and after.state is State.LOST
        if dies and isinstance(change, Observe | Claim):
            self._lost(now, watched_for)
        if after.outcome is not None and after is not before:
            self._ended(change, before, after, after.outcome)
        if after.state is State.DELETED:
            self.deleted = True
            self.ended.add(before.epoch)
        self._active = after.state is State.ACTIVE

    def _appended(self, change: Change, before: Sentinel, batch: Batch) -> None:
        if not isinstance(change, Append):
            raise LawBroken(4, f"{change} has appended something")
        epoch = change.epoch
        require(
            self._active and self._holder == epoch, 4, f"{epoch} appends, but isn't the producer"
        )
        require(batch.first_seq == before.last_seq + 1, 1, f"{batch.first_seq} is out of order")
        source = self.sources[epoch]
        for event in batch.events:
            require(event.id.epoch == epoch, 4, f"what {epoch} appends stands under {event.id}")
            require(
                self.events.setdefault(event.id, event) == event, 3, f"{event.id} was another event"
            )
            index = source.indices.get(event.data)
            if index is None:
                raise LawBroken(6, f"{event.data!r} is not from the source of {epoch}")
            if source.base is None:
                source.base = event.id.seq - index - 1
            require(
                event.id.seq == source.base + index + 1,
                6,
                f"message {index} of {epoch} is appended as {event.id}, the first being "
                f"{source.base + 1}",
            )

    def _published(self, before: Sentinel, effect: Effect) -> None:
        if effect.clear:
            self.claims += 1  # a channel is opened, as a stream is claimed
        if effect.batch is None:
            return
        first = 1 if effect.clear else before.last_seq + 1
        # One is skipped where the store may have given it before, and forgotten that.
        skips = before.known and before.epoch != effect.sentinel.epoch and not effect.clear
        require(effect.batch.first_seq == first + skips, 1, f"{effect.batch} is out of order")
        for event in effect.batch.events:
            require(
                self.events.setdefault(event.id, event) == event, 3, f"{event.id} was another event"
            )
            if event.to is not None and ANN not in event.to:
                self.hidden.add(event.id.seq)

    def _claimed(self, claim: Claim, before: Sentinel, now: float) -> None:
        alive = self._active and now < self._alive_until
        require(not alive, 4, f"{claim.epoch} takes over while {self._holder} is alive")
        named = claim.replaces is not None and claim.replaces == before.epoch
        if before.outcome is not None and before.outcome is not Outcome.LOST:
            require(named, 4, f"{claim.epoch} restarts a stream that has ended")
        if before.known and not named:
            require(claim.on_lost is not Takeover.REFUSE, 4, f"{claim.epoch} takes over unasked")
        self.claims += 1
        self.ended.add(before.epoch)
        self._holder = claim.epoch
        self._alive_until = now + LEASE

    def _lost(self, now: float, watched_for: float) -> None:
        require(now >= self._alive_until, 7, f"{self._holder} is lost before its lease ran out")
        require(self._excused(self._holder), 7, f"{self._holder} is lost, though nothing ails it")
        require(watched_for >= LEASE, 7, "who has not watched for a lease took a producer for dead")

    def _ended(self, change: Change, before: Sentinel, after: Sentinel, outcome: Outcome) -> None:
        if before.epoch == after.epoch and before.outcome is not None:
            require(outcome is before.outcome, 5, f"{before.outcome} has become {outcome}")
        self.ends.add((after.epoch, outcome, after.last_seq))
        if not isinstance(change, Finish):
            self.ended.add(after.epoch)
            return
        source = self.sources[change.epoch]
        if source.indices:
            last = None if source.base is None else source.base + len(source.indices)
            require(after.last_seq == last, 5, f"the end comes at {after.last_seq}, not at {last}")


def is_part_of(id: EventId, epochs: Sequence[tuple[str, int]]) -> bool:
    """Say whether a log with these epochs, each with its first seq, has or will have this id."""
    nexts = [first for _, first in epochs[1:]]
    for index, (epoch, first) in enumerate(epochs):
        above = nexts[index] if index < len(nexts) else id.seq + 1
        if epoch == id.epoch and (first if index else 0) <= id.seq < above:
            return True
    return False
