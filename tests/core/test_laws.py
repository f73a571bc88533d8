"""The laws, end to end: producers, a store, a feed, a follower and consumers, all of them failing.

Everything that has machines in the core takes part; what waits between them is played by `Stream`,
in virtual time. Producers crash, rivals claim, commands and answers are lost; the store loses its
newest part or everything; the feed loses, repeats and reorders; consumers come, leave and resume
from the last id that they have seen. The invariants are the laws; `teardown` asks for what must
come about when the faults have ended.
"""

from math import inf

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from resumable_core import (
    ABSENT,
    After,
    Append,
    Appended,
    Beginning,
    Changed,
    Claim,
    Cursor,
    Delete,
    End,
    Event,
    EventLog,
    Expire,
    Fenced,
    Follower,
    FollowerLimits,
    Gap,
    GapReason,
    Interrupted,
    Live,
    Message,
    Outcome,
    Phase,
    Producer,
    ProducerLimits,
    Reset,
    Retention,
    State,
    Stop,
    StreamError,
    StreamNotFound,
    Takeover,
)

LEASE = 6.0
CHECK = 2.0
LINGER = 4.0
STEP = 0.25
PRODUCER = ProducerLimits(buffer_count=4, outage=10.0, idle=50.0, linger=LINGER)
FOLLOWER = FollowerLimits(window_count=5, pending=2, check_interval=CHECK)


class Worker:
    """A process that produces: the machine, and whether it still runs."""

    def __init__(self, epoch, takeover, retention, now, replaces=None):
        self.epoch = epoch
        claim = Claim(epoch, LEASE, retention, on_lost=takeover, replaces=replaces)
        self.machine = Producer(claim, PRODUCER, now)
        self.offered = []
        self.alive = True

    def offer(self, count):
        for _ in range(count):
            if self.machine.phase is Phase.PRODUCING and self.machine.source_wanted:
                if not self.machine.has_room:
                    return
                message = Message(f"{self.epoch}.{len(self.offered)} ")
                self.machine.offer(message)
                self.offered.append(message.data)


class Client:
    """What a client keeps: it comes, leaves, and resumes from the last id that it has seen."""

    def __init__(self, stream, position):
        self.stream = stream
        self.cursor = Cursor(position)
        self.at = 0 if isinstance(position, Beginning) else None
        self.events = {}  # by seq: what it takes for the stream
        self.holes = set()
        self.last = position
        self.end = None
        self.resets = 0

    def leave_and_return(self):
        self.cursor = Cursor(self.last)

    def read_on(self):
        """Read until there is nothing to do but wait."""
        stream, cursor = self.stream, self.cursor
        for _ in range(1000):
            page = None if cursor.from_log else stream.follower.page(cursor.after)
            if page is None:
                page = stream.log.read(cursor.after, stream.now, limit=3, connected_for=0.0)
            records = cursor.read(page, stream.now)
            if self.at is None:
                self.at = cursor.id.seq
                self.last = After(cursor.id)
            for record in records:
                self.take(record)
            waits = not records and (cursor.deadline is None or cursor.deadline > stream.now)
            if cursor.finished or waits:
                return
        pytest.fail("a cursor that never waits")

    def take(self, record):
        assert self.end is None, "law 5: the end comes last, once"
        match record:
            case Event(id=id):
                assert id.seq == self.at + 1, "laws 1 and 2: in order, once, and nothing left out"
                assert record == self.stream.held[id], "law 2: an id stands for one event for ever"
                self.events[id.seq] = record
            case Gap(id=id, reason=reason):
                missing = set(range(self.at + 1, id.seq + 1))
                assert missing, "law 2: a gap says that something is missing"
                assert not missing & {event.id.seq for event in self.stream.events}
                assert self.stream.forgetful or reason is GapReason.TRIMMED
                self.holes |= missing
            case Reset(id=id):
                assert id.seq == 0
                self.events.clear()
                self.holes.clear()
                self.resets += 1
            case End():
                self.end = record
        self.at = record.id.seq
        self.last = After(record.id, end=isinstance(record, End))


