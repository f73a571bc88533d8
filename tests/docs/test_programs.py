"""Files in the documentation that are no servers: an SDK's source, and tests of an app."""

import json
import os
import subprocess
import sys

from tests.docs.pages import write
from tests.docs.serving import UVICORN, serving

PROVIDER = """
import json
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

app = FastAPI()


def chunk(*contents):
    choices = [{"index": 0, "delta": {"content": content}} for content in contents]
    common = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-5"}
    return json.dumps(common | {"choices": choices})


@app.post("/v1/chat/completions")
def complete() -> StreamingResponse:
    chunks = [chunk(None), chunk("Take "), chunk(""), chunk("the train."), chunk()]  # as with usage
    events = (f"data: {data}\\n\\n" for data in [*chunks, "[DONE]"])
    return StreamingResponse(events, media_type="text/event-stream")
"""

READER = """
import anyio
from sdk import ask_openai, start, streams


async def main():
    async with streams:
        await streams.start("text", ask_openai("How?"))
        await start("chunks", "How?")
        for answer_id in ("text", "chunks"):
            async for event in await streams.resume(answer_id):
                print(event.text)


anyio.run(main)
"""


def run(directory, *arguments, **environment):
    """Run Python in a directory, and return what it has printed."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_sdk_of_a_provider_is_a_source(tmp_path):
    directory = write("docs/howto/providers.md", tmp_path)
    (directory / "provider.py").write_text(PROVIDER, encoding="utf-8")
    (directory / "reader.py").write_text(READER, encoding="utf-8")
    with serving(directory, *UVICORN, "provider:app") as server:
        printed = run(
            directory,
            "reader.py",
            OPENAI_API_KEY="a key",
            OPENAI_BASE_URL=str(server.client.base_url.join("/v1")),
            NO_PROXY="127.0.0.1",
        )
    first, second, *chunks = printed.splitlines()
    assert [first, second] == ["Take ", "the train."]
    choices = [json.loads(each)["choices"] for each in chunks]
    contents = [each[0]["delta"]["content"] if each else "no choice" for each in choices]
    assert contents == [None, "Take ", "", "the train.", "no choice"]


def test_the_tests_of_an_app_pass(tmp_path):
    directory = write("docs/howto/fastapi.md", tmp_path)
    assert "3 passed" in run(directory, "-m", "pytest", "-q", "-p", "no:cacheprovider")
