"""An answer whose first responses break off after some bytes, as seen by an EventSource."""

from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from resumable_io import Streams
from resumable_io.asgi import drain_on_sigterm
from resumable_io.starlette import EventStreamResponse

PIECES = [f"{n}: grüße,\n東京 👩‍🚀 " for n in range(60)]

# Before the first event, within an event, wherever it is, even inside of a character.
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
            if budget is not None and len(body) > budget:
                await send(message | {"body": body[:budget], "more_body": True})
                raise OSError  # as a server does when the client is gone
            if budget is not None:
                budget -= len(body)
            await send(message)

        await super().__call__(scope, receive, send_within_budget)


@asynccontextmanager
async def lifespan(app):
    async with streams:
        with drain_on_sigterm(streams):
            yield


async def answer(request):
    answer_id = request.path_params["id"]
    seen = requests.setdefault(answer_id, [])
    response = DroppingResponse(streams, answer_id, lambda: iter(PIECES), retry=50)
    response.budget = BUDGETS[len(seen)] if len(seen) < len(BUDGETS) else None
    seen.append(request.headers.get("last-event-id"))
    return response


async def seen(request):
    return JSONResponse(requests.get(request.path_params["id"], []))


app = Starlette(
    routes=[
        Route("/answers/{id}", answer, methods=["GET", "POST"]),
        Route("/requests/{id}", seen),
    ],
    lifespan=lifespan,
)
