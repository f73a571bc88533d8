"""The JavaScript client of the documentation, in Node, against a real server."""

import base64
import json
import random
import secrets
import socket
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from resumable_core import Decoder
from tests.js.client.client_app import PIECES
from tests.servers.serving import ROOT, serving, watched

CLIENT = Path(__file__).with_name("client.mjs")
APP = "tests.js.client.client_app"


@pytest.fixture(scope="module")
def shared_server():
    with serving("uvicorn", APP) as server:
        yield server


@pytest.fixture
def server(shared_server):
    with watched(shared_server) as server:
        yield server


@pytest.fixture
def answer(server):
    """Return the address of a new answer, and what the server has seen of the requests for it."""
    answer_id = secrets.token_hex(4)
    url = f"http://127.0.0.1:{server.port}"
    return f"{url}/answers/{answer_id}", lambda: json.loads(
        server.get(f"/requests/{answer_id}").body
    )


def data(seen):
    return [data for _, type_, data in seen["received"] if type_ == "message"]


def test_lines_that_break(node, answer):
    """Law 3: the whole answer, each event once, in as many connections as it takes."""
    url, requests = answer
    seen = node(CLIENT, "read", f"{url}?cuts=70,411,1000,5")
    assert data(seen) == PIECES
    assert seen["close"] == {"reason": "end", "status": 200, "outcome": "done", "error": None}
    assert seen["readyState"] == 2
    assert [each["reason"] for each in seen["reconnecting"]] == ["network"] * 4
    assert len(requests()) == 5
    assert len({id for id, *_ in seen["received"]}) == len(PIECES) + 1


def test_a_post(node, answer):
    """Law 4: it starts the answer once, and every reconnect is the same request with an id."""
    url, requests = answer
    options = {"method": "POST", "body": '{"prompt":"grüße"}', "headers": {"X-User": "ann"}}
    seen = node(CLIENT, "read", f"{url}?cuts=500", options)
    assert data(seen) == PIECES
    (first, second) = requests()
    assert first == ["POST", None, options["body"]]
    assert second[::2] == ["POST", options["body"]]
    assert second[1]


@pytest.mark.parametrize("leave", [1, 30])
def test_a_reload(node, answer, leave):
    """Law 3: what the page had, from the storage, and then what follows it, from the server."""
    url, requests = answer
    first, second, third = node(CLIENT, "reload", url, "one", leave)["pages"]
    assert first["close"]["reason"] == "closed"
    assert second["received"][: len(first["received"])] == first["received"]
    assert data(second) == PIECES
    assert second["replayed"] == len(first["received"])
    assert requests()[1][1] == first["received"][-1][0]
    # Once the end is known, nobody is asked.
    assert third["received"] == second["received"]
    assert third["close"]["outcome"] == "done"
    assert len(requests()) == 2


def test_a_reload_with_more_than_may_be_kept(node, answer):
    """Bounded: a page that could not keep everything starts from the beginning."""
    seen = node(CLIENT, "reload", answer[0], "one", 30, 200)
    assert seen["kept"] == 0
    assert data(seen["pages"][1]) == PIECES
    assert seen["pages"][1]["replayed"] == 0


@pytest.mark.parametrize("value", ["{", "null", '[{"type":"x"}]', "[1]", '"text"'], ids=range(5))
def test_a_storage_that_somebody_else_has_written(node, answer, value):
    seen = node(CLIENT, "damagedStorage", answer[0], value)
    assert data(seen) == PIECES


def test_a_storage_that_is_full(node, answer):
    assert data(node(CLIENT, "fullStorage", answer[0])) == PIECES


def test_forget(node, answer):
    assert node(CLIENT, "forget", answer[0]) == {"before": 1, "after": 0}


def test_an_event_has_the_type_that_the_source_gave_it(node, answer):
    seen = node(CLIENT, "read", f"{answer[0]}?kind=typed", {"types": ["token"]})
    assert [each[1:] for each in seen["received"][:-1]] == [["token", "a token"]]


