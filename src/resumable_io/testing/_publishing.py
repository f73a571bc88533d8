"""Scenarios of channels: many writers, keys, recipients, what is deleted or expires."""

from __future__ import annotations

from typing import Final

from anyio import create_task_group, sleep

from resumable_core import (
    Change,
    Delete,
    Event,
    EventId,
    Fenced,
    Finish,
    Message,
    Outcome,
    State,
    Stop,
    StreamExists,
)
from resumable_io.abc import Backend

from ._inbox import following
from ._stage import (
    Listener,
    OpenBackend,
    claim,
    data,
    ensure,
    expect,
    expect_refusal,
    is_absent,
    new_channel,
    new_id,
    publish,
    read,
    started,
    texts,
    two,
)

SHORT: Final = 0.3
"""Seconds after which a channel expires, in a scenario."""

MANY: Final = 300
"""Messages in one change: more than the library sends at a time."""


async def of_many_publishers_each_has_ids_of_its_own(open_backend: OpenBackend) -> None:
    """Laws 1 and 3: the store gives the ids, each once, in the order of the log."""
    async with two(open_backend) as both:
        c = new_channel()
        given: dict[EventId, str] = {}

        async def write(backend: Backend, writer: int) -> None:
            for number in range(5):
                items = [f"{writer}-{number}-{each}" for each in "ab"]
                ids = await backend.publish(c, publish(*items))
                given.update(zip(ids, items, strict=True))

        async with following(both[1], c) as feed:
            async with create_task_group() as tasks:
                for writer in range(8):
                    tasks.start_soon(write, both[writer % 2], writer)
            listener = Listener(feed)
            await listener.hear_event(80)
        events = (await read(both[0], c)).events
        expect([event.id.seq for event in events], [*range(1, 81)], "there is no hole")
        expect({event.id: event.data for event in events}, given, "each has the id it was given")
        if not listener.interrupted:
            expect(listener.heard, [event.data for event in events], "it is told in this order")
        for writer in range(8):
            own = [text for text in listener.heard if str(text).startswith(f"{writer}-")]
            expect(own, sorted(map(str, own)), "what one writer publishes stays in its order")


async def what_is_published_again_has_its_first_id(open_backend: OpenBackend) -> None:
    """Law 6: under the same key, in whatever process, beside something new, or in one change."""
    async with two(open_backend) as (one, other):
        c = new_channel()
        first = await one.publish(c, publish("one", "two", "two"))
        expect([id.seq for id in first], [1, 2, 2], "one change")
        for backend in (one, other, one):
            expect([*await backend.publish(c, publish("two"))], [first[1]], "a repeat")
        mixed = await other.publish(c, publish("one", "three", "two"))
        expect([id.seq for id in mixed], [1, 3, 2], "beside something new")
        expect({id.epoch for id in mixed}, {first[0].epoch}, "it is one channel")
        expect(await data(one, c), ["one", "two", "three"], "a repeat adds nothing")

        whole = [str(number) for number in range(MANY)]
        for backend in (one, other):
            ids = await backend.publish(c, publish(*whole))
            expect([id.seq for id in ids], [*range(4, MANY + 4)], "however many they are")


async def a_key_is_forgotten_with_its_event(open_backend: OpenBackend) -> None:
    """Laws 6 and 8: it is known as long as the event is kept, and no longer."""
    async with two(open_backend) as (one, other):
        c = new_channel()
        for number in range(1, 11):
            await one.publish(c, publish(str(number), count=3))
        for number in (8, 9, 10):
            (id,) = await other.publish(c, publish(str(number), count=3))
            expect(id.seq, number, "what is kept is known")
        (id,) = await other.publish(c, publish("1", count=3))
        expect(id.seq, 11, "what is gone is not")
        expect(await data(one, c), ["9", "10", "1"], "the newest are kept")


