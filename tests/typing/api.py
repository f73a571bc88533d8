"""The public interface, used in every way that has to pass the type checkers. Never run."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Self, assert_never, assert_type

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import resumable_core
from resumable_core import (
    TABLE,
    Change,
    Cursor,
    Decoder,
    Effect,
    EventLog,
    FeedItem,
    Framed,
    Framing,
    Input,
    Page,
    Refusal,
    ServerSentEvent,
    SSEFraming,
    TextFraming,
    decide,
    encode_event,
    parse_last_event_id,
    transition,
)
from resumable_io import (
    After,
    AtCharacter,
    Backend,
    BackendError,
    Beginning,
    End,
    Event,
    EventId,
    Fenced,
    Gap,
    GapReason,
    Interruption,
    InvalidInput,
    Live,
    MemoryBackend,
    Message,
    Outcome,
    Position,
    PositionLike,
    ProducerLimits,
    Production,
    Record,
    Reset,
    ResetReason,
    ResumableError,
    Retention,
    Sentinel,
    Source,
    SourceError,
    State,
    Statistics,
    StreamError,
    StreamExists,
    StreamExpired,
    StreamFailed,
    StreamGap,
    StreamLost,
    StreamNotFound,
    StreamReset,
    Streams,
    StreamsClosed,
    StreamStopped,
    Subscription,
    Takeover,
)
from resumable_io import asgi as plain
from resumable_io.abc import Tell, Unfollow
from resumable_io.ai_sdk import (
    Chunk,
    Piece,
    Reasoning,
    data,
    start_answer,
    start_index,
    tool_input,
    ui_message,
)
from resumable_io.asgi import drain_on_sigterm, last_event_id, shutdown_trigger, status_of
from resumable_io.channels import (
    ChannelLimits,
    Connection,
    Forbidden,
    Principal,
    Unauthorized,
    bearer,
    cookie,
)
from resumable_io.channels import channel_endpoint as asgi_channel_endpoint
from resumable_io.starlette import (
    EventStreamResponse,
    TextStreamResponse,
    UIMessageStreamResponse,
    channel_endpoint,
    exception_handlers,
)

# -- Streams ------------------------------------------------------------------------------------


def encode(item: object) -> str:
    return repr(item)


Streams()
Streams("memory://")
streams = Streams(
    MemoryBackend(max_bytes=2**20),
    retention=Retention(count=10, bytes=2**10, age=60, keep=0),
    lease=5,
    check_interval=1,
    limits=ProducerLimits(idle=60, total=3600, message_bytes=2**16),
    grace=0,
    encode=encode,
)

# -- Sources ------------------------------------------------------------------------------------


async def texts() -> AsyncIterator[str]:
    yield "text"


async def anything(prompt: str = "") -> AsyncGenerator[str | bytes | Message | dict[str, int]]:
    yield prompt
    yield b"bytes"
    yield Message("text", type="delta")
    yield {"index": 0}


def blocking() -> Iterator[str]:
    yield "text"


async def connected() -> AsyncIterator[str]:
    return texts()


async def listed() -> list[str]:
    return ["text"]


async def continued(done: Sequence[Event]) -> AsyncIterator[str]:
    yield str(len(done))


async def asked(prompt: str) -> AsyncIterator[str]:
    yield prompt


class Iterable:
    """A source of somebody else's."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        raise StopAsyncIteration


sources: list[Source] = [
    texts,
    texts(),
    anything,
    anything("prompt"),
    blocking,
    blocking(),
    connected,
    listed,
    continued,
    ["text", b"bytes", Message("text"), {"index": 0}],
    lambda: ["text"],
    lambda: asked("prompt"),
    partial(asked, "prompt"),
    Iterable(),
    Iterable,
]

# -- Starting, resuming, producing --------------------------------------------------------------


async def start() -> None:
    async with streams as entered:
        assert_type(entered, Streams)
        assert_type(await streams.start("a", texts), Subscription)
        await streams.start("b", continued, metadata={"owner": "ann"}, on_lost="continue")
        await streams.start("c", blocking(), on_lost=Takeover.RESTART, replaces="epoch")
        await streams.start_or_resume("d", lambda: asked("prompt"), "epoch-1", metadata={})
        async for stream_id, state in streams.scan():
            assert_type(stream_id, str)
            assert_type(state, Sentinel)
        await streams.drain()
        assert_type(streams.statistics(), Statistics)
        assert_type(streams.statistics().producers, int)


