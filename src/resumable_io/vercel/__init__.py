"""The interface and the wire of vercel/resumable-stream, for streams shared with Node.

    ctx = create_resumable_stream_context(redis_url="redis://localhost")
    app = FastAPI(lifespan=ctx.lifespan)

    @app.get("/stream/{stream_id}")
    async def stream(stream_id: str, resume_at: int | None = None):
        stream = await ctx.resumable_stream(stream_id, make_stream, resume_at)
        if stream is None:
            return Response("Stream is already done", status_code=422)
        return StreamingResponse(stream, media_type="text/event-stream")

It follows npm's resumable-stream 2.2.13. The text of a stream lives in the process that produces
it, and ends with it: this is for working together with that library. `Streams` keeps its streams.

    _streams     what a caller gets: an async iterator over text
    _pubsub      who publishes and who listens; within one process
    _redis       the same through Redis
    _wire        one stream on the wire
    _production  drives core's machine for a producer
    _reading     drives core's machine for a listener
    _context     start, resume; owns the producers
    _create      options, and the environment
"""

from ._context import ResumableStreamContext
from ._create import create_resumable_stream_context
from ._pubsub import MemoryPubSub, Publisher, Subscriber
from ._streams import TextStream

__all__ = [
    "MemoryPubSub",
    "Publisher",
    "ResumableStreamContext",
    "Subscriber",
    "TextStream",
    "create_resumable_stream_context",
]
