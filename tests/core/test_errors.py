"""The exception tree is the one that is drawn at the top of its module."""

import inspect
import re

import pytest

import resumable_core
from resumable_core import _errors

DRAWN = re.compile(r"^(?P<lines>[ │├└─]*)(?P<name>\w+)(?: \((?P<second>\w+)\))?", re.MULTILINE)
WIDTH = 4  # of one level of the drawing


def drawn_bases(docstring):
    """Read the bases of each exception from a drawing with one line of text above it."""
    _, drawing = inspect.cleandoc(docstring).split("\n\n")
    bases, ancestors = {}, []
    for found in DRAWN.finditer(drawing):
        depth = len(found["lines"]) // WIDTH
        del ancestors[depth:]
        parent = ancestors[-1] if ancestors else "Exception"
        bases[found["name"]] = tuple(filter(None, (parent, found["second"])))
        ancestors.append(found["name"])
    return bases


CLASSES = {
    name: class_
    for name, class_ in vars(_errors).items()
    if inspect.isclass(class_) and class_.__module__ == _errors.__name__
}


def test_the_drawing_can_be_read():
    docstring = """Whatever it says.

    Top
    ├── First (ValueError)   whose fault
    │   └── Inner
    └── Second               what to do
        └── Deep
    """
    assert drawn_bases(docstring) == {
        "Top": ("Exception",),
        "First": ("Top", "ValueError"),
        "Inner": ("First",),
        "Second": ("Top",),
        "Deep": ("Second",),
    }


def test_every_exception_stands_where_it_is_drawn():
    real = {
        name: tuple(base.__name__ for base in class_.__bases__) for name, class_ in CLASSES.items()
    }
    assert drawn_bases(_errors.__doc__) == real


@pytest.mark.parametrize("name", CLASSES)
def test_every_exception_is_public_and_says_what_it_means(name):
    assert getattr(resumable_core, name) is CLASSES[name]
    assert name in resumable_core.__all__
    assert CLASSES[name].__doc__
