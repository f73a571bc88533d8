"""Chunks are what was given, under the wire's keys, and never null where nothing was given."""

import json

import pytest

from resumable_core.ai_sdk import (
    data,
    file,
    finish,
    metadata,
    source_url,
    start,
    tool_error,
    tool_input,
    tool_output,
)


@pytest.mark.parametrize(
    ("chunk", "expected"),
    [
        (start(), {"type": "start"}),
        (
            start("m1", {"model": "tiny"}),
            {"type": "start", "messageId": "m1", "messageMetadata": {"model": "tiny"}},
        ),
        (finish(), {"type": "finish", "finishReason": "stop"}),
        (
            finish("length", metadata={"tokens": 3}),
            {"type": "finish", "finishReason": "length", "messageMetadata": {"tokens": 3}},
        ),
        (metadata({"a": 1}), {"type": "message-metadata", "messageMetadata": {"a": 1}}),
        (
            tool_input("c1", "weather", {"city": "東京"}),
            {
                "type": "tool-input-available",
                "toolCallId": "c1",
                "toolName": "weather",
                "input": {"city": "東京"},
            },
        ),
        (
            tool_input("c1", "now", None, dynamic=True),
            {
                "type": "tool-input-available",
                "toolCallId": "c1",
                "toolName": "now",
                "input": None,
                "dynamic": True,
            },
        ),
        (
            tool_output("c1", None, preliminary=True),
            {
                "type": "tool-output-available",
                "toolCallId": "c1",
                "output": None,
                "preliminary": True,
            },
        ),
        (
            tool_error("c1", "no such city"),
            {"type": "tool-output-error", "toolCallId": "c1", "errorText": "no such city"},
        ),
        (
            data("progress", 0, id="p", transient=False),
            {"type": "data-progress", "data": 0, "id": "p", "transient": False},
        ),
        (
            source_url("s1", "https://example.org/"),
            {"type": "source-url", "sourceId": "s1", "url": "https://example.org/"},
        ),
        (
            file("data:,x", "text/plain"),
            {"type": "file", "url": "data:,x", "mediaType": "text/plain"},
        ),
    ],
    ids=range(12),
)
def test_a_chunk_is_what_was_given(chunk, expected):
    assert json.loads(json.dumps(chunk)) == expected
