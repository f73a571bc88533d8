"""The documented examples of the Python port of resumable-stream run with this library.

No more is changed in them than the import and one line that gives the context a lifetime; where the
original is no valid Python, the nearest valid form. Only the pauses are shorter than printed.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from resumable_io.vercel import Publisher, Subscriber, create_resumable_stream_context
from tests.docs.serving import UVICORN, serving
from tests.vercel.sources import Tap, text_of

EXAMPLES = Path(__file__).parent / "examples"
WHOLE = "".join(f"data: chunk {i}\n\n" for i in range(10))


@pytest.fixture
def example(tmp_path, redis_server):
    """Write an example into a directory, and return that."""

    def write(name):
        text = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
        assert "redis://localhost:6379" in text
        text = text.replace("redis://localhost:6379", redis_server.url)
        (tmp_path / "app.py").write_text(text.replace("sleep(0.5)", "sleep(0.2)"), encoding="utf-8")
        return tmp_path

    return write


def begun(response, most):
    """Read that many chunks of a response, and leave."""
    text = ""
    for chunk in response.iter_text():
        text += chunk.replace("\r", "")
        if text.count("\n\n") >= most:
            break
    return text


@pytest.mark.parametrize("name", ["idempotent", "announcement"])
def test_one_endpoint_that_starts_or_resumes(name, example):
    with serving(example(name), *UVICORN, "app:app") as server:
        with server.client.stream("GET", "/stream/one") as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            first = begun(response, 3)
        params = {"resume_at": len(first)}
        assert server.client.get("/stream/one", params=params).text == WHOLE[len(first) :]
        again = server.client.get("/stream/one")
        if name == "announcement":
            assert again.json() == [{"error": "Stream already finished"}, 422]
        else:
            assert again.text == ""


def test_endpoints_that_create_and_resume(example):
    with serving(example("chat"), *UVICORN, "app:app") as server:
        prompt = {"prompt": "what is the answer to everything?"}
        with server.client.stream("POST", "/chat", json=prompt) as response:
            stream_id = response.headers["x-stream-id"]
            first = begun(response, 1)
        assert first.startswith("data: what")
        url = f"/chat/{stream_id}/stream"
        rest = server.client.get(url, params={"resume_at": "5"})
        words = [line.removeprefix("data: ") for line in rest.text.splitlines() if line]
        assert "".join(words) == "is the answer to everything? "
        assert server.client.get(url).status_code == 422


def test_explicit_calls_and_states(example):
    directory = example("explicit")
    ran = subprocess.run(
        [sys.executable, "app.py"],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == [
        "No stream exists",
        "[404]",
        "Stream is active",
        "[422]",
        "True 10",
        "Stream is finished",
        "[422]",
        "[422]",
    ]


async def test_custom_publisher_and_subscriber():
    """Those of the documentation, with something in them; callbacks are awaited or not."""
    values: dict[str, str] = {}
    callbacks = {}

    class MyPublisher:
        async def connect(self) -> None:
            connected.append("publisher")

        async def publish(self, channel: str, message: str) -> int:
            callback = callbacks.get(channel)
            if callback is None:
                return 0
            if len(message) % 2:
                await callback(message)
            else:
                callback(message)
            return 1

        async def set(self, key: str, value: str, *, ex: int | None = None) -> str:
            assert ex is not None
            values[key] = value
            return "OK"

        async def get(self, key: str) -> str | None:
            return values.get(key)

        async def incr(self, key: str) -> int:
            if values.get(key) == "DONE":
                raise ValueError("ERR value is not an integer or out of range")
            values[key] = str(int(values.get(key, "0")) + 1)
            return int(values[key])

    class MySubscriber:
        async def connect(self) -> None:
            connected.append("subscriber")

        async def subscribe(self, channel: str, callback) -> None:
            callbacks[channel] = callback

        async def unsubscribe(self, channel: str) -> None:
            del callbacks[channel]

    connected = []
    publisher: Publisher = MyPublisher()
    subscriber: Subscriber = MySubscriber()
    ctx = create_resumable_stream_context(
        key_prefix="my-prefix", publisher=publisher, subscriber=subscriber
    )
    tap = Tap()
    async with ctx:
        assert connected == ["publisher", "subscriber"]
        first = await ctx.resumable_stream("one", tap)
        second = await ctx.resumable_stream("one", tap)
        tap.pour("a", "bc", "def")
        tap.end()
        assert await text_of(second) == "abcdef"
        assert await text_of(first) == "abcdef"
        assert await ctx.resumable_stream("one", tap) is None
        assert values == {"my-prefix:rs:sentinel:one": "DONE"}
    assert not callbacks
