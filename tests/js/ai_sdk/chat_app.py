"""A chat as the AI SDK wants its back end: what is asked for names the kind of the answer."""

import os
import sys
from collections import Counter
from contextlib import asynccontextmanager
from secrets import token_hex

import anyio
from fastapi import FastAPI, Request, Response

from resumable_core import Append, Claim, Message, Retention
from resumable_io import MemoryBackend, SourceError, Streams
from resumable_io.ai_sdk import (
    Reasoning,
    data,
    file,
    finish,
    metadata,
    source_url,
    start,
    start_answer,
    tool_error,
    tool_input,
    tool_output,
    ui_message,
)
from resumable_io.asgi import drain_on_sigterm
from resumable_io.starlette import UIMessageStreamResponse, exception_handlers
from tests.servers.apps.broken_line import BrokenLine

WORDS = [f"{n}: grüße, 東京 👩‍🚀 " for n in range(40)]

backend = MemoryBackend()
streams = Streams(os.environ.get("BACKEND", backend), lease=1.0, check_interval=0.2, grace=1.0)
calls = Counter()
taps = {}


@asynccontextmanager
async def lifespan(app):
    async with streams:
        with drain_on_sigterm(streams):
            yield


app = FastAPI(lifespan=lifespan, exception_handlers=exception_handlers)


class BrokenResponse(BrokenLine, UIMessageStreamResponse):
    pass


async def story():
    yield Reasoning("Let me ")
    yield Reasoning("think.")
    for word in WORDS:
        yield word
        await anyio.sleep(0.002)


async def tap(chat_id):
    """What the test gives, piece by piece; an empty one ends it."""
    async for piece in taps[chat_id][1]:
        if not piece:
            return
        yield piece


async def broken():
    yield "half an "
    raise SourceError("the model is overloaded")


async def everything():
    """One of each."""
    yield start("m-all", {"model": "tiny"})
    yield Reasoning("Hm")
    yield tool_input("c1", "weather", {"city": "東京"})
    yield tool_output("c1", {"degrees": 20}, preliminary=True)
    yield tool_output("c1", {"degrees": 21})
    yield {"type": "finish-step"}
    yield tool_input("c2", "clock", None, dynamic=True)
    yield tool_error("c2", "it has stopped", dynamic=True)
    yield data("progress", 0, id="p")
    yield data("progress", 100, id="p")
    yield data("status", "busy", transient=True)
    yield source_url("s1", "https://example.org/", "An example")
    yield file("data:text/plain,x", "text/plain")
    yield metadata({"tokens": 7})
    yield "Done."
    yield finish("length", {"tokens": 8})


async def bad():
    yield {"type": "text-delta"}


async def no_json():
    yield "plain text, and no chunk"


def source(kind, chat_id):
    calls[chat_id] += 1
    match kind:
        case "story":
            return ui_message(story(), f"answer-{token_hex(4)}")
        case "tap":
            taps[chat_id] = anyio.create_memory_object_stream[str](1_000)
            return ui_message(tap(chat_id), f"answer-{token_hex(4)}")
        case "broken":
            return ui_message(broken())
        case "everything":
            return ui_message(everything())
        case "bad":
            return bad()
        case "no_json":
            return no_json()


def within_budget(request, response):
    response.budget = int(request.headers.get("x-cut", sys.maxsize))
    return response


@app.post("/api/chat")
async def chat(request: Request) -> Response:
    asked = await request.json()
    # `prepareSendMessagesRequest` of the workflow's transport says it in the query.
    chat_id = asked.get("id") or request.query_params["id"]
    kind = asked["messages"][-1]["parts"][0]["text"]
    if kind == "orphan":
        await abandon(chat_id)
    else:
        await start_answer(streams, chat_id, source(kind, chat_id))
    return within_budget(
        request,
        BrokenResponse(streams, chat_id, heartbeat=0.1, headers={"x-workflow-run-id": chat_id}),
    )


@app.get("/api/chat/{chat_id}/stream")
async def resume(request: Request, chat_id: str) -> Response:
    return within_budget(request, BrokenResponse(streams, chat_id, heartbeat=0.1))


@app.post("/chats/{chat_id}/give")
async def give(chat_id: str, request: Request) -> None:
    taps[chat_id][0].send_nowait((await request.body()).decode())


@app.post("/chats/{chat_id}/stop")
async def stop(chat_id: str) -> None:
    await streams.stop(chat_id, "stopped by the user")


@app.get("/chats/{chat_id}")
async def look(chat_id: str) -> dict[str, object]:
    state = await streams.state(chat_id)
    return {
        "calls": calls[chat_id],
        "outcome": state and state.outcome,
        "chunks": state and state.last_seq,
    }


async def abandon(chat_id):
    """Leave what a process leaves that is killed while it produces."""
    await backend.apply(chat_id, Claim("dead", 0.5, Retention()))
    chunks = [
        '{"type":"start"}',
        '{"type":"start-step"}',
        '{"type":"text-start","id":"1"}',
        '{"type":"text-delta","id":"1","delta":"half an "}',
    ]
    messages = tuple(map(Message, chunks))
    await backend.apply(
        chat_id, Append("dead", 1, messages, sum(each.characters for each in messages))
    )
