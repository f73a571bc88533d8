"""The demo's channel: whoever opens the page is who they say, and may write to everybody."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from resumable_io import Streams
from resumable_io.channels import Connection, Principal
from resumable_io.starlette import channel_endpoint

LOBBY: Final = "lobby"
HEARTBEAT: Final = 5.0  # Seconds: so that a closed tab is not counted for long.


def lobby_routes(streams: Streams) -> list[Route]:
    """Return the routes of the one channel that the demo has."""
    endpoint = channel_endpoint(
        streams, _believe, authorize_publish=_believe, heartbeat=HEARTBEAT, retry=1_000
    )

    async def presence(request: Request) -> Response:
        """Tell how many tabs listen, in this process."""
        del request
        count = streams.channel(LOBBY).subscriptions
        return JSONResponse({"subscriptions": count}, headers={"Cache-Control": "no-store"})

    return [
        Route(f"/api/channels/{LOBBY}", endpoint, methods=["GET", "POST"]),
        Route(f"/api/channels/{LOBBY}/presence", presence),
    ]


def _believe(connection: Connection, _: str) -> Principal:
    """Take everybody at their word, `?as=ann`: fit for a demo on loopback, and for nothing else."""
    name = connection.query.get("as", "nobody")
    return Principal(name, name, may_publish=True)
