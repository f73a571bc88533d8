"""One source and many consumers, for workloads 6, 10 and 11: called in process, or over HTTP."""

from __future__ import annotations

import asyncio
import gc
import time
from contextlib import suppress
from functools import partial

from tests.bench.check import check, total
from tests.bench.model import Case, Measured, Setting
from tests.bench.workloads.applications import APPLICATIONS, Pace, Source

AT_ONCE = 100
"""Connections that clients open at once."""

SCOPE = {
    "type": "http",
    "asgi": {"version": "3.0"},
    "http_version": "1.1",
    "method": "GET",
    "path": "/news",
    "raw_path": b"/news",
    "query_string": b"",
    "headers": [(b"accept", b"text/event-stream")],
}
REQUEST = b"GET /news HTTP/1.1\r\nhost: a\r\naccept: text/event-stream\r\n\r\n"
FIELD = b"data: "


def texts_of(body: bytes) -> list[str]:
    """Return the data of the events without a type; each has one line of data."""
    blocks = body.decode().replace("\r\n", "\n").split("\n\n")
    lines = [block.split("\n") for block in blocks if "event:" not in block]
    return [line[6:] for block in lines for line in block if line.startswith("data: ")]


def verdict(bodies, count: int) -> dict:
    return total(check(texts_of(body), count) for body in bodies)


def figures(deliveries: int, took: float, cpu: float) -> dict:
    return {"deliveries/s": deliveries / took, "server CPU µs/delivery": 1e6 * cpu / deliveries}


async def settle() -> None:
    """Wait until there is nothing to do: all have asked, and wait for the first event.

    What garbage collection owes for that is paid here, too.
    """
    busy = 1.0
    while busy > 0.01:
        before = time.process_time()
        await asyncio.sleep(0.1)
        busy = time.process_time() - before
    gc.collect()


# In process


async def in_process(app: str, consumers: int, count: int, pace: Pace, patience: float) -> dict:
    """Call the application as a server does, and keep what it sends."""
    source, bodies = Source(count, pace), [bytearray() for _ in range(consumers)]
    all_open, arrived, never = asyncio.Event(), asyncio.Event(), asyncio.Event()
    closed, lacking, ended = consumers, consumers, (0.0, 0.0)

    def now() -> tuple[float, float]:
        return time.monotonic(), time.process_time()

    async def consume(application, body):
        left = count

        async def receive():
            await never.wait()

        async def send(message):
            nonlocal closed, lacking, left, ended
            if message["type"] == "http.response.start":
                closed -= 1
                if not closed:
                    all_open.set()
                return
            body.extend(message["body"])
            if left > 0:
                left -= message["body"].count(FIELD)
                lacking -= left <= 0
                if not lacking:
                    ended = now()
                    arrived.set()

        await application(dict(SCOPE), receive, send)

    async with APPLICATIONS[app](source) as application:
        tasks = [asyncio.create_task(consume(application, body)) for body in bodies]
        await all_open.wait()
        await settle()
        began = now()
        source.begin.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await arrived.wait()
        source.all_arrived.set()
        await asyncio.gather(*tasks)
    took, cpu = (after - before for before, after in zip(began, ended, strict=True))
    return figures(consumers * count, took, cpu) | {"verdict": verdict(bodies, count)}


# Over HTTP: the server


