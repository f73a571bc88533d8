"""Which event ids a log has ever given out, over any number of takeovers."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resumable_core import EventId, Lineage
from resumable_core.testing import lineages

BEYOND = 25  # past every seq at which a drawn lineage changes hands
epochs = st.sampled_from("abcdefg")
ids = st.builds(EventId, epochs, st.integers(0, BEYOND))

# The one that the module's docstring draws.
DRAWN = Lineage.starting("a").grown("b", 6).grown("c", 9)


def given_ids(lineage):
    """Write down the ids that a log gives out, place by place, without asking the lineage."""
    owner, (_, *later) = lineage.epochs[0][0], lineage.epochs
    ids = {EventId(owner, 0)}
    for seq in range(1, BEYOND + 1):
        while later and later[0][1] == seq:
            owner = later.pop(0)[0]
        ids.add(EventId(owner, seq))
    return ids


@given(lineages())
@example(DRAWN)
@example(Lineage.starting("a").grown("b", 1).grown("c", 1))
def test_a_log_knows_the_ids_that_it_gives(lineage):
    """Law 3: the id of every place is in the lineage, and so are no others."""
    places = [lineage.id_at(seq) for seq in range(BEYOND + 1)]
    assert set(places) == given_ids(lineage)
    assert all(map(lineage.contains, places))


@given(lineages(), ids)
@example(DRAWN, EventId("a", 6))
@example(DRAWN, EventId("b", 5))
@example(DRAWN, EventId("b", 0))
@example(DRAWN, EventId("d", 1))
def test_any_other_id_is_not_part_of_the_log(lineage, id):
    """Law 2: an id that this log never gave to an event can't be resumed after."""
    assert lineage.contains(id) == (id in given_ids(lineage))


@given(lineages(), st.integers(1, BEYOND), ids)
def test_a_takeover_cuts_off_what_the_former_producer_might_have_appended(lineage, first_seq, id):
    """Law 4: after a takeover at k, ids below k stand as they are; of the others none is left."""
    first_seq = max(first_seq, lineage.epochs[-1][1])
    grown = lineage.grown("z", first_seq)
    assert grown.contains(id) == (lineage.contains(id) and id.seq < first_seq)
    assert grown.contains(EventId("z", first_seq))
    assert not grown.contains(EventId("z", first_seq - 1))


@given(lineages(), st.integers(1, BEYOND), st.integers(0, BEYOND), st.integers(0, BEYOND))
def test_ids_of_different_places_never_collide(lineage, first_seq, seq, other):
    """Law 3: an id names one place, whoever takes over later."""
    grown = lineage.grown("z", max(first_seq, lineage.epochs[-1][1]))
    assert (lineage.id_at(seq) == grown.id_at(other)) == (
        seq == other and grown.contains(lineage.id_at(seq))
    )


@given(lineages(), lineages())
def test_a_log_is_the_same_until_it_is_started_anew(lineage, other):
    """A takeover goes on with the log, a restart does not: its epoch is another."""
    assert lineage.same_log(lineage.grown("z", BEYOND))
    assert lineage.grown("z", BEYOND).same_log(lineage)
    assert not lineage.same_log(Lineage.starting("z"))
    assert lineage.same_log(other) == (lineage.id_at(0) == other.id_at(0))
    assert not lineage.same_log(Lineage())
    assert Lineage().same_log(Lineage())


@given(lineages(), epochs)
def test_a_lineage_knows_the_claims_that_it_went_through(lineage, epoch):
    """Law 6: a claim that comes again is recognised, although others have followed."""
    assert lineage.knows(epoch) == (epoch in dict(lineage.epochs))


@pytest.mark.parametrize(
    ("seq", "id"),
    [(0, "a-0"), (1, "a-1"), (5, "a-5"), (6, "b-6"), (8, "b-8"), (9, "c-9"), (10, "c-10")],
)
def test_the_drawing(seq, id):
    assert str(DRAWN.id_at(seq)) == id


@pytest.mark.parametrize("id", ["a-6", "a-7", "b-0", "b-5", "b-9", "c-0", "c-8", "d-1"])
def test_the_ids_of_nobody_in_the_drawing(id):
    assert not DRAWN.contains(EventId.parse(id))


def test_a_log_begins_at_seq_1():
    assert Lineage.starting("a").epochs == (("a", 1),)


def test_where_there_is_no_log_there_are_no_ids():
    assert not Lineage().contains(EventId("a", 0))
    assert not Lineage().knows("a")


def test_a_lineage_is_full_at_its_limit():
    """Law 8: a hundred claims, and no more."""
    lineage = Lineage.starting("e1")
    for count in range(2, 101):
        assert not lineage.full
        lineage = lineage.grown(f"e{count}", count)
    assert lineage.full
