"""Pages, cut from batches, against the list of all events."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from resumable_core import (
    ABSENT,
    PAGE_EVENTS,
    Batch,
    Event,
    EventId,
    Message,
    Page,
    State,
    page_of,
)
from resumable_core._pages import PAGE_BYTES, VIEWS
from resumable_core.testing import messages
from resumable_core.testing.machines.channel import audiences

together = st.lists(st.tuples(messages(), audiences()), min_size=1, max_size=4)


def kept(*appended: list[tuple[Message, frozenset[str] | None]]) -> list[Batch]:
    """Return what a log keeps of messages for some recipients, by how they were appended."""
    batches: list[Batch] = []
    first_seq, offset = 1, 0
    for items in appended:
        characters = sum(message.characters for message, _ in items)
        batches.append(
            Batch(
                "a",
                first_seq,
                tuple(message.data for message, _ in items),
                sum(message.size for message, _ in items),
                characters,
                offset,
                0.0,
                {i: message.type for i, (message, _) in enumerate(items) if message.type},
                {i: to for i, (_, to) in enumerate(items) if to is not None},
            )
        )
        first_seq, offset = first_seq + len(items), offset + characters
    return batches


def texts(*appended: list[str]) -> list[Batch]:
    return kept(*([(Message(text), None) for text in each] for each in appended))


@given(st.lists(together, min_size=1, max_size=5), st.data())
def test_a_page_is_a_part_of_the_log(appended, data):
    """Law 3: wherever it begins, and however the log was cut into batches."""
    items = [item for each in appended for item in each]
    everything = tuple(
        Event(EventId("a", seq), message.data, message.type, to)
        for seq, (message, to) in enumerate(items, 1)
    )
    after, limit = data.draw(st.integers(0, len(items) - 1)), data.draw(st.integers(1, 20))
    batches = [batch for batch in kept(*appended) if batch.last_seq > after]
    events, offset = page_of(batches, after, limit)
    assert events == everything[after : after + limit]
    assert offset == sum(message.characters for message, _ in items[:after])
    first = batches[0]
    cut = after + 1 - first.first_seq
    assert first.events_from(cut) == everything[after : first.last_seq]
    assert first.events == everything[first.first_seq - 1 : first.last_seq]


def test_a_page_is_bounded_by_bytes():
    """Law 8: a page ends with the batch that fills it."""
    batches = texts(*[["x" * (PAGE_BYTES // 4)]] * 6)
    assert len(page_of(batches, 0, PAGE_EVENTS)[0]) == 4
    assert len(page_of(batches[4:], 4, PAGE_EVENTS)[0]) == 2


def test_a_page_is_bounded_by_events():
    """Law 8: a page ends after so many events, in the middle of a batch if need be."""
    batches = texts(["x"] * (PAGE_EVENTS - 1), ["y", "z"])
    assert len(page_of(batches, 0, PAGE_EVENTS)[0]) == PAGE_EVENTS
    assert page_of(batches[1:], PAGE_EVENTS, 1)[0][0].data == "z"


def test_the_views_of_a_page_are_bounded():
    """Law 8: however many recipients a page is for."""
    events = tuple(
        Event(EventId("a", n), "x", None, frozenset({f"r{n}"})) for n in range(1, VIEWS + 3)
    )
    page = Page(replace(ABSENT, state=State.OPEN), 0, 1, events)
    for event in events:
        assert page.seen_by(event.to) == (event,)
    assert len(page._views._seen) <= VIEWS


def test_nobody_is_shown_what_names_nobody():
    page = Page(ABSENT, 0, 1, (Event(EventId("a", 1), "x", None, frozenset()),))
    assert page.seen_by(frozenset({"ann"})) == ()
