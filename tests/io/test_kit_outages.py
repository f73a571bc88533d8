"""The kit for backends while they are kept from their store, and what is broken in that alone."""

from contextlib import asynccontextmanager

import pytest
from anyio import current_time

from resumable_core import Append, Appended, EventLog
from resumable_io import MemoryBackend
from resumable_io.testing import OUTAGES, FaultyBackend, check_backend, check_outages

pytestmark = pytest.mark.virtual_time


@asynccontextmanager
async def outage(backend):
    """Keep a backend from its store."""
    backend.break_down()
    try:
        yield
    finally:
        backend.recover()


def opening(kind):
    """Return a function that opens backends of a kind, which share their streams."""
    store = MemoryBackend()
    return lambda: kind(store)


@pytest.mark.parametrize("scenario", OUTAGES, ids=lambda scenario: scenario.__name__)
async def test_who_reports_outages_passes(scenario):
    await check_outages(opening(FaultyBackend), outage, [scenario])


class Quiet(FaultyBackend):
    """Never says that it was away."""

    def recover(self):
        self.refuse()
        self._connected_since = current_time()


class Hasty(FaultyBackend):
    """Says that it was away before it is back."""

    def break_down(self):
        super().recover()
        super().break_down()

    recover = Quiet.recover


class Forgetful(FaultyBackend):
    """Forgets who follows when it has failed, though it tells them so."""

    def recover(self):
        super().recover()
        for feed in tuple(self._feeds):
            self._unfollow(feed)


class Optimistic(FaultyBackend):
    """Tells what it is about to keep."""

    async def apply(self, stream_id, change):
        if self.faults("apply") and isinstance(change, Append):
            log = EventLog((await self.backend.read(stream_id, 0, 1, connected_for=0)).sentinel)
            batch = log.apply(change, log.sentinel.lease_until - 1).batch
            for feed in tuple(self._feeds):
                feed._tell(Appended(batch))
        return await super().apply(stream_id, change)


class Stubborn(FaultyBackend):
    """Lets those hear whom it has refused."""

    async def follow(self, stream_id, tell, *, events):
        if self.faults("follow"):
            await self.backend.follow(stream_id, tell, events=events)
        return await super().follow(stream_id, tell, events=events)


class Ageless(FaultyBackend):
    """Has always been connected."""

    @property
    def connected_since(self):
        return self.backend.connected_since


BROKEN = {
    Quiet: "a feed reports what it loses: events 2 to 3 are missing",
    Hasty: "a feed reports what it loses: events 2 to 3 are missing",
    Forgetful: "this one not event 5 within 20 s: it has got to event 4",
    Optimistic: "a-2 names one event, but two are told",
    Stubborn: "who could not follow is told nothing",
    Ageless: "`connected_since` is before it",
}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda kind: kind.__name__)
async def test_who_is_broken_in_an_outage_is_named(broken):
    """By the scenarios of outages, and by no other."""
    with pytest.raises(AssertionError, match=BROKEN[broken]) as caught:
        await check_outages(opening(broken), outage)
    assert any("in the scenario" in note for note in caught.value.__notes__)
    await check_backend(opening(broken))
