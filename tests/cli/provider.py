"""A model provider to be relayed: real uvicorn, a recorded answer, and a count of its calls."""

import json
import socket
import threading
from contextlib import contextmanager
from urllib.parse import parse_qsl

import uvicorn
from anyio import move_on_after

TEXT = ["", "**", "Holiday", " Name", ":**", " Tä", "te", " Day", "\n\n", "bring", " 🎈", "s.", ""]


def _chunk(number, text):
    reason = "stop" if number == len(TEXT) - 1 else None
    return {
        "id": "chatcmpl-D8Z5",
        "object": "chat.completion.chunk",
        "created": 1770933892,
        "model": "gpt-4.1-nano",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": reason}],
    }


RECORDING = [json.dumps(_chunk(number, text)) for number, text in enumerate(TEXT)] + ["[DONE]"]
"""The data of the events of a chat completion, in the order in which they arrived."""

FLOOD = 500
"""Large events in a flood: far more than all buffers on their way hold."""


class Provider:
    """Replay the recording to whoever asks; what the path says is answered otherwise."""

    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}"
        self.calls = []
        """What was asked: (method, path, query, headers, body)."""
        self.broken_off = 0
        """Calls whose clients left before the end."""
        self.script = b""
        self.flood = 0
        """How many large events were sent to whoever asks for a flood."""
        self._gate = threading.Semaphore(0)
        self._open = True

    def hold(self):
        """From now on send no more events than are allowed."""
        self._open = False

    def allow(self, count):
        for _ in range(count):
            self._gate.release()

    def go_on(self):
        self._open = True
        self.allow(1)

    async def __call__(self, scope, receive, send):
        body, more = bytearray(), True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        query = dict(parse_qsl(scope["query_string"].decode()))
        self.calls.append((scope["method"], scope["path"], query, headers, bytes(body)))
        await self._answer(scope["path"], receive, send)

    async def _answer(self, path, receive, send):
        async def begin(status, type, *headers):
            headers = [(b"content-type", type), (b"x-request-id", b"req-1"), *headers]
            await send({"type": "http.response.start", "status": status, "headers": headers})

        async def write(body, more=True):
            await send({"type": "http.response.body", "body": body, "more_body": more})

        match path.rpartition("/")[2]:
            case "busy":
                await begin(429, b"application/json", (b"retry-after", b"7"))
                await write(b'{"error": "slow down"}', more=False)
            case "plain":
                await begin(200, b"application/json", (b"set-cookie", b"a=b"))
                await write(b'{"choices": []}', more=False)
            case "silent":
                while not await _left(receive):
                    pass
                self.broken_off += 1
            case "scripted":
                await begin(200, b"text/event-stream")
                await write(self.script, more=False)
            case "large":
                await begin(200, b"application/octet-stream")
                await write(bytes(20_000_000), more=False)
            case "flood":
                await begin(200, b"text/event-stream")
                for _ in range(FLOOD):
                    await write(b"data: " + b"x" * 64_000 + b"\n\n")
                    self.flood += 1
                await write(b"", more=False)
            case kind:
                await begin(200, b"text/event-stream; charset=utf-8")
                await self._replay(kind, receive, write)

    async def _replay(self, kind, receive, write):
        for number, data in enumerate(RECORDING):
            if kind == "breaks" and number == 5:
                raise ConnectionAbortedError
            while not (self._open or self._gate.acquire(blocking=False)):
                if await _left(receive):
                    self.broken_off += 1
                    return
            await write(f"data: {data}\n\n".encode())
        await write(b"", more=False)


async def _left(receive):
    """Wait for a moment whether the client leaves."""
    with move_on_after(0.01):
        return (await receive())["type"] == "http.disconnect"
    return False


@contextmanager
def provider():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        app = Provider(listener.getsockname()[1])
        config = uvicorn.Config(
            app, log_level="critical", lifespan="off", ws="none", timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield app
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()
