"""The apps in the documentation, on real servers: what the pages promise about them holds."""

import json

import httpx2
import pytest

from resumable_core import Decoder, parse_last_event_id
from tests.docs.pages import files, write
from tests.docs.serving import HYPERCORN, UVICORN, EventStream, serving

SERVED = {
    "README.md",
    "docs/tutorial/first-answer.md",
    "docs/howto/fastapi.md",
    "docs/howto/starlette.md",
    "docs/howto/frameworks.md",
    "docs/howto/trio.md",
    "docs/howto/stop-and-authorize.md",
    "docs/howto/text.md",
    "docs/howto/from-resumable-sse.md",
    "docs/howto/nextjs.md",
    "docs/howto/from-resumable-stream.md",
    "docs/howto/share-with-node.md",
    "docs/tutorial/first-channel.md",
    "docs/howto/notifications.md",
    "docs/howto/agent-progress.md",
    "docs/howto/from-fastapi-sse-wrapper.md",
    "docs/howto/providers.md",  # in test_programs.py
    "docs/howto/another-transport.md",  # in test_transport.py
}
"""The pages with files: each has a test here, or where it says."""

COUNTED = "".join(f"{number} " for number in range(20))


def slowed(directory):
    """Lengthen the pauses of sources whose clients are to come back before they have ended."""
    for path in directory.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "sleep(0.1)" in text
        path.write_text(text.replace("sleep(0.1)", "sleep(0.3)"), encoding="utf-8")
    return directory


def survives_broken_connections(client, url, whole, pieces=(2, 3), **request):
    """Read a stream in several connections, and see that it is whole, and was produced once."""
    stream = EventStream(client, url, **request)
    for most in pieces:
        stream.read(most)
    stream.read()
    assert stream.text == whole
    assert stream.events[-1].type == "end"
    assert json.loads(stream.events[-1].data) == {"outcome": "done", "error": None}
    assert len(stream.epochs) == 1

    late = EventStream(client, url, **request)  # a page that was reloaded
    late.read()
    assert late.events == stream.events

    headers = {"Last-Event-ID": stream.last_event_id}
    assert client.request(url=url, headers=headers, **stream.request).status_code == 204


@pytest.mark.smoke
def test_readme(tmp_path):
    directory = write("README.md", tmp_path)
    assert len(files("README.md")["app.py"].splitlines()) <= 30
    with serving(directory, *UVICORN, "app:app") as server:
        whole = "This is written once, however often you reload. "
        survives_broken_connections(server.client, "/answers/42", whole)


# -- Tutorial -----------------------------------------------------------------------------------

TUTORIAL = "docs/tutorial/first-answer.md"


def test_tutorial(tmp_path):
    with serving(write(TUTORIAL, tmp_path), *UVICORN, "app:app") as server:
        whole = "".join(f"{number} " for number in range(1, 101))
        survives_broken_connections(server.client, "/answers/one", whole, pieces=(12, 20))
        page = server.client.get("/")
        assert page.text == files(TUTORIAL)["page.html"]


def test_tutorial_second_tab_and_stop_button(tmp_path):
    with serving(write(TUTORIAL, tmp_path), *UVICORN, "app:app") as server:
        first = EventStream(server.client, "/answers/one")
        first.read(5)
        second = EventStream(server.client, "/answers/one")
        second.read(7)
        assert server.client.post("/answers/one/stop").status_code == 204
        assert server.client.post("/answers/unknown/stop").status_code == 404
        for tab in (first, second):
            tab.read()
            end = json.loads(tab.events[-1].data)
            assert end == {"outcome": "stopped", "error": "you pressed stop"}
        assert first.text == second.text
        assert not first.text.endswith("100 ")


def test_tutorial_restart_of_the_server(tmp_path):
    directory = write(TUTORIAL, tmp_path)
    with serving(directory, *UVICORN, "app:app") as server:
        stream = EventStream(server.client, "/answers/one")
        stream.read(3)
        server.client.post("/answers/one/stop")
    with serving(directory, *UVICORN, "app:app") as server:
        headers = {"Last-Event-ID": stream.last_event_id}
        assert server.client.get("/answers/one", headers=headers).status_code == 410
        reloaded = EventStream(server.client, "/answers/one")
        assert reloaded.read(1)[0].data == "1 "
        server.client.post("/answers/one/stop")


# -- How-to guides ------------------------------------------------------------------------------


def test_fastapi(tmp_path):
    with serving(write("docs/howto/fastapi.md", tmp_path), *UVICORN, "app:app") as server:
        client = server.client
        prompt = {"prompt": "what is the answer to everything?"}
        whole = "You asked: what is the answer to everything? "
        started = client.post("/answers", json=prompt)
        assert started.status_code == 201
        survives_broken_connections(client, f"/answers/{started.json()['id']}", whole)
        assert client.get("/answers/unknown").status_code == 404
        survives_broken_connections(client, "/chat/one", whole, method="POST", json=prompt)
        headers = {"Last-Event-ID": "abc-1"}
        assert client.post("/chat/two", json=prompt, headers=headers).status_code == 410


