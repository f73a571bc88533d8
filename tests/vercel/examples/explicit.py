import asyncio

from resumable_io.vercel import create_resumable_stream_context

ctx = create_resumable_stream_context(redis_url="redis://localhost:6379")


async def my_stream():
    for i in range(10):
        yield f"data: chunk {i}\n\n"
        await asyncio.sleep(0.5)


# In the original both end in `return {"status": …}`, which is no valid Python after a `yield`.
async def create_stream(stream_id: str):
    stream = await ctx.create_new_resumable_stream(stream_id, my_stream)
    if stream is None:
        yield 422
        return
    async for chunk in stream:
        yield chunk


async def resume_stream(stream_id: str, resume_at: int = None):
    stream = await ctx.resume_existing_stream(stream_id, resume_at)
    if stream == "NOT_FOUND":
        yield 404
        return
    if stream is None:
        yield 422
        return
    async for chunk in stream:
        yield chunk


async def state_of(stream_id: str):
    state = await ctx.has_existing_stream(stream_id)
    if state is None:
        return "No stream exists"
    if state is True:
        return "Stream is active"
    if state == "DONE":
        return "Stream is finished"
    raise AssertionError(state)


async def main():
    async with ctx:
        print(await state_of("one"))
        print([chunk async for chunk in resume_stream("one")])
        created = create_stream("one")
        first = await anext(created)
        print(await state_of("one"))
        print([chunk async for chunk in create_stream("one")])
        rest = "".join([chunk async for chunk in resume_stream("one", len(first))])
        whole = first + "".join([chunk async for chunk in created])
        print(whole == first + rest, whole.count("data: chunk"))
        print(await state_of("one"))
        print([chunk async for chunk in resume_stream("one")])
        print([chunk async for chunk in create_stream("one")])


asyncio.run(main())