async def a_channel_that_was_deleted_begins_anew(open_backend: OpenBackend) -> None:
    """Law 3: under another epoch, and with nothing of the old one."""
    async with two(open_backend) as (one, other):
        c = new_channel()
        (old, _) = await one.publish(c, publish("one", "two"))
        await other.apply(c, Delete())
        ensure(await is_absent(one, c), "it is gone at once")
        change = publish("two", "three")
        new = await one.publish(c, change)
        expect([*new], [EventId(change.epoch, 1), EventId(change.epoch, 2)], "its epoch is new")
        page = await read(other, c)
        expect([event.data for event in page.events], ["two", "three"], "nothing is left over")
        ensure(not page.sentinel.lineage.knows(old.epoch), "the old ids are none of its own")
        expect((page.first_seq, page.offset), (1, 0), "seqs and characters start anew")
        expect([*await one.publish(c, publish("one"))], [EventId(change.epoch, 3)], "so do keys")


async def an_idle_channel_is_forgotten(open_backend: OpenBackend) -> None:
    """Law 8: when nobody has published for `keep` seconds, with its keys."""
    async with two(open_backend) as (one, other):
        c = new_channel()
        (old,) = await one.publish(c, publish("one", keep=SHORT))
        while not await is_absent(other, c):  # noqa: ASYNC110
            await sleep(SHORT / 10)  # time passes, and nobody tells
        (new,) = await one.publish(c, publish("one"))
        ensure(new.seq == 1 and new.epoch != old.epoch, "it begins anew")
        expect(await data(other, c), ["one"], "nothing is left over")


async def streams_and_channels_do_not_mix(open_backend: OpenBackend) -> None:
    """Check, then change: the other kind is refused, and left as it is."""
    async with two(open_backend) as (one, other):
        x = new_id()
        await started(one, x, "one")
        await expect_refusal(other.publish(x, publish("mine")), StreamExists)
        await one.apply(x, Finish("a", Outcome.DONE, 1))
        await expect_refusal(other.publish(x, publish("mine")), StreamExists)
        expect(await data(one, x), ["one"], "a stream is left as it is")

        c = new_channel()
        (id,) = await one.publish(c, publish("one"))
        wrong: list[tuple[Change, type[StreamExists | Fenced]]] = [
            (claim("b"), StreamExists),
            (texts(2, "two", epoch=id.epoch), Fenced),
            (Stop(), Fenced),
        ]
        for change, refusal in wrong:
            await expect_refusal(other.apply(c, change), refusal)
        page = await read(other, c)
        expect((page.sentinel.state, len(page.events)), (State.OPEN, 1), "so is a channel")


async def what_is_targeted_keeps_its_recipients(open_backend: OpenBackend) -> None:
    """What is for some is told and kept with their names: readers are shown what is theirs."""
    async with two(open_backend) as (one, other):
        c, ann = new_channel(), ["ann", "é😀:{x}"]
        async with following(other, c) as feed:
            (id,) = await one.publish(c, publish("for ann", to=ann))
            (last,) = await one.publish(c, publish("for all"))
            expected = [
                Event(id, "for ann", None, frozenset(ann)),
                Event(last, "for all"),
            ]
            page = await read(other, c)
            expect([*page.events], expected, "it is kept for whom it is")
            expect(page.seen_by(frozenset()), tuple(expected[1:]), "nobody else is shown it")
            listener = Listener(feed)
            await listener.hear_event(2)
            if not listener.interrupted:
                expect(listener.events, expected, "it is told for whom it is")


async def what_was_published_comes_back(open_backend: OpenBackend) -> None:
    """Law 11: whatever characters messages, types and keys hold; no two keys are one."""
    async with two(open_backend) as (one, other):
        c = new_channel()
        keys = [
            "é",
            "e\u0301",
            "É",
            " é",
            "é ",
            "%C3%A9",
            "😀",
            '"',
            "\\",
            "'",
            "[",
            "x" * 255,
            "0",
        ]
        ids = await one.publish(c, publish(*keys))
        expect([id.seq for id in ids], [*range(1, len(keys) + 1)], "no two keys are one")
        expect([*await other.publish(c, publish(*keys))], [*ids], "each is known again")
        events = (await read(other, c)).events
        expect([Message(each.data, each.type) for each in events], [*map(Message, keys)], "data")


SCENARIOS = (
    of_many_publishers_each_has_ids_of_its_own,
    what_is_published_again_has_its_first_id,
    a_key_is_forgotten_with_its_event,
    a_channel_that_was_deleted_begins_anew,
    an_idle_channel_is_forgotten,
    streams_and_channels_do_not_mix,
    what_is_targeted_keeps_its_recipients,
    what_was_published_comes_back,
)
