"""The kit for backends, on the memory backend: it passes; and what is broken does not."""

import math
import random
from contextlib import suppress
from copy import copy
from functools import partial
from threading import Thread

import pytest
from anyio import create_task_group, current_time, move_on_after
from anyio.lowlevel import checkpoint
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import invariant, run_state_machine_as_test

from resumable_core import (
    Append,
    Appended,
    BackendUnavailable,
    Changed,
    Claim,
    Interrupted,
    Message,
    Publication,
    Publish,
    Renew,
    Retention,
    State,
    StreamError,
)
from resumable_core.testing import append, copy_of
from resumable_io import MemoryBackend, Streams
from resumable_io.testing import (
    SCENARIOS,
    Fault,
    FaultyBackend,
    Inbox,
    backend_machine,
    check_backend,
    following,
)
from tests.io import broken_channels
from tests.io.scripted import data_of

SETTINGS = settings(
    max_examples=settings.default.max_examples // 2,
    stateful_step_count=30,
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.mark.virtual_time
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_the_memory_backend_passes(scenario):
    backend = MemoryBackend()
    await check_backend(lambda: backend, [scenario])


@pytest.mark.parametrize("event_loop", ["asyncio", "trio"])
def test_the_memory_backend_does_what_the_log_does(event_loop):
    backend = MemoryBackend()
    with backend_machine(lambda: backend, event_loop=event_loop) as machine:
        run_state_machine_as_test(machine, settings=SETTINGS)


def test_a_machine_can_have_rules_of_its_own():
    backend = MemoryBackend()
    checked = 0

    with backend_machine(lambda: backend) as machine:

        class Counting(machine):
            @invariant()
            def count(self):
                nonlocal checked
                checked += 1

        run_state_machine_as_test(Counting, settings=settings(SETTINGS, max_examples=2))
    assert checked > 2


# What is broken


class Fenceless(MemoryBackend):
    async def apply(self, stream_id, change):
        if isinstance(change, Append | Renew) and stream_id in self._logs:
            log = self._logs[stream_id]
            change = (
                Renew(log.sentinel.epoch)
                if isinstance(change, Renew)
                else append(log.sentinel.epoch, change.first_seq, change.messages)
            )
        return await super().apply(stream_id, change)


class Doubling(MemoryBackend):
    """Appends what is repeated once more."""

    async def apply(self, stream_id, change):
        if isinstance(change, Append) and (log := self._logs.get(stream_id)):
            change = append(change.epoch, log.sentinel.last_seq + 1, change.messages)
        return await super().apply(stream_id, change)


class Hasty(MemoryBackend):
    """Looks, and claims a little later."""

    async def apply(self, stream_id, change):
        if isinstance(change, Claim) and stream_id not in self._logs:
            await checkpoint()
            self._logs.pop(stream_id, None)
            return self._apply(stream_id, change, current_time()).sentinel
        return await super().apply(stream_id, change)


class Halving(MemoryBackend):
    """Appends message by message."""

    async def apply(self, stream_id, change):
        if isinstance(change, Append):
            for number, message in enumerate(change.messages):
                single = append(change.epoch, change.first_seq + number, [message])
                sentinel = await super().apply(stream_id, single)
            return sentinel
        return await super().apply(stream_id, change)


class Hoarding(MemoryBackend):
    """Keeps what an earlier log has left."""

    async def apply(self, stream_id, change):
        log = self._opened(stream_id)
        kept = [*log.batches] if log and isinstance(change, Claim) else []
        sentinel = await super().apply(stream_id, change)
        if kept and not (log := self._opened(stream_id)).batches:
            log.batches[:] = kept
        return sentinel


class Trimming(MemoryBackend):
    """Keeps one batch less than asked for."""

    async def apply(self, stream_id, change):
        sentinel = await super().apply(stream_id, change)
        log = self._opened(stream_id) if sentinel.growing else None
        if log is not None and log.count >= sentinel.retention.count and len(log.batches) > 1:
            log._drop(1)
        return sentinel


class Blind(MemoryBackend):
    """Never observes a lease."""

    async def read(self, stream_id, after, limit, *, connected_for):
        return await super().read(stream_id, after, limit, connected_for=-math.inf)


class Judging(MemoryBackend):
    """Does not care since when somebody watches."""

    async def read(self, stream_id, after, limit, *, connected_for):
        return await super().read(stream_id, after, limit, connected_for=math.inf)


class Immortal(MemoryBackend):
    """Never forgets, unless somebody claims."""

    async def read(self, stream_id, after, limit, *, connected_for):
        log = self._opened(stream_id)
        if log is not None and log.sentinel.outcome:
            return log.read(after, -math.inf, limit=limit)
        return await super().read(stream_id, after, limit, connected_for=connected_for)


class Curious(MemoryBackend):
    """Makes what it is asked for."""

    async def read(self, stream_id, after, limit, *, connected_for):
        if stream_id not in self._logs:
            await super().apply(stream_id, Claim("z", 1.0))
        return await super().read(stream_id, after, limit, connected_for=connected_for)


class Torn(MemoryBackend):
    """Reads sentinel and events in two steps."""

    async def read(self, stream_id, after, limit, *, connected_for):
        first = await super().read(stream_id, after, limit, connected_for=connected_for)
        await checkpoint()
        second = await super().read(stream_id, after, limit, connected_for=connected_for)
        return type(first)(second.sentinel, after, first.first_seq, first.events, first.offset)


class Inclusive(MemoryBackend):
    """Includes the event that was read last."""

    async def read(self, stream_id, after, limit, *, connected_for):
        return await super().read(stream_id, max(0, after - 1), limit, connected_for=connected_for)


class Folding(MemoryBackend):
    """Takes ids for the same that differ in case alone."""

    async def apply(self, stream_id, change):
        return await super().apply(stream_id.lower(), change)

    async def read(self, stream_id, *args, **kwargs):
        return await super().read(stream_id.lower(), *args, **kwargs)


class Translating(MemoryBackend):
    """Writes to a file in text mode, as it were."""

    async def apply(self, stream_id, change):
        if isinstance(change, Append):
            messages = [
                Message(each.data.replace("\r\n", "\n"), each.type)
                if isinstance(each.data, str)
                else each
                for each in change.messages
            ]
            change = append(change.epoch, change.first_seq, messages)
        return await super().apply(stream_id, change)


class Mumbling(MemoryBackend):
    """Tells what it makes of its news."""

    async def follow(self, stream_id, tell, *, events):
        return await super().follow(stream_id, partial(self.mumble, tell, []), events=events)


class Reordering(Mumbling):
    """Tells every other item behind the one that follows it."""

    def mumble(self, tell, held, item):
        if held:
            tell(item)
            tell(held.pop())
        else:
            held.append(item)


class Tardy(Mumbling):
    """Tells an item when there is another one."""

    def mumble(self, tell, held, item):
        held.append(item)
        if len(held) > 1:
            tell(held.pop(0))


class Sulking(Mumbling):
    """Tells nothing any more once it was interrupted."""

    def mumble(self, tell, held, item):
        if not held:
            held.append(item)
            tell(Interrupted())


class Leaky(Mumbling):
    """Loses one item in four, and says nothing."""

    def mumble(self, tell, held, item):
        held.append(item)
        if len(held) % 4:
            tell(item)


class Boastful(MemoryBackend):
    """Tells of an event before it is kept."""

    async def apply(self, stream_id, change):
        if isinstance(change, Append) and stream_id in self._logs:
            log = copy_of(self._opened(stream_id))
            with suppress(StreamError):
                effect = log.apply(change, current_time())
                self._publish(stream_id, log.sentinel, effect)
            await checkpoint()
        return await super().apply(stream_id, change)


class Forgetting(Mumbling):
    """Reports a loss, and loses the next item, too, as if that were reported with it."""

    def mumble(self, tell, held, item):
        held.append(item)
        if len(held) % 8 == 6:
            tell(Interrupted())
        elif len(held) % 8 != 7:
            tell(item)


class Nostalgic(Mumbling):
    """Tells of a new state, and then of the former one once more."""

    def mumble(self, tell, held, item):
        tell(item)
        if isinstance(item, Changed):
            held.append(item)
            for former in held[-2:-1]:
                tell(former)


class Deafening(MemoryBackend):
    """Lets all go when one leaves."""

    async def follow(self, stream_id, tell, *, events):
        await super().follow(stream_id, tell, events=events)
        return partial(self._feeds._feeds.pop, stream_id, None)


class Clinging(MemoryBackend):
    """Lets nobody go."""

    async def follow(self, stream_id, tell, *, events):
        await super().follow(stream_id, tell, events=events)
        return lambda: None


class Absentminded(MemoryBackend):
    """Forgets nobody who was cancelled."""

    async def follow(self, stream_id, tell, *, events):
        unfollow = await super().follow(stream_id, tell, events=events)
        await checkpoint()
        return unfollow


class Startled(MemoryBackend):
    """Breaks down when somebody leaves while others are told."""

    def _publish(self, stream_id, before, effect):
        for feed in self._feeds._feeds.get(stream_id, ()):
            if effect.batch is not None and feed.events:
                feed.tell(Appended(effect.batch))
        super()._publish(stream_id, before, type(effect)(effect.sentinel))


class Overeager(MemoryBackend):
    """Tells all who were there when it began to, although they have left since."""

    def _publish(self, stream_id, before, effect):
        feeds = self._feeds._feeds.get(stream_id, ())
        for tell in [feed._tell for feed in feeds if feed.events and effect.batch is not None]:
            tell(Appended(effect.batch))
        super()._publish(stream_id, before, type(effect)(effect.sentinel))


class Unconfirmed(MemoryBackend):
    """Subscribes a moment after it has said so."""

    def __init__(self):
        super().__init__()
        self.asked = []

    async def follow(self, stream_id, tell, *, events):
        feed = self._feeds.add(stream_id, tell, events=events)
        self._feeds.discard(stream_id, feed)
        self.asked.append((stream_id, feed))
        return partial(self._feeds.discard, stream_id, feed)

    async def apply(self, stream_id, change):
        sentinel = await super().apply(stream_id, change)
        while self.asked:
            followed, feed = self.asked.pop()
            self._feeds._feeds.setdefault(followed, set()).add(feed)
        return sentinel


class Skewed(MemoryBackend):
    """Has a clock in each process."""

    skew = 0

    async def __aenter__(self):
        self.skew += 3
        return copy(self)

    async def apply(self, stream_id, change):
        await checkpoint()
        return self._apply(stream_id, change, current_time() + self.skew).sentinel


class Discreet(Mumbling):
    """Reports a beginning as an interruption, and tells of no end."""

    def mumble(self, tell, held, item):
        if not isinstance(item, Changed):
            tell(item)
        elif item.sentinel.state is State.ACTIVE:
            tell(Interrupted())


class Napping(MemoryBackend):
    """Passes over what will be trimmed soon, and says nothing."""

    def _publish(self, stream_id, before, effect):
        batch, retention = effect.batch, effect.sentinel.retention
        if batch is None or retention.count > 2 or batch.first_seq % 5 == 0:
            super()._publish(stream_id, before, effect)


class Threaded(Mumbling):
    """Tells in a thread of its own."""

    def mumble(self, tell, held, item):
        thread = Thread(target=tell, args=[item])
        thread.start()
        thread.join()


class Remembering(MemoryBackend):
    """Keeps whoever has followed."""

    async def follow(self, stream_id, tell, *, events):
        self.followers = [*getattr(self, "followers", ()), tell]
        return await super().follow(stream_id, tell, events=events)


class Silent(MemoryBackend):
    """Tells of events alone."""

    def _publish(self, stream_id, before, effect):
        same = type(effect)(before, effect.batch, effect.clear)
        super()._publish(stream_id, before, same)


class Repeating(MemoryBackend):
    """Lists a stream twice."""

    async def scan(self):
        async for each in super().scan():
            yield each
            yield each


class Undying(MemoryBackend):
    """Lists what was deleted."""

    async def scan(self):
        for stream_id, log in [*self._logs.items()]:
            yield stream_id, log.sentinel


class Deaf(MemoryBackend):
    """Cannot be cancelled."""

    async def apply(self, stream_id, change):
        return self._apply(stream_id, change, current_time()).sentinel


def name_of(broken):
    """Return a name by which no two classes are confused."""
    return broken.__qualname__ if broken.__module__ == __name__ else f"channels-{broken.__name__}"


BROKEN = [
    *(Fenceless, Doubling, Hasty, Halving, Hoarding, Trimming, Blind, Judging, Immortal),
    *(Curious, Torn, Inclusive, Folding, Translating, Reordering, Tardy, Sulking, Leaky),
    *(Boastful, Nostalgic),
    *(Deafening, Clinging, Absentminded, Startled, Overeager, Unconfirmed, Silent),
    *(Skewed, Discreet, Napping, Remembering, Repeating, Undying, Deaf),
]


@pytest.mark.virtual_time
@pytest.mark.parametrize("broken", [*BROKEN, *broken_channels.BROKEN_CHANNELS], ids=name_of)
async def test_what_is_broken_is_rejected(broken):
    backend = broken()
    with pytest.raises((AssertionError, TimeoutError, RuntimeError)) as caught:
        await check_backend(lambda: backend)
    assert any("in the scenario" in note for note in caught.value.__notes__)


async def test_who_tells_in_another_thread_is_rejected():
    backend, scenarios = Threaded(), [each for each in SCENARIOS if "event_loop" in each.__name__]
    with pytest.raises(AssertionError, match="a feed tells in the event loop"):
        await check_backend(lambda: backend, scenarios)


@pytest.mark.virtual_time
async def test_what_is_not_told_is_named():
    backend = Silent()
    with pytest.raises(
        AssertionError, match="this one not that it is lost within 20 s: it has got to event 0"
    ):
        await check_backend(lambda: backend)


FOUND_BY_CHANCE = [
    *(Fenceless, Doubling, Hoarding, Trimming, Inclusive, Translating, Leaky, Silent),
    *(Reordering, Repeating, Undying, Forgetting, Nostalgic),
]


@pytest.mark.parametrize(
    "broken", [*FOUND_BY_CHANCE, *broken_channels.FOUND_BY_CHANCE], ids=name_of
)
def test_what_is_broken_is_found_by_chance(broken):
    """The scenarios are for what needs two things at once."""
    backend = broken()

    quick = settings(SETTINGS, max_examples=200, phases=[Phase.generate], database=None)
    with backend_machine(lambda: backend) as machine:

        class Impatient(machine):
            patience = 10

        with pytest.raises((AssertionError, TimeoutError)):
            run_state_machine_as_test(Impatient, settings=quick)


# A backend that fails as it is told to


async def started(backend, *texts):
    await backend.apply("x", Claim("a", 10.0))
    await backend.apply("x", append("a", 1, map(Message, texts)))


def publish(*texts):
    publications = tuple(Publication(Message(each), each) for each in texts)
    return Publish("a", publications, Retention())


async def texts_in(backend):
    page = await backend.read("x", 0, 100, connected_for=0)
    return [event.data for event in page.events]


@pytest.mark.parametrize(
    ("fault", "left"),
    [(Fault.REFUSE, [["one"]]), (Fault.FORGET, [["one", "two"]]), (Fault.CANCEL, [["one"]])],
)
async def test_a_change_fails_as_it_was_told(fault, left):
    store = MemoryBackend()
    async with FaultyBackend(store) as backend:
        await started(backend, "one")
        backend.faults = {"apply": fault}.get
        with pytest.raises(BackendUnavailable):
            await backend.apply("x", append("a", 2, [Message("two")]))
        assert await texts_in(backend) in left
        backend.recover()
        await backend.apply("x", append("a", 2, [Message("two")]))
        assert await texts_in(backend) == ["one", "two"]
        assert backend.failures == 1


@pytest.mark.parametrize(
    ("fault", "left"),
    [(Fault.REFUSE, [[]]), (Fault.FORGET, [["one"]]), (Fault.CANCEL, [[], ["one"]])],
)
async def test_a_publication_fails_as_it_was_told(fault, left):
    async with FaultyBackend(MemoryBackend(), {"publish": fault}.get) as backend:
        with pytest.raises(BackendUnavailable):
            await backend.publish("x", publish("one"))
        assert await texts_in(backend) in left
        backend.recover()
        (id,) = await backend.publish("x", publish("one"))
        assert id.seq == 1
        assert await texts_in(backend) == ["one"]
        assert backend.failures == 1


@pytest.mark.virtual_time
async def test_a_delayed_answer_is_late():
    async with FaultyBackend(MemoryBackend(), {"read": Fault.DELAY}.get, delay=5) as backend:
        await started(backend, "one")
        before = current_time()
        assert await texts_in(backend) == ["one"]
        assert current_time() == before + 5


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (None, [1, 2]),
        (Fault.DROP, [2]),
        (Fault.REPEAT, [1, 1, 2]),
        (Fault.DELAY, [2, 1]),
        (Fault.INTERRUPT, [Interrupted(), 2]),
    ],
)
async def test_an_item_of_a_feed_goes_wrong(fault, told):
    faults = iter([fault, None])
    async with FaultyBackend(MemoryBackend()) as backend:
        await backend.apply("x", Claim("a", 10.0))
        async with following(backend, "x") as feed:
            backend.faults = lambda call: next(faults) if call == "feed" else None
            await backend.apply("x", append("a", 1, [Message("one")]))
            await backend.apply("x", append("a", 2, [Message("two")]))
            heard = []
            while len(heard) < len(told):
                heard += await feed.receive()
    assert [each if each == Interrupted() else each.batch.first_seq for each in heard] == told


