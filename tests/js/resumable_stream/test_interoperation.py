"""npm's resumable-stream and ours share streams, in both directions, over one Redis."""

import random

import pytest
from anyio import fail_after, sleep

from resumable_core import DONE_MESSAGE, StreamLost, skip_units, utf16_units
from tests.js.resumable_stream.conftest import PeerError
from tests.vercel.sources import Tap, counted, text_of

ROUNDS = 50
WORDS = ["a", "word ", "héllo ", "日本語", "😀", "👩\u200d🚀", "e\u0301", "नि", "\n\n", "\\"]


def sentinel(id):
    return f"resumable-stream:rs:sentinel:{id}"


def pieces_of(dice):
    """Cut a text into pieces, anywhere between two characters."""
    text = "".join(dice.choices(WORDS, k=dice.randrange(1, 40)))
    cuts = sorted(dice.sample(range(len(text) + 1), k=min(len(text), dice.randrange(6))))
    ends = zip([0, *cuts], [*cuts, len(text)], strict=True)
    return text, [text[start:end] for start, end in ends if start < end]


def listening(server):
    """The ids of the connections that listen."""
    return {client["id"] for client in server.clients() if int(client["sub"]) > 0}


def kill(server, connections):
    for id in connections:
        server.run("CLIENT", "KILL", "ID", id)


async def test_node_produces_and_python_resumes(peer, open_context, redis_server):
    async with open_context() as context:
        for number in range(ROUNDS):
            dice = random.Random(number)
            text, pieces = pieces_of(dice)
            method = dice.choice(["resumableStream", "createNewResumableStream"])
            id = f"node-{number}"
            assert await peer("start", method=method, id=id) == "stream"
            assert await context.has_existing_stream(id) is True
            never, readers, units = counted("never"), [], 0
            for index, piece in enumerate(pieces):
                if index == 0 or dice.random() < 0.5:
                    whole = "".join(pieces[:index])
                    skip = utf16_units(whole[: dice.randrange(len(whole) + 1)])
                    if dice.random() < 0.5:
                        stream = await context.resumable_stream(id, never, skip)
                    else:
                        stream = await context.resume_existing_stream(id, skip)
                    readers.append((skip, stream))
                units = await peer("chunk", id=id, text=piece)
            assert units == utf16_units(text)
            await peer("end", id=id)
            with fail_after(10):
                for skip, stream in readers:
                    assert await text_of(stream) == skip_units(text, skip)
            assert (await peer("whole", name=id))["text"] == text
            assert await context.has_existing_stream(id) == "DONE"
            assert await context.resumable_stream(id, never) is None
            assert never.runs == 0
            assert redis_server.run("TTL", sentinel(id)) > 86_000


async def test_python_produces_and_node_resumes(peer, open_context, redis_server):
    async with open_context() as context:
        for number in range(ROUNDS):
            dice = random.Random(number)
            text, pieces = pieces_of(dice)
            id = f"python-{number}"
            tap = Tap()
            start = dice.choice([context.resumable_stream, context.create_new_resumable_stream])
            local = await start(id, tap)
            assert await peer("has", id=id) is True
            readers = []
            for index, piece in enumerate(pieces):
                if index == 0 or dice.random() < 0.5:
                    whole = "".join(pieces[:index])
                    skip = dice.randrange(utf16_units(whole) + 1)  # inside of characters, too
                    call = {"id": id, "skip": skip, "name": f"{id}-{index}"}
                    if dice.random() < 0.5:
                        call["method"] = "resumableStream"
                        assert await peer("start", **call) == "stream"
                    else:
                        assert await peer("resume", **call) == "stream"
                    readers.append((skip, call["name"]))
                tap.pour(piece)
                assert await anext(local) == piece
            tap.end()
            assert await text_of(local) == ""
            for skip, name in readers:
                expected = {"text": skip_units(text, skip), "error": None}
                assert await peer("whole", name=name) == expected
            assert await peer("has", id=id) == "DONE"
            assert await peer("start", method="resumableStream", id=id) is None
            assert redis_server.run("TTL", sentinel(id)) > 86_000


async def test_a_stream_that_nobody_knows(peer, open_context):
    async with open_context() as context:
        assert await peer("resume", id="one", name="r") == "undefined"
        assert await context.resume_existing_stream("one") == "NOT_FOUND"
        assert await peer("has", id="one") is None


async def test_however_many_ask_in_both_one_produces(peer, open_context):
    """Who is first produces, and the other one listens."""
    async with open_context() as context:
        for number in range(10):
            id, tap = f"both-{number}", Tap()
            if number % 2:
                stream = await context.resumable_stream(id, tap)
                await peer("start", method="resumableStream", id=id)
                tap.pour("text")
                tap.end()
            else:
                await peer("start", method="resumableStream", id=id)
                stream = await context.resumable_stream(id, tap)
                await peer("chunk", id=id, text="text")
                await peer("end", id=id)
            assert await text_of(stream) == "text"
            assert (await peer("whole", name=id))["text"] == "text"
            assert tap.runs == number % 2
            tap.end()


