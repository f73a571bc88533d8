"""The chunks of a UI message stream: their types, and functions that write them.

The keys are the wire's. A function leaves out what it is not given, since the clients check every
chunk against a schema in which a key may be absent, but not null.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NotRequired, TypeAlias, TypedDict, cast

FinishReason: TypeAlias = Literal[
    "stop", "length", "content-filter", "tool-calls", "error", "interrupted", "other"
]
"""Why the model stopped."""


class _Provided(TypedDict):
    providerMetadata: NotRequired[dict[str, dict[str, Any]]]


class PartBoundary(_Provided):
    """Begin or end a part of text or reasoning."""

    type: Literal["text-start", "text-end", "reasoning-start", "reasoning-end"]
    id: str


class PartDelta(_Provided):
    """Append to a part of text or reasoning."""

    type: Literal["text-delta", "reasoning-delta"]
    id: str
    delta: str


class _ToolCall(_Provided):
    toolCallId: str
    providerExecuted: NotRequired[bool]
    dynamic: NotRequired[bool]


class ToolInputStart(_ToolCall):
    """Announce a call of a tool, whose input follows bit by bit."""

    type: Literal["tool-input-start"]
    toolName: str
    title: NotRequired[str]


class ToolInputDelta(TypedDict):
    """Append to the input of a tool, a text of JSON."""

    type: Literal["tool-input-delta"]
    toolCallId: str
    inputTextDelta: str


class ToolInputAvailable(_ToolCall):
    """Give the whole input of a tool."""

    type: Literal["tool-input-available"]
    toolName: str
    input: Any
    title: NotRequired[str]


class ToolInputError(_ToolCall):
    """Say that the input of a tool cannot be used."""

    type: Literal["tool-input-error"]
    toolName: str
    input: Any
    errorText: str
    title: NotRequired[str]


class ToolOutputAvailable(_ToolCall):
    """Give what a tool has returned."""

    type: Literal["tool-output-available"]
    output: Any
    preliminary: NotRequired[bool]


class ToolOutputError(_ToolCall):
    """Say that a tool has failed."""

    type: Literal["tool-output-error"]
    errorText: str


class ToolOutputDenied(TypedDict):
    """Say that the user has denied the use of a tool."""

    type: Literal["tool-output-denied"]
    toolCallId: str


class ToolApprovalRequest(TypedDict):
    """Ask the user whether a tool may be used."""

    type: Literal["tool-approval-request"]
    approvalId: str
    toolCallId: str
    reason: NotRequired[str]


class ToolApprovalResponse(_Provided):
    """Say what the user has answered."""

    type: Literal["tool-approval-response"]
    approvalId: str
    approved: bool
    reason: NotRequired[str]


class SourceUrl(_Provided):
    """Name a page that the answer draws on."""

    type: Literal["source-url"]
    sourceId: str
    url: str
    title: NotRequired[str]


class SourceDocument(_Provided):
    """Name a document that the answer draws on."""

    type: Literal["source-document"]
    sourceId: str
    mediaType: str
    title: str
    filename: NotRequired[str]


class File(_Provided):
    """Give a file; its address may be a `data:` one."""

    type: Literal["file", "reasoning-file"]
    url: str
    mediaType: str


class Custom(_Provided):
    """Give a part of a provider's own kind, such as `openai.compaction`."""

    type: Literal["custom"]
    kind: str


class Data(TypedDict):
    """Give data of the application's own; `type` is `data-` and a name."""

    type: str
    data: Any
    id: NotRequired[str]
    transient: NotRequired[bool]


class Step(TypedDict):
    """Begin, end, or take back a step: one call of the model."""

    type: Literal["start-step", "finish-step", "reset-step"]


class Start(TypedDict):
    """Begin the message; a client that has a part of it starts afresh."""

    type: Literal["start"]
    messageId: NotRequired[str]
    messageMetadata: NotRequired[Any]


class Finish(TypedDict):
    """End the message."""

    type: Literal["finish"]
    finishReason: NotRequired[FinishReason]
    messageMetadata: NotRequired[Any]


class Metadata(TypedDict):
    """Add to the metadata of the message."""

    type: Literal["message-metadata"]
    messageMetadata: Any


class Failure(TypedDict):
    """Tell the user that something went wrong. The clients take nothing after it."""

    type: Literal["error"]
    errorText: str


class Abort(TypedDict):
    """Say that the message was stopped."""

    type: Literal["abort"]
    reason: NotRequired[str]


Chunk: TypeAlias = (
    PartBoundary
    | PartDelta
    | ToolInputStart
    | ToolInputDelta
    | ToolInputAvailable
    | ToolInputError
    | ToolOutputAvailable
    | ToolOutputError
    | ToolOutputDenied
    | ToolApprovalRequest
    | ToolApprovalResponse
    | SourceUrl
    | SourceDocument
    | File
    | Custom
    | Data
    | Step
    | Start
    | Finish
    | Metadata
    | Failure
    | Abort
)
"""One JSON object of a UI message stream."""


def start(message_id: str | None = None, metadata: object = None) -> Chunk:
    """Begin the message, under an id that the client makes up unless it is given."""
    return _chunk("start", {}, messageId=message_id, messageMetadata=metadata)


def finish(reason: FinishReason = "stop", metadata: object = None) -> Chunk:
    """End the message."""
    return _chunk("finish", {"finishReason": reason}, messageMetadata=metadata)


def metadata(value: object) -> Chunk:
    """Add to the metadata of the message; `value` is JSON."""
    return _chunk("message-metadata", {"messageMetadata": value})


def tool_input(call_id: str, tool: str, input: object, *, dynamic: bool | None = None) -> Chunk:
    """Call a tool; one that the client's types do not know is `dynamic`. `input` is JSON."""
    keys = {"toolCallId": call_id, "toolName": tool, "input": input}
    return _chunk("tool-input-available", keys, dynamic=dynamic)


def tool_output(
    call_id: str, output: object, *, preliminary: bool | None = None, dynamic: bool | None = None
) -> Chunk:
    """Give what a tool has returned, as JSON; the next output replaces a `preliminary` one."""
    keys = {"toolCallId": call_id, "output": output}
    return _chunk("tool-output-available", keys, preliminary=preliminary, dynamic=dynamic)


def tool_error(call_id: str, text: str, *, dynamic: bool | None = None) -> Chunk:
    """Say that a tool has failed; the user sees `text`."""
    keys = {"toolCallId": call_id, "errorText": text}
    return _chunk("tool-output-error", keys, dynamic=dynamic)


def data(
    name: str, value: object, *, id: str | None = None, transient: bool | None = None
) -> Chunk:
    """Give data of the application's own, as JSON: a part of type `data-name`.

    A later chunk with the same name and `id` replaces it. What is `transient` is handed to the
    client's `onData` alone, and is no part of the message.
    """
    return _chunk(f"data-{name}", {"data": value}, id=id, transient=transient)


def source_url(source_id: str, url: str, title: str | None = None) -> Chunk:
    """Name a page that the answer draws on."""
    return _chunk("source-url", {"sourceId": source_id, "url": url}, title=title)


def file(url: str, media_type: str) -> Chunk:
    """Give a file; `url` may be a `data:` one."""
    return _chunk("file", {"url": url, "mediaType": media_type})


def _chunk(type: str, keys: Mapping[str, object], **optional: object) -> Chunk:
    given = {key: value for key, value in optional.items() if value is not None}
    return cast(Chunk, {"type": type, **keys, **given})
