"""Recognise the text in the streamed chunks of model providers.

Three formats are known, each chunk being recognised by itself:

- OpenAI chat completions and servers compatible with it: `choices[0].delta.content`
- OpenAI responses: `{"type": "response.output_text.delta", "delta": …}`
- Anthropic messages: `{"type": "content_block_delta", "delta": {"type": "text_delta", "text": …}}`

Every other chunk (roles, pings, tool calls, usage) gives no text.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Iterable


class RecordingError(ValueError):
    """A recording cannot be replayed; the message names the line."""


def text_of(chunk: Any) -> str:
    """Return the text that a provider's chunk adds to the answer, or the empty string."""
    match chunk:
        case {"type": "response.output_text.delta", "delta": str(text)}:
            return _encodable(text)
        case {"type": "content_block_delta", "delta": {"type": "text_delta", "text": str(text)}}:
            return _encodable(text)
        case {"choices": [*choices]}:
            return "".join(_text_of_choice(choice) for choice in choices)
        case _:
            return ""


def is_last(chunk: Any) -> bool:
    """Whether a chat completions chunk says that the answer is complete."""
    match chunk:
        case {"choices": [{"finish_reason": str()}, *_]}:
            return True
        case _:
            return False


def read_recording(lines: Iterable[bytes]) -> list[str]:
    """Return the pieces of text in a JSONL recording, in order; their concatenation is the answer.

    Raises:
        RecordingError: a line is not a JSON object in UTF-8, or no line holds any text.
    """
    pieces: list[str] = []
    for number, line in enumerate(lines, start=1):
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")  # noqa: PLW2901 - a BOM is not JSON
        if not line.strip():
            continue
        if text := text_of(_parse(line, number)):
            pieces.append(text)
    if not pieces:
        raise RecordingError("no line holds text of a provider that is recognised")
    return pieces


def _text_of_choice(choice: Any) -> str:
    match choice:
        case {"index": int(index)} if index != 0:
            return ""  # Further choices are other answers to the same prompt.
        case {"delta": {"content": str(text)}}:
            return _encodable(text)
        case _:
            return ""


def _encodable(text: str) -> str:
    # JSON can escape one half of a surrogate pair; UTF-8 has no form for it.
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _parse(line: bytes, number: int) -> object:
    try:
        chunk: Any = json.loads(line.decode().rstrip())
    except UnicodeDecodeError as error:
        raise RecordingError(f"line {number} is not UTF-8 (byte {error.start + 1})") from error
    except json.JSONDecodeError as error:
        reason = f"{error.msg}, column {error.colno}"
        raise RecordingError(f"line {number} is not JSON ({reason})") from error
    except (ValueError, RecursionError) as error:  # An endless number, endless nesting.
        raise RecordingError(f"line {number} is not JSON that can be read") from error
    if not isinstance(chunk, dict):
        raise RecordingError(f"line {number} is JSON, but not an object")
    return cast("object", chunk)