class Stream:
    """The store, the feed, the follower of one process, and the clock."""

    def __init__(self, retention):
        self.now = 0.0
        self.retention = retention
        self.log = EventLog()
        self.held = {}  # what ever stood under an id
        self.feed = []
        self.follower = Follower(FOLLOWER, self.now)
        self.follower.subscribed(self.now)
        self.fetch = None
        self.page = None
        self.past = [self.snapshot()]
        self.forgetful = False  # whether the store has ever lost anything
        self.workers = []
        self.clients = []

    @property
    def events(self):
        return [event for batch in self.log.batches for event in batch.events]

    def snapshot(self):
        log = self.log
        return log.sentinel, tuple(log.batches), log.count, log.size

    def roll_back(self, snapshot):
        self.log.sentinel, batches, self.log.count, self.log.size = snapshot
        self.log.batches = list(batches)
        self.forgetful = True

    def apply(self, change):
        """Carry out a change in the store, and tell the feed."""
        before = self.log.sentinel
        effect = self.log.apply(change, self.now)
        after = effect.sentinel
        if effect.batch is not None:
            assert isinstance(change, Append)
            assert {event.id.epoch for event in effect.batch.events} == {change.epoch}
            for event in effect.batch.events:
                assert self.held.setdefault(event.id, event) == event
            self.feed.append(Appended(effect.batch))
        if (before.state, before.epoch) != (after.state, after.epoch):
            self.feed.append(Changed(after))
        self.past.append(self.snapshot())
        return after

    # Producers

    def start(self, takeover=Takeover.CONTINUE, replaces=None):
        epoch = f"e{len(self.workers)}"
        self.workers.append(Worker(epoch, takeover, self.retention, self.now, replaces))

    def work(self, worker, lane="write", fate="answered"):
        """Ask the machine for a command, and let it meet its fate."""
        machine = worker.machine
        ask = machine.next_write if lane == "write" else machine.next_renew
        command = ask(self.now)
        if command is None:
            return False
        if fate == "lost":
            machine.failed(command, self.now, 0.5)
            return True
        try:
            sentinel = self.apply(command)
        except StreamError as error:
            refusal, sentinel = error, None
        if fate == "unanswered":
            machine.failed(command, self.now, 0.5)
        elif sentinel is None:
            machine.refused(command, refusal)
        else:
            machine.replied(command, sentinel, self.now)
        return True

    def settle_workers(self):
        for worker in self.workers:
            if worker.alive:
                for lane in ("write", "renew"):
                    while self.work(worker, lane):
                        pass

    # Follower

    def settle_follower(self):
        while self.fetch is not None or self.ask():
            self.answer()

    def ask(self):
        self.fetch = self.follower.next_fetch(self.now)
        return self.fetch is not None

    def read(self):
        before = self.log.sentinel
        self.page = self.log.read(
            self.fetch.after, self.now, limit=2, connected_for=self.fetch.connected_for
        )
        if self.page.sentinel is not before:
            self.feed.append(Changed(self.page.sentinel))
            self.past.append(self.snapshot())

    def answer(self):
        if self.page is None:
            self.read()
        page, self.fetch, self.page = self.page, None, None
        self.follower.fetched(page, self.now)

    def deliver_all(self):
        for item in self.feed:
            self.follower.received(item, self.now)
            if isinstance(item, Changed):
                for worker in self.workers:
                    worker.machine.learned(item.sentinel, self.now)
        self.feed.clear()

    # Everything

    def run(self, seconds, until=lambda: False):
        """Let time pass without faults."""
        stop = self.now + seconds
        while self.now < stop and not until():
            self.now += STEP
            self.settle_workers()
            self.deliver_all()
            self.settle_follower()
            for client in self.clients:
                client.read_on()


