"""A machine in which many publish to a channel, whose store fails over, restarts and forgets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Final

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from resumable_core import (
    Delete,
    Event,
    EventId,
    EventLog,
    Expire,
    Fenced,
    Publication,
    Publish,
    Retention,
    State,
    decode_batch,
    decode_sentinel,
    encode_batch,
    encode_sentinel,
)
from resumable_core.testing.changes import copy_of, pauses
from resumable_core.testing.strategies import messages, retentions

KEYS: Final = ["k1", "k2", "k3", "k4", "k5"]
RECIPIENTS: Final = ["ann", "bob", "cy"]


def audiences() -> st.SearchStrategy[frozenset[str] | None]:
    """Draw for whom a message is: everybody, or some recipients."""
    return st.none() | st.frozensets(st.sampled_from(RECIPIENTS), min_size=1)


def publications() -> st.SearchStrategy[Publication]:
    """Draw what is published, often under a key that was used before."""
    return st.builds(Publication, messages(), st.sampled_from(KEYS), audiences())


def of(publication: Publication, id: EventId) -> Event:
    """Return the event that a publication becomes."""
    return Event(id, publication.message.data, publication.message.type, publication.to)


class ChannelMachine(RuleBasedStateMachine):
    """Laws 1, 2, 3, 6 and 8 for channels: what was published once has one id, which is its alone.

    Publishers repeat what they publish, under the keys and with new epochs; the store fails over to
    one that lacks the newest part, is deleted, expires, or forgets everything.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log: EventLog = EventLog()
        self.kept: EventLog = EventLog()
        self.now: float = 0.0
        self.epochs: Iterator[str] = (f"e{number}" for number in count(1))
        self.stores: Iterator[str] = (f"s{number}" for number in count(1))
        self.store: str = next(self.stores)
        self.given: dict[EventId, Event] = {}
        """Every id that was ever given, and to what."""

    def held(self) -> list[Event]:
        return [event for batch in self.log.batches for event in batch.events]

    @rule(items=st.lists(publications(), min_size=1, max_size=4), retention=retentions())
    def publish(self, items: list[Publication], retention: Retention) -> None:
        before = copy_of(self.log)
        before.apply(Expire(), self.now)
        change = Publish(next(self.epochs), tuple(items), retention, self.store)
        effect = self.log.apply(change, self.now)

        top, known = before.sentinel.last_seq, dict(before.keys)
        if self.log.sentinel.lineage.epochs[:1] != before.sentinel.lineage.epochs[:1]:
            top, known = 0, {}
        elif any(item.key not in known for item in items):
            top += self.log.sentinel.epoch != before.sentinel.epoch  # one is skipped
        for item, id in zip(items, effect.ids, strict=True):
            if item.key in known:
                assert id == self.log.sentinel.lineage.id_at(known[item.key])
            else:
                top += 1
                known[item.key] = top
                assert id == EventId(self.log.sentinel.epoch, top)
                assert id not in self.given
                self.given[id] = of(item, id)
        assert (self.log.sentinel.state, self.log.sentinel.last_seq) == (State.OPEN, top)
        assert effect.batch is None or effect.batch.last_seq == top

        once = copy_of(self.log)
        assert effect.keys.keys() <= once.keys.keys()
        again = self.log.apply(replace(change, epoch=next(self.epochs)), self.now)
        if {item.key for item in items} <= once.keys.keys():
            assert (again.ids, again.batch, self.log) == (effect.ids, None, once)
        for item, id in zip(items, again.ids, strict=True):  # an old one may have been trimmed
            self.given.setdefault(id, of(item, id))

    @precondition(lambda self: self.log.sentinel.known)
    @rule(item=publications())
    def publish_under_an_old_epoch(self, item: Publication) -> None:
        """An epoch that was used before never begins anything again."""
        change = Publish(self.log.sentinel.epoch, (item,), Retention(), "another store")
        if self.now < self.log.sentinel.expires_at:
            before = copy_of(self.log)
            try:
                self.log.apply(change, self.now)
            except Fenced:
                assert self.log == before
            else:
                assert item.key in before.keys
                assert self.log == before

    @rule()
    def delete(self) -> None:
        self.log.apply(Delete(), self.now)

    @rule(seconds=pauses())
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def replicate(self) -> None:
        """From here on a failover loses what comes."""
        self.kept = copy_of(self.log)

    @rule()
    def fail_over(self) -> None:
        self.log, self.store = copy_of(self.kept), next(self.stores)

    @rule()
    def restart(self) -> None:
        """Nothing is lost, which nobody knows."""
        self.store = next(self.stores)

    @rule()
    def wipe(self) -> None:
        self.log, self.store = EventLog(), next(self.stores)

    @invariant()
    def an_id_names_one_message(self) -> None:
        """Law 3: whatever the store has lost, ids are never given to other content."""
        for event in self.held():
            assert self.given[event.id] == event
            assert self.log.sentinel.lineage.contains(event.id)

    @invariant()
    def what_is_stored_comes_back(self) -> None:
        """Law 11: with its recipients, and with what the store's memory went back to."""
        for batch in self.log.batches:
            assert decode_batch(encode_batch(batch)) == batch
        sentinel = self.log.sentinel
        lease_until, expires_at = sentinel.lease_until, sentinel.expires_at
        record = encode_sentinel(sentinel)
        assert decode_sentinel(record, lease_until=lease_until, expires_at=expires_at) == sentinel

    @invariant()
    def keys_are_those_of_what_is_held(self) -> None:
        """Laws 6 and 8: a key is known as long as its event is, and no longer."""
        assert sorted(self.log.keys.values()) == [event.id.seq for event in self.held()]

    @invariant()
    def the_state_is_open_or_it_is_not_there(self) -> None:
        assert self.log.sentinel.state in {State.ABSENT, State.DELETED, State.OPEN}
        assert self.log.count == len(self.held())
