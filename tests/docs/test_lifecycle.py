"""The diagram of the lifecycle shows what TABLE says, and nothing is left out in silence."""

import importlib.util
import sys
from types import MappingProxyType
from xml.etree import ElementTree as ET

import pytest

from resumable_core import TABLE, Input, Refusal, State
from tests.docs.pages import ROOT

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def lifecycle():
    """The module that draws, which Sphinx alone has on its path."""
    path = ROOT / "docs" / "_ext" / "lifecycle.py"
    spec = importlib.util.spec_from_file_location("lifecycle", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["lifecycle"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["lifecycle"]


def changed(state, each, target):
    return {**TABLE, state: MappingProxyType({**TABLE[state], each: target})}


def test_the_diagram_has_every_state_and_every_change(lifecycle):
    svg = ET.fromstring(lifecycle.draw())
    boxes = [group for group in svg.iter(f"{SVG}g") if group.get("class").startswith("state ")]
    assert [box.find(f"{SVG}text").text for box in boxes] == list(TABLE)

    described = svg.find(f"{SVG}desc").text
    for state, row in TABLE.items():
        for each, target in row.items():
            if isinstance(target, State) and target is not state:
                froms = {state, *(name for name, of in lifecycle.GROUPS.items() if state in of)}
                assert any(
                    f"From {source} to {target}:" in described
                    and each in described.split(f"From {source} to {target}: ")[1].split(".")[0]
                    for source in froms
                )
    edges = [group for group in svg.iter(f"{SVG}g") if group.get("class") == "edge"]
    assert len(edges) == described.count("From ")


def test_the_diagram_fits_into_its_frame(lifecycle):
    for box in lifecycle.BOXES.values():
        assert box.width / 2 <= box.x <= lifecycle.WIDTH - box.width / 2
        assert box.height / 2 <= box.y <= lifecycle.HEIGHT - box.height / 2


@pytest.mark.parametrize(
    ("state", "each", "target"),
    [
        (State.ABSENT, Input.STOP, State.STOPPED),  # an edge more
        (State.ACTIVE, Input.STOP, Refusal.FENCED),  # one fewer
        (State.DONE, Input.CLAIM, Refusal.EXISTS),  # a group whose members differ
    ],
)
def test_an_edge_without_a_place_is_an_error(lifecycle, state, each, target):
    with pytest.raises(lifecycle.LayoutError):
        lifecycle.draw(changed(state, each, target))


def test_a_state_without_a_place_is_an_error(lifecycle):
    with pytest.raises(lifecycle.LayoutError, match="paused"):
        lifecycle.draw({**TABLE, "paused": {}})
    with pytest.raises(lifecycle.LayoutError, match="deleted"):
        lifecycle.draw({state: row for state, row in TABLE.items() if state != State.DELETED})


def test_the_table_has_every_pair(lifecycle):
    head, *body = lifecycle.rows()
    assert head[1:] == list(TABLE)
    assert [row[0] for row in body] == list(Input)
    for row in body:
        for state, cell in zip(TABLE, row[1:], strict=True):
            target = TABLE[state][row[0]]
            if isinstance(target, Refusal):
                assert cell == f"({lifecycle.ERRORS[target]})"
            else:
                assert cell == ("" if target is state else target)
