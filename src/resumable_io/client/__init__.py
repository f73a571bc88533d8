"""Read event streams over HTTP without losing the place.

    async with connect("https://example.org/answers/42") as events:
        async for event in events:
            print(event.data)

    _request     what is asked for, and with which library
    _content     the body as bytes of bounded size, whatever its compression
    _response    one response: its body in slices, and how it is let go
    _source      EventSource: drives the core's client machine
    _upstream    a model provider's event stream as a source for `Streams`

Needs the extra `client` (httpx2), or a client of httpx or httpx2 that is handed in.
"""

from resumable_core import ReconnectLimits, ServerSentEvent

from ._request import HTTPClient
from ._source import ClientError, ConnectionLost, EventSource, ResponseRefused, connect
from ._upstream import upstream

__all__ = [
    "ClientError",
    "ConnectionLost",
    "EventSource",
    "HTTPClient",
    "ReconnectLimits",
    "ResponseRefused",
    "ServerSentEvent",
    "connect",
    "upstream",
]