ACTIONS = (
    *("nothing", "produce", "produce", "produce", "work", "work", "end", "crash", "rival"),
    *("stop", "delete", "fail_over", "wipe"),
    *("deliver", "deliver", "interrupt", "fetch", "fetch"),
    *("join", "join", "read", "read", "read", "wait", "wait", "run"),
)


class Laws(RuleBasedStateMachine):
    """Anything may happen at any time, in any order."""

    stream: Stream

    @initialize(count=st.sampled_from([3, 1000]), forgetful=st.booleans(), deletes=st.booleans())
    def start(self, count, forgetful, deletes):
        self.stream = Stream(Retention(count=count, keep=1000.0))
        self.may_forget = forgetful
        self.may_delete = deletes
        self.stream.start()
        self.stream.settle_workers()
        joined(self.stream, Beginning())

    @rule(data=st.data(), action=st.sampled_from(ACTIONS))
    def step(self, data, action):
        """One rule for all: of many, Hypothesis would leave out half in each run."""
        getattr(self, action)(data.draw)

    def nothing(self, draw):
        pass

    # Producers

    @property
    def running(self):
        return [worker for worker in self.stream.workers if worker.alive]

    def one_running(self, draw):
        return self.running[draw(st.integers(0, len(self.running) - 1))] if self.running else None

    def produce(self, draw):
        """Time without faults, so that something comes about."""
        if worker := self.one_running(draw):
            worker.offer(draw(st.integers(1, 3)))
            self.stream.settle_workers()
            self.stream.deliver_all()

    def work(self, draw):
        if worker := self.one_running(draw):
            worker.offer(draw(st.integers(0, 3)))
            lane = draw(st.sampled_from(["write", "renew"]))
            self.stream.work(
                worker, lane, draw(st.sampled_from(["answered", "unanswered", "lost"]))
            )

    def end(self, draw):
        if (worker := self.one_running(draw)) and draw(st.booleans()):
            worker.machine.end(Outcome.DONE)

    def crash(self, draw):
        if worker := self.one_running(draw):
            worker.alive = False

    def rival(self, draw):
        if len(self.stream.workers) < 6:
            takeover, replaces = Takeover.CONTINUE, None
            if self.may_delete:
                takeover = draw(st.sampled_from(Takeover))
                replaces = draw(st.sampled_from([None, self.stream.log.sentinel.epoch or None]))
            self.stream.start(takeover, replaces)

    # Others

    def stop(self, draw):
        if self.stream.log.sentinel.known and draw(st.booleans()):
            self.stream.apply(Stop())

    def delete(self, draw):
        if self.may_delete and draw(st.booleans()):
            self.stream.apply(Delete())

    def fail_over(self, draw):
        if self.may_forget:
            past = self.stream.past
            self.stream.roll_back(past[-draw(st.integers(1, min(6, len(past))))])

    def wipe(self, draw):
        if self.may_forget and draw(st.booleans()):
            self.stream.roll_back((ABSENT, (), 0, 0))

    # The feed and the reads

    def deliver(self, draw):
        if feed := self.stream.feed:
            index = draw(st.integers(0, len(feed) - 1))
            self.stream.follower.received(feed[index], self.stream.now)
            if draw(st.booleans()):
                del feed[index]

    def interrupt(self, draw):
        self.stream.feed.clear()
        if draw(st.booleans()):
            self.stream.follower.received(Interrupted(), self.stream.now)

    def fetch(self, draw):
        stream, fate = self.stream, draw(st.sampled_from(["asked", "read", "answered", "failed"]))
        if stream.fetch is None and not stream.ask():
            return
        match fate:
            case "read" if stream.page is None:
                stream.read()
            case "answered":
                stream.answer()
            case "failed":
                stream.fetch = stream.page = None
                stream.follower.fetch_failed(stream.now, 0.5)

    # Consumers

    def join(self, draw):
        """Law 9: who asks about an unknown stream creates nothing."""
        before = self.stream.log.sentinel
        client = Client(self.stream, draw(st.sampled_from([Beginning(), Live()])))
        if len(self.stream.clients) >= 4:
            return
        try:
            client.read_on()
        except StreamNotFound:
            assert not before.known
            assert not self.stream.log.sentinel.known
        else:
            self.stream.clients.append(client)

    def read(self, draw):
        if not self.stream.clients:
            return
        client = draw(st.sampled_from(self.stream.clients))
        returns = client.end is None and draw(st.booleans())
        if returns:
            client.leave_and_return()
        try:
            client.read_on()
        except StreamNotFound:
            assert returns
            self.stream.clients.remove(client)

    def wait(self, draw):
        self.stream.now += draw(st.sampled_from([0.1, 0.5, 1.0, CHECK, LEASE]))

    def run(self, draw):
        self.stream.run(draw(st.sampled_from([0.5, CHECK])))

    # The laws. Of what a consumer receives, `Client` checks the first, second and fifth.

    @invariant()
    def one_producer(self):
        """Law 4: at most one epoch appends, and to each its own part of the log."""
        lineage = self.stream.log.sentinel.lineage
        for event in self.stream.events:
            assert lineage.id_at(event.id.seq) == event.id

    @invariant()
    def exactly_once(self):
        """Law 6: whatever was repeated, each message is in the log once, in its order."""
        for worker in self.stream.workers:
            own = [each.data for each in self.stream.events if each.id.epoch == worker.epoch]
            indices = [worker.offered.index(data) for data in own]
            assert indices == sorted(set(indices))

    @invariant()
    def nobody_is_reset_for_nothing(self):
        """Law 2: in a store that forgets nothing and is told to forget nothing, all is kept."""
        if not self.may_forget and not self.may_delete:
            assert all(client.resets == 0 for client in self.stream.clients)

    def teardown(self):
        if hasattr(self, "stream"):
            self.everybody_gets_the_end()
            self.everybody_has_the_whole()

    def everybody_gets_the_end(self):
        """Law 7: nothing waits for ever."""
        stream = self.stream
        for worker in self.running:
            worker.machine.end(Outcome.DONE)

        def over():
            closed = all(worker.machine.phase is Phase.CLOSED for worker in self.running)
            return closed and all(client.end is not None for client in stream.clients)

        stream.feed.clear()
        # An observer that was interrupted last, a claim behind that, a place ahead, the end itself.
        stream.run(3 * LEASE + CHECK + LINGER + 2 * PRODUCER.outage, until=over)
        assert over()

    def everybody_has_the_whole(self):
        """Laws 3 and 5: all parts together are the stream, and the end was the store's."""
        at = self.stream.log.sentinel
        for client in self.stream.clients:
            told = client.events.keys() | client.holes
            first = min(told, default=client.at + 1)
            assert told == set(range(first, client.at + 1))
            if not self.stream.forgetful and not self.may_delete:
                ends = {(then.outcome, then.last_seq) for then, *_ in self.stream.past}
                assert (client.end.outcome, client.end.id.seq) in ends
                for seq, event in client.events.items():
                    assert event == self.stream.held[at.lineage.id_at(seq)]
                if client.end.outcome is Outcome.DONE:
                    (worker,) = (each for each in self.stream.workers if each.epoch == at.epoch)
                    first_seq = dict(at.lineage.epochs)[at.epoch]
                    assert client.end.id.seq == first_seq - 1 + len(worker.offered)


