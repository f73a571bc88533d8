"""The example app without any framework."""

import json

from resumable_io import ResumableError
from resumable_io.asgi import EventStreamResponse, TextStreamResponse, status_of
from tests.servers.apps.answers import HEARTBEAT, SEND_TIMEOUT, Answers

answers = Answers()
streams = answers.streams

OPTIONS = {"heartbeat": HEARTBEAT, "send_timeout": SEND_TIMEOUT}


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    match scope["method"], scope["path"].strip("/").split("/"):
        case "GET" | "HEAD", ["answers", answer_id, "events"]:
            response = EventStreamResponse(streams, answer_id, answers.source(answer_id), **OPTIONS)
            await response(scope, receive, send)
        case "GET" | "HEAD", ["answers", answer_id, "text"]:
            response = TextStreamResponse(streams, answer_id, answers.source(answer_id), **OPTIONS)
            await response(scope, receive, send)
        case "GET", ["debug"]:
            await reply(send, 200, json.dumps(answers.debug()).encode())
        case "POST", ["answers", answer_id, *action]:
            await act(answer_id, action, receive, send)
        case _:
            await reply(send, 404)


async def act(answer_id, action, receive, send):
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    try:
        match action:
            case []:
                await streams.start(answer_id, answers.source(answer_id))
            case ["stop"]:
                await streams.stop(answer_id)
            case ["give"]:
                answers.give(answer_id, body.decode())
    except ResumableError as error:
        await reply(send, status_of(error), str(error).encode())
    else:
        await reply(send, 200 if action else 201)


async def reply(send, status, body=b""):
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def lifespan(receive, send):
    await receive()
    async with answers.lifespan():
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})
