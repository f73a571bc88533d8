"""Draw the lifecycle of streams and channels from `resumable_core.TABLE`, which alone knows it.

The table says which states and edges there are, and what is written at them; this file only says
where they go. A state or an edge of the table without a place here is an error, and so is a place
here without its state or edge.

States that the table treats alike are drawn as a group: what leaves all of them for the same state,
at the same inputs, is one edge of the group. Inputs at which a state stays are written into it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Final, TypeAlias

from resumable_core import TABLE, Input, Refusal, State

Table: TypeAlias = Mapping[State, Mapping[Input, State | Refusal]]

WIDTH, HEIGHT = 920, 720

ERRORS: Final = {
    Refusal.NOT_FOUND: "StreamNotFound",
    Refusal.EXISTS: "StreamExists",
    Refusal.FENCED: "Fenced",
}
"""What the caller of a refused change gets."""


class LayoutError(Exception):
    """Table and layout do not fit together."""


@dataclass(frozen=True)
class Box:
    """Where a state or a group is: its centre and its size."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Route:
    """Where an edge runs, and where its label begins, is centred, or ends."""

    path: str
    x: int
    y: int
    anchor: str = "middle"


ENDED: Final = "ended"
GROUPS: Final = {ENDED: frozenset({State.DONE, State.FAILED, State.STOPPED, State.LOST})}

BOXES: Final = {
    State.ABSENT: Box(105, 300, 190, 58),
    State.ACTIVE: Box(430, 300, 170, 58),
    State.DONE: Box(785, 192, 130, 40),
    State.FAILED: Box(785, 254, 130, 40),
    State.STOPPED: Box(785, 316, 130, 40),
    State.LOST: Box(785, 378, 130, 40),
    State.DELETED: Box(430, 530, 170, 58),
    State.OPEN: Box(105, 670, 190, 58),
    ENDED: Box(785, 296, 210, 310),
}

ROUTES: Final = {
    (State.ABSENT, State.ACTIVE): Route("M200 290 H339", 272, 280),
    (State.ACTIVE, State.ABSENT): Route("M345 312 H206", 272, 331),
    (State.ACTIVE, State.DONE): Route("M515 290 C590 290 600 192 714 192", 644, 183),
    (State.ACTIVE, State.FAILED): Route("M515 296 C590 296 610 254 714 254", 644, 245),
    (State.ACTIVE, State.STOPPED): Route("M515 304 C590 304 610 316 714 316", 644, 307),
    (State.ACTIVE, State.LOST): Route("M515 310 C590 310 600 378 714 378", 672, 402, "end"),
    (State.ACTIVE, State.DELETED): Route("M416 329 V495", 406, 420, "end"),
    (State.DELETED, State.ACTIVE): Route("M444 501 V335", 454, 420, "start"),
    (State.DELETED, State.ABSENT): Route("M345 530 C180 530 105 460 105 335", 142, 480, "end"),
    (State.ABSENT, State.OPEN): Route("M75 329 V635", 81, 600, "start"),
    (State.OPEN, State.ABSENT): Route("M25 641 V335", 31, 420, "start"),
    (State.OPEN, State.DELETED): Route("M200 660 C330 655 400 620 412 565", 316, 628),
    (State.DELETED, State.OPEN): Route("M450 559 C450 640 380 690 206 682", 440, 640, "start"),
    (ENDED, State.ACTIVE): Route("M730 141 C730 66 430 56 430 265", 600, 76),
    (ENDED, State.ABSENT): Route("M830 141 C830 -24 105 -24 105 265", 466, 12),
    (ENDED, State.DELETED): Route("M785 451 C785 520 690 530 521 530", 640, 520),
}


def draw(table: Table = TABLE) -> str:
    """Return the diagram as an SVG element.

    Raises `LayoutError` when table and layout do not fit together.
    """
    _check_same("state", set(table), {place for place in BOXES if isinstance(place, State)})
    edges, stays = _edges(table), _stays(table)
    _check_same("edge", set(edges), set(ROUTES))
    parts = [
        f'<svg class="lifecycle" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'xmlns="http://www.w3.org/2000/svg">',
        "<title>The lifecycle of a stream, and of a channel</title>",
        f"<desc>{escape(_sentences(edges))}</desc>",
        '<defs><marker id="lifecycle-head" viewBox="0 0 10 10" refX="9" refY="5" '
        'markerWidth="7" markerHeight="7" orient="auto-start-reverse">'
        '<path d="M0 0 L10 5 L0 10 z"/></marker></defs>',
        *(_group(name, stays) for name in GROUPS),
        *(_edge(ROUTES[ends], inputs) for ends, inputs in edges.items()),
        *(_state(state, stays.get(state, ())) for state in table),
        "</svg>",
    ]
    return "\n".join(parts)