positions: list[PositionLike] = [
    None,
    "epoch-1",
    EventId("epoch", 1),
    Beginning(),
    After(EventId("epoch", 1), end=True),
    AtCharacter(7),
    Live(),
    EventId.parse("epoch-1"),
    parse_last_event_id(b"epoch-1"),
]


async def resume() -> EventId | None:
    for position in positions:
        await streams.resume("a", position)
    async with await streams.resume("a") as subscription:
        async for event in subscription:
            assert_type(event, Event)
            assert_type(event.id.epoch, str)
            assert_type(event.id.seq, int)
            assert_type(event.data, str | bytes)
            assert_type(event.type, str | None)
        assert_type(await subscription.receive(), Sequence[Record])
        assert_type(subscription.receive_nowait(), Sequence[Record])
        assert_type(await subscription.wait(), None)
        assert_type(subscription.finished, bool)
    await subscription.aclose()
    return subscription.id


async def look() -> None:
    state = await streams.state("a")
    assert_type(state, Sentinel | None)
    if state is None or state.state is State.ACTIVE:
        return
    assert_type(state.outcome, Outcome | None)
    assert_type(state.metadata, Mapping[str, object])
    assert_type(state.error, str | None)
    await streams.stop("a")
    assert_type(await streams.stop("a", "not needed"), Sentinel)
    await streams.delete("a")


async def produce() -> None:
    async with streams.produce("a", metadata={"owner": "ann"}, on_lost="restart") as out:
        assert_type(out, Production)
        await out.send("text")
        await out.send(Message(b"bytes"))
        await out.send({"index": 0})
        await out.flush()
        assert_type(out.stream_id, str)


# -- Records ------------------------------------------------------------------------------------


def told(record: Record) -> str:
    match record:
        case Event(id, data, type):
            return f"{id} {type} {data if isinstance(data, str) else data.decode()}"
        case Gap(reason=GapReason.TRIMMED | GapReason.LOST | GapReason.BINARY | GapReason.BEHIND):
            return "gap"
        case Reset(reason=reason):
            assert_type(reason, ResetReason)
            return "reset"
        case End(outcome=Outcome.DONE):
            return "whole"
        case End(outcome=outcome, error=error):
            assert_type(error, str | None)
            return outcome
        case _:
            assert_never(record)


def how(outcome: Outcome) -> bool:
    match outcome:
        case Outcome.DONE:
            return True
        case Outcome.FAILED | Outcome.STOPPED | Outcome.LOST:
            return False
        case _:
            assert_never(outcome)


async def read(subscription: Subscription) -> list[str]:
    return [told(record) async for record in subscription.records()]


# -- Errors -------------------------------------------------------------------------------------


async def failing() -> AsyncIterator[str]:
    yield "text"
    raise SourceError("safe to show")


async def cautious() -> None:
    try:
        async for _ in await streams.start("a", texts):
            pass
    except (StreamGap, StreamReset):
        pass
    except (StreamFailed, StreamStopped, StreamLost) as error:
        interruption: Interruption = error
        raise interruption from None
    except (StreamNotFound, StreamExists, StreamExpired, Fenced) as error:
        refused: StreamError = error
        raise refused from None
    except InvalidInput as error:
        value_error: ValueError = error
        raise value_error from None
    except (BackendError, StreamsClosed, ResumableError) as error:
        assert_type(status_of(error), int)


# -- HTTP ---------------------------------------------------------------------------------------


@asynccontextmanager
async def lifespan(app: FastAPI | Starlette) -> AsyncGenerator[None]:
    async with streams:
        with drain_on_sigterm(streams):
            yield


fastapi = FastAPI(lifespan=lifespan, exception_handlers=exception_handlers)


@fastapi.get("/answers/{answer_id}")
async def answer(answer_id: str) -> EventStreamResponse:
    return EventStreamResponse(streams, answer_id, texts)


async def everything(request: Request) -> Response:
    response = EventStreamResponse(
        streams,
        request.path_params["id"],
        lambda: asked("prompt"),
        metadata={"owner": "ann"},
        on_lost=Takeover.CONTINUE,
        heartbeat=5,
        send_timeout=10.0,
        headers={"x-model": "tiny"},
        retry=500,
        background=BackgroundTask(print),
    )
    response.set_cookie("last", "answer")
    return response


async def text(request: Request) -> TextStreamResponse:
    return TextStreamResponse(streams, request.path_params["id"], heartbeat=5)


