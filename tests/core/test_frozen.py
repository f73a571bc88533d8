"""What `frozen` makes is, to whoever uses it, what `dataclass(frozen=True, slots=True)` makes."""

from __future__ import annotations

import copy
import inspect
import pickle
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace
from itertools import repeat
from typing import get_type_hints

import pytest

from resumable_core import Beginning, EventId
from resumable_core._frozen import all_made, frozen


class Definition:
    """Fields of every kind that the core has."""

    name: str
    count: int = 1
    parts: list[str] = field(default_factory=list)
    length: int = field(init=False, repr=False, compare=False)
    seen: str | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Work out what is not given."""
        object.__setattr__(self, "length", len(self.name))


def defined(decorate: object) -> type:
    """The class that a decorator makes of the definition."""
    namespace = {name: value for name, value in vars(Definition).items() if name != "__dict__"}
    namespace.pop("__weakref__", None)
    return decorate(type("Part", (), namespace | {"__qualname__": "Part"}))


OURS, THEIRS = defined(frozen), defined(dataclass(frozen=True, slots=True))
ARGUMENTS = [(("a",), {}), (("a", 2, ["b"]), {}), ((), {"parts": ["c"], "name": "ab"})]


@pytest.mark.parametrize("given", ARGUMENTS, ids=["defaults", "by position", "by name"])
def test_an_instance_is_made_and_shown_as_that_of_a_dataclass(given):
    args, kwargs = given
    ours, theirs = OURS(*args, **kwargs), THEIRS(*args, **kwargs)
    for each in fields(THEIRS):
        assert getattr(ours, each.name) == getattr(theirs, each.name)
    assert repr(ours) == repr(theirs)
    assert ours == OURS(*args, **kwargs)
    assert ours != theirs
    assert ours != OURS("else")


def test_a_class_tells_what_it_takes_as_a_dataclass_does():
    ours, theirs = (inspect.signature(each).parameters for each in (OURS, THEIRS))
    assert list(ours) == list(theirs)
    assert [each.annotation for each in ours.values()] == [
        each.annotation for each in theirs.values()
    ]
    assert get_type_hints(OURS.__init__) == get_type_hints(THEIRS.__init__)
    assert OURS.__init__.__qualname__ == THEIRS.__init__.__qualname__
    assert OURS.__match_args__ == THEIRS.__match_args__
    assert OURS.__slots__ == THEIRS.__slots__
    for each in (OURS, THEIRS):
        with pytest.raises(TypeError, match="name"):
            each()


def test_each_instance_has_its_own_default_from_a_factory():
    assert OURS("a").parts is not OURS("a").parts


def test_many_are_made_of_columns():
    whole = (EventId("a", 0), EventId("a", 1), EventId("a", 2))
    assert all_made(EventId, 3, repeat("a"), range(3)) == whole
    assert all_made(EventId, 0, [], []) == ()


def test_a_hash_is_by_value():
    assert hash(EventId("a", 1)) == hash(EventId("a", 1)) != hash(EventId("a", 2))
    assert len({Beginning(), Beginning()}) == 1
    with pytest.raises(TypeError, match="unhashable"):
        hash(OURS("a"))  # as its list is


def test_nothing_can_be_changed():
    part = OURS("a")
    with pytest.raises(FrozenInstanceError, match="'count' cannot be changed"):
        part.count = 2
    with pytest.raises(FrozenInstanceError, match="'count' cannot be changed"):
        del part.count
    with pytest.raises(FrozenInstanceError, match="'other' cannot be changed"):
        part.other = 2
    assert part == OURS("a")


def test_a_part_can_be_replaced():
    assert replace(OURS("a", 2), name="ab") == OURS("ab", 2)
    assert replace(OURS("a", 2), name="ab").length == 2


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))],
    ids=["copy", "deepcopy", "pickle"],
)
@pytest.mark.parametrize("original", [EventId("a", 1), Beginning()], ids=repr)
def test_a_copy_is_equal(original, copied):
    assert copied(original) == original
