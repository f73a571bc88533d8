"""Where the demo's answers come from: a recording, the built-in text, or a real model."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import anyio
import httpx2

from resumable_core import Decoder
from resumable_io import SourceError
from resumable_io.cli._providers import is_last, read_recording, text_of

if TYPE_CHECKING:
    from pathlib import Path

# Connecting is quick or not at all, but a local model may load for minutes before its first word.
TIMEOUT: Final = httpx2.Timeout(10.0, read=300.0)
NOTE: Final = 500  # Bytes of a server's complaint: enough to understand it.


@dataclass(frozen=True, slots=True)
class Turn:
    """One contribution to a conversation."""

    role: Literal["user", "assistant"]
    content: str


class Answers(Protocol):
    """Answer conversations, each answer as pieces of text."""

    @property
    def about(self) -> str:
        """Say in a few words where the answers come from."""
        ...

    def answer(self, conversation: Sequence[Turn]) -> AsyncGenerator[str]:
        """Return a source of the next turn's text."""
        ...


class UpstreamError(SourceError):
    """The model's server failed; the message is safe to show to anybody, its notes are not."""


@dataclass(frozen=True, slots=True)
class Replay:
    """Give the same pieces again and again, `rate` of them a second (0: without pause)."""

    about: str
    pieces: Sequence[str]
    rate: float

    async def answer(self, conversation: Sequence[Turn]) -> AsyncGenerator[str]:
        """Yield the pieces at the rate, whatever was asked."""
        del conversation
        begin = anyio.current_time()
        for number, piece in enumerate(self.pieces):
            if self.rate > 0:
                await anyio.sleep_until(begin + number / self.rate)
            yield piece


@dataclass(frozen=True, slots=True)
class Upstream:
    """Ask a server that speaks OpenAI's chat completions, such as Ollama, vLLM or OpenAI itself."""

    url: str
    model: str
    api_key: str | None = field(default=None, repr=False)

    @property
    def about(self) -> str:
        """Name the model and its server."""
        return f"{self.model} at {self.url}"

    async def answer(self, conversation: Sequence[Turn]) -> AsyncGenerator[str]:
        """Yield the model's text as it arrives.

        Raises:
            UpstreamError: the server refused, was not understood, or broke off.
        """
        async with aclosing(self._chunks(conversation)) as chunks:
            complete = False
            async for data in chunks:
                if data == "[DONE]":
                    return
                chunk = _parse(data)
                complete = complete or is_last(chunk)
                if text := text_of(chunk):
                    yield text
        if not complete:
            raise UpstreamError("the model's server broke off in the middle of its answer")

    async def _chunks(self, conversation: Sequence[Turn]) -> AsyncGenerator[str]:
        headers = {"Accept": "text/event-stream"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        messages = [{"role": turn.role, "content": turn.content} for turn in conversation]
        body = {"model": self.model, "messages": messages, "stream": True}
        url = f"{self.url.rstrip('/')}/chat/completions"
        decoder = Decoder()
        try:
            async with (
                httpx2.AsyncClient(timeout=TIMEOUT) as client,
                client.stream("POST", url, json=body, headers=headers) as response,
            ):
                if not response.is_success:
                    said = (await response.aread())[:NOTE].decode(errors="replace")
                    raise _failure(f"the model's server answered {response.status_code}", said)
                async for chunk in response.aiter_bytes():
                    for event in decoder.feed(chunk):
                        yield event.data
        except httpx2.TimeoutException as error:
            raise UpstreamError("the model's server took too long") from error
        except httpx2.ConnectError as error:
            raise UpstreamError("the model's server cannot be reached") from error
        except httpx2.HTTPError as error:
            raise UpstreamError("the connection to the model's server broke") from error


def built_in(rate: float) -> Replay:
    """Return the text that comes with the package, cut into pieces about as long as tokens."""
    text = files("resumable_io.cli").joinpath("answer.md").read_text(encoding="utf-8")
    return Replay("a built-in text", split(text), rate)


def recorded(path: Path, rate: float) -> Replay:
    """Return a recorded provider stream.

    Raises:
        OSError: the file cannot be read.
        RecordingError: it is no recording.
    """
    with path.open("rb") as lines:
        return Replay(f"a replay of {path.name}", read_recording(lines), rate)


def split(text: str) -> list[str]:
    """Cut a text into pieces about as long as tokens, losing nothing."""
    return re.findall(r"\s*\w{1,6}|\s*[^\w\s]|\s+", text)


def _parse(data: str) -> object:
    try:
        chunk: Any = json.loads(data)
    except ValueError as error:
        raise UpstreamError("the model's server sent something that is not JSON") from error
    match chunk:
        case {"error": problem} if problem:
            raise _failure("the model's server reported an error", str(problem)[:NOTE])
        case _:
            return chunk


def _failure(message: str, said: str) -> UpstreamError:
    error = UpstreamError(message)
    error.add_note(said)
    return error