@pytest.mark.parametrize("command", [UVICORN, HYPERCORN], ids=["uvicorn", "hypercorn"])
def test_starlette(command, tmp_path):
    with serving(write("docs/howto/starlette.md", tmp_path), *command, "app:app") as server:
        client = server.client
        started = client.post("/answers", json={"prompt": "what is the answer to everything?"})
        whole = "You asked: what is the answer to everything? "
        survives_broken_connections(client, f"/answers/{started.json()['id']}", whole)
        assert client.get("/answers/unknown").status_code == 404
        assert client.head("/answers/unknown").status_code == 404


def test_without_a_framework(tmp_path):
    with serving(write("docs/howto/starlette.md", tmp_path), *UVICORN, "plain:app") as server:
        survives_broken_connections(server.client, "/one", COUNTED)


FRAMEWORKS = "docs/howto/frameworks.md"


def test_litestar(tmp_path):
    with serving(write(FRAMEWORKS, tmp_path), *UVICORN, "litestar_app:app") as server:
        survives_broken_connections(server.client, "/answers/one", COUNTED)


SETTINGS = """
SECRET_KEY = "for tests"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "urls"
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
"""
URLS = """
from answers import answer, ask
from django.urls import path

urlpatterns = [path("answers", ask), path("answers/<slug:answer_id>", answer)]
"""


def test_django(tmp_path):
    directory = write(FRAMEWORKS, tmp_path)
    (directory / "settings.py").write_text(SETTINGS, encoding="utf-8")
    (directory / "urls.py").write_text(URLS, encoding="utf-8")
    with serving(directory, *UVICORN, "asgi:app") as server:
        client = server.client
        answer_id = client.post("/answers").json()["id"]
        survives_broken_connections(client, f"/answers/{answer_id}", COUNTED)
        assert client.get("/answers/unknown").status_code == 404
        assert client.get("/unknown").status_code == 404


def test_trio(tmp_path):
    with serving(write("docs/howto/trio.md", tmp_path), "serve.py") as server:
        survives_broken_connections(server.client, "/answers/one", COUNTED)


def test_migration_from_resumable_sse(tmp_path):
    directory = write("docs/howto/from-resumable-sse.md", tmp_path)
    with serving(directory, *UVICORN, "app:app") as server:
        whole = "Hello,I'm an AI.Nice to meet you."
        survives_broken_connections(server.client, "/stream?session_id=abc", whole, pieces=(1, 1))
        old = EventStream(server.client, "/stream?session_id=abc")
        headers = {"Last-Event-ID": "1732000000000-0"}  # as Redis makes them
        gone = server.client.get("/stream?session_id=other", headers=headers)
        assert gone.status_code == 410
        old.last_event_id = headers["Last-Event-ID"]
        old.read()
        assert json.loads(old.events[0].data)["reason"] in {"unknown", "malformed"}
        assert old.text == whole


def test_migration_from_resumable_stream(tmp_path, monkeypatch):
    monkeypatch.setenv("REDIS_URL", "memory://")
    directory = slowed(write("docs/howto/from-resumable-stream.md", tmp_path))
    with serving(directory, *UVICORN, "app:app") as server:
        whole = "".join(f"data: chunk {i}\n\n" for i in range(10))
        with server.client.stream("GET", "/stream/one") as response:
            assert "data: chunk 0" in next(response.iter_text())  # leaves in the middle
        rest = server.client.get("/stream/one", params={"resume_at": 8})
        assert rest.text == whole[8:]
        assert server.client.get("/stream/one").status_code == 422


def test_sharing_with_node(tmp_path, monkeypatch):
    monkeypatch.setenv("REDIS_URL", "memory://")
    directory = slowed(write("docs/howto/share-with-node.md", tmp_path))
    with serving(directory, *UVICORN, "app:app") as server:
        client = server.client
        assert client.get("/answers/one").status_code == 404
        with client.stream("POST", "/answers/one") as response:
            assert "data: One" in next(response.iter_text())
        assert client.post("/answers/one").status_code == 409
        rest = client.get("/answers/one", params={"skip": 6})
        assert rest.text.startswith("One")
        assert rest.text.endswith("data: languages.\n\n")
        assert client.get("/answers/one").status_code == 422


