"""What type checkers make of `resumable_io.vercel`."""

from collections.abc import AsyncIterator
from typing import Any, Literal, assert_type

from resumable_io.vercel import (
    MemoryPubSub,
    Publisher,
    ResumableStreamContext,
    Subscriber,
    TextStream,
    create_resumable_stream_context,
)


async def source() -> AsyncIterator[str]:
    yield "text"


async def calls() -> None:
    memory = MemoryPubSub()
    context = create_resumable_stream_context(publisher=memory, subscriber=memory, ttl=60)
    assert_type(context, ResumableStreamContext)
    async with context as entered:
        assert_type(entered, ResumableStreamContext)
        stream = await context.resumable_stream("one", source, skip_characters=3)
        assert_type(stream, TextStream | None)
        if stream is not None:
            async for chunk in stream:
                assert_type(chunk, str)
        resumed = await context.resume_existing_stream("one", 3)
        assert_type(resumed, TextStream | Literal["NOT_FOUND"] | None)
        assert_type(await context.has_existing_stream("one"), Literal["DONE", True] | None)
        assert_type(await context.create_new_resumable_stream("one", source), TextStream | None)


class MyPublisher:
    """As the documentation of the Python port shows it."""

    async def connect(self) -> None: ...
    async def publish(self, channel: str, message: str) -> int:
        return 1

    async def set(self, key: str, value: str, *, ex: int | None = None) -> str:
        return "OK"

    async def get(self, key: str) -> str | None:
        return None

    async def incr(self, key: str) -> int:
        return 1


class MySubscriber:
    async def connect(self) -> None: ...
    async def subscribe(self, channel: str, callback: Any) -> None: ...
    async def unsubscribe(self, channel: str) -> None: ...


publisher: Publisher = MyPublisher()
subscriber: Subscriber = MySubscriber()
