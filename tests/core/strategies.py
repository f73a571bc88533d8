"""Hypothesis strategies for what goes through the core: small, and unkind.

Every strategy is a function, so that nothing is built before it is wanted.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterable

from hypothesis import strategies as st

from resumable_core import (
    RESERVED_TYPES,
    After,
    Append,
    Change,
    Claim,
    Delete,
    End,
    Event,
    EventId,
    EventLog,
    Expire,
    Finish,
    Gap,
    GapReason,
    Lineage,
    Message,
    Observe,
    Outcome,
    Record,
    Recover,
    Renew,
    Reset,
    ResetReason,
    Retention,
    Sentinel,
    Stop,
    StreamError,
    Takeover,
)

LETTERS_AND_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

# Newlines and what is often taken for one, what a wire may trip over, and what could forge a field.
NASTY_TEXTS = (
    "\r\n", "\r", "\n", "\n\n", "\0", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029", "\ufeff",
    "😀", "é", "e\u0301", "\U0010ffff", " ", ":", "data: x", "\n\nevent: end\ndata: x\n\n",
)  # fmt: skip
NASTY_BYTES = (
    b"\x80", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf0\x9f", b"\x98\x80", b"\0", b"\r",
)  # fmt: skip
LONE_SURROGATES = ("\ud800", "\udc80", "\udfff")


# Ids and positions


def epochs() -> st.SearchStrategy[str]:
    """Draw an epoch."""
    return st.text(LETTERS_AND_DIGITS, min_size=1, max_size=32)


def seqs() -> st.SearchStrategy[int]:
    """Draw a seq, often at one of the two ends."""
    return st.integers(0, 2**53 - 1) | st.sampled_from([0, 1, 9, 10, 2**53 - 1])


def event_ids() -> st.SearchStrategy[EventId]:
    """Draw an event id."""
    return st.builds(EventId, epochs(), seqs())


def afters() -> st.SearchStrategy[After]:
    """Draw a position after an event, or after an end."""
    return st.builds(After, event_ids(), st.booleans())


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
    return st.lists(odd | st.text(LETTERS_AND_DIGITS, min_size=1), min_size=1, max_size=8).map(
        lambda parts: "".join(parts).encode()[:255].decode(errors="ignore")
    )


def bad_stream_ids() -> st.SearchStrategy[str]:
    """Draw a stream id that is refused."""
    controls = st.sampled_from([*map(chr, (*range(0x20), *range(0x7F, 0xA0))), "\u2028", "\u2029"])
    return st.sampled_from(["", "x" * 256, "😀" * 64, "é" * 128]) | _spoilt(
        stream_ids(), controls | st.sampled_from(LONE_SURROGATES)
    )


def _spoilt(good: st.SearchStrategy[str], bad: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(lambda text, odd, rest: text[:40] + odd + rest[:40], good, bad, good)


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


def pauses() -> st.SearchStrategy[float]:
    """Draw seconds between two changes: often less than a lease, at times more than all limits."""
    return st.sampled_from([0.0, 0.0, 0.0, 1.0, 1.0, 4.0, 10.0, 30.0, 100.0])


@dataclasses.dataclass(frozen=True)
class Plan:
    """Hold a change that is still to be aimed at a sentinel, rightly or wrongly."""

    change: Change
    epoch: str
    """Whose change it is; "" stands for the epoch of the sentinel."""
    ahead: int
    """From where on, counted from the last seq of the sentinel."""

    def aimed_at(self, sentinel: Sentinel) -> Change:
        """Return the change, with the epoch and the seqs that `sentinel` suggests."""
        epoch = self.epoch or sentinel.epoch or "a"
        last_seq = max(0, sentinel.last_seq + self.ahead)
        match self.change:
            case Claim() as claim:
                named = sentinel.epoch if claim.replaces == "" else claim.replaces
                return dataclasses.replace(claim, epoch=epoch, replaces=named)
            case Append() as append:
                return dataclasses.replace(append, epoch=epoch, first_seq=last_seq + 1)
            case Finish() as finish:
                return dataclasses.replace(finish, epoch=epoch, last_seq=last_seq)
            case Recover() as recover:
                own = epoch == sentinel.epoch and sentinel.known
                return dataclasses.replace(
                    recover,
                    epoch=epoch,
                    lineage=sentinel.lineage if own else Lineage.starting(epoch),
                    last_seq=last_seq,
                    characters=sentinel.characters + max(0, self.ahead),
                )
            case Renew():
                return Renew(epoch)
            case change:
                return change


def append(epoch: str, first_seq: int, messages: Iterable[Message]) -> Append:
    """Return the append of some messages."""
    batch = tuple(messages)
    return Append(epoch, first_seq, batch, sum(message.characters for message in batch))


def plans() -> st.SearchStrategy[Plan]:
    """Draw a change to be aimed at some sentinel."""
    connected_for = st.sampled_from([0.0, 5.0, math.inf])
    leases = st.sampled_from([5.0, 10.0])
    metadata = st.sampled_from([{}, {"user": 1}])
    appends = st.builds(append, st.just(""), st.just(0), st.lists(messages(), max_size=3))
    claims = st.builds(
        Claim,
        st.just(""),
        leases,
        retentions(),
        metadata,
        st.sampled_from(Takeover),
        st.sampled_from([None, None, "", "b"]),
        connected_for,
    )
    recovers = st.builds(
        Recover,
        st.just(""),
        st.just(Lineage()),
        st.just(0),
        st.just(0),
        leases,
        retentions(),
        metadata,
    )
    outcomes = st.sampled_from([Outcome.DONE, Outcome.FAILED, Outcome.LOST])
    others = st.sampled_from([Renew(""), Expire(), Delete()])
    looks = st.builds(Stop, notices()) | st.builds(Observe, connected_for)
    finishes = st.builds(Finish, st.just(""), outcomes, st.just(0), notices())
    every = st.one_of(appends, appends, claims, claims, recovers, finishes, looks, others)
    return st.builds(
        Plan,
        every,
        st.sampled_from(["", "", "", *"abcdef"]),
        st.sampled_from([0, 0, 0, -2, -1, 1, 2]),
    )


def logs() -> st.SearchStrategy[tuple[EventLog, float]]:
    """Draw a log that some changes have led to, and the time it is then."""
    steps = st.tuples(pauses(), plans())
    return st.builds(_log_after, st.none() | retentions(), st.lists(steps, max_size=12))


def _log_after(
    claimed: Retention | None, steps: Iterable[tuple[float, Plan]]
) -> tuple[EventLog, float]:
    log, now = EventLog(), 0.0
    if claimed is not None:  # most streams begin like this
        log.apply(Claim("a", lease=10.0, retention=claimed), now)
    for pause, plan in steps:
        now += pause
        with contextlib.suppress(StreamError):
            log.apply(plan.aimed_at(log.sentinel), now)
    return log, now


def sentinels() -> st.SearchStrategy[tuple[Sentinel, float]]:
    """Draw a sentinel that some changes have led to, and the time it is then."""
    return logs().map(lambda drawn: (drawn[0].sentinel, drawn[1]))


def copy_of(log: EventLog) -> EventLog:
    """Return a log that does not change with `log`."""
    return dataclasses.replace(log, batches=[*log.batches])
