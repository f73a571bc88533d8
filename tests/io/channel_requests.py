"""Requests to an endpoint of channels, as an ASGI server makes them."""

import json

from anyio import create_task_group

from resumable_core import Decoder
from resumable_io.channels import Principal
from tests.io.test_asgi import Client

ANN = Principal("ann", recipients={"ann"}, may_publish=True)
BOB = Principal("bob", recipients={"bob"})


def as_named(connection, channel):
    """Authorize by a header that names the principal: everybody tells the truth here."""
    return {"ann": ANN, "bob": BOB}.get(connection.headers.get("x-user"))


class ChannelClient(Client):
    """Ask for a channel; `body` is what a POST sends, in pieces of `cut` bytes."""

    def __init__(self, channel="news", query="", *, method="GET", body=b"", cut=None, **headers):
        super().__init__(query, method=method, **headers)
        self.came_with = headers.get("last_event_id", "")
        self.scope["path"] = f"/channels/{channel}"
        self.scope["client"] = ["127.0.0.1", 1234]
        cut = cut or max(1, len(body))
        self._pieces = [body[start : start + cut] for start in range(0, len(body), cut)] or [b""]

    async def receive(self):
        if self._pieces:
            piece = self._pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(self._pieces)}
        self._asked = True
        return await super().receive()

    @property
    def place(self):
        """The event id that the client would come back with."""
        decoder = Decoder(last_event_id=self.came_with)
        decoder.feed(self.body)
        return decoder.last_event_id

    @property
    def data(self):
        """The data of all events that are the channel's own."""
        notices = {"expired", "gap", "reset"}
        return [event.data for event in self.events if event.type not in notices]


async def get(endpoint, *args, **kwargs):
    """Get an answer that ends by itself."""
    return await ChannelClient(*args, **kwargs).get(endpoint)


async def post(endpoint, message, channel="news", **kwargs):
    """Publish a message, as JSON unless it is bytes."""
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    headers = {"content_type": "application/json", "x_user": "ann", **kwargs}
    return await get(endpoint, channel, method="POST", body=body, **headers)


async def catch_up(endpoint, count, *args, **kwargs):
    """Subscribe, leave when `count` events have come, and return the client."""
    client = ChannelClient(*args, **kwargs)
    async with create_task_group() as group:
        group.start_soon(client.get, endpoint)
        await client.seen(count)
        client.leave()
    return client
