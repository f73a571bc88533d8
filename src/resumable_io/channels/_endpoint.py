"""The endpoint of channels: subscribe by GET, publish by POST; a pure ASGI application.

    200   the events           400   no channel's name, or no message
    202   published: its id    401   no credentials     403   no right
    405   not by this method   408, 413, 415   too slow, too large, not JSON
    429   too much of this principal's       503   too much of all, or this process is about to stop

Nobody is told anything about a channel before it is clear who asks.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar, Final, Literal, TypedDict, Unpack

from anyio import current_time, fail_after

from resumable_core import (
    Beginning,
    InvalidInput,
    Live,
    Position,
    ResumableError,
    Retention,
    SSEFraming,
    encode_expired,
    encode_retry,
)
from resumable_io._channels import CHANNEL_RETENTION, Channel
from resumable_io._http import (
    Receive,
    RequestRefused,
    Scope,
    Send,
    answer,
    headers_of,
    last_event_id,
    reason_of,
    refuse,
    status_of,
)
from resumable_io._options import check_options
from resumable_io._streams import Streams
from resumable_io._subscription import Subscription
from resumable_io.asgi import EventStreamResponse, ResponseOptions

from ._access import Authorize, Connection, Forbidden, Principal, authorized
from ._limits import ChannelLimits, Usage
from ._messages import Disconnected, TooSlow, check_type, parse, read_body

FRAMING: Final = SSEFraming()
STARTS: Final[Mapping[str, Position]] = {"beginning": Beginning(), "live": Live()}


class EndpointOptions(TypedDict, total=False):
    """State what an endpoint can be told besides who may come in."""

    limits: ChannelLimits
    """Of connections, publishes and bytes."""
    retention: Retention
    """What a channel keeps from the next event on that is published here (`CHANNEL_RETENTION`)."""
    start: Literal["beginning", "live"]
    """Where a subscriber without a Last-Event-ID begins (beginning)."""
    retry: int
    """Milliseconds after which a client is to reconnect (2000)."""
    heartbeat: float
    """Seconds of silence at most (15), a number above 0; `math.inf`: no heartbeats.

    An id-only block is sent then, or up to half as long before.
    """
    send_timeout: float
    """Seconds for which a client may refuse to read, or take to send a message (30); finite."""
    headers: Mapping[str, str] | None
    """In addition to ours, or instead of them; Latin-1 without control characters."""
    clock: Callable[[], float]
    """Returns the Unix time, against which credentials expire (`time.time`)."""


class MethodNotAllowed(RequestRefused):
    """Refuse a method: 405."""

    status: ClassVar[int] = 405

    def __init__(self, allowed: str) -> None:
        super().__init__(f"allowed here: {allowed}")
        self._allowed = allowed

    @property
    def headers(self) -> Mapping[str, str]:
        return {"allow": self._allowed}


def channel_endpoint(
    streams: Streams,
    authorize: Authorize,
    *,
    authorize_publish: Authorize | None = None,
    **options: Unpack[EndpointOptions],
) -> ChannelEndpoint:
    """Return the endpoint of the channels of `streams`.

    The channel is the path parameter `channel`; without path parameters, the last segment of the
    path. A route that has others alone raises `RuntimeError`, for it might mix what belongs to
    different tenants.

    `authorize` is asked at every connect, with the credentials that the client has by then. Without
    `authorize_publish` nobody can publish here; with it, whoever is a principal that `may_publish`.

    A subscriber's id moves on, by id-only blocks, behind what is for others. At the time when a
    principal expires the response ends, with `event: expired` before. Raises `InvalidInput` for
    options that are none, and `TypeError` for unknown ones.
    """
    return ChannelEndpoint(streams, authorize, authorize_publish, options)


class ChannelEndpoint:
    """Answer requests for channels; made by `channel_endpoint`."""

    def __init__(
        self,
        streams: Streams,
        authorize: Authorize,
        authorize_publish: Authorize | None,
        options: EndpointOptions,
    ) -> None:
        check_options(options, EndpointOptions.__optional_keys__)
        self._streams = streams
        self._authorize = authorize
        self._authorize_publish = authorize_publish
        self._limits = options.get("limits") or ChannelLimits()
        start = options.get("start", "beginning")
        if start not in STARTS:
            raise InvalidInput(f"start is beginning or live, got {start!r}")
        self._start = STARTS[start]
        self._retention = options.get("retention", CHANNEL_RETENTION)
        self._retry = options.get("retry", 2000)
        encode_retry(self._retry)  # refuse now what would be no retry time
        self._clock = options.get("clock", time.time)
        self._send_timeout = options.get("send_timeout", 30.0)
        self._responses = ResponseOptions(
            heartbeat=options.get("heartbeat", 15.0),
            send_timeout=self._send_timeout,
            headers=options.get("headers"),
        )
        self._usage = Usage(self._limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; an ASGI application."""
        if scope["type"] != "http":
            raise ValueError(f"channels are served over HTTP, got a scope of type {scope['type']}")
        try:
            match scope["method"], self._authorize_publish:
                case (("GET" | "HEAD"), _):
                    response = self._response(scope)
                case "POST", authorize if authorize is not None:
                    await self._publish(authorize, scope, receive, send)
                    return
                case _, authorize:
                    raise MethodNotAllowed("GET, HEAD" if authorize is None else "GET, HEAD, POST")
        except Disconnected:
            return
        except ResumableError as error:
            await refuse(send, status_of(error), reason_of(error), headers_of(error))
            return
        await response(scope, receive, send)

    def _response(self, scope: Scope) -> ChannelResponse:
        return ChannelResponse(
            self._streams,
            self._channel(scope),
            authorize=self._authorize,
            clock=self._clock,
            usage=self._usage,
            replay=self._limits.replay,
            start=self._start,
            retry=self._retry,
            **self._responses,
        )

    async def _publish(
        self, authorize: Authorize, scope: Scope, receive: Receive, send: Send
    ) -> None:
        connection, channel = Connection(scope), self._channel(scope)
        check_type(connection)
        principal = await authorized(authorize, connection, channel.name, self._clock)
        if not principal.may_publish:
            raise Forbidden("publishing is not allowed")
        self._usage.publishes(principal.name)
        try:
            with fail_after(self._send_timeout):
                body = await read_body(scope, receive, self._limits.message_bytes)
        except TimeoutError:
            raise TooSlow(f"a message is to arrive in {self._send_timeout:g} seconds") from None
        post = parse(body, connection)
        key = None if post.key is None else _own(post.key, principal)
        id = await channel.publish(post.message, to=post.to, key=key)
        headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
        await answer(send, 202, headers, json.dumps({"id": str(id)}).encode())

    def _channel(self, scope: Scope) -> Channel:
        parameters: Mapping[str, str] = scope.get("path_params", {})
        if parameters and "channel" not in parameters:
            raise RuntimeError(
                f"the path parameter `channel` names the channel, this route has {[*parameters]}"
            )
        name = parameters.get("channel", scope["path"].rpartition("/")[2])
        return self._streams.channel(name, retention=self._retention)


