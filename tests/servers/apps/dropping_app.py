"""An answer whose first responses are cut off after a while, and a page that listens to it."""

import math
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Route

from resumable_io import Streams
from resumable_io.asgi import drain_on_sigterm
from resumable_io.starlette import EventStreamResponse
from tests.servers.apps.broken_line import BrokenLine

PIECES = [f"{n}: grüße,\n東京 👩‍🚀 " for n in range(60)]

# Bytes after which the first responses of an answer break off: before the first event, within an
# event, wherever it is.
BUDGETS = (70, 411, 1_000, 5)

streams = Streams()
requests = {}


class DroppingResponse(BrokenLine, EventStreamResponse):
    pass


@asynccontextmanager
async def lifespan(app):
    async with streams:
        with drain_on_sigterm(streams):
            yield


async def page(request):
    return HTMLResponse("<!doctype html><title>An EventSource</title><link rel=icon href='data:,'>")


async def answer(request):
    answer_id = request.path_params["id"]
    seen = requests.setdefault(answer_id, [])
    response = DroppingResponse(streams, answer_id, lambda: iter(PIECES), retry=50)
    response.budget = BUDGETS[len(seen)] if len(seen) < len(BUDGETS) else math.inf
    seen.append(request.headers.get("last-event-id"))
    return response


async def seen(request):
    return JSONResponse(requests.get(request.path_params["id"], []))


app = Starlette(
    routes=[
        Route("/", page),
        Route("/answers/{id}", answer, methods=["GET", "POST"]),
        Route("/requests/{id}", seen),
    ],
    lifespan=lifespan,
)
