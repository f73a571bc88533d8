"""publish, tail, list, state, stop and delete: processes that share a store."""

import json
import os
import signal
import subprocess
from contextlib import ExitStack
from functools import partial
from importlib.metadata import version

import pytest

from tests.cli.commands import PROGRAM, ROOT, eventually, kept, resumable, running
from tests.redis.server import RedisServer


def state(store, id="chat"):
    code, out, _ = resumable("state", id, *store, "--json")
    return json.loads(out) if code == 0 else None


def test_what_was_published_is_printed(store):
    assert resumable("publish", "chat", *store, stdin="a\nbü".encode()) == (0, "", [])
    assert resumable("tail", "chat", *store, "--from-start") == (0, "a\nbü", [])


def test_lines_are_events_and_tail_goes_on_after_each(store):
    resumable("publish", "chat", *store, "--lines", stdin=b"a\nb\nc")
    _, out, _ = resumable("tail", "chat", *store, "--from-start", "--json")
    first, second, third, end = map(json.loads, out.splitlines())
    assert [each["data"] for each in (first, second, third)] == ["a\n", "b\n", "c"]
    assert end["end"] == "done"
    assert resumable("tail", "chat", *store, "--after", first["id"]) == (0, "b\nc", [])
    assert resumable("tail", "chat", *store, "--after", end["id"]) == (0, "", [])


def test_json_lines_are_checked_and_printed_as_lines(store):
    assert resumable("publish", "a", *store, "--jsonl", stdin=b'{"x": 1}\n[2]\n')[0] == 0
    assert resumable("tail", "a", *store, "--from-start")[1] == '{"x": 1}\n[2]\n'
    code, _, errors = resumable("publish", "b", *store, "--jsonl", stdin=b"1\nx\n2\n")
    assert code == 1
    assert errors == ["resumable: the stream is not complete: SourceError: line 2 is not JSON"]
    assert state(store, "b")["outcome"] == "failed"


def test_bytes_that_are_not_utf_8_are_replaced(store):
    resumable("publish", "chat", *store, stdin=b"a\xffb\xc3")
    assert resumable("tail", "chat", *store, "--from-start")[1] == "a\ufffdb\ufffd"


def test_a_line_without_end_makes_the_stream_fail(store):
    code, _, errors = resumable("publish", "chat", *store, "--lines", stdin=b"x" * 3_000_000)
    assert code == 1
    assert "more than 1048576 characters" in errors[0]


def test_publishing_prints_the_state_as_json(store):
    _, out, _ = resumable("publish", "chat", *store, "--json", stdin=b"a")
    assert json.loads(out)["outcome"] == "done"


def test_an_id_names_one_answer(store):
    resumable("publish", "chat", *store, stdin=b"a")
    code, _, errors = resumable("publish", "chat", *store, stdin=b"b")
    assert code == 5
    (said,) = errors
    assert "epoch" not in said  # of which the command knows nothing
    assert "resumable delete" in said


def test_following_what_has_ended_says_why_nothing_comes(store):
    resumable("publish", "chat", *store, stdin=b"a")
    said = "resumable: the stream has ended before: --from-start prints it"
    assert resumable("tail", "chat", *store) == (0, "", [said])


def test_an_application_with_a_prefix_of_its_own_is_found(redis_server):
    redis_server.run("FLUSHALL")
    store = ("--redis", redis_server.url)
    ours = (*store, "--prefix", "ours")
    resumable("publish", "chat", *ours, stdin=b"a")
    assert resumable("list", *store) == (0, "", [])
    assert resumable("list", *ours) == (0, "chat\tdone\t1\n", [])
    assert resumable("tail", "chat", *ours, "--from-start") == (0, "a", [])
    for command in ("state", "stop", "delete"):
        assert resumable(command, "chat", *store)[0] == 5, command
        assert resumable(command, "chat", *ours)[0] == 0, command


def test_the_version_is_that_of_the_package():
    assert resumable("--version") == (0, f"resumable-io {version('resumable-io')}\n", [])


@pytest.mark.parametrize(
    ("number", "outcome", "error"),
    [
        (signal.SIGINT, "stopped", "stopped by the publisher"),
        (signal.SIGTERM, "failed", "SourceError: the publisher was told to end"),
        (signal.SIGHUP, "failed", "SourceError: the publisher was told to end"),
    ],
    ids=["int", "term", "hup"],
)
def test_signals_end_the_stream(store, tmp_path, number, outcome, error):
    with running(tmp_path, "publish", "chat", *store) as publisher:
        publisher.write("a")
        eventually(lambda: kept(store).last_seq)
        publisher.interrupt(number)
        assert publisher.wait() == 1
    ended = state(store)
    assert (ended["outcome"], ended["error"]) == (outcome, error)
    assert resumable("tail", "chat", *store, "--from-start") == (1, "a", [f"resumable: {error}"])


def test_a_stream_is_stopped_from_another_process(store, tmp_path):
    with running(tmp_path, "publish", "chat", *store) as publisher:
        publisher.write("a")
        eventually(lambda: kept(store).last_seq)
        code, out, _ = resumable("stop", "chat", *store, "--reason", "enough", "--json")
        assert (code, json.loads(out)["outcome"]) == (0, "stopped")
        assert publisher.wait() == 1