class ChannelResponse(EventStreamResponse):
    """Send a channel's events to one principal, for as long as that is one."""

    def __init__(
        self,
        streams: Streams,
        channel: Channel,
        *,
        authorize: Authorize,
        clock: Callable[[], float],
        usage: Usage,
        replay: int,
        start: Position,
        retry: int,
        **options: Unpack[ResponseOptions],
    ) -> None:
        super().__init__(streams, channel.name, retry=retry, **options)
        self._channel = channel
        self._authorize = authorize
        self._clock = clock
        self._usage = usage
        self._replay = replay
        self._start = start
        self._recipients: Iterable[str] = ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        try:
            name = self._channel.name
            principal = await authorized(self._authorize, Connection(scope), name, self._clock)
            connection = self._usage.connect(name, principal.name)
        except ResumableError as error:
            await self._refuse(scope, send, error)
            return
        self._recipients = principal.recipients
        if principal.expires_at is not None:
            self.expires_at = current_time() + principal.expires_at - self._clock()
        with connection:
            await super().__call__(scope, receive, send)

    def position(self, scope: Scope) -> Position:
        """Return where the client was; else where this endpoint begins."""
        place = last_event_id(scope)
        return self._start if isinstance(place, Beginning) else place

    def heartbeat(self, subscription: Subscription) -> bytes:
        """Return the client's place, which has moved on behind what is for others."""
        place = subscription.id
        return FRAMING.heartbeat if place is None else FRAMING.place(place)

    async def _look(self, scope: Scope) -> None:
        """Let everybody who is let in know no more than that."""

    async def _subscribe(self, scope: Scope) -> Subscription:
        position = self.position(scope)
        self._check_open()
        return await self._channel.subscribe(
            position, recipient=self._recipients, replay=self._replay
        )

    def expired(self, subscription: Subscription) -> bytes:
        """Return the notice that the principal is none any more."""
        return encode_expired(subscription.id)


def _own(key: str, principal: Principal) -> str:
    """Return the key under which a principal's message is kept: nobody takes another's key."""
    return hashlib.sha256(json.dumps([principal.name, key]).encode()).hexdigest()
