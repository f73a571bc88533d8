"""Workload 6: one stream to many consumers, in process and over HTTP."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from functools import partial

from tests.bench.check import check, texts, total
from tests.bench.model import Case, Goal, Measured, Of, Setting, Workload

AT_ONCE = 100
"""Connections that a client opens at once."""

SCOPE = {
    "type": "http",
    "asgi": {"version": "3.0"},
    "http_version": "1.1",
    "method": "GET",
    "path": "/",
    "raw_path": b"/",
    "query_string": b"",
    "headers": [(b"accept", b"text/event-stream")],
}


class Source:
    """Texts that flow once told, with a pause after each: of 0 to let others run, or none."""

    def __init__(self, count: int, pause: float | None) -> None:
        self.begin = asyncio.Event()
        self.began = 0.0
        self._texts = texts(count)
        self._pause = pause

    async def flow(self):
        await self.begin.wait()
        self.began = time.monotonic()
        for text in self._texts:
            yield text
            if self._pause is not None:
                await asyncio.sleep(self._pause)


# The applications


@asynccontextmanager
async def ours(source: Source):
    from resumable_io import Streams
    from resumable_io.asgi import EventStreamResponse

    async with Streams(grace=0) as streams:
        await streams.start("a", source.flow())
        yield EventStreamResponse(streams, "a")


@asynccontextmanager
async def sse_starlette(source: Source):
    """Do as its users do: a queue for each client, and a task that fills them all."""
    from sse_starlette.sse import EventSourceResponse

    queues = []

    async def events(queue):
        while (event := await queue.get()) is not None:
            yield event

    async def app(scope, receive, send):
        queues.append(asyncio.Queue())
        await EventSourceResponse(events(queues[-1]))(scope, receive, send)

    async def broadcast():
        seq = 0
        async for text in source.flow():
            seq += 1
            for queue in queues:
                queue.put_nowait({"data": text, "id": f"0123456789abcdef-{seq}"})
        for queue in queues:
            queue.put_nowait(None)

    task = asyncio.create_task(broadcast())
    yield app
    await task


APPS = {"ours": ours, "sse-starlette": sse_starlette}


def texts_of(body: bytes) -> list[str]:
    """Return the data of the events without a type; each has one line of data."""
    blocks = body.decode().replace("\r\n", "\n").split("\n\n")
    lines = [block.split("\n") for block in blocks if "event:" not in block]
    return [line[6:] for block in lines for line in block if line.startswith("data: ")]


# In process


async def in_process(who: str, consumers: int, count: int, pause: float | None) -> dict:
    """Call the application as a server does, and keep what it sends."""
    source, bodies, open_ = Source(count, pause), [bytearray() for _ in range(consumers)], 0
    all_open, never = asyncio.Event(), asyncio.Event()

    async def consume(app, body):
        async def receive():
            await never.wait()

        async def send(message):
            nonlocal open_
            if message["type"] == "http.response.start":
                open_ += 1
                if open_ == consumers:
                    all_open.set()
            else:
                body.extend(message["body"])

        await app(dict(SCOPE), receive, send)

    async with APPS[who](source) as app:
        tasks = [asyncio.create_task(consume(app, body)) for body in bodies]
        await all_open.wait()
        await asyncio.sleep(0.2)  # until all wait for the first event
        before = time.process_time()
        source.begin.set()
        await asyncio.gather(*tasks)
        took, cpu = time.monotonic() - source.began, time.process_time() - before
    judged = verdict(map(texts_of, bodies), count)
    return figures(consumers * count, took, cpu) | {"verdict": judged}


def figures(deliveries: int, took: float, cpu: float) -> dict:
    return {"deliveries/s": deliveries / took, "server CPU µs/delivery": 1e6 * cpu / deliveries}


def verdict(received, count: int) -> dict:
    return total(check(each, count) for each in received)


# Over HTTP


async def serve(who: str, count: int, pause: float | None):
    """Serve the application under uvicorn."""
    import uvicorn

    source = Source(count, pause)
    async with APPS[who](source) as app:
        config = uvicorn.Config(
            app, port=0, http="httptools", lifespan="off", log_level="error", access_log=False
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110
            if serving.done():
                await serving
            await asyncio.sleep(0.01)
        yield {"port": server.servers[0].sockets[0].getsockname()[1]}
        source.begin.set()
        await asyncio.sleep(0)
        while not source.began:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        yield {"began": source.began}
        server.should_exit = True
        await serving


class Response(asyncio.Protocol):
    """Keep what comes as the answer to a request."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.headers, self.complete = asyncio.Event(), asyncio.Event()

    def connection_made(self, transport) -> None:
        transport.write(b"GET / HTTP/1.1\r\nhost: a\r\naccept: text/event-stream\r\n\r\n")
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        if not self.headers.is_set() and b"\r\n\r\n" in self.received:
            self.headers.set()
        if self.received.endswith(b"\r\n0\r\n\r\n"):
            self.complete.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.headers.set()
        self.complete.set()

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


