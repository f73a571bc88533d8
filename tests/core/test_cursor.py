"""The cursor machine, driven by pages of an `EventLog` and by the window of a `Follower`."""

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from resumable_core import (
    ABSENT,
    PAGE_EVENTS,
    After,
    Appended,
    AtCharacter,
    Beginning,
    Changed,
    Cursor,
    Delete,
    End,
    Event,
    EventId,
    EventLog,
    Gap,
    GapReason,
    Live,
    Outcome,
    Recover,
    Renew,
    Reset,
    ResetReason,
    Retention,
    Stop,
    StreamNotFound,
    Takeover,
    Unreadable,
)
from resumable_core._cursor import FIRST_PAGE
from resumable_core.testing.machines.cursor import CursorMachine
from resumable_core.testing.worlds.cursor import (
    KEEP,
    LEASE,
    Consumer,
    StreamWorld,
    as_bytes,
    expected,
    following,
    refresh,
    stream_of,
    told,
)

TestCursor = CursorMachine.TestCase
TestCursor.settings = settings(max_examples=150, stateful_step_count=40)


# Streams


texts = st.text("aé€😀", max_size=3)


@st.composite
def streams(draw, *, holes=True, empty=True):
    """Draw a stream with takeovers, holes and a trimmed front, all of text or all of bytes."""
    small = st.builds(Retention, count=st.integers(1, 5), keep=st.just(KEEP))
    whole = st.just(Retention(keep=KEEP))
    stream = StreamWorld.started(draw(small | whole) if holes else draw(whole))
    pieces = texts if empty else texts.filter(len)
    if draw(st.booleans()):
        pieces = pieces.map(str.encode)
    batches = st.lists(pieces, min_size=1, max_size=3)
    steps = ["append", "append", "take over"] + ["lose"] * holes
    for step in draw(st.lists(st.sampled_from(steps), max_size=8)):
        match step:
            case "append":
                stream.append(*draw(batches))
            case "lose":
                stream.lose(*draw(st.lists(texts.filter(len), min_size=1, max_size=3)))
            case "take over":
                stream.take_over()
    return stream


def made_up_ids(stream):
    epochs = ["e0", *(epoch for epoch, _ in stream.sentinel.lineage.epochs)]
    return st.builds(EventId, st.sampled_from(epochs), st.integers(0, 30))


def positions(stream):
    characters = stream.sentinel.characters
    return st.one_of(
        st.just(Beginning()),
        st.just(Live()),
        st.sampled_from(["malformed", "oversized"]).map(Unreadable),
        st.builds(After, made_up_ids(stream), st.booleans()),
        st.integers(0, characters + 2).map(AtCharacter),
    )


# Any stream, any position


@given(st.data(), st.booleans(), st.integers(1, 4), st.booleans())
def test_a_consumer_is_told_everything_and_nothing_else(data, ended, limit, windowed):
    """Laws 1, 2, 5: from any position, of any stream, however small the pages."""
    stream = data.draw(streams(empty=False))
    if ended:
        stream.end()
    position = data.draw(positions(stream))
    follower = following(stream) if windowed else None
    consumer = Consumer(stream, position, follower, limit)
    records = consumer.read_on()
    if not ended and not records:
        stream.now += LEASE  # it may be waiting for what the store has lost
        records = consumer.read_on()
    assert records == expected(stream, position)
    assert consumer.cursor.finished == ended


@given(streams(), st.integers(1, 4), st.booleans())
def test_every_record_is_a_place_to_go_on_from(stream, limit, windowed):
    """Law 3: what came up to a record, and a resume after it, is the whole."""
    stream.end()
    whole = told(stream)
    follower = following(stream) if windowed else None
    for index, record in enumerate(whole):
        position = After(record.id, end=isinstance(record, End))
        assert told(stream, position, limit=limit, follower=follower) == whole[index + 1 :]