async def serve(app: str, count: int, pace: Pace):
    """Serve the application under uvicorn; responses end when told that all has arrived."""
    import uvicorn

    source = Source(count, pace)

    async def step(reader, writer):
        while await reader.read(1):
            source.arrived.release()
        writer.close()

    steps = await asyncio.start_server(step, "127.0.0.1", 0)
    async with APPLICATIONS[app](source) as application:
        config = uvicorn.Config(
            application, port=0, http="httptools", lifespan="off", log_level="error"
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        while not server.started:
            if serving.done():
                await serving
            await asyncio.sleep(0.01)
        yield {"port": port_of(server.servers[0]), "steps": port_of(steps)}
        await settle()
        yield {}
        source.begin.set()
        while not source.began:  # noqa: ASYNC110
            await asyncio.sleep(0)
        yield {"began": source.began}
        source.all_arrived.set()
    steps.close()
    server.should_exit = True
    await serving


def port_of(server) -> int:
    return server.sockets[0].getsockname()[1]


# Over HTTP: the clients


class Crowd:
    """Know how far all clients are, and tell the server of each event that the last of them has."""

    def __init__(self, consumers: int, count: int, server: asyncio.StreamWriter) -> None:
        self.arrived = asyncio.Event()
        """Set when everybody has everything, or nothing more can come."""
        self._lacking = [consumers] * count
        self._open = consumers
        self._server = server

    def has(self, index: int) -> None:
        """Take note that one more client has the event at an index."""
        if index >= len(self._lacking):
            return  # it says that the stream has ended, or is one too many, which is found later
        self._lacking[index] -= 1
        if not self._lacking[index]:
            self._server.write(b".")
            if index == len(self._lacking) - 1:
                self.arrived.set()

    def left(self) -> None:
        """Take note that one client gets no more."""
        self._open -= 1
        if not self._open:
            self.arrived.set()


class Response(asyncio.Protocol):
    """Keep what comes as the answer to a request."""

    def __init__(self, crowd: Crowd) -> None:
        self.received = bytearray()
        self.headers, self.complete = asyncio.Event(), asyncio.Event()
        self._crowd = crowd
        self._events = 0

    def connection_made(self, transport) -> None:
        transport.write(REQUEST)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        unseen = max(0, len(self.received) - len(FIELD) + 1)
        self.received += data
        if not self.headers.is_set() and b"\r\n\r\n" in self.received:
            self.headers.set()
        for _ in range(self.received.count(FIELD, unseen)):
            self._crowd.has(self._events)
            self._events += 1
        if self.received.endswith(b"\r\n0\r\n\r\n"):
            self._ended()

    def connection_lost(self, exc: Exception | None) -> None:
        self.headers.set()
        self._ended()

    def _ended(self) -> None:
        if not self.complete.is_set():
            self.complete.set()
            self._crowd.left()

    def body(self) -> bytes:
        """Return the chunks of the body, joined."""
        received, pieces = bytes(self.received), []
        place = received.index(b"\r\n\r\n") + 4
        while place < len(received):
            end = received.index(b"\r\n", place)
            size = int(received[place:end], 16)
            pieces.append(received[end + 2 : end + 2 + size])
            place = end + 2 + size + 2
        return b"".join(pieces)


async def request(port: int, steps: int, consumers: int, count: int, patience: float):
    """Be all the clients; what has not come after some seconds is lost."""
    loop, limit = asyncio.get_running_loop(), asyncio.Semaphore(AT_ONCE)
    _, server = await asyncio.open_connection("127.0.0.1", steps)
    crowd = Crowd(consumers, count, server)
    responses = []

    async def connect():
        async with limit:
            make = partial(Response, crowd)
            _, response = await loop.create_connection(make, "127.0.0.1", port)
            responses.append(response)
            await response.headers.wait()

    await asyncio.gather(*(connect() for _ in range(consumers)))
    yield {}
    with suppress(TimeoutError):
        async with asyncio.timeout(patience):
            await crowd.arrived.wait()
    yield {"ended": time.monotonic()}
    with suppress(TimeoutError):
        async with asyncio.timeout(patience):
            for response in responses:
                await response.complete.wait()
    yield {"verdict": verdict((response.body() for response in responses), count)}


# A measurement


class Audience:
    """A number of consumers, and what they are sent: `ours` is a stream or a channel."""

    def __init__(
        self, setting: Setting, consumers: int, count: int, pace: Pace, ours: str = "stream"
    ) -> None:
        self.processes = setting.processes
        self.consumers = consumers
        self.work = {"count": count, "pace": pace}
        self._ours = ours

    def in_process(self, who: str) -> Measured:
        said = self.processes.run(
            in_process,
            **self._served_by(who),
            consumers=self.consumers,
            patience=self.processes.limit / 3,
            **self.work,
        )
        judged = said.pop("verdict")
        return Measured(said, judged)

    def over_http(self, who: str) -> Measured:
        start = self.processes.start
        clients_do = {
            "consumers": self.consumers,
            "count": self.work["count"],
            "patience": self.processes.limit / 3,
            "uvloop": True,  # they are not to be slower than a server
        }
        with start(serve, **self._served_by(who), **self.work) as server:
            ports = server.hear()
            with start(request, **ports, **clients_do) as clients:
                clients.hear()
                server.tell()
                server.hear()
                before = server.cpu()
                clients.tell()
                server.tell()
                began = server.hear()["began"]
                took = clients.hear()["ended"] - began
                cpu = server.cpu() - before
                server.tell()
                clients.tell()
                judged = clients.hear()["verdict"]
        return Measured(figures(self.consumers * self.work["count"], took, cpu), judged)

    def case(
        self, name: str, *, http: bool = False, peer: bool = True, rounds: int | None = None
    ) -> Case:
        measure = self.over_http if http else self.in_process
        names = ("ours", "sse-starlette") if peer else ("ours",)
        return Case(name, {who: partial(measure, who) for who in names}, rounds)

    def _served_by(self, who: str) -> dict:
        return {"app": self._ours} if who == "ours" else {"app": who, "peer": True}
