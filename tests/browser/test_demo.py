"""The demo in a browser: reloads, second tabs, cut connections, stop, the end; a channel."""

import json
import re
import sys
from contextlib import ExitStack, closing, contextmanager
from signal import SIGTERM

import pytest
from playwright.sync_api import expect

from tests.browser.waiting import wait_until
from tests.redis.server import RedisServer
from tests.servers.serving import ROOT, Server, eventually, process, watched

CHUNKS = [
    f"Line {n}: grüße 👩‍🚀 aus 東京,\n" if n % 3 else f"**{n}** is a multiple of three 🎉\n\n"
    for n in range(60)
]
WHOLE = "".join(CHUNKS)
RATE = 20  # chunks a second: an answer takes three seconds, so that there is time to interrupt it
SHARED = ROOT.parent / "shared" / "recordings" / "openai-chat-text.jsonl"


def chunk(delta):
    """Return a chunk of an OpenAI chat completion."""
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [choice]}


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """A recorded answer of our own."""
    lines = [{"role": "assistant", "content": ""}, *({"content": text} for text in CHUNKS)]
    path = tmp_path_factory.mktemp("demo") / "recording.jsonl"
    path.write_text("".join(f"{json.dumps(chunk(line))}\n" for line in lines), encoding="utf-8")
    return path


@contextmanager
def serving_demo(recording, rate=RATE, port=0, redis=None):
    """Serve the demo."""
    options = ["--port", str(port), "--rate", str(rate), "--replay", str(recording)]
    options += [] if redis is None else ["--redis", redis]
    with process([sys.executable, "-m", "resumable_io", "demo", *options]) as (running, log):
        address = eventually(lambda: re.search(r"http://127\.0\.0\.1:(\d+)/", log.read_text()))
        with closing(Server("demo", running, int(address[1]), log)) as server:
            yield server


@pytest.fixture(scope="module")
def shared_demo(recording):
    with serving_demo(recording) as server:
        yield server


@pytest.fixture
def demo(shared_demo):
    """A demo that is shared by the tests: each asks for answers of its own."""
    with watched(shared_demo):
        yield shared_demo


@pytest.fixture
def redis_server(tmp_path):
    """A Redis for one test alone; it outlives the demos that the test starts."""
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def start_demo():
    """Start a demo for one test alone."""
    with ExitStack() as stack:
        yield lambda *arguments, **options: stack.enter_context(
            watched(stack.enter_context(serving_demo(*arguments, **options)))
        )


@pytest.fixture
def ask(open_page):
    """Open a demo's page and ask something; the answer has begun."""

    def ask(demo, question="Tell me a story"):
        page = open_page(f"http://127.0.0.1:{demo.port}/")
        page.get_by_test_id("prompt").fill(question)
        page.get_by_test_id("send").click()
        reach(page, 2)
        return page

    return ask


def reach(page, events):
    """Wait until the tab has received that many events, and see that the answer still goes on."""
    wait_until(page, "demo.ids.length >= argument", events)
    assert page.evaluate("demo.outcome") is None


def check_whole(page, expected=WHOLE, outcome="done"):
    """Wait for the end, and see that the tab has the whole text, each event once."""
    wait_until(page, "demo.outcome !== null")
    seen = page.evaluate("({...demo})")
    assert seen["outcome"] == outcome
    assert seen["text"] == expected
    seqs = [int(event_id.split("-")[1]) for event_id in seen["ids"]]
    assert seqs == list(range(1, len(seqs) + 1))
    assert (seen["gaps"], seen["resets"]) == ([], [])


def test_undisturbed(ask, demo):
    """An answer that nothing interrupts; it is also what the page shows."""
    page = ask(demo)
    check_whole(page)
    expect(page.get_by_test_id("outcome")).to_have_text("done")
    expect(page.get_by_test_id("answer")).to_contain_text("Line 59: grüße 👩‍🚀 aus 東京,")
    expect(page.get_by_test_id("question")).to_have_text("Tell me a story")


@pytest.mark.parametrize("reloads", [1, 2])
def test_reload(ask, demo, reloads):
    """Resume: a page that is reloaded mid-answer has the whole of it at the end, once.

    It is the same answer: the ids are those of the first load.
    """
    page = ask(demo)
    ids = page.evaluate("demo.ids")
    for number in range(reloads):
        reach(page, 10 * (number + 1))
        page.reload()
    check_whole(page)
    assert page.evaluate("demo.ids")[: len(ids)] == ids
    expect(page.get_by_test_id("answer")).to_contain_text("Line 59: grüße 👩‍🚀 aus 東京,")


