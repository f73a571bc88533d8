"""The UI message streams of Vercel's AI SDK: their chunks, their framing, and where to resume.

A UI message stream is one answer as the SDK's clients take it: JSON objects, called chunks, that
build up the parts of a message. Each is an event of our stream; what clients expect of the wire is
the protocol that the SDK documents as "UI message stream, v1".

    _chunks     the kinds of chunks, and functions that write them
    _writer     from text, reasoning and chunks to a whole message
    _framing    how records become the bytes of such a stream
    _resuming   what a client that comes back is to get
"""

from ._chunks import (
    Chunk,
    FinishReason,
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
from ._framing import UIMessageFraming
from ._resuming import Resumption, resumption
from ._writer import MessageWriter, Piece, Reasoning

__all__ = [
    "Chunk",
    "FinishReason",
    "MessageWriter",
    "Piece",
    "Reasoning",
    "Resumption",
    "UIMessageFraming",
    "data",
    "file",
    "finish",
    "metadata",
    "resumption",
    "source_url",
    "start",
    "tool_error",
    "tool_input",
    "tool_output",
]
