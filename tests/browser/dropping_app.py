"""An answer whose first responses are cut off after a while, and a page that listens to it."""

from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Route

from resumable_io import Streams
from resumable_io.starlette import EventStreamResponse

PIECES = [f"{n}: grüße,\n東京 👩‍🚀 " for n in range(60)]

# Bytes after which the first responses of an answer break off: before the first event, within an
# event, wherever it is. A cut may fall anywhere, even inside of a character.
BUDGETS = (70, 411, 1_000, 5)

streams = Streams()
requests = {}


class DroppingResponse(EventStreamResponse):
    """An event stream over a line that breaks."""

    async def __call__(self, scope, receive, send):
        budget = self.budget

        async def send_within_budget(message):
            nonlocal budget
            body = message.get("body", b"")
            if len(body) > budget:
                await send(message | {"body": body[:budget], "more_body": True})
                raise OSError  # as a server does when the client is gone
            budget -= len(body)
            await send(message)

        await super().__call__(scope, receive, send_within_budget)


@asynccontextmanager
async def lifespan(app):
    async with streams:
        yield


async def page(request):
    return HTMLResponse("<!doctype html><title>An EventSource</title><link rel=icon href='data:,'>")


async def answer(request):
    answer_id = request.path_params["id"]
    seen = requests.setdefault(answer_id, [])
    response = DroppingResponse(streams, answer_id, lambda: iter(PIECES), retry=50)
    response.budget = BUDGETS[len(seen)] if len(seen) < len(BUDGETS) else float("inf")
    seen.append(request.headers.get("last-event-id"))
    return response


async def seen(request):
    return JSONResponse(requests[request.path_params["id"]])


app = Starlette(
    routes=[Route("/", page), Route("/answers/{id}", answer), Route("/requests/{id}", seen)],
    lifespan=lifespan,
)