@given(
    st.text("aé€😀", max_size=12), st.lists(st.integers(0, 48)), st.integers(1, 4), st.booleans()
)
@example("é", [1], 4, True)  # the second byte is not behind the first character
@example("é€", [1, 2, 3, 4], 1, True)
def test_every_character_is_a_place_to_go_on_from(text, cuts, limit, binary):
    """Law 3: also when the events are bytes that were cut inside of characters."""
    whole = text.encode() if binary else text
    stream = StreamWorld.started()
    places = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    for start, stop in pairwise(places):
        stream.append(whole[start:stop])
    stream.end()
    for offset in range(len(text) + 1):
        *events, end = told(stream, AtCharacter(offset), limit=limit)
        assert text[:offset].encode() + b"".join(as_bytes(each.data) for each in events) == (
            text.encode()
        )
        assert end.outcome is Outcome.DONE
    reset, *events = told(stream, AtCharacter(len(text) + 1), limit=limit)
    assert reset == Reset(EventId("e1", 0), ResetReason.AHEAD)
    assert events == told(stream)


@pytest.mark.parametrize(
    "position",
    [Beginning(), After(EventId("a", 1)), AtCharacter(3), Live(), Unreadable("malformed")],
)
@pytest.mark.parametrize("deleted", [True, False])
def test_an_unknown_stream_is_not_found(position, deleted):
    """Law 9: and nothing is created."""
    stream = StreamWorld(EventLog(), {}, {})
    if deleted:
        stream.claim(retention=Retention(keep=KEEP))
        stream.log.apply(Delete(), 0.0)
    with pytest.raises(StreamNotFound):
        told(stream, position)
    assert stream.sentinel.known is False


# Pages


def test_events_are_the_very_tuple_of_the_page():
    stream = stream_of("a", "b")
    cursor = Cursor(After(EventId("e1", 1)))
    page = stream.log.read(1, 0.0)
    assert cursor.read(page, 0.0) is page.events
    assert (cursor.after, str(cursor.id)) == (2, "e1-2")
    follower = following(stream)
    stream.append("c")
    refresh(follower, stream)
    follower.received(Appended(stream.log.batches[-1]), 0.0)
    others = [Cursor(Live()) for _ in range(2)]
    before = following(stream_of("a", "b")).page(2)
    for other in others:
        assert other.read(before, 0.0) == ()
        assert other.read(follower.page(2), 0.0) is follower.page(2).events


def test_wherever_consumers_begin_they_come_to_ask_for_the_same_pages():
    """Those from one page's length end in as many as short pages fit into one."""
    stream = stream_of(*["x"] * (2 * PAGE_EVENTS))

    def read(cursor):
        page = stream.log.read(cursor.after, 0.0, limit=cursor.limit, connected_for=0.0)
        cursor.read(page, 0.0)

    asked = set()
    for start in range(0, PAGE_EVENTS, 7):
        cursor = Cursor(After(EventId("e1", start)))
        read(cursor)
        while cursor.deadline is not None:
            asked.add((cursor.after, cursor.after + cursor.limit))
            read(cursor)
    assert {end for _, end in asked} == {PAGE_EVENTS, 2 * PAGE_EVENTS}
    assert len(asked) == PAGE_EVENTS // FIRST_PAGE


def test_a_page_after_another_place_tells_nothing():
    """Such as one that was asked for before the cursor had found its place."""
    stream = stream_of("a", "b")
    cursor = Cursor(Beginning())
    assert cursor.read(stream.log.read(1, 0.0), 0.0) == ()
    assert cursor.deadline == 0.0
    assert list(cursor.read(stream.log.read(0, 0.0), 0.0)) == stream.events


def test_passing_over_characters_is_no_waiting():
    """Nothing is told for pages on end, and the next one is wanted at once."""
    stream = stream_of(*"abcdef")
    consumer = Consumer(stream, AtCharacter(5), limit=2)
    for after in (2, 4):
        assert consumer.read() == []
        assert (consumer.cursor.after, consumer.cursor.deadline) == (after, stream.now)
    assert [event.data for event in consumer.read()] == ["f"]
    assert consumer.cursor.deadline is None


def test_a_finished_cursor_tells_nothing_more():
    """Law 5: the end comes once."""
    stream = stream_of("a")
    stream.end()
    consumer = Consumer(stream)
    assert [type(record) for record in consumer.read_on()] == [Event, End]
    assert consumer.read() == ()
    stream.log.apply(Delete(), stream.now)
    assert consumer.read() == ()
    assert consumer.read() == ()


