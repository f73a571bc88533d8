"""The event stream format (law 11), against the WHATWG HTML standard, section 9.2."""

import base64
import codecs
import json
import re
import tracemalloc
from collections.abc import Iterable
from dataclasses import FrozenInstanceError, dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resumable_core._sse import (
    MAX_EVENT_SIZE,
    MAX_RETRY,
    Decoder,
    EventTooLarge,
    ServerSentEvent,
    encode_comment,
    encode_event,
    encode_id,
    encode_retry,
)
from resumable_core.testing import chunkings

SHARED_VECTORS = Path(__file__).parents[2].parent / "shared" / "sse" / "wpt-vectors.json"


@dataclass(frozen=True)
class Outcome:
    """All that a client can learn from a stream."""

    events: list[ServerSentEvent]
    last_event_id: str
    retry: int | None
    too_large: bool = False


def decode(chunks: Iterable[bytes], max_event_size: int = MAX_EVENT_SIZE) -> Outcome:
    decoder = Decoder(max_event_size)
    events: list[ServerSentEvent] = []
    too_large = False
    try:
        for chunk in chunks:
            events += decoder.feed(chunk)
        events += decoder.feed(b"")  # raises what the last chunk left to the next call
    except EventTooLarge:
        too_large = True
    return Outcome(events, decoder.last_event_id, decoder.retry, too_large)


@dataclass
class Buffers:
    """The buffers of 9.2.6, and its rules for filling them."""

    data: str = ""
    type: str = ""
    id: str = ""
    retry: int | None = None

    def process_field(self, name: str, value: str) -> None:
        if name == "event":
            self.type = value
        elif name == "data":
            self.data += value + "\n"
        elif name == "id" and "\0" not in value:
            self.id = value
        elif name == "retry" and re.fullmatch("[0-9]+", value):
            self.retry = min(int(value), MAX_RETRY)


def reference(stream: bytes, max_event_size: int = MAX_EVENT_SIZE) -> Outcome:
    """Decode a whole stream, step by step after 9.2.5 and 9.2.6, plus the bound."""
    # Not `bytes.decode`: a character that has no end yet is not U+FFFD yet.
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(stream).removeprefix("\ufeff")
    *lines, tail = re.split("\r\n|\r|\n", text)
    buffers = Buffers()
    events: list[ServerSentEvent] = []
    last_event_id = ""
    size = 0
    for line in lines:
        if size + len(line) > max_event_size:
            return Outcome(events, last_event_id, buffers.retry, too_large=True)
        if line == "":
            last_event_id = buffers.id
            if buffers.data != "":
                data = buffers.data.removesuffix("\n")
                events.append(ServerSentEvent(buffers.type or "message", data, last_event_id))
            buffers.data, buffers.type = "", ""
            size = 0
        elif line[0] != ":":
            name, _, value = line.partition(":")
            buffers.process_field(name, value.removeprefix(" "))
            size += len(line)
    too_large = size + len(tail) > max_event_size
    return Outcome(events, last_event_id, buffers.retry, too_large)


def bytewise(stream: bytes) -> list[bytes]:
    return [stream[i : i + 1] for i in range(len(stream))]


