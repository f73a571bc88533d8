"""The cursor machine: one consumer's place in a stream, and what the consumer is told there.

A cursor holds no queue, only a place. Its driver hands it pages — from the follower's window, or
read from the log where the window does not reach — and it answers with records:

    the page says …                                    the consumer receives
    ─────────────────────────────────────────────────  ──────────────────────────────
    the next events                                    those events
    the oldest event it has is beyond the next one     Gap, then the events
    the place was never in this lineage                Reset, then the log from its start
    the place lies ahead of the last event             nothing for a lease, then Reset
    nothing more, and the stream has ended             End
    nothing more, and the stream is active             nothing: wait
    the stream was deleted                             End(stopped)
    the stream is not there any more                   nothing for a lease, then End(lost)

A lease is waited for in two of the cases: the store may have lost its newest part, and the
producer, who still has it, may be about to restore it.

A channel has no end, and need not be there: whoever reads one waits until somebody publishes. What
is not for a reader is passed over in silence, and what lies too far back is a Gap.

A window may be older than what the consumer has read from the log. So where a page voids what came
before, or the stream seems to be gone, the log itself is asked before that is told, unless the
page's lineage shows that it is newer. The cursor then wants the next page `from_log`; `confirmed`,
below, says that the page at hand is such a one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, assert_never

from ._errors import StreamNotFound
from ._frozen import frozen
from ._ids import After, AtCharacter, Beginning, EventId, Live, Position, Unreadable
from ._lifecycle import State
from ._lineage import Lineage
from ._pages import PAGE_EVENTS, TOP, Page, is_visible
from ._records import (
    End,
    Event,
    Gap,
    GapReason,
    Outcome,
    Record,
    Reset,
    ResetReason,
    character_count,
    skip_characters,
)
from ._sentinel import Sentinel

FIRST_PAGE: Final = 128
"""Events that a consumer is given first, at most."""


@frozen
class Reader:
    """Say who reads a channel.

    `recipients`   the names under which targeted events are seen
    `replay`       how many events behind the top the reader may begin, or fall; farther behind, it
                   is told of a gap. None: any number
    """

    recipients: frozenset[str] = frozenset()
    replay: int | None = None


class Cursor:
    """Decide what one consumer receives. Times are seconds of the caller's clock.

    On a channel, `reader` is who that consumer is.

    A driver hands in the page after `after`: from the window; or from the log, where the window has
    none or `from_log` says so. It delivers what `read` returns, and repeats this until nothing is
    returned. Then it tells the follower that what comes after `after` is `awaited`, and waits for
    something new, or for `deadline`.
    """

    def __init__(self, position: Position, reader: Reader | None = None) -> None:
        self.after: int = _first_guess(position)
        """The seq after which the next page is to begin."""
        self.id: EventId | None = None
        """Where the consumer is; None until the first page that shows the stream."""
        self.origin: EventId | None = None
        """The place behind which the first record comes; None when that is a `Reset`."""
        self.from_log: bool = True
        """Whether the next page must be read from the log."""
        self.finished: bool = False
        """Whether there is nothing more to tell: the end was told, or had been seen before."""
        self.deadline: float | None = None
        """When to hand in a page again although nothing happened; None: never."""

        self._position = position
        self._reader = reader
        self._lineage = Lineage()
        self._lease = 0.0
        self._steady = False  # whether all was told up to the top, and nothing is waited for
        self._patience: float | None = None  # until when to wait for what the store has lost
        # Resuming by characters; `_target` is None as soon as that place is reached.
        self._target: int | None = None  # code points of the stream to be passed over
        self._passed = 0  # code points of the stream up to `after`

    def follow(self, page: Page) -> Sequence[Event] | None:
        """Return what is seen of a page of the window that simply goes on from here to the top.

        None where there is more to tell than events: `read` tells it. Of other pages, too, `read`
        would tell the same: this is the short way for what happens most, a new event that each of
        thousands of consumers gets.
        """
        if (
            not page.goes_on
            or page.after != self.after
            or page.sentinel.lineage is not self._lineage
            or not self._steady
        ):
            return None
        events, reader = page.events, self._reader
        if reader is None:
            seen = events
        elif reader.replay is not None and reader.replay < len(events):
            return None
        else:
            seen = page.seen_by(reader.recipients)
        self.id = id = events[-1].id
        self.after = id.seq
        self._lease = page.sentinel.lease
        return seen

    def read(self, page: Page, now: float) -> Sequence[Record]:
        """Return what the consumer is told in view of `page`; nothing when it has to wait.

        When a page brings only events, they are returned as the very tuple that it holds, so that
        consumers at one place can share their framing.

        Raises `StreamNotFound` when the first page says that there is no such stream.
        """
        if self.finished:
            return ()
        confirmed, self.from_log = self.from_log, False
        self._steady = False
        self.deadline = None
        sentinel = page.sentinel
        if not sentinel.known:
            if self._reader is not None:
                return self._await_first()
            return self._gone(sentinel, now, confirmed=confirmed)
        if self.id is None:
            reset = self._resolve(sentinel)
            self.origin = None if reset else self.id
        elif self._extends(sentinel.lineage) or confirmed:
            reset = None if sentinel.lineage.contains(self.id) else ResetReason.RESTARTED
        else:
            return self._ask_log(now)
        self._lineage = sentinel.lineage
        self._lease = sentinel.lease
        if reset is not None:
            return self._restart(reset)
        return self._go_on(page, now, confirmed=confirmed)

    @property
    def limit(self) -> int:
        """Return how many events the next page from the log is to have at most.

        The first page is short, so that a long stream begins to come as soon as a short one. Pages
        end at round seqs: so consumers who began at different places soon ask for the same pages.
        """
        longest = FIRST_PAGE if self.id is None else PAGE_EVENTS
        return longest - self.after % longest

    # Where the consumer is

    def _resolve(self, sentinel: Sentinel) -> ResetReason | None:
        """Find the consumer's place in the stream, or say why it is none."""
        lineage = sentinel.lineage
        self.id = lineage.id_at(self.after)
        match self._position:
            case Beginning() | AtCharacter(0):
                pass
            case After(id, end):
                if not lineage.contains(id):
                    former = any(id.epoch == epoch for epoch, _ in lineage.epochs)
                    return ResetReason.RESTARTED if former else ResetReason.UNKNOWN
                is_end = sentinel.outcome is not None and id == lineage.id_at(sentinel.last_seq)
                self.finished = end and is_end
            case AtCharacter(offset):
                self._target = offset
            case Live():
                self._move(lineage.id_at(sentinel.last_seq))
            case Unreadable(reason):
                return ResetReason(reason)
            case _:
                assert_never(self._position)
        return None

    def _extends(self, lineage: Lineage) -> bool:
        """Say whether `lineage` is the one last seen, or one that it has grown into."""
        return lineage.epochs[: len(self._lineage.epochs)] == self._lineage.epochs

    def _move(self, id: EventId) -> None:
        self.id = id
        self.after = id.seq

    # What the consumer is told

    def _go_on(self, page: Page, now: float, *, confirmed: bool) -> Sequence[Record]:
        sentinel = page.sentinel
        if self.finished:  # the consumer has seen this end before
            return ()
        if self._reader is not None and self._reader.replay is not None:
            oldest = sentinel.last_seq - self._reader.replay
            if self.after < oldest:
                self.deadline = now
                self._move(sentinel.lineage.id_at(oldest))
                return (Gap(sentinel.lineage.id_at(oldest), GapReason.BEHIND),)
        records = self._advance(page) if page.after == self.after else ()
        there = self.after >= sentinel.last_seq
        if self.after > sentinel.last_seq or (there and self._missing_characters):
            return self._ahead(sentinel, now, confirmed=confirmed)
        self._patience = None
        if not there:
            self.deadline = now
        elif sentinel.outcome is not None:
            self.finished = True
            id = sentinel.lineage.id_at(sentinel.last_seq)
            return (*records, End(id, sentinel.outcome, sentinel.error))
        else:
            self._steady = self._target is None
        return records

    def _advance(self, page: Page) -> Sequence[Record]:
        events = page.events
        if not events:
            return self._jump(page, page.sentinel.last_seq)
        if self._target is None and events[-1].id.seq == self.after + len(events):
            self._move(events[-1].id)
            return events if self._reader is None else page.seen_by(self._reader.recipients)
        records: list[Record] = []
        for event in events:
            hole = event.id.seq > self.after + 1
            if hole and self._target is not None and event is not events[0]:
                break  # the next page, which begins behind the hole, tells how much is missing
            records += self._jump(page, event.id.seq - 1)
            self._move(event.id)
            records += self._pass_over(event)
        return records

    def _jump(self, page: Page, seq: int) -> Sequence[Record]:
        """Go on behind `seq`, and report what is missing before it, if something is."""
        if seq <= self.after:
            return ()
        id = page.sentinel.lineage.id_at(seq)
        self._move(id)
        if self._target is not None and page.offset <= self._target:
            self._passed = page.offset
            return ()
        self._target = None
        # Trimming takes the oldest and leaves something; whatever else is missing was lost.
        trimmed = seq < page.first_seq <= page.sentinel.last_seq
        reason = GapReason.TRIMMED if trimmed else GapReason.LOST
        return (Gap(id, reason),)

    def _pass_over(self, event: Event) -> Sequence[Event]:
        """Return what is seen of `event`, without the code points that are to be passed over."""
        if self._reader is not None and not is_visible(event, self._reader.recipients):
            return ()
        if self._target is None:
            return (event,)
        length, count = character_count(event.data), self._target - self._passed
        if length <= count:
            self._passed += length
            return ()
        self._target = None
        return (replace(event, data=skip_characters(event.data, count)),)

    @property
    def _missing_characters(self) -> bool:
        return self._target is not None and self._passed < self._target

    def _restart(self, reason: ResetReason) -> Sequence[Record]:
        id = self._lineage.id_at(0)
        self._move(id)
        self._target = None
        self._patience = None
        return (Reset(id, reason),)

    def _ahead(self, sentinel: Sentinel, now: float, *, confirmed: bool) -> Sequence[Record]:
        if sentinel.outcome is None and not self._waited(now):
            return ()
        return self._restart(ResetReason.AHEAD) if confirmed else self._ask_log(now)

    def _await_first(self) -> Sequence[Record]:
        """Wait for a channel to which nobody has published; whatever comes then is new."""
        if self.id is None:
            self.from_log = True  # the log is to say where the consumer is
            if isinstance(self._position, Live):
                self._position = Beginning()
                self.after = 0
        return ()

    def _gone(self, sentinel: Sentinel, now: float, *, confirmed: bool) -> Sequence[Record]:
        if self.id is None:
            raise StreamNotFound("no such stream: never started, expired, or deleted")
        deleted = sentinel.state is State.DELETED
        if not deleted and not self._waited(now):
            return ()
        if not confirmed:
            return self._ask_log(now)
        self.finished = True
        self.deadline = None
        if deleted:
            return (End(self.id, Outcome.STOPPED, "the stream was deleted"),)
        return (End(self.id, Outcome.LOST, "the store no longer has the stream"),)

    def _waited(self, now: float) -> bool:
        """Say whether a lease has passed since the cursor began to wait here; see `_patience`."""
        if self._patience is None:
            self._patience = now + self._lease
        self.deadline = self._patience
        return now >= self._patience

    def _ask_log(self, now: float) -> Sequence[Record]:
        self.from_log = True
        self.deadline = now
        return ()


def _first_guess(position: Position) -> int:
    match position:
        case After(id):
            return id.seq
        case Live():
            return TOP
        case Beginning() | AtCharacter() | Unreadable():
            return 0
        case _:
            assert_never(position)
