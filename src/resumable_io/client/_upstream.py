"""A model provider's event stream as a source for `Streams`."""

from __future__ import annotations

import json as json_module
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from anyio import sleep

from resumable_core import (
    End,
    Gap,
    Message,
    Outcome,
    ReconnectLimits,
    Reset,
    ServerSentEvent,
)
from resumable_io._sources import SourceError
from resumable_io._subscription import interruption

from ._request import HTTPClient
from ._source import ConnectionLost, ResponseRefused, connect

SILENCE: Final = 300.0  # seconds: a model may think, or be loaded, for minutes
ATTEMPTS: Final = 6  # in a row that bring nothing, to resume at the provider
PAUSE: Final = 0.5  # seconds before the first of them; doubled each time


async def upstream(
    url: str,
    *,
    json: object = None,
    content: str | bytes | None = None,
    headers: Mapping[str, str] | None = None,
    limits: ReconnectLimits | None = None,
    client: HTTPClient | None = None,
) -> AsyncGenerator[Message]:
    """Yield the events of a model provider, data and type as they are: a source for `Streams`.

        answer = upstream(url, json={…, "stream": True}, headers={"Authorization": …})
        await streams.start("chat-42", answer)

    The request is a POST and is sent once. An answer counts as complete when the provider says so:
    by `[DONE]` or a `finish_reason` (OpenAI's chat completions), by a last event (OpenAI's
    responses, Anthropic's messages), or by the end of a stream of ours. When the connection breaks,
    a background response of OpenAI is resumed at the provider (`starting_after`), and so is any
    stream that gives event ids.

    Raises `SourceError`, whose text is safe to show, when the provider refuses, reports an error
    or breaks off, and an `Interruption` where a stream of ours does. `limits` are those of
    `connect`, with 300 seconds of silence.
    """
    limits = limits or ReconnectLimits(idle=SILENCE, patience=60.0)
    place = Place()
    attempts = 0
    source = connect(
        url,
        method="POST",
        json=json,
        content=content,
        headers=headers,
        limits=limits,
        client=client,
    )
    while True:
        try:
            async with source as events:
                async for record in events.records():
                    attempts = 0
                    match record:
                        case ServerSentEvent(type, data):
                            place.take(record)
                            yield Message(data, None if type == "message" else type)
                        case End(outcome=Outcome.DONE):
                            return  # a stream of ours
                        case End() | Gap() | Reset():
                            raise interruption(record)
                    if place.error is not None:
                        raise SourceError(f"the provider reported an error: {place.error}")
                    if place.complete:
                        return
                if not place.finishing:
                    raise SourceError("the provider ended its answer before it was complete")
                return
        except ResponseRefused as error:
            failure = SourceError(f"the provider refused: {error}")
            failure.add_note(error.body.decode(errors="replace"))
            raise failure from error
        except ConnectionLost as error:
            if place.finishing:
                return
            if place.response is None or attempts == ATTEMPTS:
                raise SourceError(f"the provider's answer broke off: {error}") from error
        await sleep(PAUSE * 2**attempts)
        attempts += 1
        source = connect(
            f"{url.rstrip('/')}/{place.response}?stream=true&starting_after={place.sequence}",
            headers=headers,
            limits=limits,
            repeatable=False,  # but from a later place, which is in the URL
            client=client,
        )


@dataclass(slots=True)
class Place:
    """Keep what the events tell of the answer as a whole; for `upstream`, and for the relay."""

    known: bool = False
    """It looks like the answer of a provider that says when it is complete."""
    complete: bool = False
    """Nothing more will come."""
    finishing: bool = False
    """The text is complete; something about it may still come."""
    error: str | None = None
    response: str | None = None
    """The id of a background response, by which the provider resumes it."""
    sequence: int = 0

    def take(self, event: ServerSentEvent) -> None:
        """Look at the next event."""
        if event.data.strip() == "[DONE]":
            self.complete = self.finishing = True
            return
        try:
            chunk: Any = json_module.loads(event.data)
        except (ValueError, RecursionError):
            return
        match chunk:
            case {"choices": list()} | {"type": "response.created" | "message_start"}:
                self.known = True
            case _:
                pass
        match chunk:
            case {"type": "response.created", "response": {"id": str(id), "background": True}}:
                self.response = id if id.replace("_", "").replace("-", "").isalnum() else None
            case {"type": "response.completed" | "response.incomplete" | "message_stop"}:
                self.complete = self.finishing = True
            case {"type": "response.failed", "response": {"error": error}}:
                self.error = _shown(error)
            case {"type": "error"} | {"error": dict()}:
                self.error = _shown(chunk.get("error", chunk))
            case {"choices": [{"finish_reason": str()}, *_]}:
                self.finishing = True
            case _:
                pass
        match chunk:
            case {"sequence_number": int(number)}:
                self.sequence = number
            case _:
                pass


def _shown(error: Any) -> str:
    match error:
        case {"message": str(text)}:
            return text[:500]
        case _:
            return "it did not say which"
