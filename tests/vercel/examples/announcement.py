import asyncio

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from resumable_io.vercel import create_resumable_stream_context

app = FastAPI()
ctx = create_resumable_stream_context(redis_url="redis://localhost:6379")
app.router.lifespan_context = ctx.lifespan


async def my_producer():
    for i in range(10):
        yield f"data: chunk {i}\n\n"
        await asyncio.sleep(0.5)


@app.get("/stream/{stream_id}")
async def stream_endpoint(stream_id: str, resume_at: int = None):
    stream = await ctx.resumable_stream(stream_id, my_producer, skip_characters=resume_at)
    if stream is None:
        return {"error": "Stream already finished"}, 422
    return StreamingResponse(stream, media_type="text/event-stream")
