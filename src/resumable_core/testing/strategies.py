"""Hypothesis strategies for what goes through the core: small, and unkind.

Every strategy is a function, so that nothing is built before it is wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_letters, digits
from typing import Final

from hypothesis import strategies as st

from resumable_core import (
    RESERVED_TYPES,
    After,
    AtCharacter,
    Beginning,
    End,
    Event,
    EventId,
    Gap,
    GapReason,
    Lineage,
    Live,
    Message,
    Outcome,
    Position,
    Record,
    Reset,
    ResetReason,
    Retention,
    Unreadable,
)

_LETTERS_AND_DIGITS: Final = ascii_letters + digits

NASTY_TEXTS: Final = (
    "\r\n", "\r", "\n", "\n\n", "\0", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029", "\ufeff",
    "😀", "é", "e\u0301", "\U0010ffff", " ", ":", "data: x", "\n\nevent: end\ndata: x\n\n",
)  # fmt: skip
"""Newlines and what is often taken for one, what a wire may trip over, and what forges a field."""

NASTY_BYTES: Final = (
    b"\x80", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf0\x9f", b"\x98\x80", b"\0", b"\r",
)  # fmt: skip
"""What is no UTF-8, or only a part of a character, and what bytes may trip over."""

LONE_SURROGATES: Final = ("\ud800", "\udc80", "\udfff")
"""What a `str` can hold and UTF-8 cannot."""


# Ids and positions


def epochs() -> st.SearchStrategy[str]:
    """Draw an epoch."""
    return st.text(_LETTERS_AND_DIGITS, min_size=1, max_size=32)


def seqs() -> st.SearchStrategy[int]:
    """Draw a seq, often at one of the two ends."""
    return st.integers(0, 2**53 - 1) | st.sampled_from([0, 1, 9, 10, 2**53 - 1])


def event_ids() -> st.SearchStrategy[EventId]:
    """Draw an event id."""
    return st.builds(EventId, epochs(), seqs())


def afters() -> st.SearchStrategy[After]:
    """Draw a position after an event, or after an end."""
    return st.builds(After, event_ids(), st.booleans())


def positions() -> st.SearchStrategy[Position]:
    """Draw a position of any kind; an event id in it is hardly ever one of the stream."""
    return st.one_of(
        st.just(Beginning()),
        st.just(Live()),
        afters(),
        st.builds(AtCharacter, seqs()),
        st.sampled_from(["malformed", "oversized"]).map(Unreadable),
    )


@st.composite
def almost_event_ids(draw: st.DrawFn) -> str:
    """Draw the text of an event id with something changed: some are right all the same."""
    text = str(draw(afters()))
    place = draw(st.integers(0, len(text)))
    odd = st.sampled_from(["", "-", "-end", "0", "+", "_", " ", "\n", "\0", "٣", "０", "é", "😀"])  # noqa: RUF001
    return text[:place] + draw(odd) + text[place + draw(st.integers(0, 1)) :]


def stream_ids() -> st.SearchStrategy[str]:
    """Draw a stream id that is accepted."""
    odd = st.sampled_from(
        ["chat-42", "a:b", "{tag}", "*", "../..", "%00", "😀", " ", "\ufeff", "é"]
    )
    return st.lists(odd | st.text(_LETTERS_AND_DIGITS, min_size=1), min_size=1, max_size=8).map(
        lambda parts: "".join(parts).encode()[:255].decode(errors="ignore")
    )


def bad_stream_ids() -> st.SearchStrategy[str]:
    """Draw a stream id that is refused."""
    controls = st.sampled_from([*map(chr, (*range(0x20), *range(0x7F, 0xA0))), "\u2028", "\u2029"])
    return st.sampled_from(["", "x" * 256, "😀" * 64, "é" * 128]) | _spoilt(
        stream_ids(), controls | st.sampled_from(LONE_SURROGATES)
    )


def _spoilt(good: st.SearchStrategy[str], bad: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(good, bad, good).map(lambda drawn: drawn[0][:40] + drawn[1] + drawn[2][:40])


# Records


def texts() -> st.SearchStrategy[str]:
    """Draw text that UTF-8 can carry."""
    nasty = st.lists(st.sampled_from(NASTY_TEXTS), max_size=4).map("".join)
    return nasty | st.text(st.characters(codec="utf-8"), max_size=8)


def blobs() -> st.SearchStrategy[bytes]:
    """Draw bytes: UTF-8 as a whole, cut in the middle of a character, or not at all."""
    pieces = st.sampled_from([*NASTY_BYTES, *(text.encode() for text in NASTY_TEXTS)])
    return (
        texts().map(str.encode) | st.lists(pieces, max_size=4).map(b"".join) | st.binary(max_size=8)
    )


def types() -> st.SearchStrategy[str]:
    """Draw an event type that is accepted."""
    odd = st.sampled_from(
        [" ", " end", "End", "gap ", "message", "error", ":", "é" * 127, "\ufeff"]
    )
    characters = st.characters(codec="utf-8", exclude_characters="\r\n\0")
    return odd | st.text(characters, min_size=1, max_size=8).filter(
        lambda drawn: drawn not in RESERVED_TYPES
    )


def bad_types() -> st.SearchStrategy[str]:
    """Draw an event type that is refused."""
    breaking = st.sampled_from(["\r", "\n", "\0", *LONE_SURROGATES])
    lengths = st.sampled_from(["", "x" * 256, "é" * 128])
    return lengths | st.sampled_from(sorted(RESERVED_TYPES)) | _spoilt(types(), breaking)


def messages() -> st.SearchStrategy[Message]:
    """Draw a message."""
    return st.builds(Message, texts() | blobs(), st.none() | types())


def sources() -> st.SearchStrategy[Sequence[Message | float]]:
    """Draw what a source does: it yields messages, and rests for seconds in between."""
    rests = st.sampled_from([0.01, 0.1, 1.0, 10.0, 100.0])
    return st.lists(messages() | messages() | rests, max_size=8)


def notices() -> st.SearchStrategy[str | None]:
    """Draw the safe text that goes with an end; even what no UTF-8 can carry."""
    return st.none() | texts() | st.sampled_from(LONE_SURROGATES)


def events() -> st.SearchStrategy[Event]:
    """Draw an event."""
    return st.builds(Event, event_ids(), texts() | blobs(), st.none() | types())


def gaps_and_resets() -> st.SearchStrategy[Gap | Reset]:
    """Draw a notice that something is missing or void."""
    return st.builds(Gap, event_ids(), st.sampled_from(GapReason)) | st.builds(
        Reset, event_ids(), st.sampled_from(ResetReason)
    )


def ends() -> st.SearchStrategy[End]:
    """Draw an end."""
    return st.builds(End, event_ids(), st.sampled_from(Outcome), notices())


def records() -> st.SearchStrategy[Record]:
    """Draw anything that a consumer receives."""
    return events() | gaps_and_resets() | ends()


# Bytes on their way


def chunkings(data: bytes) -> st.SearchStrategy[Sequence[bytes]]:
    """Draw a way to cut `data` into pieces: at any byte, with empty pieces among them."""
    cuts = st.lists(st.integers(0, len(data)), max_size=12).map(sorted)
    return cuts.map(lambda at: [data[i:j] for i, j in zip([0, *at], [*at, len(data)], strict=True)])


# Logs


@st.composite
def lineages(draw: st.DrawFn) -> Lineage:
    """Draw a lineage, with takeovers in which the old producer had not appended anything."""
    first, *others = draw(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=5, unique=True))
    lineage, seq = Lineage.starting(first), 1
    for epoch in others:
        seq += draw(st.integers(0, 3))
        lineage = lineage.grown(epoch, seq)
    return lineage


def retentions() -> st.SearchStrategy[Retention]:
    """Draw a retention that bites."""
    return st.builds(
        Retention,
        count=st.sampled_from([1, 2, 4, 100]),
        bytes=st.sampled_from([1, 8, 100]),
        age=st.sampled_from([None, None, 5.0]),
        keep=st.sampled_from([1.0, 30.0]),
    )
