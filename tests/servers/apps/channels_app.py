"""An app with channels, in FastAPI; behind Starlette's BaseHTTPMiddleware where RELAYED is set.

A request's principal is who its token says: `Bearer ann`.
"""

import os
from contextlib import asynccontextmanager

from fastapi import FastAPI

from resumable_io import Streams
from resumable_io.asgi import drain_on_sigterm
from resumable_io.channels import ChannelLimits, Principal, bearer
from resumable_io.starlette import channel_endpoint

SEND_TIMEOUT = 1.0
BURST = 5
RATE = 10.0

streams = Streams(grace=1)


@asynccontextmanager
async def lifespan(app):
    async with streams:
        with drain_on_sigterm(streams):
            yield


def find(token):
    return Principal(token, recipients=token, may_publish=token != "reader")


app = FastAPI(lifespan=lifespan)
app.add_api_route(
    "/channels/{channel}",
    channel_endpoint(
        streams,
        bearer(find),
        authorize_publish=bearer(find),
        limits=ChannelLimits(publish_rate=RATE, publish_burst=BURST),
        heartbeat=0.2,
        send_timeout=SEND_TIMEOUT,
    ),
    methods=["GET", "HEAD", "POST"],
)

if os.environ.get("RELAYED"):

    @app.middleware("http")
    async def add_a_header(request, call_next):
        response = await call_next(request)
        response.headers["x-relayed"] = "yes"
        return response


@app.post("/fill/{channel}/{count}/{size}")
async def fill(channel: str, count: int, size: int) -> None:
    """Publish `count` messages of `size` characters, that begin with their number."""
    for number in range(count):
        await streams.channel(channel).publish(f"{number} ".ljust(size, "x"))


@app.get("/debug")
async def debug() -> dict[str, object]:
    return {"responses": streams.shutdown.responses}
