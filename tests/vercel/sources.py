"""Sources that tests can hold in their hands."""

import anyio


class Tap:
    """A source that yields what it is given, when it is given; and counts how often it runs."""

    def __init__(self):
        self.runs = 0
        self.closed = False
        self._send, self._receive = anyio.create_memory_object_stream[str](100)

    async def __call__(self):
        self.runs += 1
        try:
            async with self._receive:
                async for chunk in self._receive:
                    if chunk == "raise":
                        raise ValueError("secret")
                    yield chunk
        finally:
            self.closed = True
            self._send.close()

    def pour(self, *chunks):
        for chunk in chunks:
            self._send.send_nowait(chunk)

    def end(self):
        self._send.close()

    def fail(self):
        self._send.send_nowait("raise")


def counted(*chunks):
    """A source that yields all at once; `counted.runs` says how often it has run."""

    async def source():
        source.runs += 1
        for chunk in chunks:
            yield chunk

    source.runs = 0
    return source


async def text_of(stream):
    """Read a stream to its end."""
    return "".join([chunk async for chunk in stream])
