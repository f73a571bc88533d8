"""The channels of `resumable serve`: whoever knows a token may publish, and read as anybody."""

from __future__ import annotations

import hashlib
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from resumable_io import Streams
from resumable_io.channels import ChannelLimits, Connection, Principal
from resumable_io.starlette import channel_endpoint

# A token is a service's, which speaks for many people.
LIMITS: Final = ChannelLimits(
    connections_per_principal=10_000,
    publish_rate=1_000,
    publish_burst=1_000,
    message_bytes=2**20,
)


def channel_routes(streams: Streams) -> list[Route]:
    """Return the routes of channels; who may come in was settled before."""
    endpoint = channel_endpoint(streams, _everything, authorize_publish=_everything, limits=LIMITS)

    async def delete(request: Request) -> Response:
        await streams.channel(request.path_params["channel"]).delete()
        return Response(status_code=204)

    return [
        Route("/channels/{channel:path}", delete, methods=["DELETE"]),
        Route("/channels/{channel:path}", endpoint, methods=["GET", "POST"]),
    ]


def _everything(connection: Connection, _: str) -> Principal:
    """Grant everything, to read as `?as=` included; limits are counted by the credentials."""
    credentials = connection.headers.get("authorization", "")
    name = hashlib.sha256(credentials.encode()).hexdigest()
    recipients = Request(connection.scope).query_params.getlist("as")
    return Principal(name, recipients, may_publish=True)