def test_a_failure(node, answer, server):
    """One end: failed is no broken connection, and is told with its reason."""
    server.may_log = ("resumable_io._sources.SourceError: the model is overloaded",)
    seen = node(CLIENT, "read", f"{answer[0]}?kind=broken")
    assert data(seen) == ["half an "]
    assert seen["end"] == {"outcome": "failed", "error": "SourceError: the model is overloaded"}
    assert seen["close"]["reason"] == "end"
    assert seen["reconnecting"] == []


def test_a_gap(node, server):
    """Law 2: what is missing is told before what follows it."""
    seen = node(CLIENT, "read", f"http://127.0.0.1:{server.port}/trimmed/{secrets.token_hex(4)}")
    (_, type_, reason), *rest, _ = seen["received"]
    assert (type_, json.loads(reason)) == ("gap", {"reason": "trimmed"})
    assert [data for *_, data in rest] == PIECES[-len(rest) :]


def test_a_reset(node, answer):
    """Law 2: what was received is void, and what was kept of it, too."""
    kept = json.dumps([{"type": "message", "data": "old", "id": "former-1"}])
    url = answer[0]
    node(CLIENT, "read", url)
    seen = node(CLIENT, "damagedStorage", url, kept)
    (_, first, old), (_, second, reason), *_ = seen["received"]
    assert (first, old) == ("message", "old")
    assert (second, json.loads(reason)) == ("reset", {"reason": "unknown"})
    assert data(seen)[1:] == PIECES


def test_a_server_that_drains(node, start_server):
    """A drain is no failure: it is told apart, and the client comes back when it is told to."""
    server = start_server(APP)
    url = f"http://127.0.0.1:{server.port}/answers/one?kind=endless"
    seen = node(CLIENT, "drain", url, server.process.pid)
    (again,) = seen["reconnecting"]
    assert again["reason"] == "drain"
    assert 100 <= again["delay"] < 1000
    assert (seen["readyState"], seen["close"]["reason"]) == (0, "closed")


def test_a_server_that_is_busy(node, server):
    url = f"http://127.0.0.1:{server.port}/busy/{secrets.token_hex(4)}"
    seen = node(CLIENT, "read", url, {"types": ["token"]})
    assert [each["status"] for each in seen["reconnecting"]] == [503, 503]
    assert seen["close"]["outcome"] == "done"


def test_responses_that_end_without_an_end(node, server):
    """Law 2: a clean end of the body is not the end of the answer."""
    seen = node(CLIENT, "read", f"http://127.0.0.1:{server.port}/ended", {"retries": 0})
    assert seen["close"] == {
        "reason": "unreachable",
        "status": 200,
        "outcome": None,
        "error": None,
    }
    assert seen["opened"] == 1


@pytest.mark.parametrize(
    ("status", "reason"),
    [(200, "refused"), (400, "refused"), (403, "refused"), (404, "gone"), (410, "gone")],
)
def test_what_no_retry_can_cure(node, server, status, reason):
    seen = node(CLIENT, "read", f"http://127.0.0.1:{server.port}/refused/{status}")
    assert (seen["close"]["reason"], seen["close"]["status"]) == (reason, status)
    assert (seen["opened"], seen["reconnecting"]) == (0, [])


def test_nobody_there(node, server):
    """Nothing waits for ever."""
    with serving("uvicorn", APP) as other:
        url = f"http://127.0.0.1:{other.port}/answers/one"
    seen = node(CLIENT, "read", url, {"retries": 0})
    assert seen["close"]["reason"] == "unreachable"


def test_a_connection_that_is_silent(node, answer):
    """Nothing waits for ever: a line that died without a word is left, and the place is kept."""
    url, requests = answer
    seen = node(CLIENT, "read", f"{url}?kind=endless", {"idle": 1_000, "retries": 2})
    assert data(seen) == ["some"]
    assert {each["reason"] for each in seen["reconnecting"]} == {"network"}
    assert seen["close"]["reason"] == "unreachable"
    assert requests()[-1][1] == seen["received"][-1][0]


