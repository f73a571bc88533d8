"""The example app in Starlette."""

from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from resumable_io.starlette import EventStreamResponse, TextStreamResponse, exception_handlers
from tests.servers.apps.answers import HEARTBEAT, SEND_TIMEOUT, Answers

answers = Answers()
streams = answers.streams

OPTIONS = {"heartbeat": HEARTBEAT, "send_timeout": SEND_TIMEOUT}


async def events(request):
    answer_id = request.path_params["id"]
    return EventStreamResponse(streams, answer_id, answers.source(answer_id), **OPTIONS)


async def text(request):
    answer_id = request.path_params["id"]
    return TextStreamResponse(streams, answer_id, answers.source(answer_id), **OPTIONS)


async def start(request):
    answer_id = request.path_params["id"]
    await streams.start(answer_id, answers.source(answer_id))
    return Response(status_code=201)


async def stop(request):
    await streams.stop(request.path_params["id"])
    return Response()


async def give(request):
    answers.give(request.path_params["id"], (await request.body()).decode())
    return Response()


async def debug(request):
    return JSONResponse(answers.debug())


app = Starlette(
    routes=[
        Route("/answers/{id}/events", events),
        Route("/answers/{id}/text", text),
        Route("/answers/{id}", start, methods=["POST"]),
        Route("/answers/{id}/stop", stop, methods=["POST"]),
        Route("/answers/{id}/give", give, methods=["POST"]),
        Route("/debug", debug),
    ],
    exception_handlers=exception_handlers,
    lifespan=answers.lifespan,
)