def test_reload_after_the_end(ask, demo):
    """Resume: an answer that is complete is still there after a reload."""
    page = ask(demo)
    check_whole(page)
    page.reload()
    check_whole(page)


def test_second_tab(ask, open_page, demo):
    """Resume: a second tab gets what was, then follows live, and sees the very same events."""
    page = ask(demo)
    reach(page, 10)
    second = open_page(page.url)
    reach(second, 10)
    reach(second, page.evaluate("demo.ids.length") + 1)
    check_whole(second)
    check_whole(page)
    assert page.evaluate("demo.ids") == second.evaluate("demo.ids")


def test_reload_in_another_process(ask, redis_server, start_demo, recording):
    """Resume: two processes that share a Redis serve one answer, whichever of them produces it."""
    here, there = (start_demo(recording, redis=redis_server.url) for _ in range(2))
    page = ask(here)
    ids = page.evaluate("demo.ids")
    page.goto(page.url.replace(f":{here.port}/", f":{there.port}/"))
    reach(page, len(ids) + 1)  # what comes while it is produced comes here, too
    check_whole(page)
    assert page.evaluate("demo.ids")[: len(ids)] == ids


def test_pull_the_plug(ask, demo):
    """Resume: when connections are cut, the browser comes back by itself, again and again."""
    page = ask(demo)
    for number in range(2):
        reach(page, 10 * (number + 1))
        page.get_by_test_id("unplug").click()
        wait_until(page, "demo.reconnects === argument", number + 1)
        wait_until(page, "demo.state === 'live'")
    check_whole(page)
    expect(page.get_by_test_id("reconnects")).to_have_text("2")


def test_stop(ask, open_page, demo):
    """One end: an answer that is stopped in one tab is stopped in all."""
    page = ask(demo)
    second = open_page(page.url)
    reach(second, 5)
    page.get_by_test_id("stop").click()
    wait_until(second, "demo.outcome !== null")
    text = second.evaluate("demo.text")
    assert WHOLE.startswith(text)
    assert 0 < len(text) < len(WHOLE)
    check_whole(second, text, outcome="stopped")
    check_whole(page, text, outcome="stopped")
    expect(page.get_by_test_id("footnote")).to_have_text("Stopped here.")
    page.reload()
    check_whole(page, text, outcome="stopped")


def test_conversation(ask, demo):
    """A second question goes below the first, and a reload brings both back."""
    page = ask(demo)
    check_whole(page)
    page.get_by_test_id("prompt").fill("And then?")
    page.get_by_test_id("send").click()
    wait_until(page, "demo.outcome === null")
    reach(page, 5)
    page.reload()
    check_whole(page)
    expect(page.locator(".question")).to_have_text(["Tell me a story", "And then?"])


def test_server_ends(ask, start_demo, recording):
    """Draining: the server ends at once although a page listens, and the page does not mistake
    that for the end of the answer. When it is back, without its memory, the page says so.
    """
    demo = start_demo(recording)
    page = ask(demo)
    demo.signal(SIGTERM)
    assert demo.wait() in (0, -SIGTERM)
    wait_until(page, "demo.state === 'reconnecting'")
    text = page.evaluate("demo.text")
    assert page.evaluate("demo.outcome") is None
    assert text
    assert WHOLE.startswith(text)

    start_demo(recording, port=demo.port)
    wait_until(page, "demo.state === 'gone'")
    assert page.evaluate("demo.text") == text
    expect(page.get_by_test_id("footnote")).to_contain_text("no longer")


# The channel


@pytest.fixture
def enter(browser):
    """Open a demo's channel in a browser of its own, under a name; it listens."""
    with ExitStack() as stack:

        def enter(demo, name):
            page = stack.enter_context(browser.new_context()).new_page()
            page.goto(f"http://127.0.0.1:{demo.port}/lobby")
            page.get_by_test_id("name").fill(name)
            page.get_by_test_id("name").press("Enter")
            online(page)
            return page

        yield enter


def online(page):
    wait_until(page, "lobby.state === 'live'")


