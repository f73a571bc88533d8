"""A TCP proxy between a backend and its Redis: it does what networks do, when it is told to.

async with proxied(server) as proxy:
    proxy.url                       where the backend connects
    proxy.cut()                     every connection breaks
    await proxy.refuse()            they break, and none is accepted, until `accept`
    with proxy.stalled(): …         connections stay, nothing gets through
    proxy.lose_replies(b"…")        what holds these bytes is applied, and its reply lost
    proxy.messages = my_filter      live messages are lost, repeated or delayed
    proxy.deafen()                  connections that listen hear nothing any more
    proxy.upstream = other          what connects from now on gets to another server
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import asynccontextmanager, contextmanager, suppress

from anyio import (
    BrokenResourceError,
    CancelScope,
    ClosedResourceError,
    EndOfStream,
    Event,
    connect_tcp,
    create_task_group,
    create_tcp_listener,
)
from anyio.abc import SocketAttribute, SocketListener, SocketStream, TaskGroup

from tests.redis.server import RedisServer

LOOPBACK = "127.0.0.1"

CHUNK = 65536

OVERLAP = 39
"""Bytes after which a marker, such as a script's SHA-1, is not seen a second time."""

MessageFilter = Callable[[bytes], Iterable[bytes]]
"""Takes a live message as it is on the wire, and returns what is delivered instead."""


@asynccontextmanager
async def proxied(server: RedisServer):
    """Run a proxy in front of `server` for the length of a block."""
    async with create_task_group() as tasks:
        proxy = Proxy(server, tasks)
        await proxy.accept()
        yield proxy
        tasks.cancel_scope.cancel()


class Proxy:
    """Pass bytes between clients and a server."""

    def __init__(self, upstream: RedisServer, tasks: TaskGroup) -> None:
        self.upstream = upstream
        self.messages: MessageFilter | None = None
        self.lost = 0
        """Replies that were lost."""
        self.accepted = 0
        """Connections that were ever accepted."""
        self._tasks = tasks
        self._port = 0
        self._serving: CancelScope | None = None
        self._connections: set[_Connection] = set()
        self._open = Event()
        self._open.set()
        self._feeds_flow = False
        self._losing: list[bytes] = []
        self._hang = False

    @property
    def url(self) -> str:
        """Return the URL of the server as it is seen through here."""
        return self.upstream.url.replace(f":{self.upstream.port}/", f":{self._port}/")

    @property
    def connections(self) -> int:
        """Return how many connections stand."""
        return len(self._connections)

    async def accept(self) -> None:
        """Accept connections, for the first time or again."""
        listener = await create_tcp_listener(local_host=LOOPBACK, local_port=self._port)
        (socket,) = listener.listeners
        self._port = socket.extra(SocketAttribute.local_port)
        self._serving = CancelScope()
        self._tasks.start_soon(self._serve, socket, self._serving)

    async def refuse(self) -> None:
        """Break all connections and accept none; who connects is refused by the system."""
        assert self._serving is not None, "it refuses already"
        serving, self._serving = self._serving, None
        serving.cancel()
        self.cut()
        while not await self._is_refused():
            pass

    def cut(self) -> None:
        """Break all connections. What the server has got by then, it carries out."""
        for connection in tuple(self._connections):
            connection.cut()

    @contextmanager
    def stalled(self, *, feeds: bool = True):
        """Hold everything back for the length of a block, in both directions; or all but feeds."""
        self._open, self._feeds_flow = Event(), not feeds
        try:
            yield
        finally:
            self._open.set()

    def lose_replies(self, *markers: bytes, hang: bool = False) -> None:
        """Lose the reply to the next request that holds a marker; one request for each of them.

        The request is carried out. Then the connection breaks, or with `hang` stays, mute.
        """
        self._losing += markers
        self._hang = hang

    def deafen(self) -> None:
        """Hold back whatever comes over the connections that listen now; they stay."""
        for connection in self._connections:
            connection.deafen()

    # What connections ask

    async def opened(self, *, feed: bool = False) -> None:
        """Wait while nothing is to get through."""
        while not (self._open.is_set() or (feed and self._feeds_flow)):
            await self._open.wait()

    def loses(self, request: bytes) -> bool:
        """Say whether the reply to `request` is to be lost."""
        for marker in self._losing:
            if marker in request:
                self._losing.remove(marker)
                return True
        return False

    @property
    def hang(self) -> bool:
        """Say whether a connection whose reply was lost stays."""
        return self._hang

    async def _serve(self, listener: SocketListener, scope: CancelScope) -> None:
        with scope:
            async with listener:
                await listener.serve(self._connected, self._tasks)

    async def _connected(self, client: SocketStream) -> None:
        self.accepted += 1
        async with client:
            await self.opened()
            try:
                server = await connect_tcp(LOOPBACK, self.upstream.port)
            except OSError:
                return
            connection = _Connection(self, client, server)
            self._connections.add(connection)
            try:
                async with server:
                    await connection.run()
            finally:
                self._connections.discard(connection)

    async def _is_refused(self) -> bool:
        try:
            stream = await connect_tcp(LOOPBACK, self._port)
        except OSError:
            return True
        await stream.aclose()
        return False