def rows(table: Table = TABLE) -> list[list[str]]:
    """Return the table as text: a head with the states, then a row for each input.

    A cell is the state after the input, empty where it stays, or the error in parentheses.
    """
    head = ["input", *(str(state) for state in table)]
    return [head, *([str(each), *(_cell(table, state, each) for state in table)] for each in Input)]


def _cell(table: Table, state: State, each: Input) -> str:
    target = table[state][each]
    if isinstance(target, Refusal):
        return f"({ERRORS[target]})"
    return "" if target is state else str(target)


# What the table says


def _edges(table: Table) -> dict[tuple[str, str], tuple[Input, ...]]:
    """Return the inputs of every edge between two states, those of a group merged into one."""
    found: dict[tuple[str, str], tuple[Input, ...]] = {}
    for state, row in table.items():
        for each, target in row.items():
            if isinstance(target, State) and target is not state:
                found[state, target] = (*found.get((state, target), ()), each)
    for name, members in GROUPS.items():
        for target in set(table) - members:
            inputs = {found.get((member, target), ()) for member in members}
            if len(inputs) == 1 and inputs != {()}:
                for member in members:
                    del found[member, target]
                found[name, target] = inputs.pop()
    return found


def _stays(table: Table) -> dict[str, tuple[Input, ...]]:
    """Return the inputs at which a state stays; a group has those that all its members share."""
    found: dict[str, tuple[Input, ...]] = {
        state: tuple(each for each, target in row.items() if target is state)
        for state, row in table.items()
    }
    for name, members in GROUPS.items():
        inputs = {found[member] for member in members}
        if len(inputs) == 1:
            for member in members:
                del found[member]
            found[name] = inputs.pop()
    return found


def _sentences(edges: Mapping[tuple[str, str], tuple[Input, ...]]) -> str:
    return " ".join(
        f"From {source} to {target}: {', '.join(inputs)}."
        for (source, target), inputs in edges.items()
    )


def _check_same(kind: str, in_table: set[str] | set[tuple[str, str]], here: set[object]) -> None:
    for what, names in (
        ("TABLE has, and the layout has not, the", in_table - here),
        ("the layout has, and TABLE has not, the", here - in_table),
    ):
        if names:
            raise LayoutError(f"{__file__}: {what} {kind}: {sorted(map(_name, names))}")


def _name(found: object) -> str:
    return " → ".join(found) if isinstance(found, tuple) else str(found)


# What it looks like


def _state(state: State, stays: tuple[Input, ...]) -> str:
    box = BOXES[state]
    name_y = box.y - 5 if stays else box.y + 6
    note = f'<text class="note" x="{box.x}" y="{box.y + 15}">{", ".join(stays)}</text>'
    return (
        f'<g class="state {state}">{_rect(box, 8)}'
        f'<text x="{box.x}" y="{name_y}">{state}</text>{note if stays else ""}</g>'
    )


def _group(name: str, stays: Mapping[str, tuple[Input, ...]]) -> str:
    box = BOXES[name]
    top, bottom = box.y - box.height // 2, box.y + box.height // 2
    return (
        f'<g class="group">{_rect(box, 14)}<text x="{box.x}" y="{top + 22}">{name}</text>'
        f'<text class="note" x="{box.x}" y="{bottom - 18}">{", ".join(stays.get(name, ()))}</text>'
        "</g>"
    )


def _rect(box: Box, radius: int) -> str:
    x, y = box.x - box.width // 2, box.y - box.height // 2
    return f'<rect x="{x}" y="{y}" width="{box.width}" height="{box.height}" rx="{radius}"/>'


def _edge(route: Route, inputs: tuple[Input, ...]) -> str:
    return (
        f'<g class="edge"><path d="{route.path}" marker-end="url(#lifecycle-head)"/>'
        f'<text x="{route.x}" y="{route.y}" text-anchor="{route.anchor}">{", ".join(inputs)}</text>'
        "</g>"
    )
