"""A message is well formed, whatever it is written from."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resumable_core import InvalidMessage
from resumable_core.ai_sdk import MessageWriter, Reasoning, data, finish, metadata, start
from resumable_core.ai_sdk import tool_input as tool

CHUNKS = [
    {"type": "start-step"},
    {"type": "finish-step"},
    {"type": "error", "errorText": "oh"},
    metadata({"a": 1}),
    data("status", "busy", transient=True),
    data("status", "done"),
    tool("c1", "weather", {}),
]

pieces = st.lists(
    st.text(max_size=3) | st.builds(Reasoning, st.text(max_size=3)) | st.sampled_from(CHUNKS)
)


def write(pieces, message_id=None):
    writer = MessageWriter(message_id)
    return [chunk for piece in pieces for chunk in writer.write(piece)] + writer.end()


def brief(chunks):
    return [
        " ".join([chunk["type"], *(chunk[key] for key in ("id", "delta") if key in chunk)])
        for chunk in chunks
    ]


def joined(pieces, kind):
    return "".join(
        text for piece in pieces if (text := piece if kind is str else piece.text) is not None
    )


@given(pieces)
@example([])
@example(["a", {"type": "start-step"}, "b"])
@example([{"type": "finish-step"}])
@example(["a", data("status", "busy", transient=True), "b"])
def test_parts_and_steps_are_nested(pieces):
    """A client refuses a delta of no part; steps hold parts, the message holds steps."""
    chunks = write(pieces)
    assert chunks[0]["type"] == "start"
    assert chunks[-1]["type"] == "finish"
    part, in_step, used = None, False, set()
    for chunk in chunks[1:-1]:
        match chunk["type"].split("-"):
            case [("text" | "reasoning") as kind, "start"]:
                assert in_step
                assert part is None
                assert chunk["id"] not in used
                part = kind, chunk["id"]
                used.add(chunk["id"])
            case [("text" | "reasoning") as kind, "delta"]:
                assert part == (kind, chunk["id"])
                assert chunk["delta"]
            case [("text" | "reasoning") as kind, "end"]:
                assert part == (kind, chunk["id"])
                part = None
            case ["start", "step"]:
                assert part is None
                assert not in_step
                in_step = True
            case ["finish", "step"]:
                assert part is None
                in_step = False
            case ["tool", *_]:
                assert in_step
                assert part is None
            case other:
                assert other[0] in {"data", "error", "message", "start", "finish"}
    assert part is None
    assert not in_step


@given(pieces)
def test_nothing_is_added_and_nothing_lost(pieces):
    """The text, the reasoning and the chunks come out as they went in, and in order."""
    chunks = write(pieces)
    for kind, deltas in ((str, "text-delta"), (Reasoning, "reasoning-delta")):
        given = joined([piece for piece in pieces if isinstance(piece, kind)], kind)
        assert given == "".join(each["delta"] for each in chunks if each["type"] == deltas)
    rest = iter(chunks)
    assert all(any(chunk is piece for chunk in rest) for piece in pieces if isinstance(piece, dict))


def test_a_message():
    chunks = write([Reasoning("Hm"), "Hel", "", "lo", tool("c1", "weather", {}), "!"], "m1")
    assert chunks[0] == start("m1")
    assert chunks[-1] == finish()
    assert brief(chunks) == [
        "start",
        "start-step",
        "reasoning-start 1",
        "reasoning-delta 1 Hm",
        "reasoning-end 1",
        "text-start 2",
        "text-delta 2 Hel",
        "text-delta 2 lo",
        "text-end 2",
        "tool-input-available",
        "text-start 3",
        "text-delta 3 !",
        "text-end 3",
        "finish-step",
        "finish",
    ]


def test_a_start_and_a_finish_of_ones_own():
    mine = [start("mine"), "a", finish("length")]
    assert [mine[0], mine[-1]] == [write(mine)[0], write(mine)[-1]]
    assert brief(write(mine)).count("finish") == 1


def test_the_reason_at_the_end():
    assert MessageWriter().end("error") == [start(), finish("error")]


@pytest.mark.parametrize(
    ("before", "piece", "what"),
    [
        ([], 7, "got 7"),
        ([], {"text": "x"}, "which have a type"),
        ([], {"type": None}, "which have a type"),
        (["a"], start(), "one start"),
        ([start()], start(), "one start"),
        ([finish()], "a", "finished"),
        ([finish()], Reasoning("a"), "finished"),
        ([finish()], metadata(1), "finished"),
    ],
    ids=range(8),
)
def test_what_is_no_piece_of_a_message_is_refused(before, piece, what):
    writer = MessageWriter()
    for each in before:
        writer.write(each)
    with pytest.raises(InvalidMessage, match=what):
        writer.write(piece)
