"""A memory backend that is slow; for one that fails see `resumable_io.testing`."""

from __future__ import annotations

from anyio.lowlevel import checkpoint

from resumable_io import MemoryBackend


class SlowBackend(MemoryBackend):
    """Answers late: whoever is cancelled meanwhile does not learn that it was done."""

    async def __aenter__(self):
        await checkpoint()
        return await super().__aenter__()

    async def __aexit__(self, *exc_info):
        await checkpoint()
        await super().__aexit__(*exc_info)

    async def apply(self, *args):
        sentinel = await super().apply(*args)
        await checkpoint()
        return sentinel

    async def publish(self, *args):
        ids = await super().publish(*args)
        await checkpoint()
        return ids

    async def read(self, *args, **kwargs):
        page = await super().read(*args, **kwargs)
        await checkpoint()
        return page

    async def follow(self, *args, **kwargs):
        unfollow = await super().follow(*args, **kwargs)
        try:
            await checkpoint()
        except BaseException:
            unfollow()
            raise
        return unfollow