def test_stop_and_authorize(tmp_path):
    directory = write("docs/howto/stop-and-authorize.md", tmp_path)
    with serving(directory, *UVICORN, "app:app") as server:
        client = server.client
        ann, bob = {"X-User": "ann"}, {"X-User": "bob"}
        url = f"/answers/{client.post('/answers', headers=ann).json()}"
        assert client.get(url, headers=bob).status_code == 404
        assert client.delete(url, headers=bob).status_code == 404
        with client.stream("GET", url, headers=ann) as response:
            chunks = response.iter_text()
            assert "data: 0" in next(chunk for chunk in chunks if "data:" in chunk)
            assert client.delete(url, headers=ann).status_code == 204
            rest = "".join(chunks)
        assert '"outcome":"stopped"' in rest
        assert "stopped by the user" in rest


def test_text(tmp_path):
    with serving(write("docs/howto/text.md", tmp_path), *UVICORN, "app:app") as server:
        whole = "Schöne Grüße! 👋 That was plain text. "
        client = server.client
        with client.stream("GET", "/texts/one") as response:  # leaves in the middle
            assert "Schöne" in next(chunk for chunk in response.iter_text() if chunk)
        for offset in (0, 3, 14, 15, 16):
            rest = client.get("/texts/one", params={"resume_at": offset})
            assert rest.text == whole[offset:]
        assert client.get("/texts/one", params={"resume_at": 1000}).status_code == 416
        assert client.get("/texts/one", params={"resume_at": -1}).status_code == 400


FAILING = """

@app.get("/broken")
async def broken() -> TextStreamResponse:
    async def break_off():
        yield "a part"
        raise Expected

    return TextStreamResponse(streams, "broken", break_off)


class Expected(Exception): ...


logging.getLogger("resumable_io").addFilter(lambda record: record.exc_info[0] is not Expected)
"""

MIDDLEWARE = """

@app.middleware("http")
async def pass_on(request, call_next):
    return await call_next(request)
"""


@pytest.mark.parametrize("added", [FAILING, FAILING + MIDDLEWARE], ids=["plain", "middleware"])
@pytest.mark.parametrize("command", [UVICORN, HYPERCORN], ids=["uvicorn", "hypercorn"])
def test_text_that_is_cut_off_leaves_no_traceback(command, added, tmp_path):
    """Law 2: what failed never looks whole. `serving` sees that no traceback was logged."""
    path = write("docs/howto/text.md", tmp_path) / "app.py"
    text = path.read_text(encoding="utf-8") + added
    if command is HYPERCORN:
        assert '"uvicorn.error"' in text
        text = text.replace('"uvicorn.error"', '"hypercorn.error"')
    path.write_text(text, encoding="utf-8")
    with (
        serving(tmp_path, *command, "app:app") as server,
        pytest.raises(httpx2.RemoteProtocolError),
    ):
        server.client.get("/broken")


def chunks_of(body):
    """Return the chunks of a UI message stream, which has to be complete."""
    *events, done = Decoder().feed(body)
    assert done.data == "[DONE]"
    return [json.loads(event.data) for event in events]


def test_nextjs(tmp_path):
    """tests/js has the AI SDK's own clients read such a chat."""
    directory = slowed(write("docs/howto/nextjs.md", tmp_path))
    with serving(directory, *UVICORN, "app:app") as server:
        client = server.client
        assert client.get("/api/chat/one/stream").status_code == 204
        question = {"id": "one", "messages": [{"role": "user", "parts": []}]}
        with client.stream("POST", "/api/chat", json=question) as response:  # leaves in the middle
            assert "start" in next(chunk for chunk in response.iter_text() if "data:" in chunk)
        chunks = chunks_of(client.get("/api/chat/one/stream").content)
        whole = "This is written once, however often you reload. "
        assert "".join(c["delta"] for c in chunks if c["type"] == "text-delta") == whole
        assert [chunks[0]["type"], chunks[-1]["type"]] == ["start", "finish"]
        assert client.get("/api/chat/one/stream").status_code == 204
        assert chunks_of(client.get("/api/chat/one/stream?startIndex=0").content) == chunks

        with client.stream("POST", "/api/chat", json=question) as response:
            pieces = response.iter_bytes()
            first = next(pieces)
            assert client.post("/api/chat/one/stop").status_code == 204
            *_, last = chunks_of(first + b"".join(pieces))
        assert last == {"type": "abort", "reason": "stopped by the user"}
        assert client.post("/api/chat/other/stop").status_code == 404


# -- Channels -----------------------------------------------------------------------------------


def test_channel_tutorial(tmp_path):
    page = "docs/tutorial/first-channel.md"
    with serving(write(page, tmp_path), *UVICORN, "app:app") as server:
        client, url = server.client, "/channels/news"
        assert client.get("/").text == files(page)["page.html"]
        assert client.get(url).status_code == client.post(url, json={}).status_code == 401
        ann, bob = ({"Cookie": f"name={name}"} for name in ("ann", "bob"))
        for message in ({"data": "one"}, {"data": "two", "to": "ann"}, {"data": "three"}):
            assert client.post(url, json=message, headers=bob).status_code == 202
        with client.stream("GET", url, headers=ann) as response:
            assert events_of(response, 3) == ["one", "two", "three"]
        with client.stream("GET", url, headers=bob) as response:
            assert events_of(response, 2) == ["one", "three"]