def say(page, text, to=None):
    """Write to everybody, or to somebody alone; return the event's id."""
    page.get_by_test_id("text").fill(text)
    if to is None:
        page.get_by_test_id("broadcast").click()
    else:
        page.get_by_test_id("recipient").fill(to)
        page.get_by_test_id("target").click()
    expect(page.get_by_test_id("text")).to_have_value("")
    return page.get_by_test_id("sent").text_content().rpartition(" ")[2]


def shown(page, last_id):
    """Return what a page shows, once it has the event with that id."""
    wait_until(page, "lobby.lastId === argument", last_id)
    return page.locator("#messages .text").all_text_contents()


def test_a_channel_between_two_browsers(enter, start_demo, recording):
    """A broadcast reaches both, a targeted message one, a reload replays what was missed."""
    demo = start_demo(recording)
    ann, bob = enter(demo, "ann"), enter(demo, "bob")
    expect(ann.get_by_test_id("presence")).to_have_text("2")
    first = say(ann, "hello <b>all</b>")
    assert shown(ann, first) == shown(bob, first) == ["hello <b>all</b>"]
    say(ann, "for bob", to="bob")
    last = say(ann, "all again")
    assert shown(bob, last) == ["hello <b>all</b>", "for bob", "all again"]
    assert shown(ann, last) == ["hello <b>all</b>", "all again"]

    bob.goto("about:blank")
    expect(ann.get_by_test_id("presence")).to_have_text("1")
    say(ann, "for cy", to="cy")
    say(ann, "missed by bob", to="bob")
    last = say(ann, "missed by all who are away")
    bob.goto(f"http://127.0.0.1:{demo.port}/lobby")
    missed = ["missed by bob", "missed by all who are away"]
    assert shown(bob, last) == ["hello <b>all</b>", "for bob", "all again", *missed]
    expect(bob.locator("#messages .message:has(.replay) .text")).to_have_text(missed)
    bob.reload()
    online(bob)
    last = say(bob, "I am back")
    assert shown(bob, last)[3:] == [*missed, "I am back"]
    assert bob.evaluate("lobby.counts") == {"replayed": 0, "gaps": 0, "resets": 0}


def test_a_channel_after_being_offline(enter, start_demo, recording):
    """Resume: what came meanwhile is replayed; a channel that is gone is a reset."""
    demo = start_demo(recording)
    ann, bob = enter(demo, "ann"), enter(demo, "bob")
    bob.get_by_test_id("offline").click()
    last = say(ann, "anybody there?", to="bob")
    bob.get_by_test_id("offline").click()
    assert shown(bob, last) == ["anybody there?"]
    expect(bob.get_by_test_id("replayed")).to_have_text("1")

    demo.signal(SIGTERM)
    assert demo.wait() in (0, -SIGTERM)
    bob.get_by_test_id("text").fill("to nobody")
    bob.get_by_test_id("broadcast").click()
    expect(bob.get_by_test_id("problem")).to_have_text("The server cannot be reached.")
    start_demo(recording, port=demo.port)
    online(bob)
    last = say(bob, "a new channel")
    assert shown(bob, last) == ["a new channel"]
    expect(bob.get_by_test_id("resets")).to_have_text("1")


def test_a_channel_of_two_processes(enter, redis_server, start_demo, recording):
    """Two demos that share a Redis share the channel."""
    here, there = (start_demo(recording, redis=redis_server.url) for _ in range(2))
    ann, bob = enter(here, "ann"), enter(there, "bob")
    last = say(ann, "from another process", to="bob")
    assert shown(bob, last) == ["from another process"]
    last = say(bob, "to all of them")
    assert shown(ann, last) == ["to all of them"]


@pytest.mark.skipif(not SHARED.exists(), reason=f"{SHARED} is not here")
def test_real_recording(ask, start_demo):
    """Resume: an answer that a real model gave, with a reload and a pulled plug on the way."""
    chunks = [json.loads(line) for line in SHARED.read_text(encoding="utf-8").splitlines()]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    expected = "".join(choice["delta"].get("content") or "" for choice in choices)

    page = ask(start_demo(SHARED, rate=60))
    reach(page, 20)
    page.reload()
    reach(page, 60)
    page.get_by_test_id("unplug").click()
    wait_until(page, "demo.reconnects === 1")
    check_whole(page, expected)