# -- What breaks ---------------------------------------------------------------------------------


async def test_node_is_killed_while_python_reads(peer, open_context, redis_server):
    """The reader is told, and the id is usable again: at once, not in a day."""
    async with open_context(watchdog=0.5) as context:
        await peer("start", method="resumableStream", id="one")
        await peer("chunk", id="one", text="part")
        stream = await context.resume_existing_stream("one")
        assert await anext(stream) == "part"
        peer.kill()
        with fail_after(5), pytest.raises(StreamLost, match="died"):
            await anext(stream)
        assert await context.has_existing_stream("one") is None
        again = await context.resumable_stream("one", counted("again"))
        assert await text_of(again) == "again"


async def test_node_was_killed_before_python_asks(peer, open_context, redis_server):
    async with open_context(ack_timeout=30) as context:
        await peer("start", method="resumableStream", id="one")
        peer.kill()
        while redis_server.run("PUBLISH", "resumable-stream:rs:request:one", "{}"):  # noqa: ASYNC110
            await sleep(0.01)
        assert redis_server.run("TTL", sentinel("one")) > 86_000
        with fail_after(10):
            stream = await context.resumable_stream("one", counted("again"))
        assert await text_of(stream) == "again"


async def test_python_is_killed_and_node_starts_again(peer, producer, open_context):
    """Once a Python process has noticed: Node's library itself would not for a day."""
    assert await peer("resume", id="one", name="reader") == "stream"
    assert await peer("until", name="reader", length=8) == "part 😀 "
    producer.kill()
    with pytest.raises(PeerError, match="Timeout waiting for ack"):
        await peer("resume", id="one", name="late")
    async with open_context(ack_timeout=30) as context:
        with fail_after(10), pytest.raises(StreamLost, match="died"):
            await context.resume_existing_stream("one")
    assert await peer("start", method="resumableStream", id="one", name="one") == "stream"
    await peer("chunk", id="one", text="again")
    await peer("end", id="one")
    assert (await peer("whole", name="one"))["text"] == "again"


async def test_the_connection_of_a_python_reader_is_killed(peer, open_context, redis_server):
    """Node goes on producing; what was published meanwhile is asked for again."""
    await peer("start", method="resumableStream", id="one")
    of_node = listening(redis_server)
    assert len(of_node) == 1
    async with open_context() as context:
        text = received = "ab"
        await peer("chunk", id="one", text=text)
        stream = await context.resume_existing_stream("one", 2)
        for number in range(100):
            piece = f"{number} 😀 "
            await peer("chunk", id="one", text=piece)
            text += piece
            if number in (30, 60):
                kill(redis_server, listening(redis_server) - of_node)
        with fail_after(10):
            while received != text:
                received += await anext(stream)
                assert text.startswith(received)
            await peer("end", id="one")
            assert await text_of(stream) == ""


async def test_the_connection_of_a_node_reader_is_killed(peer, open_context, redis_server):
    """It may miss something, since its library does not notice; nobody else does."""
    tap = Tap()
    async with open_context() as context, open_context() as other:
        await context.resumable_stream("one", tap)
        stream = await other.resume_existing_stream("one")
        ours = listening(redis_server)
        assert await peer("resume", id="one", name="reader") == "stream"
        tap.pour("a 😀 ")
        await peer("until", name="reader", length=5)
        kill(redis_server, listening(redis_server) - ours)
        await sleep(0.5)
        tap.pour("b")
        tap.end()
        with fail_after(10):
            assert await text_of(stream) == "a 😀 b"


async def test_a_source_that_fails_in_python(peer, open_context):
    """The wire has no word for it: Node's readers see the end. The id is usable again."""
    tap = Tap()
    async with open_context() as context:
        await context.resumable_stream("one", tap)
        assert await peer("resume", id="one", name="reader") == "stream"
        tap.pour("part")
        await peer("until", name="reader", length=4)
        tap.fail()
        assert await peer("whole", name="reader") == {"text": "part", "error": None}
        assert await peer("start", method="resumableStream", id="one") == "stream"
        await peer("chunk", id="one", text="again")
        await peer("end", id="one")


async def test_a_chunk_that_equals_the_message_of_the_end(peer, open_context):
    """From Python it reaches Node as text; from Node it is the end, as it is for Node."""
    tap = Tap()
    async with open_context() as context:
        await context.resumable_stream("one", tap)
        await peer("resume", id="one", name="reader")
        tap.pour(DONE_MESSAGE, "after")
        tap.end()
        assert (await peer("whole", name="reader"))["text"] == f"{DONE_MESSAGE}after"

        await peer("start", method="resumableStream", id="two")
        stream = await context.resume_existing_stream("two")
        await peer("chunk", id="two", text=DONE_MESSAGE)
        assert await text_of(stream) == ""
        await peer("end", id="two")
