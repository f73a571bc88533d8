import asyncio
import uuid

from fastapi import APIRouter, FastAPI, Response
from pydantic import BaseModel
from sse_starlette import EventSourceResponse

from resumable_io.vercel import create_resumable_stream_context

stream_context = create_resumable_stream_context(redis_url="redis://localhost:6379")
router = APIRouter()


class ChatRequest(BaseModel):
    prompt: str


class graph:  # noqa: N801 - it stands for a graph of LangChain
    @staticmethod
    async def astream(input, config):
        for word in input["prompt"].split():
            yield word
            await asyncio.sleep(0.5)


async def chat_event_generator(events, stream_id):
    async for event in events:
        yield f"{event} "


@router.post("/chat")
async def chat_stream(request: ChatRequest):
    stream_id = str(uuid.uuid4())

    def stream_factory():
        return chat_event_generator(
            graph.astream(input={"prompt": request.prompt}, config={}), stream_id=stream_id
        )

    stream_iterator = await stream_context.create_new_resumable_stream(stream_id, stream_factory)
    return EventSourceResponse(stream_iterator, headers={"X-Stream-Id": stream_id})


@router.get("/chat/{stream_id}/stream")
async def resume_chat_stream(stream_id: str, resume_at: str | None = None):
    stream = await stream_context.resume_existing_stream(
        stream_id, int(resume_at) if resume_at else None
    )
    if not stream:
        return Response("Stream is already done", status_code=422)
    return EventSourceResponse(stream)


app = FastAPI(lifespan=stream_context.lifespan)
app.include_router(router)
