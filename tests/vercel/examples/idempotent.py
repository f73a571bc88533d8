import asyncio

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from resumable_io.vercel import create_resumable_stream_context

ctx = create_resumable_stream_context(redis_url="redis://localhost:6379")


async def my_stream():
    for i in range(10):
        yield f"data: chunk {i}\n\n"
        await asyncio.sleep(0.5)


async def handle_request(stream_id: str, resume_at: int = None):
    stream = await ctx.resumable_stream(stream_id, my_stream, skip_characters=resume_at)
    if stream is None:
        return  # with a value, as the original has it, this is no valid Python
    async for chunk in stream:
        yield chunk


app = FastAPI(lifespan=ctx.lifespan)


@app.get("/stream/{stream_id}")
async def stream_endpoint(stream_id: str, resume_at: int = None):
    return StreamingResponse(handle_request(stream_id, resume_at), media_type="text/event-stream")
