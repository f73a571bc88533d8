"""The feeds of a store that tells its own process."""

import logging

from hypothesis import given
from hypothesis import strategies as st

from resumable_core import ABSENT, Appended, Batch, Changed, Interrupted
from resumable_io._feed import Feeds

BATCH = Appended(Batch("a", 1, ("one",), size=3, characters=3, offset=0, time=0.0))
ITEMS = [BATCH, Changed(ABSENT), Interrupted()]
STREAMS = st.sampled_from("xy")


class Follower:
    """Notes what it is told; lets others go, or breaks down, as often as it is told anything."""

    def __init__(self, feeds, stream_id, *, events, leaving, breaks_down):
        self.stream_id, self.events = stream_id, events
        self.told, self.late = [], []
        self.left = False
        self._feeds, self._leaving, self._breaks_down = feeds, leaving, breaks_down
        self._feed = feeds.add(stream_id, self.tell, events=events)

    def leave(self):
        self.left = True
        self._feeds.discard(self.stream_id, self._feed)

    def tell(self, item):
        (self.late if self.left else self.told).append(item)
        for follower in self._leaving:
            follower.leave()
        if self._breaks_down:
            raise ZeroDivisionError


STEPS = st.one_of(
    st.tuples(st.just("follow"), STREAMS, st.booleans(), st.sets(st.integers(0, 9)), st.booleans()),
    st.tuples(st.just("leave"), st.integers(0, 9)),
    st.tuples(st.just("tell"), STREAMS, st.sampled_from(ITEMS)),
)


@given(st.lists(STEPS, max_size=30))
def test_who_follows_is_told_until_they_leave(steps):
    """Law 10: whoever else leaves meanwhile, or breaks down, and however often they say so."""
    feeds, followers = Feeds(), []
    logging.disable()
    try:
        for step, *what in steps:
            match step, *what:
                case "follow", stream_id, events, leaving, breaks_down:
                    leaving = [followers[n] for n in leaving if n < len(followers)]
                    followers.append(
                        Follower(
                            feeds,
                            stream_id,
                            events=events,
                            leaving=leaving,
                            breaks_down=breaks_down,
                        )
                    )
                case "leave", number if number < len(followers):
                    followers[number].leave()
                case "tell", stream_id, item:
                    there = [each for each in followers if not each.left]
                    before = {each: len(each.told) for each in there}
                    feeds.tell(stream_id, item)
                    for each in there:
                        wants = each.stream_id == stream_id and (each.events or item is not BATCH)
                        told = each.told[before[each] :]
                        assert told == ([item] if wants else []) or (each.left and told == [])
            assert not any(each.late for each in followers)
            followed = {each.stream_id for each in followers if not each.left}
            assert {stream_id for stream_id in "xy" if stream_id in feeds} == followed
            assert len(feeds) == len(followed)
    finally:
        logging.disable(logging.NOTSET)


def test_who_breaks_down_is_logged(caplog):
    feeds, told = Feeds(), []

    def breaks_down(item):
        raise ZeroDivisionError

    feeds.add("x", breaks_down, events=True)
    feeds.add("x", told.append, events=True)
    feeds.tell("x", Interrupted())
    assert told == [Interrupted()]
    (record,) = caplog.records
    assert record.exc_info[0] is ZeroDivisionError