def test_a_server_that_takes_the_request_and_says_nothing(node):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        seen = node(CLIENT, "read", url, {"idle": 200, "retries": 1})
    assert [each["reason"] for each in seen["reconnecting"]] == ["network"]
    assert seen["close"]["reason"] == "unreachable"


def test_close(node, answer):
    seen = node(CLIENT, "closeAtOnce", answer[0])
    assert seen["close"]["reason"] == "closed"
    assert seen["received"] == []


def test_the_parser_agrees_with_ours(node):
    """Law 11: whatever the bytes, and however they are cut. (Drawn from a fixed seed.)"""
    dice = random.Random(20)
    words = [b"data", b"id", b"event", b"retry", b": ", b":", b"\n", b"\r", b"\r\n", b"\n\n", b"x"]
    words += [b"7", b"007", b"\0", "é👩‍🚀".encode(), b"\xff", "\ufeff".encode(), b"data: y\n\n"]
    words += [b"id: 3\n", b"event: e\n", "\u2028\x85".encode(), b"retry: 12\n", b" "]
    streams, expected = [], []
    for _ in range(2_000):
        stream = b"".join(dice.choices(words, k=dice.randrange(25)))
        cuts = sorted(dice.randrange(len(stream) + 1) for _ in range(dice.randrange(6)))
        edges = [0, *cuts, len(stream)]
        streams.append([stream[a:b] for a, b in pairwise(edges)])
        decoder = Decoder()
        events = decoder.feed(stream)
        expected.append(
            {
                "events": [[each.type, each.data, each.last_event_id] for each in events],
                "id": decoder.last_event_id,
            }
        )
    encoded = [[base64.b64encode(piece).decode() for piece in pieces] for pieces in streams]
    found = []
    for start in range(0, len(encoded), 500):  # a command line is only so long
        found += node(CLIENT, "parse", encoded[start : start + 500])
    for stream, ours, theirs in zip(streams, expected, found, strict=True):
        assert {"events": theirs["events"], "id": theirs["id"]} == ours, stream


def test_the_parser_is_bounded(node):
    assert node(CLIENT, "tooLarge") == ["fine", "RangeError"]


def test_the_types_say_what_it_does(tmp_path):
    """`tsc --strict` accepts what the client can, and refuses what it cannot."""
    package = ROOT / "docs" / "javascript"
    use = tmp_path / "use.ts"
    use.write_text(
        f"""
        import {{ StreamSource, type Close, type Outcome }} from "{package}/stream-source.js";
        const url = new URL("http://x/");
        const source = new StreamSource(url, {{ method: "POST", body: "x", key: "k" }});
        source.addEventListener("message", (event) => {{
          const text: string = event.data, again: boolean = event.replayed;
          void [text, again];
        }});
        source.addEventListener("token", (event) => void event.lastEventId.length);
        source.addEventListener("reconnecting", ({{ detail }}) => {{
          if (detail.reason === "drain") void detail.delay.toFixed();
        }});
        const close: Promise<Close> = source.closed;
        const outcome: Outcome | undefined = source.end?.outcome;
        void [close, outcome, source.readyState === StreamSource.CLOSED];
        // @ts-expect-error
        source.addEventListener("close", ({{ detail }}) => detail.reason === "tired");
        // @ts-expect-error
        new StreamSource("/x", {{ retry: 1 }});
        // @ts-expect-error
        source.readyState = 1;
        """
    )
    tsc = ROOT / "tests" / "js" / "node_modules" / ".bin" / "tsc"
    options = ["--noEmit", "--strict", "--target", "es2022", "--module", "nodenext"]
    ran = subprocess.run(
        [tsc, *options, "--lib", "es2022,dom,dom.iterable", use],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