class _Connection:
    def __init__(self, proxy: Proxy, client: SocketStream, server: SocketStream) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._scope = CancelScope()
        self._end = b""  # of what came before, since what is looked for may come in two pieces
        self._listens = False
        self._deaf = False
        self._mute = False

    def deafen(self) -> None:
        self._deaf = self._listens

    def cut(self) -> None:
        self._scope.cancel()

    async def run(self) -> None:
        with self._scope:
            async with create_task_group() as tasks:
                tasks.start_soon(self._forward_requests)
                tasks.start_soon(self._forward_replies)

    async def _forward_requests(self) -> None:
        while data := await _receive(self._client):
            await self._proxy.opened(feed=self._listens)
            request, self._end = self._end + data, data[-OVERLAP:]
            self._listens = self._listens or b"SUBSCRIBE\r\n" in request
            self._mute = self._mute or self._proxy.loses(request)
            await _send(self._server, data)
        self.cut()

    async def _forward_replies(self) -> None:
        buffer = b""
        while data := await _receive(self._server):
            await self._proxy.opened(feed=self._listens)
            if self._mute:
                self._proxy.lost += 1
                if not self._proxy.hang:
                    break
                continue
            if self._deaf:
                continue
            buffer += data
            if self._listens and self._proxy.messages is not None:
                frames, buffer = split(buffer)
                data = b"".join(self._filtered(frames))
            else:
                data, buffer = buffer, b""
            await _send(self._client, data)
        self.cut()

    def _filtered(self, frames: list[bytes]) -> Iterable[bytes]:
        for frame in frames:
            if frame[:1] in b"*>" and b"\r\nmessage\r\n" in frame[:24]:
                yield from self._proxy.messages(frame)
            else:
                yield frame


async def _receive(stream: SocketStream) -> bytes:
    """Return what comes next; nothing when nothing will come any more."""
    try:
        return await stream.receive(CHUNK)
    except (EndOfStream, BrokenResourceError, ClosedResourceError):
        return b""


async def _send(stream: SocketStream, data: bytes) -> None:
    if data:
        with suppress(BrokenResourceError, ClosedResourceError):  # the other direction sees it
            await stream.send(data)


def split(data: bytes) -> tuple[list[bytes], bytes]:
    """Return the whole RESP values at the start of `data`, and what is left."""
    values, start = [], 0
    while (end := _end_of_value(data, start)) is not None:
        values.append(data[start:end])
        start = end
    return values, data[start:]


def _end_of_value(data: bytes, start: int) -> int | None:
    end = data.find(b"\r\n", start)
    if end < 0:
        return None
    kind, line, end = data[start : start + 1], data[start + 1 : end], end + 2
    if kind in _TEXTS:
        length = int(line)
        end += length + 2 if length >= 0 else 0
        return end if end <= len(data) else None
    for _ in range(_VALUES[kind] * int(line) if kind in _VALUES else 0):
        end = _end_of_value(data, end)
        if end is None:
            return None
    return end


_TEXTS = (b"$", b"=", b"!")
_VALUES = {b"*": 1, b"~": 1, b">": 1, b"%": 2, b"|": 2}
"""What begins with a length; and how many values each counted one consists of."""