async def request(port: int, consumers: int, count: int):
    """Be all the clients."""
    loop, limit = asyncio.get_running_loop(), asyncio.Semaphore(AT_ONCE)
    responses = []

    async def connect():
        async with limit:
            _, response = await loop.create_connection(Response, "127.0.0.1", port)
            responses.append(response)
            await response.headers.wait()

    await asyncio.gather(*(connect() for _ in range(consumers)))
    await asyncio.sleep(0.2)  # until all wait for the first event
    yield {}
    for response in responses:
        await response.complete.wait()
    ended = time.monotonic()
    received = (texts_of(response.body()) for response in responses)
    yield {"ended": ended, "verdict": verdict(received, count)}


# The workload


class Audience:
    """A number of consumers, and what they are sent."""

    def __init__(self, setting: Setting, consumers: int, count: int, pause: float | None) -> None:
        self.setting = setting
        self.consumers = consumers
        self.work = {"count": count, "pause": pause}

    def in_process(self, who: str) -> Measured:
        said = self.setting.processes.run(
            in_process, peer=who != "ours", who=who, consumers=self.consumers, **self.work
        )
        judged = said.pop("verdict")
        return Measured(said, judged)

    def over_http(self, who: str) -> Measured:
        start, count = self.setting.processes.start, self.work["count"]
        with start(serve, peer=who != "ours", who=who, **self.work) as server:
            port = server.hear()["port"]
            with start(request, port=port, consumers=self.consumers, count=count) as clients:
                clients.hear()
                before = server.cpu()
                clients.tell()
                server.tell()
                began = server.hear()["began"]
                said = clients.hear()
                cpu = server.cpu() - before
        deliveries = self.consumers * count
        return Measured(figures(deliveries, said["ended"] - began, cpu), said["verdict"])

    def case(
        self, name: str, *, http: bool = False, peer: bool = True, rounds: int | None = None
    ) -> Case:
        measure = self.over_http if http else self.in_process
        contenders = {who: partial(measure, who) for who in APPS if peer or who == "ours"}
        return Case(name, contenders, rounds)


def fan_out(setting: Setting) -> Workload:
    """Return the workload."""
    one, few, many, most = (1, 10, 100, 300) if setting.quick else (1, 100, 1000, 10_000)
    per_second, cpu = "deliveries/s", "server CPU µs/delivery"
    pause, count_paced = 0.1, setting.scaled(50, 20)

    def inside(consumers: int) -> str:
        return f"in process, {consumers:,} consumers"

    def outside(consumers: int) -> str:
        return f"HTTP, {consumers:,} clients"

    def in_process(consumers: int, count: int, **options: int) -> Case:
        return Audience(setting, consumers, count, None).case(inside(consumers), **options)

    def over_http(consumers: int, count: int, **options: int) -> Case:
        audience = Audience(setting, consumers, count, None)
        return audience.case(outside(consumers), http=True, **options)

    in_turns = f"{inside(many)}, in turns"
    paced = f"{outside(many)}, {1 / pause:g} messages/s"
    cases = (
        in_process(one, setting.scaled(2000)),
        in_process(few, 50),
        in_process(many, 50),
        in_process(most, 50, peer=False, rounds=3),
        Audience(setting, many, 50, 0).case(in_turns, rounds=3),
        over_http(few, 100),
        over_http(many, 100, rounds=3),
        over_http(most, 20, peer=False, rounds=2),
        Audience(setting, many, count_paced, pause).case(paced, http=True, rounds=3),
    )
    peer = "sse-starlette"
    return Workload(
        6,
        "Fan-out, one stream to many consumers",
        cases,
        (
            Goal(
                "sse-starlette × 3",
                Of(inside(many), "ours", per_second),
                3,
                Of(inside(many), peer, per_second),
            ),
            Goal(
                "sse-starlette × 3",
                Of(outside(many), "ours", per_second),
                3,
                Of(outside(many), peer, per_second),
            ),
            Goal(
                "CPU of sse-starlette / 1.6",
                Of(paced, "ours", cpu),
                1 / 1.6,
                Of(paced, peer, cpu),
                at_most=True,
            ),
            Goal(
                f"a delivery costs what it costs with {few}",
                Of(inside(most), "ours", cpu),
                1.5,
                Of(inside(few), "ours", cpu),
                at_most=True,
            ),
        ),
        "Events of 40 bytes, as fast as they go; in turns: the source lets others run after each. "
        "In process the application is called as a server would call it; over HTTP it runs under "
        "uvicorn with httptools. sse-starlette has a queue for each client, as its users do it.",
    )