# Gaps


def test_what_was_trimmed_is_a_gap():
    stream = StreamWorld.started(Retention(count=2, keep=KEEP))
    for each in "abcdef":
        stream.append(each)
    stream.end()
    gap, *events, _ = told(stream)
    assert gap == Gap(EventId("e1", 4), GapReason.TRIMMED)
    assert [event.data for event in events] == ["e", "f"]
    assert told(stream, After(EventId("e1", 2)))[0] == gap
    assert told(stream, AtCharacter(3))[0] == gap
    assert told(stream, AtCharacter(0))[0] == gap
    assert isinstance(told(stream, After(EventId("e1", 4)))[0], Event)
    assert isinstance(told(stream, AtCharacter(4))[0], Event)


def test_a_lost_end_of_the_stream_is_a_gap_and_then_the_end():
    """Nobody waits for ever for events that the store has lost and nobody restores."""
    stream = stream_of("a")
    stream.lose("b", "c")
    consumer = Consumer(stream)
    assert consumer.read_on() == [*stream.events, Gap(EventId("e1", 3), GapReason.LOST)]
    stream.end()
    assert consumer.read_on() == [End(EventId("e1", 3), Outcome.DONE)]


def test_a_stream_of_which_nothing_is_left():
    """Law 2: retention leaves the newest, so the store has lost it."""
    stream = StreamWorld.started()
    stream.lose("a", "b")
    stream.end()
    assert told(stream) == expected(stream, Beginning())
    assert told(stream)[0] == Gap(EventId("e1", 2), GapReason.LOST)


def test_characters_behind_a_hole_are_found():
    """What was lost between is not missing to whoever has it."""
    stream = stream_of("ab")
    stream.lose("cd")
    stream.append("ef")
    stream.end()
    for limit in (1, 9):
        for offset in (4, 5):
            event, _ = told(stream, AtCharacter(offset), limit=limit)
            assert event.data == "abcdef"[offset:]
        for offset in (2, 3):
            gap, event, _ = told(stream, AtCharacter(offset), limit=limit)
            assert gap == Gap(EventId("e1", 2), GapReason.LOST)
            assert event.data == "ef"


# Ahead of the log


@pytest.mark.parametrize("windowed", [True, False])
@pytest.mark.parametrize("position", [After(EventId("e1", 3)), AtCharacter(3)])
def test_a_place_ahead_is_waited_for_a_lease_at_most(windowed, position):
    stream = stream_of("a", "b", "c")
    stream.roll_back(2)
    consumer = Consumer(stream, position, following(stream) if windowed else None)
    stream.now = 1.0
    assert consumer.read_on() == []
    assert consumer.cursor.deadline == 1.0 + LEASE
    stream.now += LEASE - 0.1
    stream.log.apply(Renew("e1"), stream.now)
    assert consumer.read_on() == []
    assert consumer.cursor.deadline == 1.0 + LEASE
    stream.now = 1.0 + LEASE
    reset, *events = consumer.read_on()
    assert reset == Reset(EventId("e1", 0), ResetReason.AHEAD)
    assert events == stream.events


@pytest.mark.parametrize("position", [After(EventId("e1", 3)), AtCharacter(3)])
def test_a_tail_that_is_restored_is_gone_on_from(position):
    stream = stream_of("a", "b", "c")
    stream.roll_back(2)
    consumer = Consumer(stream, position)
    assert consumer.read_on() == []
    stream.now = LEASE - 1.0
    stream.append("c", "d")
    assert [event.data for event in consumer.read_on()] == ["d"]
    assert consumer.cursor.deadline is None
    stream.roll_back(2)
    assert consumer.read_on() == []
    assert consumer.cursor.deadline == LEASE - 1.0 + LEASE


def test_a_stream_that_grows_does_not_keep_a_made_up_place_waiting():
    stream = stream_of("a")
    consumer = Consumer(stream, AtCharacter(1000))
    for _ in range(4):
        assert consumer.read_on() == []
        stream.now += LEASE / 4
        stream.append("x")
    assert consumer.read_on()[0] == Reset(EventId("e1", 0), ResetReason.AHEAD)