starlette = Starlette(
    routes=[Route("/{id}", everything), Route("/text/{id}", text)],
    lifespan=lifespan,
    exception_handlers=exception_handlers,
)


async def pieces() -> AsyncIterator[Piece]:
    yield "text"
    yield Reasoning("because")
    yield tool_input("call-1", "weather", {"city": "Tokyo"})
    yield {"type": "text-delta", "id": "1", "delta": "x"}
    yield data("status", "busy", transient=True)


async def chunks() -> AsyncIterator[Chunk]:
    yield {"type": "start", "messageId": "m1"}
    yield {"type": "finish", "finishReason": "stop"}


async def ui(request: Request) -> UIMessageStreamResponse:
    assert_type(start_index(request.scope), int | None)
    assert_type(ui_message(chunks()), AsyncGenerator[Chunk])
    started = await start_answer(streams, "chat", ui_message(pieces(), "m1"), metadata={"a": 1})
    assert_type(started, Subscription)
    return UIMessageStreamResponse(streams, "chat", heartbeat=5, background=BackgroundTask(print))


async def asgi(scope: plain.Scope, receive: plain.Receive, send: plain.Send) -> None:
    assert_type(last_event_id(scope), Position)
    await plain.EventStreamResponse(streams, "a", texts, retry=100)(scope, receive, send)
    await plain.TextStreamResponse(streams, "a", on_lost="restart")(scope, receive, send)


async def hypercorn() -> None:
    trigger = shutdown_trigger(streams)
    await trigger()


# -- Channels ------------------------------------------------------------------------------------


async def publish() -> None:
    channel = streams.channel("news", retention=Retention(count=10))
    assert_type(await channel.publish({"a": 1}, to="ann", key="k"), EventId)
    await channel.publish(Message("text", "note"), to=["ann", "bob"])
    subscription = await channel.subscribe("a-1", recipient={"ann"}, replay=100)
    assert_type(subscription, Subscription)
    assert_type(channel.subscriptions, int)


ANN = Principal("ann", {"ann"}, may_publish=True, expires_at=1.5e9)


def allow(connection: Connection, channel: str) -> Principal | None:
    assert_type(connection.cookies, Mapping[str, str])
    assert_type(connection.client, tuple[str, int] | None)
    if channel == "secret":
        raise Forbidden
    if "authorization" not in connection.headers:
        raise Unauthorized("a password is needed", challenge="Basic")
    return ANN if connection.query else None


async def find(secret: str) -> Principal | None:
    return {"secret": ANN}.get(secret)


async def by_cookie(connection: Connection, channel: str) -> Principal | None:
    principal = await cookie("session", find, "https://app.example")(connection, channel)
    assert_type(principal, Principal)
    return principal if channel == principal.name else None


channels = [
    Route(
        "/a/{channel}",
        channel_endpoint(
            streams,
            allow,
            authorize_publish=by_cookie,
            limits=ChannelLimits(replay=5),
            start="live",
        ),
    ),
    Route("/b/{channel}", asgi_channel_endpoint(streams, bearer({"token": ANN}), heartbeat=5)),
    Route("/c/{channel}", channel_endpoint(streams, bearer(find), headers={"x-a": "b"}, retry=5)),
]
FastAPI().add_api_route("/{channel}", channel_endpoint(streams, allow), methods=["GET"])


# -- Core ---------------------------------------------------------------------------------------


def core(change: Change, page: Page) -> None:
    log = EventLog()
    assert_type(log.apply(change, 0.0), Effect)
    assert_type(decide(log.sentinel, change, 0.0), Effect)
    assert_type(transition(log.sentinel, change, 0.0), Sentinel)
    assert_type(log.read(0, 0.0), Page)
    assert_type(TABLE[State.ACTIVE][Input.STOP], State | Refusal)
    framings: list[Framing] = [SSEFraming(), TextFraming()]
    for framing in framings:
        assert_type(framing.frame(Cursor(Beginning()).read(page, 0.0)), Framed)
    assert_type(Decoder().feed(encode_event("data", type="delta")), list[ServerSentEvent])
    resumable_core.check_stream_id("a")


# -- A backend of one's own ---------------------------------------------------------------------


def wrap(backend: Backend) -> Streams:
    return Streams(backend)


async def listen(backend: Backend, tell: Tell) -> Unfollow:
    items: list[FeedItem] = []
    unfollow = await backend.follow("a", items.append, events=True)
    assert_type(unfollow(), None)
    return await backend.follow("a", tell, events=False)