def test_streams_are_listed_and_deleted(store):
    for id in ("a", "b"):
        resumable("publish", id, *store, stdin=b"1")
    assert sorted(resumable("list", *store)[1].splitlines()) == ["a\tdone\t1", "b\tdone\t1"]
    assert resumable("delete", "a", *store) == (0, "", [])
    _, out, _ = resumable("list", *store, "--json")
    assert [json.loads(line)["id"] for line in out.splitlines()] == ["b"]


def test_looking_for_an_unknown_stream_creates_nothing(store):
    resumable("publish", "other", *store, stdin=b"1")
    for command in ("delete", "state", "stop", "tail"):
        code, out, errors = resumable(command, "chat", *store)
        assert (code, out, len(errors)) == (5, "", 1), command
    assert resumable("list", *store)[1] == "other\tdone\t1\n"


class Tails:
    """Two shells that follow a stream, and what they have printed over all their lives."""

    def __init__(self, start, store):
        self._start = start
        self._tail = ("tail", "chat", *store, "--json")
        self.got = [[], []]
        self.running = [start(*self._tail, "--from-start") for _ in self.got]

    def again(self, number):
        """Kill one, keep what it has printed whole, and start it behind that."""
        self.running[number].kill()
        got = self.got[number]
        got += self.running[number].events
        place = ("--after", got[-1]["id"]) if got else ("--from-start",)
        self.running[number] = self._start(*self._tail, *place)

    def wait(self):
        """Wait for their ends, and return the data of the events that each has printed."""
        assert [tail.wait() for tail in self.running] == [0, 0]
        lives = zip(self.got, self.running, strict=True)
        return [[event["data"] for event in got + tail.events] for got, tail in lives]

    def printed(self, count):
        """Say whether both have printed so many events in this life."""
        return all(len(tail.events) == count for tail in self.running)


def test_the_union_of_what_tails_print_is_the_input_once(store, tmp_path):
    """Law 3, over three shells: each in turn is killed and started again."""
    lines = [f"line {number}\n" for number in range(60)]
    publish = ("publish", "chat", *store, "--lines", "--lease", "1", "--continue")

    with ExitStack() as stack:

        def start(*arguments):
            return stack.enter_context(running(tmp_path, *arguments))

        publisher = start(*publish)
        publisher.write("".join(lines[:20]))
        eventually(lambda: kept(store).last_seq == 20)
        tails = Tails(start, store)
        eventually(lambda: tails.running[0].events)
        tails.again(0)
        publisher.write("".join(lines[20:30]))
        eventually(lambda: len(tails.running[1].events) >= 25)
        tails.again(1)
        eventually(lambda: kept(store).last_seq == 30)
        publisher.kill()

        publisher = start(*publish)  # it gets the same input from its start
        publisher.write("".join(lines[:40]))
        eventually(lambda: kept(store).last_seq == 40)
        for number in range(2):
            tails.again(number)
        publisher.write("".join(lines[40:]))
        publisher.close_input()
        assert publisher.wait() == 0
        assert tails.wait() == [lines, lines]


def test_the_union_is_the_input_when_the_store_is_killed_too(tmp_path):
    """Laws 2, 3 and 6: every append may be under way when Redis dies, or have got lost."""
    server = RedisServer(tmp_path / "redis", appendonly="yes", appendfsync="always")
    server.start()
    store = ("--redis", server.url)
    lines = [f"line {number}\n" for number in range(600)]

    with ExitStack() as stack:
        stack.callback(server.kill)

        def start(*arguments):
            return stack.enter_context(running(tmp_path, *arguments))

        publisher = start("publish", "chat", *store, "--lines")
        publisher.write("".join(lines[:50]))
        eventually(lambda: kept(store).last_seq)
        tails = Tails(start, store)
        eventually(lambda: all(tail.events for tail in tails.running))
        for number in range(50, 450, 100):
            for line in lines[number : number + 50]:
                publisher.write(line)
            server.kill()  # in the middle of them
            publisher.write("".join(lines[number + 50 : number + 100]))
            server.start()
            eventually(partial(tails.printed, number + 100))

        server.kill()
        for number in range(2):
            tails.running[number].kill()  # and start again once there is a store
        publisher.write("".join(lines[450:500]))
        server.start()
        for number in range(2):
            tails.again(number)
        publisher.write("".join(lines[500:]))
        publisher.close_input()
        assert publisher.wait() == 0
        assert tails.wait() == [lines, lines]
        assert state(store)["last_seq"] == len(lines)


def test_chunks_go_on_at_the_character_where_they_were(store, tmp_path):
    publish = ("publish", "chat", *store, "--lease", "1", "--continue")
    with running(tmp_path, *publish) as publisher:
        publisher.write("abcü")
        eventually(lambda: kept(store).characters == 4)
        publisher.kill()
    assert resumable(*publish, stdin="abcüdef".encode())[0] == 0
    assert resumable("tail", "chat", *store, "--from-start")[1] == "abcüdef"


def test_a_reader_that_has_seen_enough_is_no_error(store, tmp_path):
    resumable("publish", "chat", *store, "--lines", stdin=b"a\n" * 10)
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as gone:
        done = subprocess.run(
            [*PROGRAM, "tail", "chat", *store, "--from-start"],
            stdout=gone,
            stderr=subprocess.PIPE,
            check=False,
            cwd=ROOT,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (0, b"")