def test_an_ended_stream_is_not_waited_for():
    stream = stream_of("a", "b", "c")
    consumer = Consumer(stream, Live())
    consumer.read_on()
    stream.roll_back(2)
    stream.log.apply(Stop("enough"), stream.now)
    reset, *_, end = consumer.read_on()
    assert reset.reason is ResetReason.AHEAD
    assert end == End(EventId("e1", 2), Outcome.STOPPED, "enough")


def test_whatever_is_waited_for_is_waited_for_a_lease():
    """Each time anew, and also between the pages."""
    stream = stream_of("a", "b", "c")
    consumer = Consumer(stream, After(EventId("e1", 9)), limit=1)
    assert consumer.read_on() == []
    stream.now = LEASE
    assert consumer.read() == ()
    (reset,) = consumer.read()
    assert reset.reason is ResetReason.AHEAD
    log, stream.log = stream.log, EventLog()
    assert consumer.read_on() == []
    assert consumer.cursor.deadline == 2 * LEASE
    log, stream.log = stream.log, log
    stream.now += 1.0
    stream.log.apply(Renew("e1"), stream.now)
    assert len(consumer.read()) == 1
    log, stream.log = stream.log, log
    assert consumer.read_on() == []
    assert consumer.cursor.deadline == 2 * LEASE + 1.0


# Places that are none


def test_ids_that_are_not_of_this_lineage():
    stream = stream_of("a", "b")
    stream.take_over()
    stream.append("c")
    for id, reason in [
        (EventId("e1", 3), ResetReason.RESTARTED),
        (EventId("e2", 2), ResetReason.RESTARTED),
        (EventId("e0", 1), ResetReason.UNKNOWN),
    ]:
        reset, *events = told(stream, After(id))
        assert reset == Reset(EventId("e1", 0), reason)
        assert events == stream.events


def test_no_characters_are_the_beginning():
    stream = stream_of("", b"\x80a")
    assert told(stream, AtCharacter(0)) == told(stream)


# The end, seen before


@pytest.mark.parametrize("position", [After(EventId("e1", 1), end=True)])
def test_whoever_has_seen_the_end_is_told_nothing(position):
    stream = stream_of("a")
    assert told(stream, position) == []
    assert told(stream, position) == []
    stream.end(Outcome.LOST)
    consumer = Consumer(stream, position)
    assert consumer.read_on() == []
    assert consumer.cursor.finished
    stream.claim(on_lost=Takeover.CONTINUE)
    stream.append("b")
    stream.end()
    assert [type(record) for record in told(stream, position)] == [Event, End]


def test_an_end_that_a_failover_swallowed_is_told_again():
    stream = stream_of("a")
    consumer = Consumer(stream, After(EventId("e1", 1), end=True))
    assert consumer.read_on() == []
    assert not consumer.cursor.finished
    stream.end()
    assert consumer.read_on() == [End(EventId("e1", 1), Outcome.DONE)]


# Deleted, wiped, restarted, taken over


@pytest.mark.parametrize("windowed", [True, False])
def test_a_deleted_stream_has_been_stopped(windowed):
    stream = stream_of("a")
    follower = following(stream) if windowed else None
    consumer = Consumer(stream, follower=follower)
    consumer.read_on()
    stream.log.apply(Delete(), stream.now)
    if follower is not None:
        follower.received(Changed(stream.sentinel), stream.now)
        refresh(follower, stream)
    (end,) = consumer.read_on()
    assert (str(end.id), end.outcome) == ("e1-1", Outcome.STOPPED)


@pytest.mark.parametrize("windowed", [True, False])
def test_a_stream_that_is_gone_is_lost_after_a_lease(windowed):
    stream = stream_of("a")
    follower = following(stream) if windowed else None
    consumer = Consumer(stream, follower=follower)
    consumer.read_on()
    stream.log = EventLog()
    stream.now = 20.0
    if follower is not None:
        refresh(follower, stream)
        assert follower.sentinel is ABSENT
    assert consumer.read_on() == []
    assert consumer.cursor.deadline == 20.0 + LEASE
    stream.now = 20.0 + LEASE
    (end,) = consumer.read_on()
    assert (str(end.id), end.outcome) == ("e1-1", Outcome.LOST)