Laws.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
TestLaws = Laws.TestCase


# Law by law, each at its plainest


def producing(count=0, **options):
    stream = Stream(Retention(keep=1000.0))
    stream.start(**options)
    stream.settle_workers()
    stream.workers[0].offer(count)
    stream.run(STEP)
    return stream


def joined(stream, position):
    client = Client(stream, position)
    client.read_on()
    stream.clients.append(client)
    return client


def text(client):
    return "".join(event.data for event in client.events.values())


def test_resume():
    """Law 3: whoever leaves after each event and comes back has the whole, once."""
    stream = producing(3)
    client = joined(stream, Beginning())
    for _ in range(10):
        stream.workers[0].offer(1)
        stream.run(STEP)
        client.leave_and_return()
    stream.workers[0].machine.end(Outcome.DONE)
    stream.run(STEP)
    assert text(client) == "".join(stream.workers[0].offered)
    assert client.end.outcome is Outcome.DONE
    client.leave_and_return()
    client.read_on()
    assert client.cursor.finished


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_one_producer(order):
    """Law 4: of those who start at once, one produces."""
    stream = Stream(Retention())
    for _ in order:
        stream.start()
    for index in order:
        stream.work(stream.workers[index], fate="unanswered")
    stream.run(1.0)
    phases = [stream.workers[index].machine.phase for index in order]
    assert phases == [Phase.PRODUCING, Phase.CLOSED, Phase.CLOSED]


