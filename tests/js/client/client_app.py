"""Answers for the client of the documentation, over lines and servers that behave badly."""

import sys
from contextlib import asynccontextmanager

import anyio
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from resumable_io import Message, Retention, SourceError, Streams
from resumable_io.asgi import drain_on_sigterm
from resumable_io.starlette import EventStreamResponse, exception_handlers
from tests.servers.apps.broken_line import BrokenLine

PIECES = [f"{n}: grüße,\n東京 👩‍🚀 " for n in range(60)]

streams = Streams(grace=0.5)
trimming = Streams(retention=Retention(count=5))
requests = {}


class BrokenResponse(BrokenLine, EventStreamResponse):
    pass


@asynccontextmanager
async def lifespan(app):
    async with streams, trimming:
        with drain_on_sigterm(streams):
            yield


async def story():
    for piece in PIECES:
        yield piece
        await anyio.sleep(0.002)


async def slow():
    for piece in PIECES:
        yield piece
        await anyio.sleep(0.05)


async def typed():
    yield Message("a token", type="token")


async def broken():
    yield "half an "
    raise SourceError("the model is overloaded")


async def endless():
    yield "some"
    await anyio.sleep_forever()


SOURCES = {"story": story, "slow": slow, "typed": typed, "broken": broken, "endless": endless}


async def answer(request):
    """Serve `/answers/{id}?kind=…&cuts=70,411`: how many bytes each connection carries."""
    answer_id = request.path_params["id"]
    seen = requests.setdefault(answer_id, [])
    seen.append([request.method, request.headers.get("last-event-id"), await text_of(request)])
    cuts = [int(cut) for cut in request.query_params.get("cuts", "").split(",") if cut]
    source = SOURCES[request.query_params.get("kind", "story")]
    response = BrokenResponse(streams, answer_id, source, retry=50)
    response.budget = cuts[len(seen) - 1] if len(seen) <= len(cuts) else sys.maxsize
    return response


async def text_of(request):
    return (await request.body()).decode()


async def trimmed(request):
    """Serve an answer whose first part is gone."""
    answer_id = request.path_params["id"]
    if await trimming.state(answer_id) is None:
        async with await trimming.start(answer_id, PIECES) as subscription:
            async for _ in subscription.records():
                pass
    return EventStreamResponse(trimming, answer_id)


async def busy(request):
    """Refuse twice, then serve."""
    seen = requests.setdefault(request.path_params["id"], [])
    seen.append(None)
    if len(seen) <= 2:
        return PlainTextResponse("busy", 503)
    return EventStreamResponse(streams, request.path_params["id"], typed)


async def refused(request):
    return PlainTextResponse("no event stream", int(request.path_params["status"]))


async def ended_early(request):
    """End every response cleanly, as a proxy does that has waited for long enough."""
    return Response(b": nothing yet\n\n", media_type="text/event-stream")


async def seen(request):
    return JSONResponse(requests.get(request.path_params["id"], []))


app = Starlette(
    routes=[
        Route("/answers/{id}", answer, methods=["GET", "POST"]),
        Route("/trimmed/{id}", trimmed),
        Route("/busy/{id}", busy),
        Route("/refused/{status}", refused),
        Route("/ended", ended_early),
        Route("/requests/{id}", seen),
    ],
    lifespan=lifespan,
    exception_handlers=exception_handlers,
)
