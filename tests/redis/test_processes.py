"""Real processes that share one Redis: started here, resumed there; and some of them die.

Each is a `worker.py`. In every test two or more of one kind do something together; in the last one,
one of each kind.
"""

import json
import re
import secrets
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

import pytest

from tests.redis.conftest import OTHER_PAIRS, PAIRS

ROOT = Path(__file__).parents[2]
LEASE, CHECK_INTERVAL = 1.0, 0.3
PATIENCE = 30.0
SLACK = 3.0
"""Seconds that a busy machine may take to get things done."""

if sys.platform == "win32":
    pytest.skip("processes are stopped by signals", allow_module_level=True)


class Worker:
    """A process of an application."""

    def __init__(self, url, library, loop):
        options = {"lease": LEASE, "check_interval": CHECK_INTERVAL}
        self._process = subprocess.Popen(
            [
                sys.executable, "-m", "tests.redis.worker",
                url, library, json.dumps(loop), json.dumps(options),
            ],
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )  # fmt: skip
        self.heard = []
        self._lines = SimpleQueue()
        self._log = []
        self._threads = [
            Thread(target=self._listen, daemon=True),
            Thread(target=lambda: self._log.extend(self._process.stderr), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _listen(self):
        for line in self._process.stdout:
            self._lines.put(json.loads(line))
        self._lines.put(None)

    # What it is to do

    def do(self, what, stream_id, **options):
        """Let it do something; return the name under which it tells about that."""
        name = secrets.token_hex(4)
        order = {"do": what, "as": name, "id": stream_id, **options}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return name

    def start(self, stream_id, word, *, count=10_000, pause=0.01, **options):
        """Let it start a stream, and wait until it has."""
        name = self.do("start", stream_id, word=word, count=count, pause=pause, **options)
        self.hear(name, "started")
        return name

    def follow(self, stream_id):
        """Let it follow a stream, and wait until it does."""
        name = self.do("follow", stream_id)
        self.hear(name, "following")
        return name

    # What it tells

    def hear(self, name, key, value=None):
        """Wait until it tells something, and return what."""
        deadline = time.monotonic() + PATIENCE
        seen = 0
        while True:
            for line in self.heard[seen:]:
                if line["as"] == name and key in line and value in (None, line[key]):
                    return line
            seen = len(self.heard)
            self._hear_more(deadline, lambda: f"no {key!r}: {self.told(name)}")

    def told(self, name):
        """Return what it has told about something, up to now."""
        while not self._lines.empty():
            line = self._lines.get()
            if line is not None:
                self.heard.append(line)
        return [line for line in self.heard if line["as"] == name]

    def text(self, name):
        """Return the text that a follower got."""
        return "".join(line["event"] for line in self.told(name) if "event" in line)

    def hear_events(self, name, count):
        """Wait until a follower has got so many events."""
        deadline = time.monotonic() + PATIENCE
        while (text := self.text(name)).count(" ") < count:
            self._hear_more(deadline, lambda text=text: f"{text!r} is all")

    def _hear_more(self, deadline, otherwise):
        try:
            line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            raise AssertionError(otherwise()) from None
        assert line is not None, "".join(self._log)
        self.heard.append(line)

    # What happens to it

    @property
    def running(self):
        return self._process.poll() is None

    def signal(self, number):
        self._process.send_signal(number)

    def kill(self):
        """SIGKILL: it has no time to say anything."""
        self.signal(signal.SIGKILL)
        self._process.wait()

    def end(self):
        """Let it end, and expect that it does so in peace."""
        if self.running:
            self.signal(signal.SIGCONT)
            self._process.stdin.close()
            try:
                assert self._process.wait(PATIENCE) == 0, "".join(self._log)
            finally:
                self._process.kill()
                self._process.wait()
        for thread in self._threads:
            thread.join()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            pipe.close()


@pytest.fixture(scope="module")
def workers(shared_redis_server):
    """Get the workers of a kind: those that live still, and new ones for the others."""
    running = {}
    with ExitStack() as stack:

        def get(pair, count):
            alive = [worker for worker in running.get(pair, ()) if worker.running]
            while len(alive) < count:
                worker = Worker(shared_redis_server.url, *({**PAIRS, **OTHER_PAIRS}[pair]))
                stack.callback(worker.end)
                alive.append(worker)
            running[pair] = alive
            for worker in alive:
                worker.hear("worker", "ready")
            return alive[:count]

        yield get


KINDS = [*PAIRS, "uvloop-redis-py"]


@pytest.fixture
def four(workers):
    """Four processes, each of another kind."""
    return [workers(kind, 1)[0] for kind in KINDS]


@pytest.fixture(params=PAIRS)
def two(request, workers):
    """Two processes of one kind."""
    return workers(request.param, 2)


@pytest.fixture
def stream_id():
    return f"stream {secrets.token_hex(4)}"


def words(word, first, last):
    return "".join(f"{word}{number} " for number in range(first, last + 1))


def test_started_here_resumed_there(two, stream_id):
    """Law 3, across processes: while it is produced, and when it is done."""
    here, there = two
    started = here.start(stream_id, "a", count=40, pause=0.005)
    whole = words("a", 1, 40)
    followers = [(worker, worker.follow(stream_id)) for worker in (here, there, there)]
    assert here.hear(started, "source", "ended")["whole"]
    late = (there, there.follow(stream_id))
    for worker, name in (*followers, late):
        assert worker.hear(name, "end")["end"] == "done"
        assert worker.text(name) == whole


def test_a_stream_that_is_stopped_elsewhere(two, stream_id):
    here, there = two
    started = here.start(stream_id, "a")
    followers = [(worker, worker.follow(stream_id)) for worker in two]
    there.hear_events(followers[1][1], 5)
    there.do("stop", stream_id, reason="enough of this")
    for worker, name in followers:
        end = worker.hear(name, "end")
        assert (end["end"], end["error"]) == ("stopped", "enough of this")
    assert not here.hear(started, "source", "ended")["whole"]
    texts = {worker.text(name) for worker, name in followers}
    assert len(texts) == 1


def test_a_stream_that_is_deleted_elsewhere(two, stream_id):
    """It stays deleted, and its source is cancelled."""
    here, there = two
    started = here.start(stream_id, "a")
    followers = [(worker, worker.follow(stream_id)) for worker in two]
    there.hear_events(followers[1][1], 5)
    there.do("delete", stream_id)
    for worker, name in followers:
        assert worker.hear(name, "end")["end"] == "stopped"
    assert not here.hear(started, "source", "ended")["whole"]
    again = there.do("follow", stream_id)
    assert there.hear(again, "error")["error"] == "StreamNotFound"


def test_a_producer_that_is_killed(two, stream_id):
    """Law 7: every consumer is told within the lease and one check interval, and the id is free."""
    victim, other = two
    victim.start(stream_id, "a")
    followers = [other.follow(stream_id) for _ in range(3)]
    for name in followers:
        other.hear_events(name, 5)
    killed_at = time.monotonic()
    victim.kill()
    followers.append(other.follow(stream_id))
    for name in followers:
        end = other.hear(name, "end")
        assert end["end"] == "lost"
        assert end["at"] - killed_at < LEASE + CHECK_INTERVAL + SLACK
    (text,) = {other.text(name) for name in followers}
    assert re.fullmatch(r"(a\d+ )+", text)
    # At once, and by whoever wants to.
    other.start(stream_id, "b", count=3, on_lost="continue")
    again = other.follow(stream_id)
    other.hear(again, "end", "done")
    assert other.text(again) == text + words("b", 1, 3)


def test_a_producer_that_is_frozen_past_its_lease(two, stream_id):
    """Law 4: when it wakes up it is fenced; its source is cancelled, and nothing of it is added."""
    sleeper, other = two
    started = sleeper.start(stream_id, "a")
    own = sleeper.follow(stream_id)
    first = other.follow(stream_id)
    other.hear_events(first, 5)
    sleeper.signal(signal.SIGSTOP)
    try:
        assert other.hear(first, "end")["end"] == "lost"
        text = other.text(first)
        second = other.start(stream_id, "b", on_lost="continue")
        follower = other.follow(stream_id)
        other.hear_events(follower, text.count(" ") + 5)
    finally:
        sleeper.signal(signal.SIGCONT)
    ended = sleeper.hear(started, "source", "ended")
    assert not ended["whole"]
    after = other.text(follower).count(" ")
    other.hear_events(follower, after + 20)
    other.do("stop", stream_id, reason="done with it")
    other.hear(second, "source", "ended")
    assert other.hear(follower, "end")["end"] == "stopped"
    whole = other.text(follower)
    assert whole.startswith(text)
    last = int(re.search(r"(\d+) $", whole)[1])
    assert whole == text + words("b", 1, last)
    # Who slept as well gets the same, whether or not it was told that the first one was lost.
    sleeper.hear(own, "end")
    assert whole.startswith(sleeper.text(own))


def test_four_processes_ask_for_one_stream(four, stream_id):
    """Law 4: a hundred start or resume it at once, in processes of four kinds; its source runs
    once, and all get the same whole text.
    """
    names = [worker.do("ask", stream_id, times=25) for worker in four]
    texts, begun = [], 0
    for worker, name in zip(four, names, strict=True):
        texts += worker.hear(name, "texts")["texts"]
        begun += sum(line.get("source") == "begun" for line in worker.told(name))
    assert texts == [words("w", 1, 30)] * 100
    assert begun == 1


WRITERS, EACH = 8, 50
"""Tasks of one process that publish to one channel, and messages of each."""


@pytest.mark.parametrize("killing", [False, True], ids=["", "connections-are-killed"])
def test_four_processes_publish_to_one_channel(
    four, workers, stream_id, shared_redis_server, killing
):
    """Laws 1, 3 and 6: to whoever subscribes, wherever, no event is lost, repeated or out
    of order, each comes under the id that its writer was told, and a writer's own in their order.
    """
    count = len(four) * WRITERS * EACH
    others = [workers(kind, 2)[1] for kind in PAIRS]
    early = [(each, each.do("subscribe", stream_id, count=count)) for each in (*others, four[0])]
    for worker, name in early:
        worker.hear(name, "following")
    writing = [
        (worker, worker.do("publish", stream_id, word=f"w{number}", writers=WRITERS, count=EACH))
        for number, worker in enumerate(four)
    ]
    late = [(each, each.do("subscribe", stream_id, count=count)) for each in others]
    if killing:
        for kind in ("normal", "pubsub") * 3:
            time.sleep(0.05)  # a while in which they get on
            shared_redis_server.run("CLIENT", "KILL", "TYPE", kind)
    told = {}
    for worker, name in writing:
        told |= worker.hear(name, "ids")["ids"]
    assert len(told) == count
    for worker, name in (*early, *late):
        records = worker.hear(name, "records")["records"]
        assert {text: id for id, text in records} == told
        assert [int(id.partition("-")[2]) for id, _ in records] == [*range(1, count + 1)]
        assert len({id.partition("-")[0] for id, _ in records}) == 1
        for writer in {text.partition(":")[0] for text in told}:
            numbers = [
                text.partition(":")[2] for _, text in records if text.startswith(f"{writer}:")
            ]
            assert numbers == [*map(str, range(1, EACH + 1))]
