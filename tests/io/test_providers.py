"""The text in provider chunks: three formats, recognised chunk by chunk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resumable_io.cli._providers import RecordingError, is_last, read_recording, text_of

RECORDINGS = Path(__file__).resolve().parents[3] / "shared" / "recordings"


def chat(text: str | None) -> object:
    return {
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}],
    }


def responses(text: str) -> object:
    return {"type": "response.output_text.delta", "output_index": 0, "delta": text}


def anthropic(text: str) -> object:
    delta = {"type": "text_delta", "text": text}
    return {"type": "content_block_delta", "index": 0, "delta": delta}


SILENT: list[object] = [
    chat(None),
    {"object": "chat.completion.chunk", "choices": []},
    {"choices": [{"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}]},
    {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    {"choices": [{"index": 1, "delta": {"content": "another answer"}}]},
    {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0}]}}]},
    {"choices": ["text"]},
    {"choices": "text"},
    {"choices": None},
    {"type": "response.created", "response": {"output": []}},
    {"type": "response.output_text.done", "text": "the whole text again"},
    {"type": "response.reasoning_text.delta", "delta": "thinking"},
    {"type": "response.output_text.delta", "delta": 7},
    {"type": "message_start", "message": {"content": []}},
    {"type": "content_block_start", "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": "{"}},
    {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "hm"}},
    {"type": "content_block_delta", "delta": {"type": "text_delta"}},
    {"type": "ping"},
    {"type": None},
    {},
]

texts = st.text(st.characters(codec="utf-8"))
formats = st.sampled_from([chat, responses, anthropic])


def jsonl(chunks: list[object]) -> list[bytes]:
    return [json.dumps(chunk, ensure_ascii=False).encode() + b"\n" for chunk in chunks]


@given(st.lists(st.tuples(formats, texts) | st.sampled_from(SILENT)))
@example([(chat, "one"), (responses, " \u2028two"), {"type": "ping"}, (anthropic, "three 👩‍👩‍👧")])
def test_the_text_of_a_recording_is_the_concatenation_of_its_deltas(items: list[object]) -> None:
    """Formats may even be mixed, and what has no text adds none."""
    chunks: list[object] = []
    expected: list[str] = []
    for item in items:
        if isinstance(item, tuple):
            make, text = item
            chunks.append(make(text))
            expected.append(text)
        else:
            chunks.append(item)
    if any(expected):
        assert read_recording(jsonl(chunks)) == [text for text in expected if text]
    else:
        with pytest.raises(RecordingError, match="no line holds text"):
            read_recording(jsonl(chunks))


@given(texts, formats)
def test_each_format_is_recognised(text: str, make: object) -> None:
    assert callable(make)
    assert text_of(make(text)) == text


@pytest.mark.parametrize("chunk", [*SILENT, None, 7, "text", [], [chat("x")]], ids=repr)
def test_an_unknown_chunk_gives_no_text(chunk: object) -> None:
    assert text_of(chunk) == ""


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(["type", "delta", "text", "choices", "content", "index"]) | st.text(),
            inner | st.sampled_from(["response.output_text.delta", "content_block_delta"]),
        )
    ),
)


@given(json_values)
def test_no_chunk_breaks_the_recognition(chunk: object) -> None:
    assert isinstance(text_of(chunk), str)
    assert isinstance(is_last(chunk), bool)


def test_half_of_a_surrogate_pair_becomes_a_replacement_character() -> None:
    """UTF-8 has no form for it: the stream would fail on it later."""
    assert text_of(json.loads(r'{"choices": [{"delta": {"content": "a\ud83d"}}]}')) == "a\ufffd"
    assert text_of(chat("\ud83d\ude00")) == "😀"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", r"line 3 is not JSON \(.*column 2\)"),
        (b"data: {}", r"line 3 is not JSON \(.*column 1\)"),
        (b"[]", "line 3 is JSON, but not an object"),
        (b"null", "line 3 is JSON, but not an object"),
        (b'{"a": "\xff"}', r"line 3 is not UTF-8 \(byte 8\)"),
        (b"[" * 100_000, "line 3 is not JSON"),
        (b"1" * 100_000, "line 3 is not JSON"),
    ],
)
def test_a_malformed_line_is_named_by_its_number(line: bytes, message: str) -> None:
    """Blank lines count, as they do in an editor."""
    lines = [*jsonl([chat("fine")]), b"\n", line + b"\n", *jsonl([chat("fine")])]
    with pytest.raises(RecordingError, match=message):
        read_recording(lines)


def test_a_byte_order_mark_and_blank_lines_are_passed_over() -> None:
    lines = [b"\xef\xbb\xbf" + jsonl([chat("a")])[0], b" \r\n", *jsonl([chat("b")])]
    assert read_recording(lines) == ["a", "b"]


def test_the_last_chunk_of_a_chat_completion_has_a_finish_reason() -> None:
    assert is_last({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    assert not is_last(chat("text"))
    assert not is_last({"choices": []})
    assert not is_last({"type": "ping"})


@pytest.mark.parametrize(
    ("name", "pieces", "begin"),
    [
        ("openai-chat-text.jsonl", 300, "**"),
        ("deepseek-chat-text.jsonl", 400, "##"),
        ("alibaba-chat-text.jsonl", 171, "##"),
        ("lmstudio-responses.jsonl", 282, ""),
        ("anthropic-text.jsonl", 6, ""),
        ("anthropic-web-search.jsonl", 56, ""),
    ],
)
@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="no folder of real recordings beside the repo")
def test_real_recordings_are_recognised(name: str, pieces: int, begin: str) -> None:
    with (RECORDINGS / name).open("rb") as lines:
        recording = read_recording(lines)
    assert len(recording) == pieces
    assert "".join(recording).startswith(begin)
