"""Workload 8: events to the bytes of an event stream, and back."""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path

from tests.bench.model import Case, Goal, Measured, Of, Setting, Workload

EVENTS = 20_000
CHUNK = 2**16
EPOCH = "0123456789abcdef"


def recorded() -> list[str]:
    """Return what a provider sends, a chunk of JSON each.

    Of the recordings in the folder that RESUMABLE_BENCH_RECORDINGS names (files `*.jsonl`, a chunk
    in each line), or else of the form of OpenAI's chat completions.
    """
    if folder := os.environ.get("RESUMABLE_BENCH_RECORDINGS"):
        files = sorted(Path(folder).glob("*.jsonl"))
        lines = [line for file in files for line in file.read_text("utf-8").splitlines() if line]
    else:
        random.seed(8)
        lines = [_chunk("".join(random.choices("abcdeilmnorstu é", k=5))) for _ in range(500)]
    return [lines[index % len(lines)] for index in range(EVENTS)]


def _chunk(text: str) -> str:
    choice = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": None}
    head = {"id": "chatcmpl-5oo6uDh67AD85p73ksdT1KxhE0", "object": "chat.completion.chunk"}
    rest = {"created": 1770933892, "model": "some-model", "choices": [choice], "usage": None}
    return json.dumps(head | rest, ensure_ascii=False, separators=(",", ":"))


def verdict(received: list[str], sent: list[str]) -> dict[str, int]:
    """Compare what came out with what went in; here texts may be alike."""
    differ = sum(one != other for one, other in zip(received, sent, strict=False))
    lost = max(0, len(sent) - len(received))
    return {"arrived": len(received), "lost": lost, "foreign": differ}


def decoded(body: bytes) -> list[str]:
    """Return the data of the events of a stream, each of one line, in the plainest way."""
    lines = body.decode().replace("\r\n", "\n").split("\n")
    return [line[5:].removeprefix(" ") for line in lines if line.startswith("data:")]


def encoded(sent: list[str]) -> bytes:
    """Return an event stream, in the plainest way."""
    pairs = enumerate(sent, 1)
    return "".join(f"id: {EPOCH}-{seq}\ndata: {text}\n\n" for seq, text in pairs).encode()


def chunks(size: int) -> list[bytes]:
    body = encoded(recorded())
    return [body[start : start + size] for start in range(0, len(body), size)]


def rate(work) -> tuple[float, list]:
    """Do it for a while, and return events in a second, and what came out the last time."""
    work()
    began, times = time.perf_counter(), 0
    while (took := time.perf_counter() - began) < 0.5:
        result, times = work(), times + 1
    return EVENTS * times / took, result


def encode_with_ours() -> dict:
    from resumable_core import Event, EventId, SSEFraming

    sent = recorded()
    events = [Event(EventId(EPOCH, seq), text) for seq, text in enumerate(sent, 1)]
    framing = SSEFraming()
    done, body = rate(lambda: framing.frame(events).body)
    return {"events/s": done, "verdict": verdict(decoded(body), sent)}


def encode_with_sse_starlette() -> dict:
    from sse_starlette.sse import ServerSentEvent

    sent = recorded()

    def work():
        events = (
            ServerSentEvent(data=text, id=f"{EPOCH}-{seq}") for seq, text in enumerate(sent, 1)
        )
        return b"".join(event.encode() for event in events)

    done, body = rate(work)
    return {"events/s": done, "verdict": verdict(decoded(body), sent)}


def encode_bare() -> dict:
    sent = recorded()
    done, body = rate(lambda: encoded(sent))
    return {"events/s": done, "verdict": verdict(decoded(body), sent)}


def decode_with_ours() -> dict:
    from resumable_core import Decoder

    pieces = chunks(CHUNK)

    def work():
        decoder = Decoder()
        return [event.data for piece in pieces for event in decoder.feed(piece)]

    done, received = rate(work)
    return {"events/s": done, "verdict": verdict(received, recorded())}


def decode_with_httpx_sse() -> dict:
    import httpx
    from httpx_sse import EventSource

    pieces = chunks(CHUNK)
    headers = {"content-type": "text/event-stream; charset=utf-8"}

    def work():
        response = httpx.Response(200, headers=headers, content=iter(pieces))
        return [event.data for event in EventSource(response).iter_sse()]

    done, received = rate(work)
    return {"events/s": done, "verdict": verdict(received, recorded())}


def decode_bytes(size: int) -> dict:
    """Decode one event of a size that comes byte by byte."""
    from resumable_core import Decoder

    data = "x" * size
    body = f"data: {data}\n\n".encode()
    decoder, received = Decoder(), []
    began = time.perf_counter()
    for place in range(len(body)):
        received += decoder.feed(body[place : place + 1])
    took = time.perf_counter() - began
    said = verdict([event.data for event in received], [data])
    return {"ns/byte": 1e9 * took / len(body), "verdict": said}


def wire(setting: Setting) -> Workload:
    """Return the workload."""

    def contender(part, **options):
        def measure() -> Measured:
            said = setting.processes.run(part, **options)
            said_of_events = said.pop("verdict")
            return Measured(said, said_of_events)

        return measure

    small, large = 10_000, setting.scaled(1_000_000)
    sizes = {size: f"decode one event of {size:,} bytes, byte by byte" for size in (small, large)}
    per_second, per_byte = "events/s", "ns/byte"
    return Workload(
        8,
        "Wire: event streams encoded and decoded",
        (
            Case(
                "encode",
                {
                    "ours": contender(encode_with_ours),
                    "sse-starlette": contender(encode_with_sse_starlette, peer=True),
                    "floor": contender(encode_bare),
                },
            ),
            Case(
                "decode",
                {
                    "ours": contender(decode_with_ours),
                    "httpx-sse": contender(decode_with_httpx_sse, peer=True),
                },
            ),
            *(
                Case(case, {"ours": contender(decode_bytes, size=size)})
                for size, case in sizes.items()
            ),
        ),
        (
            Goal(
                "sse-starlette × 3",
                Of("encode", "ours", per_second),
                3,
                Of("encode", "sse-starlette", per_second),
            ),
            Goal(
                "httpx-sse × 1.5",
                Of("decode", "ours", per_second),
                1.5,
                Of("decode", "httpx-sse", per_second),
            ),
            Goal(
                "linear: a byte costs what it costs in 10,000",
                Of(sizes[large], "ours", per_byte),
                1.3,
                Of(sizes[small], "ours", per_byte),
                at_most=True,
            ),
        ),
        f"{EVENTS:,} chunks of JSON as providers send them, with ids. The floor for encoding is an "
        "f-string that checks nothing.",
    )
