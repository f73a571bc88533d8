"""The backend contract: where log and sentinel live, and how followers learn of appends.

A backend keeps what `resumable_core.decide` returns; it has no rule of its own. Six calls are
all there is. Every change of a stream — claim, append, renew, finish, stop, recover, delete — goes
through `apply`, one atomic step:

    sentinel = load(stream_id)
    effect = decide(sentinel, change, now)     # raises: nothing happens
    store(stream_id, effect)                   # sentinel, batch, cleared log
    publish(stream_id, effect)                 # Appended, Changed

A channel is a log like any other, except that many append to it: through `publish`, which is the
same step, and also looks up the keys under which something was published before.

`now` is the store's own clock, in seconds. It is read inside the step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import Self, TypeAlias

from resumable_core import Change, EventId, FeedItem, Page, Publish, Sentinel

Tell: TypeAlias = Callable[[FeedItem], None]
"""Takes what a feed tells. It returns at once, and raises nothing."""

Unfollow: TypeAlias = Callable[[], None]
"""Ends a feed: nothing is told after it. May be called again."""


class Backend(ABC):
    """Keep streams. An async context manager: no call before it is entered or after it is left.

    Ids are valid when they get here. All calls may be made concurrently, from any task of the
    event loop in which the backend was entered. All of them may raise `BackendUnavailable`: the
    store did not answer, a change may have been applied or not, and may be repeated as it is.

    It is entered and left in one task, and may be entered again afterwards. A task of its own that
    breaks down ends whoever entered it: what may pass by itself, such a task has to survive.
    """

    async def __aenter__(self) -> Self:
        """Connect. Raises `BackendUnavailable` when the store cannot be reached."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Disconnect. Streams stay as they are."""
        return

    @property
    @abstractmethod
    def may_forget(self) -> bool:
        """Say whether the store may lose what it has acknowledged.

        Producers then linger a little after the end, to restore it.
        """

    @property
    @abstractmethod
    def connected_since(self) -> float:
        """Return when the store was last (re)connected, in seconds of the event loop's clock.

        `-inf` where connections do not exist. An observer must have watched for a whole lease
        before it may take a silent producer for a dead one; so whatever made the store's clock, or
        everybody, stand still counts as a new connection.
        """

    @abstractmethod
    async def apply(self, stream_id: str, change: Change) -> Sentinel:
        """Carry out one change and return the sentinel after it.

        Atomic: load, `decide`, store and publish happen as one step for every other caller, in
        every process. The order in which batches are published is the order of their seqs, and an
        end is published after the last batch.

        Raises `StreamNotFound`, `StreamExists` or `Fenced` as `decide` does, with nothing changed,
        and `BackendFull` when a stated limit is reached. Cancellation leaves the change applied or
        not applied, never half. Every change may be repeated: the repeat returns the same.
        """

    @abstractmethod
    async def publish(self, log_id: str, change: Publish) -> Sequence[EventId]:
        """Append to a channel; return the id of each publication, in their order.

        Atomic as `apply`: load the sentinel and the seqs of those keys of `change` that the log
        holds, `decide`, store with the new keys, and publish. Of the keys, those are forgotten
        whose events are. Where the store may lose what it has acknowledged, `change.store` is set
        to what names the store's present memory, in the same atomic step: another text after every
        restart and failover.

        Raises `StreamExists` for the id of a stream, and `BackendFull`, with nothing changed.
        Cancellation leaves the change applied or not applied, never half. It may be repeated with
        the same keys and another epoch: the repeat returns the same ids.
        """

    @abstractmethod
    async def read(self, stream_id: str, after: int, limit: int, *, connected_for: float) -> Page:
        """Return the sentinel and at most `limit` events after the seq `after`, in one atomic step.

        Applies `Observe(connected_for)` first. Reading an unknown stream returns the sentinel
        `ABSENT` and leaves nothing behind. A page may hold fewer events than asked for, but at
        least one if there is one. Cancellation and repetition change nothing.
        """

    @abstractmethod
    async def follow(self, stream_id: str, tell: Tell, *, events: bool) -> Unfollow:
        """Have what happens to a stream told, until what is returned is called.

        Returns when the subscription is confirmed: whatever is applied afterwards is told, unless
        the feed loses it. Without `events`, only changes of state are. The stream need not exist,
        and following creates nothing. Cancelled, or failed, it tells nothing more.

        `tell` is called in the event loop, item by item, in the order in which they arrive; it may
        be called before this returns. A feed is allowed to lose, repeat and delay items. Of several
        changes of state that follow each other at once, the last is enough; its sentinel is the one
        right after that change. What else it knows to have lost, as it was disconnected, it reports
        as `Interrupted`, after it is connected again, and so it does with what it cannot tell
        exactly: `Interrupted` alone is always true. It reconnects by itself, for as long as it
        takes.
        """

    @abstractmethod
    def scan(self) -> AsyncIterator[tuple[str, Sentinel]]:
        """Yield the id and the sentinel of every known stream, in any order.

        What is there during the whole scan is yielded once; what comes or goes meanwhile may or
        may not be. What cannot be read is logged and passed over. Memory is bounded by one page,
        and by the names so far where the store may repeat them.
        """