# Whatever a decoder may trip over, and what looks like a newline or a field but isn't one.
NASTY = ["\r\n", "\r", "\n", "\0", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029", "\ufeff", "😀"]
NASTY += [":", " ", "data", "id", "event", "retry", "data: x", "\n\nid: 7\ndata: x\n\n", "٣", "5"]
texts = st.one_of(st.text(), st.lists(st.sampled_from(NASTY)).map("".join))
lines = texts.map(lambda text: re.sub("[\r\n\0]", "", text))
retries = st.integers(0, MAX_RETRY)
FIELDS = [b"data:", b"id: ", b"event:", b"retry:1", b"\n", b"\n\n"]
NOT_UTF8 = [b"\xef", b"\xbb", b"\xf0\x9f", b"\xe2\x80", b"\xed\xa0\x80", b"\xc0\x80", b"\xff"]
tokens = st.sampled_from([*(text.encode() for text in NASTY), *FIELDS, *NOT_UTF8])
soups = st.lists(tokens, max_size=40).map(b"".join)


@dataclass(frozen=True)
class Sent:
    data: str
    id: str | None
    type: str | None
    retry: int | None

    def encode(self) -> bytes:
        return encode_event(self.data, id=self.id, type=self.type, retry=self.retry)


sent = st.builds(Sent, texts, st.none() | lines, st.none() | lines, st.none() | retries)


def received(sent: Iterable[Sent]) -> Outcome:
    """Say what must arrive: the same, with LF for every newline, the id and retry last sent."""
    events: list[ServerSentEvent] = []
    last_id, retry = "", None
    for event in sent:
        last_id = last_id if event.id is None else event.id
        retry = retry if event.retry is None else event.retry
        data = re.sub("\r\n|\r", "\n", event.data)
        events.append(ServerSentEvent(event.type or "message", data, last_id))
    return Outcome(events, last_id, retry)


# -- Properties -----------------------------------------------------------------------------------


@given(st.data(), st.lists(sent, max_size=4))
def test_decoding_what_was_encoded_gives_the_same(data: st.DataObject, sent: list[Sent]) -> None:
    """Law 11: decoding what was encoded gives the same events, however the bytes are cut.

    Texts are drawn to look like newlines, fields and frames: none of them becomes one.
    """
    stream = b"".join(event.encode() for event in sent)
    assert decode([stream]) == received(sent)
    assert decode(bytewise(stream)) == received(sent)
    assert decode(data.draw(chunkings(stream))) == received(sent)


@given(sent, lines, retries, lines)
def test_only_events_are_dispatched(sent: Sent, id: str, retry: int, comment: str) -> None:
    """Law 11: comments, ids and reconnection times between events never become events."""
    stream = encode_comment(comment) + encode_id(id) + encode_retry(retry)
    assert decode([stream]) == Outcome([], id, retry)
    whole = decode([sent.encode() + stream + sent.encode()])
    last_id = id if sent.id is None else sent.id
    assert [event.data for event in whole.events] == [received([sent]).events[0].data] * 2
    assert whole.events[1].last_event_id == whole.last_event_id == last_id
    assert whole.retry == (retry if sent.retry is None else sent.retry)


@given(st.data(), soups)
@example(data=None, stream=b"\xef\xbb\xbf\xef\xbb\xbfdata:1\n\ndata:2\n\n")
@example(data=None, stream=b"\xef\xbb\xbf\ndata\r\rdata\r\n\r\n")
@example(data=None, stream=b"\xef\xbbdata\n\ndata:\xf0\x9f\ndata:\xe2\x80\n\n")
@example(data=None, stream=b"id:1\ndata\n\nid:2\nretry:7\ndata")
def test_any_chunking_of_any_bytes_gives_what_the_standard_says(
    data: st.DataObject | None, stream: bytes
) -> None:
    """Law 11: however bytes are cut, they decode to what the standard makes of the whole."""
    expected = reference(stream)
    assert decode([stream]) == expected
    assert decode(bytewise(stream)) == expected
    if data is not None:
        assert decode(data.draw(chunkings(stream))) == expected


@given(st.data(), soups, st.integers(1, 30))
@example(data=None, stream=b"\0\xef", max_event_size=1)
def test_the_bound_does_not_depend_on_the_chunking(
    data: st.DataObject | None, stream: bytes, max_event_size: int
) -> None:
    """Law 8 (bounded) and 11: the same bytes are too large, after the same events, in any cut."""
    expected = reference(stream, max_event_size)
    assert decode([stream], max_event_size) == expected
    assert decode(bytewise(stream), max_event_size) == expected
    if data is not None:
        assert decode(data.draw(chunkings(stream)), max_event_size) == expected


@given(st.data(), sent)
def test_an_event_comes_with_the_byte_that_completes_it(data: st.DataObject, sent: Sent) -> None:
    """An event is returned for the end of its empty line: not before, and not with what follows."""
    newline = data.draw(st.sampled_from([b"\n", b"\r", b"\r\n"]))
    stream = sent.encode().replace(b"\n", newline)
    end = len(stream) - len(newline) + 1  # a CR counts at once, whether or not an LF comes
    decoder = Decoder()
    assert decoder.feed(stream[: end - 1]) == []
    assert decoder.feed(stream[end - 1 : end]) == received([sent]).events
    assert decoder.feed(stream[end:]) == []


FORBIDDEN = st.sampled_from(["\r", "\n", "\0", "\ud800", "\udfff"])


@given(lines, FORBIDDEN, lines)
def test_what_would_inject_a_field_is_refused(before: str, forbidden: str, after: str) -> None:
    """Law 11: CR, LF, NUL and lone surrogates in an id, a type or a comment are refused by name."""
    text = before + forbidden + after
    problem = rf"has U\+{ord(forbidden):04X} at index {len(before)}, expected text without CR"
    with pytest.raises(ValueError, match=f"^type {problem}"):
        encode_event("x", type=text)
    with pytest.raises(ValueError, match=f"^id {problem}"):
        encode_event("x", id=text)
    with pytest.raises(ValueError, match=f"^id {problem}"):
        encode_id(text)
    with pytest.raises(ValueError, match=f"^text {problem}"):
        encode_comment(text)


# -- Encoder --------------------------------------------------------------------------------------


def test_an_encoded_event_is_one_block() -> None:
    """An event is written with its type, id and reconnection time before its data."""
    assert encode_event("hello") == b"data: hello\n\n"
    assert encode_event("") == b"data: \n\n"
    assert encode_event("a\r\nb\rc\n\n", id="e-1", type="delta", retry=10) == (
        b"event: delta\nid: e-1\nretry: 10\ndata: a\ndata: b\ndata: c\ndata: \ndata: \n\n"
    )
    assert encode_id("e-7") == b"id: e-7\n\n"
    assert encode_id("") == b"id: \n\n"
    assert encode_retry(0) == b"retry: 0\n\n"
    assert encode_comment() == b": \n\n"
    assert encode_comment("ping") == b": ping\n\n"


def test_data_is_cut_at_the_newlines_of_the_format_only() -> None:
    """Law 11: what `str.splitlines` takes for a newline, and the format doesn't, stays content."""
    data = "\ufeffa\vb\fc\x1cd\x1de\x1ef\x85g\u2028h\u2029i\0j😀"
    assert encode_event(data).count(b"\n") == 2
    assert decode([encode_event(data)]).events == [ServerSentEvent("message", data, "")]


@pytest.mark.parametrize("data", ["\ud800", "a\udfff\nb"])
def test_data_that_utf8_cannot_hold_is_refused(data: str) -> None:
    """A lone surrogate in data is refused by name."""
    with pytest.raises(ValueError, match=r"^data has a lone surrogate"):
        encode_event(data, id="1", type="delta")


BAD_RETRY = r"^retry must be a whole number of milliseconds, from 0 to 2147483647"
HUGE = pytest.param(10**5000, id="huge")  # too long for pytest to make its name


@pytest.mark.parametrize("retry", [-1, MAX_RETRY + 1, HUGE, True, False, 1.0, "1"])
def test_a_bad_reconnection_time_is_refused(retry: Any) -> None:
    """A reconnection time that is no integer from 0 to the bound is refused by name."""
    with pytest.raises(ValueError, match=BAD_RETRY):
        encode_event("x", retry=retry)
    with pytest.raises(ValueError, match=BAD_RETRY):
        encode_retry(retry)


# -- Decoder --------------------------------------------------------------------------------------

# After the prose and the examples of 9.2.5 and 9.2.6, in words of our own.
VECTORS = {
    "lines of data are joined": (
        "data: GOOG\ndata: -3\ndata: 17\n\n",
        [("message", "GOOG\n-3\n17", "")],
    ),
    "comments, ids, and an id taken back": (
        ": hello\n\ndata: one\nid: 1\n\ndata:two\nid\n\ndata:  three\n\n",
        [("message", "one", "1"), ("message", "two", ""), ("message", " three", "")],
    ),
    "no data, empty data, unfinished data": (
        "event: none\n\ndata\n\ndata\ndata\n\ndata:",
        [("message", "", ""), ("message", "\n", "")],
    ),
    "one space is optional, more are content": (
        "data:a\n\ndata: a\n\ndata:  a\n\ndata:\ta\n\ndata: \n\n",
        [("message", text, "") for text in ("a", "a", " a", "\ta", "")],
    ),
    "the first colon ends the name": (
        "data:a:b\n\ndata: a: b\n\ndata:a: b\n\n",
        [("message", text, "") for text in ("a:b", "a: b", "a: b")],
    ),
    "names are exact": (
        "Data: 1\n data: 2\ndata : 3\nDATA: 4\ndat: 5\n: data: 6\ndata: 7\n\n",
        [("message", "7", "")],
    ),
    "a type is for one block, the last one counts": (
        "event: a\nevent:b\ndata: 1\n\ndata: 2\n\n"
        "event: c\n\ndata: 3\n\nevent: d\nevent\ndata: 4\n\n",
        [("b", "1", ""), ("message", "2", ""), ("message", "3", ""), ("message", "4", "")],
    ),
    "an id without data counts": (
        "id: 4\n\ndata: x\n\n",
        [("message", "x", "4")],
    ),
    "an id with NUL does not count": (
        "id: 4\nid: 5\0\nid:\0\ndata: x\n\n",
        [("message", "x", "4")],
    ),
    "every newline": (
        "data: a\rdata: b\r\ndata: c\n\ndata: d\r\rdata: e\r\n\r\ndata: f\n\rdata: g\r\n\n",
        [("message", text, "") for text in ("a\nb\nc", "d", "e", "f", "g")],
    ),
    "one byte order mark": (
        "\ufeffdata: a\n\n\ufeffdata: b\n\ndata: \ufeffc\n\n",
        [("message", "a", ""), ("message", "\ufeffc", "")],
    ),
}


@pytest.mark.parametrize("name", VECTORS)
def test_the_standard_by_example(name: str) -> None:
    """Law 11: a stream gives the events that the standard describes, whole and byte by byte."""
    text, events = VECTORS[name]
    expected = [ServerSentEvent(*event) for event in events]
    assert decode([text.encode()]).events == expected
    assert decode(bytewise(text.encode())).events == expected


def shared_vectors() -> list[Any]:
    if not SHARED_VECTORS.exists():
        skip = pytest.mark.skip(reason=f"the shared vectors are not here: {SHARED_VECTORS}")
        return [pytest.param({}, marks=skip, id="absent")]
    return [pytest.param(v, id=v["name"]) for v in json.loads(SHARED_VECTORS.read_text("utf-8"))]


@pytest.mark.parametrize("vector", shared_vectors())
def test_the_web_platform_tests(vector: dict[str, Any]) -> None:
    """Law 11: the vectors of the web platform tests give their events, cut anywhere."""
    stream = base64.b64decode(vector["b64"])
    expected = [ServerSentEvent(*event) for event in vector["events"]]
    halves = ([stream[:i], stream[i:]] for i in range(len(stream)))
    for chunks in ([stream], bytewise(stream), *halves):
        outcome = decode(chunks)
        assert outcome.events == expected
        assert outcome.retry == vector["retry"]


@pytest.mark.parametrize(
    ("value", "retry"),
    [
        ("0", 0),
        ("007", 7),
        ("2147483647", MAX_RETRY),
        ("2147483648", MAX_RETRY),
        pytest.param("9" * 1_000_000, MAX_RETRY, id="a million digits"),
        pytest.param("0" * 1_000_000 + "5", 5, id="a million zeros"),
        *((value, 1000) for value in ("", "-1", "+1", "1.0", "1e3", "0x1", " 1", "1 ", "٣", "²")),
    ],
)
def test_a_reconnection_time_is_ascii_digits(value: str, retry: int) -> None:
    """A reconnection time is set at once, to at most the bound, and by ASCII digits only."""
    assert decode([f"retry: 1000\nretry: {value}\n".encode()]).retry == retry


def test_the_last_event_id_moves_when_a_block_is_closed() -> None:
    """The id to reconnect with is that of the last closed block, or that of the connection."""
    decoder = Decoder(last_event_id="before")
    assert decoder.feed(b"data: a\n\nid: 1\n") == [ServerSentEvent("message", "a", "before")]
    assert decoder.last_event_id == "before"
    assert decoder.feed(b"\n") == []
    assert decoder.last_event_id == "1"


def test_events_are_values() -> None:
    """An event can't be changed."""
    (event,) = Decoder().feed(b"data: a\n\n")
    with pytest.raises(FrozenInstanceError):
        event.data = "b"


def test_too_large_is_final_and_loses_nothing() -> None:
    """Law 2 (no silent loss): the events before one that is too large are returned first."""
    decoder = Decoder(max_event_size=12)
    fits, above = b"id: 1\ndata:ab\n\n", b"id: 2\ndata:abc\n\n"
    assert len(decoder.feed(fits + fits)) == 2
    assert len(decoder.feed(fits + above + fits)) == 1
    message = r"13 characters or more, expected at most 12: close the connection, and raise max_ev"
    for chunk in (b"", fits, b"\n"):
        with pytest.raises(EventTooLarge, match=message):
            decoder.feed(chunk)
    assert decoder.last_event_id == "1"
    assert decoder.retry is None


def test_comments_are_not_held() -> None:
    """Law 8 (bounded): comments are not held, save the one that has no end yet."""
    decoder = Decoder(max_event_size=12)
    for _ in range(100):
        assert decoder.feed(b": ping\n:\n") == []
    with pytest.raises(EventTooLarge):
        decoder.feed(b":" * 13)


PIECES = ["x", "一", "😀", "data\n", "data:ab\n", "data:一\n", "event:ab\n", "ab\n"]


@pytest.mark.parametrize("piece", PIECES)
def test_memory_is_bounded(piece: str) -> None:
    """Law 8 (bounded): what is held of a block without an end is 16 bytes per character at most."""
    size = 5_000
    chunks = [character.encode() for character in piece * (size // len(piece))]
    decoder = Decoder(size)
    tracemalloc.start()
    try:
        for chunk in chunks:
            decoder.feed(chunk)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 16 * size
    with pytest.raises(EventTooLarge):
        decoder.feed(piece.encode() * size)


@pytest.mark.parametrize("max_event_size", [0, -1])
def test_a_decoder_that_takes_nothing_is_refused(max_event_size: int) -> None:
    """A bound below one character is refused by name."""
    with pytest.raises(ValueError, match=f"^max_event_size is {max_event_size}, expected"):
        Decoder(max_event_size)
