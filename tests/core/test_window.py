"""The window, against a list that forgets nothing."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from resumable_core import ABSENT, PAGE_EVENTS, Event, EventId, FollowerLimits, State
from resumable_core._window import Window, size_of

ACTIVE = replace(ABSENT, state=State.ACTIVE)
LIMITS = FollowerLimits(window_count=5, window_bytes=8)

texts = st.lists(st.text("aé", max_size=10), max_size=7)


def events(after: int, *data: str) -> list[Event]:
    return [Event(EventId("a", seq), each) for seq, each in enumerate(data, after + 1)]


@given(st.integers(0, 3), st.lists(texts, max_size=6))
def test_a_window_is_the_newest_part_of_the_log(anchor, batches):
    """Law 8: as many batches as the limits allow, and the newest in any case."""
    window = Window(LIMITS)
    window.extend(events(0, "of", "an", "earlier", "log"), 14)
    window.anchor(anchor)
    added: list[list[Event]] = []
    for data in batches:
        batch = events(window.top, *data)
        window.extend(batch, size_of(batch))
        added += [batch] if batch else []
    everything = [event for batch in added for event in batch]
    assert window.top == anchor + len(everything)
    assert window.newest == (everything[-1].id if everything else None)
    while len(added) > 1 and exceeds([event for batch in added for event in batch]):
        del added[0]
    assert window.events == [event for batch in added for event in batch]


def exceeds(held: list[Event]) -> bool:
    return len(held) > LIMITS.window_count or size_of(held) > LIMITS.window_bytes


@given(st.integers(0, 9))
def test_a_page_holds_what_follows_if_the_window_holds_it(after):
    """Law 2: where the window begins too late, there is no page."""
    window = Window(LIMITS)
    window.anchor(2)
    window.extend(held := events(2, "a", "b", "c"), 3)
    page = window.page(after, ACTIVE)
    if after < 2:
        assert page is None
    else:
        assert page is not None
        assert (page.sentinel, page.after, page.first_seq) == (ACTIVE, after, 3)
        assert list(page.events) == held[after - 2 :]


def test_a_page_of_the_window_is_limited():
    """Law 8: in events; in bytes the window itself is."""
    window = Window(FollowerLimits(window_count=2 * PAGE_EVENTS))
    window.extend(events(0, *"x" * (PAGE_EVENTS + 1)), PAGE_EVENTS + 1)
    page = window.page(0, ACTIVE)
    assert page is not None
    assert len(page.events) == PAGE_EVENTS