def test_notifications(tmp_path):
    page = "docs/howto/notifications.md"
    with serving(write(page, tmp_path), *UVICORN, "app:app") as server:
        client, url = server.client, "/channels/news"
        assert client.get(url).status_code == 401
        assert client.post("/login/ann").status_code == 204
        assert client.get("/channels/other").status_code == 403
        assert client.get(url, headers={"Origin": "https://evil.example"}).status_code == 403
        assert client.post(url, json={"data": "x"}).status_code == 405
        ids = [
            client.post(f"/orders/{order}/ship", params={"buyer": buyer}).json()["id"]
            for order, buyer in (("1", "ann"), ("1", "ann"), ("2", "bob"), ("3", "ann"))
        ]
        assert ids[0] == ids[1]
        with client.stream("GET", url) as response:
            texts = [json.loads(data)["text"] for data in events_of(response, 2)]
        assert texts == ["Order 1 is on its way", "Order 3 is on its way"]
        with client.stream("GET", url, params={"last_event_id": ids[0]}) as response:
            assert "Order 3" in events_of(response, 1)[0]


def test_agent_progress(tmp_path):
    page = "docs/howto/agent-progress.md"
    with serving(write(page, tmp_path), *UVICORN, "app:app") as server:
        client = server.client
        for step in (0, 1, 1):
            assert client.post(f"/runs/42/steps/{step}").status_code == 200
        ann, bob = ({"Authorization": f"Bearer {name}'s token"} for name in ("ann", "bob"))
        with client.stream("GET", "/channels/run-42", headers=ann) as response:
            assert events_of(response, 2) == ['{"step":0}', '{"step":1}']
        assert client.get("/channels/run-42", headers=bob).status_code == 403
        assert client.get("/channels/run-43", headers=bob).status_code == 403
        assert client.get("/channels/run-42").status_code == 401


def test_migration_from_fastapi_sse_wrapper(tmp_path):
    page = "docs/howto/from-fastapi-sse-wrapper.md"
    with serving(write(page, tmp_path), *UVICORN, "app:app") as server:
        client = server.client
        user = {"Authorization": "Bearer a long secret"}
        assert client.get("/sse/chat", headers={"Authorization": "Bearer x"}).status_code == 401
        ids = [
            client.post("/send/chat", json={"n": n}, params={"to": to} if to else {}).json()["id"]
            for n, to in enumerate([None, "user1", "other", None])
        ]
        with client.stream("GET", "/sse/chat", headers=user) as response:
            assert events_of(response, 3) == ['{"n":0}', '{"n":1}', '{"n":3}']
        with client.stream(
            "GET", "/sse/chat", headers=user | {"Last-Event-ID": ids[0]}
        ) as response:
            assert events_of(response, 2) == ['{"n":1}', '{"n":3}']

        assert client.post("/agent/send/one").json() == {"started": True}
        with client.stream("GET", "/sse/agent-one", headers=user) as response:
            events = events_of(response, 7)
        tokens = [json.loads(data).get("token", "") for data in events]
        assert "".join(tokens) == "Hello, this is streamed"


def events_of(response, count):
    """Read that many events of a response that does not end; return their data."""
    decoder, events = Decoder(), []
    for chunk in response.iter_raw():
        events += decoder.feed(chunk)
        if len(events) >= count:
            break
    assert len(events) == count
    return [event.data for event in events]


# -- Draining -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "command"),
    [("docs/howto/starlette.md", (*UVICORN, "plain:app")), ("docs/howto/trio.md", ("serve.py",))],
    ids=["uvicorn", "hypercorn-trio"],
)
def test_drain(page, command, tmp_path):
    """SIGTERM ends the response, so that the client reconnects; the answer gets time to finish."""
    with serving(write(page, tmp_path), *command) as server:
        url = "/answers/one" if "answers" in files(page).get("serve.py", "") else "/one"
        with server.client.stream("GET", url) as response:
            chunks = response.iter_text()
            next(chunk for chunk in chunks if "data:" in chunk)
            server.process.terminate()
            rest = "".join(chunks)
        assert "event: end" not in rest
        assert 100 <= int(rest.rpartition("retry: ")[2]) < 1000
        assert server.process.wait(timeout=30) in (0, -15)


def test_an_event_id_of_an_example_is_one():
    assert str(parse_last_event_id("45a0dd16c609ac14-12").id) == "45a0dd16c609ac14-12"
