"""Channels: what publishing does to a log, and what a reader of one is told."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from resumable_core import (
    After,
    Appended,
    Beginning,
    Claim,
    Cursor,
    Delete,
    EventId,
    EventLog,
    Fenced,
    Follower,
    FollowerLimits,
    Gap,
    GapReason,
    InvalidInput,
    Lineage,
    Live,
    Message,
    Publication,
    Publish,
    Reader,
    Reset,
    ResetReason,
    Retention,
    State,
    StreamExists,
    channel_log_id,
    check_name,
    check_stream_id,
    decode_batch,
    encode_batch,
    is_channel,
)
from resumable_core._changes import MAX_RECIPIENTS
from resumable_core._lineage import LINEAGE_LIMIT
from resumable_core.testing import ChannelMachine, bad_stream_ids, messages, stream_ids
from resumable_core.testing.machines.channel import RECIPIENTS, audiences, publications
from resumable_core.testing.worlds.cursor import hand_in

TestChannel = ChannelMachine.TestCase
TestChannel.settings = settings(max_examples=150, stateful_step_count=30)

ANN, BOB = Reader(frozenset({"ann"})), Reader(frozenset({"bob"}))
KEEP = 100.0


def publish(log, *items, epoch="a", store="", to=None, retention=None, now=0.0):
    """Publish texts, each under itself as its key."""
    publications = tuple(Publication(Message(item), item, to) for item in items)
    change = Publish(epoch, publications, retention or Retention(keep=KEEP), store)
    return log.apply(change, now)


def ids(*texts):
    return tuple(map(EventId.parse, texts))


# Names


@given(stream_ids())
def test_no_channel_has_the_log_of_a_stream(name):
    log_id = channel_log_id(name)
    assert is_channel(log_id)
    assert not is_channel(name)
    with pytest.raises(InvalidInput):
        check_stream_id(log_id)


@given(bad_stream_ids())
def test_a_bad_name_is_refused(name):
    for refuse in (channel_log_id, lambda each: check_name("a recipient", each)):
        with pytest.raises(InvalidInput):
            refuse(name)
    with pytest.raises(InvalidInput, match="a key"):
        Publication(Message("x"), name)
    with pytest.raises(InvalidInput, match="a recipient"):
        Publication(Message("x"), "k", frozenset([name]))


@pytest.mark.parametrize("count", [0, MAX_RECIPIENTS + 1])
def test_a_message_has_some_recipients_but_not_too_many(count):
    with pytest.raises(InvalidInput, match="recipients"):
        Publication(Message("x"), "k", frozenset(str(n) for n in range(count)))


# Publishing


def test_a_channel_is_opened_by_the_first_who_publishes():
    log = EventLog()
    assert publish(log, "one", "two").ids == ids("a-1", "a-2")
    assert publish(log, "three", epoch="b", now=5.0).ids == ids("a-3")
    sentinel = log.sentinel
    assert (sentinel.state, sentinel.epoch, sentinel.outcome) == (State.OPEN, "a", None)
    assert (sentinel.growing, sentinel.known, sentinel.characters) == (True, True, 11)
    assert sentinel.expires_at == 5.0 + KEEP


def test_what_is_published_twice_under_one_key_has_one_id():
    """Law 6: in one change, in a later one, and beside something new."""
    log = EventLog()
    assert publish(log, "one", "one", "two").ids == ids("a-1", "a-1", "a-2")
    assert publish(log, "three", "one", epoch="b").ids == ids("a-3", "a-1")
    before = log.sentinel
    assert publish(log, "three", epoch="c", now=50.0).ids == ids("a-3")
    assert log.sentinel is before  # nothing new: not even kept for longer


def test_a_key_is_forgotten_with_its_event():
    log = EventLog()
    kept = Retention(count=1, keep=KEEP)
    publish(log, "one", retention=kept)
    publish(log, "two", retention=kept)
    assert log.keys == {"two": 2}
    assert publish(log, "one", retention=kept).ids == ids("a-3")


def test_a_channel_that_was_deleted_is_opened_under_another_epoch():
    """Law 3: no id is given a second time, and nothing of the old is left."""
    log = EventLog()
    publish(log, "one")
    log.apply(Delete(), 1.0)
    assert (log.batches, log.keys) == ([], {})
    with pytest.raises(Fenced):
        publish(log, "late", epoch="a", now=2.0)
    assert publish(log, "one", epoch="b", now=2.0).ids == ids("b-1")
    assert log.sentinel.lineage == Lineage.starting("b")


def test_an_idle_channel_is_forgotten():
    log = EventLog()
    publish(log, "one")
    assert log.read(0, KEEP - 0.1).sentinel.known
    assert publish(log, "one", epoch="b", now=KEEP).ids == ids("b-1")
    assert [batch.first_seq for batch in log.batches] == [1]


def test_another_store_rolls_the_epoch():
    """Law 3: what it may lack, others have seen under ids that are never given again."""
    log = EventLog()
    publish(log, "one", store="m1")
    assert publish(log, "two", epoch="b", store="m1").ids == ids("a-2")
    assert publish(log, "three", epoch="c", store="m2").ids == ids("c-4")
    assert publish(log, "one", "four", epoch="d", store="m2").ids == ids("a-1", "c-5")
    assert log.sentinel.lineage.epochs == (("a", 1), ("c", 3))
    with pytest.raises(Fenced):
        publish(log, "five", epoch="a", store="m3")


def test_whoever_goes_past_a_change_of_the_store_is_told_of_a_gap():
    """Law 2: what it has lost, they had not seen either; nobody knows what it was."""
    log = EventLog()
    publish(log, "one", store="m1")
    here, late = Cursor(Beginning(), ANN), Cursor(Beginning(), ANN)
    assert [record.id for record in read_on(here, log)] == list(ids("a-1"))
    publish(log, "two", epoch="b", store="m2")
    gap = Gap(EventId("b", 2), GapReason.LOST)
    assert [record.id for record in read_on(here, log)] == list(ids("b-2", "b-3"))
    assert read_on(late, log)[1] == gap
    assert read_on(Cursor(After(EventId("a", 1)), ANN), log)[0] == gap
    lost = Cursor(After(EventId("a", 2)), ANN)  # has seen what the store has lost
    assert type(read_on(lost, log)[0]) is Reset


def test_a_channel_that_was_rolled_too_often_begins_anew():
    """Law 8: a lineage is bounded."""
    log = EventLog()
    for number in range(LINEAGE_LIMIT):
        publish(log, f"{number}", epoch=f"e{number}", store=f"{number}")
    assert log.sentinel.lineage.full
    publish(log, "same", epoch="x", store=f"{LINEAGE_LIMIT - 1}")
    assert publish(log, "0", epoch="y", store="new").ids == ids("y-1")
    assert (log.count, log.keys, log.sentinel.characters) == (1, {"0": 1}, 1)


def test_streams_and_channels_do_not_mix():
    stream = EventLog()
    stream.apply(Claim("a", 10.0), 0.0)
    with pytest.raises(StreamExists):
        publish(stream, "one", epoch="b")
    channel = EventLog()
    publish(channel, "one")
    with pytest.raises(StreamExists):
        channel.apply(Claim("b", 10.0), 0.0)


def test_what_a_message_for_some_takes_is_counted_with_their_names():
    log = EventLog()
    publish(log, "one", to=frozenset({"ann", "é"}))
    assert log.size == len("one") + len("ann") + len("é".encode())


@given(st.lists(publications(), min_size=1, max_size=5))
def test_every_batch_comes_back_as_it_was(items):
    log = EventLog()
    effect = log.apply(Publish("a", tuple(items), Retention()), 0.0)
    assert decode_batch(encode_batch(effect.batch)) == effect.batch


# Reading

NAMES = st.frozensets(st.sampled_from(RECIPIENTS))


def visible(log, names, after=0):
    return [
        event
        for batch in log.batches
        for event in batch.events
        if event.id.seq > after and (event.to is None or event.to & names)
    ]


def read_on(cursor, log, *, limit=512, now=0.0, page=None):
    """Hand in pages until there is nothing more to tell."""
    records = []
    while True:
        before = cursor.after
        told = hand_in(cursor, page or log.read(cursor.after, now, limit=limit), now)
        records += told
        if not told and cursor.after == before and cursor.deadline is None:
            return records


@given(
    st.lists(st.lists(st.tuples(messages(), audiences()), min_size=1, max_size=4), max_size=8),
    NAMES,
    st.data(),
)
def test_a_reader_is_told_what_it_may_see_across_any_disconnects(batches, names, data):
    """Laws 1 to 3: exactly the visible part, in order, once, wherever it leaves and comes back."""
    log, received, place, number = EventLog(), [], Beginning(), 0
    for batch in batches:
        items = []
        for message, to in batch:
            number += 1
            items.append(Publication(message, f"k{number}", to))
        log.apply(Publish("a", tuple(items), Retention()), 0.0)
        if data.draw(st.booleans(), "read now"):
            cursor = Cursor(place, Reader(names))
            told = read_on(cursor, log, limit=data.draw(st.integers(1, 3), "limit"))
            seen = data.draw(st.integers(0, len(told)), "received")
            received += told[:seen]
            if seen == len(told):
                place = After(cursor.id)  # behind what was passed over, too
            elif seen:
                place = After(told[seen - 1].id)
    received += read_on(Cursor(place, Reader(names)), log)
    assert received == visible(log, names)


@given(NAMES, NAMES, st.lists(st.tuples(messages(), audiences()), max_size=8))
@example(frozenset({"ann"}), frozenset({"bob"}), [(Message("x"), frozenset({"cy"}))])
def test_who_sees_the_same_is_given_the_same(mine, yours, items):
    """What many receive is framed once."""
    log = EventLog()
    change = [Publication(message, f"{n}", to) for n, (message, to) in enumerate(items)]
    if change:
        log.apply(Publish("a", tuple(change), Retention()), 0.0)
    page = log.read(0, 0.0)
    assert list(page.seen_by(mine)) == visible(log, mine)
    if visible(log, mine) == visible(log, yours) and all(event.to is None for event in page.events):
        assert page.seen_by(mine) is page.seen_by(yours) is page.events
    named = frozenset().union(*(event.to for event in page.events if event.to))
    if mine & named == yours & named:
        assert page.seen_by(mine) is page.seen_by(yours)


def test_what_is_for_others_moves_the_place_on():
    log = EventLog()
    publish(log, "one")
    cursor = Cursor(Beginning(), BOB)
    publish(log, "secret", to=frozenset({"ann"}))
    assert [record.data for record in read_on(cursor, log)] == ["one"]
    assert cursor.id == EventId("a", 2)
    publish(log, "more", to=frozenset({"ann"}))
    assert read_on(cursor, log) == []
    assert (cursor.id, cursor.finished, cursor.deadline) == (EventId("a", 3), False, None)


def test_what_is_for_others_is_hidden_behind_a_hole_too():
    log = EventLog()
    publish(log, "one")
    page = log.read(0, 0.0)
    cursor = Cursor(Beginning(), BOB)
    cursor.read(page, 0.0)
    kept = Retention(count=1, keep=KEEP)
    publish(log, "two", retention=kept)
    publish(log, "secret", to=frozenset({"ann"}), retention=kept)
    assert read_on(cursor, log) == [Gap(EventId("a", 2), GapReason.TRIMMED)]
    assert cursor.id == EventId("a", 3)


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        (Beginning(), ["one", "two"]),
        (Live(), ["one", "two"]),
        (After(EventId("a", 7)), [ResetReason.UNKNOWN, "one", "two"]),
    ],
)
def test_a_channel_that_is_not_there_is_waited_for(position, expected):
    """Law 9: a subscription creates nothing. What is published afterwards is new to all."""
    log, cursor = EventLog(), Cursor(position, ANN)
    assert read_on(cursor, log) == []
    assert (cursor.id, cursor.deadline, log) == (None, None, EventLog())
    publish(log, "one", "two", epoch="b")
    records = read_on(cursor, log)
    assert [getattr(each, "data", getattr(each, "reason", None)) for each in records] == expected


def test_a_live_reader_begins_behind_what_is_there():
    log, cursor = EventLog(), Cursor(Live(), ANN)
    publish(log, "one")
    assert read_on(cursor, log) == []
    publish(log, "two")
    assert [record.data for record in read_on(cursor, log)] == ["two"]


def test_a_channel_that_is_deleted_and_opened_again_is_a_reset():
    """Law 2: what a reader has is void then; the deletion alone tells it nothing."""
    log, cursor = EventLog(), Cursor(Beginning(), ANN)
    publish(log, "one")
    read_on(cursor, log)
    log.apply(Delete(), 1.0)
    assert read_on(cursor, log, now=1.0) == []
    assert not cursor.finished
    publish(log, "two", epoch="b", now=1.0)
    reset, event = read_on(cursor, log, now=1.0)
    assert reset == Reset(EventId("b", 0), ResetReason.RESTARTED)
    assert event.data == "two"


def test_a_tail_that_the_store_has_lost_is_a_reset_at_once():
    """Law 2: nobody restores it: publishers keep nothing."""
    log = EventLog()
    publish(log, "one")
    publish(log, "two")
    cursor = Cursor(Beginning(), ANN)
    read_on(cursor, log)
    failed_over = EventLog()
    publish(failed_over, "one")
    assert read_on(cursor, failed_over)[0] == Reset(EventId("a", 0), ResetReason.AHEAD)
    publish(failed_over, "three", epoch="b", store="m2")
    assert [record.id for record in read_on(cursor, failed_over)] == list(ids("b-2", "b-3"))


@pytest.mark.parametrize(
    ("count", "told"), [(2, ["Event", "Event"]), (3, ["Gap", "Event", "Event"])]
)
def test_what_comes_at_once_may_lie_too_far_back_too(count, told):
    """What goes on in the window is followed no farther than the log is replayed."""
    log = EventLog()
    publish(log, "before")
    cursor = Cursor(Beginning(), Reader(replay=2))
    read_on(cursor, log)
    publish(log, *map(str, range(count)))
    assert [type(record).__name__ for record in read_on(cursor, log)] == told


@pytest.mark.parametrize(("replay", "gap"), [(None, False), (3, False), (2, True), (0, True)])
def test_what_lies_too_far_back_is_a_gap(replay, gap):
    log = EventLog()
    publish(log, "one", "two", "three")
    records = read_on(Cursor(Beginning(), Reader(replay=replay)), log)
    seen = 3 if replay is None else replay
    notices = [Gap(EventId("a", 3 - seen), GapReason.BEHIND)] if gap else []
    assert records[: len(notices)] == notices
    assert [record.id.seq for record in records[len(notices) :]] == [1, 2, 3][3 - seen :]


def test_a_follower_takes_what_is_published_live_and_goes_through_a_new_epoch():
    """Law 2: the window serves a channel as it serves a stream."""
    log, follower = EventLog(), Follower(FollowerLimits(), 0.0)
    publish(log, "one")
    follower.subscribed(0.0)
    fetch = follower.next_fetch(0.0)
    follower.fetched(log.read(fetch.after, 0.0), 0.0)
    follower.received(Appended(publish(log, "two").batch), 0.0)
    assert follower.sentinel.last_seq == 2
    assert [event.data for event in follower.page(1).events] == ["two"]
    follower.received(Appended(publish(log, "three", epoch="b", store="m2").batch), 0.0)
    fetch = follower.next_fetch(0.0)
    page = log.read(fetch.after, 0.0)
    follower.received(Appended(publish(log, "four", epoch="c", store="m2").batch), 0.0)
    follower.fetched(page, 0.0)
    assert follower.page(1) is None  # across the gap, the log is read
    assert [event.data for event in follower.page(4).events] == ["four"]
    assert follower.sentinel.state is State.OPEN


def test_a_window_that_has_not_read_everything_is_still_open():
    log, follower = EventLog(), Follower(FollowerLimits(), 0.0)
    publish(log, "one")
    follower.subscribed(0.0)
    follower.fetched(log.read(follower.next_fetch(0.0).after, 0.0), 0.0)
    publish(log, "two", "three")
    follower.doubted(0.0)
    follower.fetched(log.read(follower.next_fetch(0.0).after, 0.0, limit=1), 0.0)
    assert (follower.sentinel.state, follower.sentinel.last_seq) == (State.OPEN, 2)
