"""The example app in FastAPI."""

from fastapi import FastAPI, Request

from resumable_io.starlette import EventStreamResponse, TextStreamResponse, exception_handlers
from tests.servers.apps.answers import HEARTBEAT, SEND_TIMEOUT, Answers

answers = Answers()
streams = answers.streams
app = FastAPI(lifespan=answers.lifespan, exception_handlers=exception_handlers)

OPTIONS = {"heartbeat": HEARTBEAT, "send_timeout": SEND_TIMEOUT}


@app.api_route("/answers/{answer_id}/events", methods=["GET", "HEAD"])
async def events(answer_id: str) -> EventStreamResponse:
    return EventStreamResponse(streams, answer_id, answers.source(answer_id), **OPTIONS)


@app.api_route("/answers/{answer_id}/text", methods=["GET", "HEAD"])
async def text(answer_id: str) -> TextStreamResponse:
    return TextStreamResponse(streams, answer_id, answers.source(answer_id), **OPTIONS)


@app.post("/answers/{answer_id}", status_code=201)
async def start(answer_id: str) -> None:
    await streams.start(answer_id, answers.source(answer_id))


@app.post("/answers/{answer_id}/stop")
async def stop(answer_id: str) -> None:
    await streams.stop(answer_id)


@app.post("/answers/{answer_id}/give")
async def give(answer_id: str, request: Request) -> None:
    answers.give(answer_id, (await request.body()).decode())


@app.get("/debug")
async def debug() -> dict[str, object]:
    return answers.debug()
