"""Channels over HTTP: who may subscribe and publish, and how much.

    endpoint = channel_endpoint(streams, bearer({token: Principal("ann", {"ann"})}))

    GET  {path}    subscribe: server-sent events from the Last-Event-ID on, without an end
    POST {path}    publish, if an authorizer for that was given: JSON in, 202 with the event id

The endpoint is a pure ASGI application; `resumable_io.starlette` has it for Starlette and FastAPI.

    _access        Principal, Connection; how an authorizer refuses
    _credentials   authorizers: bearer tokens, cookies with a check of the origin
    _limits        how many connections, how many publishes, how large
    _messages      reads what is to be published from a request
    _endpoint      the endpoint
"""

from ._access import Authorize, Connection, Forbidden, Principal, Unauthorized
from ._credentials import Lookup, bearer, cookie
from ._endpoint import ChannelEndpoint, EndpointOptions, channel_endpoint
from ._limits import ChannelLimits

__all__ = [
    "Authorize",
    "ChannelEndpoint",
    "ChannelLimits",
    "Connection",
    "EndpointOptions",
    "Forbidden",
    "Lookup",
    "Principal",
    "Unauthorized",
    "bearer",
    "channel_endpoint",
    "cookie",
]