@pytest.mark.parametrize("fault", [Fault.REFUSE, Fault.FORGET, Fault.CANCEL])
async def test_who_could_not_follow_is_told_nothing(fault):
    store, inbox = MemoryBackend(), Inbox()
    async with FaultyBackend(store, {"follow": fault}.get) as backend:
        with pytest.raises(BackendUnavailable):
            await backend.follow("x", inbox.tell, events=True)
        await started(backend, "one")
        backend.recover()
    assert not inbox.told
    assert not store._feeds


@pytest.mark.virtual_time
async def test_who_follows_slowly_is_told_before_they_know():
    """And those who go away by then are told nothing more."""
    store = MemoryBackend()
    async with FaultyBackend(store, {"follow": Fault.DELAY}.get, delay=5) as backend:
        await backend.apply("x", Claim("a", 10.0))
        stays, leaves = Inbox(), Inbox()
        async with create_task_group() as tasks:
            tasks.start_soon(partial(backend.follow, "x", stays.tell, events=True))
            with move_on_after(1):
                await backend.follow("x", leaves.tell, events=True)
            await backend.apply("x", append("a", 1, [Message("one")]))
            assert (len(stays.told), len(leaves.told)) == (1, 0)
        backend.recover()
        assert (len(stays.told), len(leaves.told)) == (2, 0)