def test_a_fenced_producer():
    """Law 4: who was taken over appends nothing any more, and its source is not wanted."""
    stream = producing(2)
    first = stream.workers[0]
    first.alive = False
    stream.run(2 * LEASE)
    stream.start()
    stream.run(STEP)
    stream.workers[1].offer(1)
    stream.run(STEP)
    first.alive = True
    first.offer(1)
    stream.run(LEASE)
    assert isinstance(first.machine.error, Fenced)
    assert not first.machine.source_wanted
    assert [str(event.id) for event in stream.events] == ["e0-1", "e0-2", "e1-3"]


@pytest.mark.parametrize("fate", ["unanswered", "lost"])
def test_exactly_once(fate):
    """Law 6: each command is repeated, and each counts once."""
    stream = producing()
    worker = stream.workers[0]
    client = joined(stream, Beginning())
    for _ in range(5):
        worker.offer(2)
        stream.work(worker, fate=fate)
        stream.run(1.0)
    worker.machine.end(Outcome.DONE)
    stream.work(worker, fate=fate)
    stream.run(1.0)
    assert text(client) == "".join(worker.offered)
    assert client.end.outcome is Outcome.DONE


@pytest.mark.parametrize("feed", ["works", "is silent"])
def test_liveness(feed):
    """Law 7: when a producer dies, all know within the lease plus one check interval."""
    stream = producing(2)
    clients = [joined(stream, position) for position in (Beginning(), Live())]
    stream.run(3 * LEASE)
    died = stream.now
    stream.workers[0].alive = False
    for _ in range(int((LEASE + CHECK) / STEP)):
        stream.run(STEP)
        if feed == "is silent":
            stream.feed.clear()
    assert [client.end.outcome for client in clients] == [Outcome.LOST] * 2
    assert stream.now <= died + LEASE + CHECK
    stream.start()
    stream.run(STEP)
    assert stream.workers[1].machine.phase is Phase.PRODUCING


def test_a_failover_is_not_noticed():
    """Laws 2 and 6: what the producer still has is there again, under the same ids."""
    stream = producing(3)
    client = joined(stream, Beginning())
    stream.roll_back(stream.past[-2])
    stream.workers[0].machine.end(Outcome.DONE)
    stream.run(LEASE)
    assert text(client) == "".join(stream.workers[0].offered)
    assert (client.end.outcome, client.resets, client.holes) == (Outcome.DONE, 0, set())


def test_a_wiped_store_without_a_producer():
    """Laws 5 and 7: nobody waits for what is gone for ever."""
    stream = producing(2)
    client = joined(stream, Beginning())
    stream.workers[0].alive = False
    stream.roll_back((ABSENT, (), 0, 0))
    stream.run(LEASE + CHECK + STEP)
    assert client.end == End(client.end.id, Outcome.LOST, client.end.error)
    assert len(client.events) == 2


def test_reads_create_nothing():
    """Law 9."""
    stream = Stream(Retention())
    with pytest.raises(StreamNotFound):
        joined(stream, Beginning())
    stream.run(3 * CHECK)
    assert stream.log.sentinel is ABSENT
    assert stream.apply(Expire()) is ABSENT
    assert stream.feed == []
    assert stream.follower.deadline < inf
    assert stream.follower.sentinel.state is State.ABSENT