def test_a_stream_that_was_recovered_goes_on():
    stream = stream_of("a", "b")
    at, consumer = stream.sentinel, Consumer(stream)
    consumer.read_on()
    stream.log = EventLog()
    assert consumer.read_on() == []
    stream.log.apply(Recover(at.epoch, at.lineage, 1, 1, LEASE, at.retention, {}), stream.now)
    stream.append("b")
    stream.now = LEASE - 0.1
    assert consumer.read_on() == []
    assert consumer.cursor.deadline is None
    stream.append("c")
    assert [event.data for event in consumer.read_on()] == ["c"]


@pytest.mark.parametrize("windowed", [True, False])
def test_a_restart_voids_what_came_before(windowed):
    stream = stream_of("a", "b")
    follower = following(stream) if windowed else None
    consumer = Consumer(stream, follower=follower)
    consumer.read_on()
    stream.end()
    stream.claim(replaces="e1")
    stream.append("c")
    if follower is not None:
        follower.received(Changed(stream.sentinel), stream.now)
        refresh(follower, stream)
    reset, event = consumer.read_on()
    assert reset == Reset(EventId("e2", 0), ResetReason.RESTARTED)
    assert event.data == "c"


def test_a_takeover_before_the_place_voids_it():
    stream = stream_of("a", "b", "c")
    consumer = Consumer(stream)
    consumer.read_on()
    stream.roll_back(2)
    stream.take_over()
    reset, *_ = consumer.read_on()
    assert reset == Reset(EventId("e1", 0), ResetReason.RESTARTED)


def test_a_takeover_that_a_failover_swallowed():
    """The claim is gone, the place is still good."""
    stream = stream_of("a", "b")
    before, lineage = stream.sentinel, stream.sentinel.lineage
    stream.take_over()
    consumer = Consumer(stream, Live())
    consumer.read_on()
    stream.log.sentinel = before
    assert consumer.read_on() == []
    assert stream.sentinel.lineage is lineage
    stream.append("c")
    assert [event.data for event in consumer.read_on()] == ["c"]


# A window that is older than the log


@pytest.mark.parametrize("end", [Outcome.DONE, Outcome.LOST])
def test_an_old_window_does_not_undo_a_restart(end):
    """A consumer of the new answer is not told the old one."""
    stream = stream_of("a", "b")
    stream.end(end)
    follower = following(stream)
    stream.claim(replaces="e1")
    consumer = Consumer(stream, follower=follower)
    assert consumer.read_on() == []
    stream.append("c")
    assert [event.data for event in consumer.read_on()] == ["c"]
    refresh(follower, stream)
    follower.received(Changed(stream.sentinel), stream.now)
    refresh(follower, stream)
    reads = consumer.log_reads
    assert consumer.read_on() == []
    assert consumer.log_reads == reads


def test_an_old_window_does_not_end_what_was_taken_over():
    stream = stream_of("a")
    stream.end(Outcome.LOST)
    follower = following(stream)
    stream.claim(on_lost=Takeover.CONTINUE)
    consumer = Consumer(stream, After(EventId("e1", 1)), follower=follower)
    assert consumer.read_on() == []
    stream.append("b")
    assert [event.data for event in consumer.read_on()] == ["b"]


def test_an_old_window_does_not_end_what_was_started_anew():
    stream = stream_of("a")
    stream.log.apply(Delete(), stream.now)
    follower = following(stream)
    stream.claim(retention=Retention(keep=KEEP))
    consumer = Consumer(stream, follower=follower)
    assert consumer.read_on() == []
    stream.append("b")
    assert [event.data for event in consumer.read_on()] == ["b"]


def test_an_old_window_does_not_void_a_place_ahead_of_it():
    stream = stream_of("a")
    follower = following(stream)
    stream.append("b")
    consumer = Consumer(stream, Live(), follower=follower)
    assert consumer.read_on() == []
    stream.now = LEASE + 1.0
    assert consumer.read_on() == []
    stream.append("c")
    stream.now += LEASE
    assert [event.data for event in consumer.read_on()] == ["c"]