async def test_who_waits_hears_of_an_outage_when_it_is_over():
    async with FaultyBackend(MemoryBackend()) as backend:
        async with following(backend, "x") as feed:
            backend.break_down()
            for call in (started(backend), texts_in(backend), backend.publish("c", publish("one"))):
                with pytest.raises(BackendUnavailable):
                    await call
            backend.recover()
            assert await feed.receive() == (Interrupted(),)
        await started(backend)
        assert backend.connected_since <= current_time()


@pytest.mark.virtual_time
@pytest.mark.parametrize("seed", range(10))
async def test_streams_are_whole_on_a_store_that_fails_by_chance(seed):
    """Laws 1, 2 and 6, with whatever a store may do to its callers."""
    chance = random.Random(seed)
    faults = [*Fault, *[None] * 12]
    whole = [str(number) for number in range(30)]
    backend = FaultyBackend(MemoryBackend(), lambda _: chance.choice(faults), delay=0.1)
    async with Streams(backend, check_interval=1) as streams:
        assert await data_of(await streams.start("x", whole)) == whole


@pytest.mark.virtual_time
@pytest.mark.parametrize("seed", range(10))
async def test_channels_are_whole_on_a_store_that_fails_by_chance(seed):
    """Laws 1, 2 and 6, for whoever subscribes: nothing is lost, twice, or out of order."""
    chance = random.Random(seed)
    faults = [*Fault, *[None] * 12]
    backend = FaultyBackend(MemoryBackend(), lambda _: chance.choice(faults), delay=0.1)
    told, received = {}, []

    async def write(channel, writer):
        for number in range(10):
            text = f"{writer}:{number}"
            told[await channel.publish(text)] = text

    async with Streams(backend, check_interval=1) as streams, create_task_group() as tasks:
        channel = streams.channel("news")
        for writer in "abc":
            tasks.start_soon(write, channel, writer)
        async with await resumed(channel) as subscription:
            while len(received) < 30:
                received += await subscription.receive()
    assert {event.id: event.data for event in received} == told
    assert [event.id.seq for event in received] == [*range(1, 31)]
    for writer in "abc":
        own = [event.data for event in received if event.data[0] == writer]
        assert own == [f"{writer}:{number}" for number in range(10)]


async def resumed(channel):
    """Subscribe as a client does: again while the store does not answer."""
    while True:
        with suppress(BackendUnavailable):
            return await channel.subscribe()
