"""Whatever can be done to a stream: the changes that `transition` understands.

    a producer   Claim · Append · Renew · Finish · Recover
    anybody      Stop · Observe · Delete
    time         Expire

and what can be done to a channel: Publish, and again Delete and Expire.

Every change may be repeated as it is when its outcome is unknown: it is recognised by its epoch, by
the seqs or the keys it carries, or by having nothing left to do.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from typing import Final, Never, TypeAlias

from ._errors import InvalidInput
from ._frozen import frozen
from ._ids import check_name
from ._lineage import Lineage
from ._numbers import check_seconds
from ._records import Message, Outcome
from ._retention import Retention

MAX_METADATA_BYTES: Final = 4096

MAX_REASON_BYTES: Final = 4096
"""Bytes of UTF-8 in the reason of an end at most: like metadata, every sentinel carries it."""

MAX_RECIPIENTS: Final = 256
"""Recipients of one targeted message at most."""


class Takeover(StrEnum):
    """What a claim may do with a stream whose producer was lost."""

    REFUSE = "refuse"
    """Leave it: the claim is refused."""
    RESTART = "restart"
    """Begin a new log; readers get a `Reset`."""
    CONTINUE = "continue"
    """Go on after the last event that was kept; the lineage grows."""

    @classmethod
    def _missing_(cls, value: object) -> Never:
        raise InvalidInput(f"on_lost is refuse, restart or continue; got {value!r:.80}")


@frozen
class Claim:
    """Become the producer. `epoch` is newly drawn: a repeat of the same claim is recognised by it.

    `on_lost` says what to do with a stream whose producer was lost. `replaces` restarts an ended
    stream, and only the one whose epoch it names, so that two clicks on "retry" make one.
    `connected_for` is for how many seconds the caller has been watching the store. Raises
    `InvalidInput` for a lease that is none, and when `metadata` is not JSON, or over 4 KiB of it.
    """

    epoch: str
    lease: float
    retention: Retention = field(default_factory=Retention)
    metadata: Mapping[str, object] = field(default_factory=dict[str, object])
    on_lost: Takeover = Takeover.REFUSE
    replaces: str | None = None
    connected_for: float = math.inf

    def __post_init__(self) -> None:
        """Refuse a lease that is none, and metadata that is not small JSON."""
        check_seconds("lease", self.lease)
        _check_metadata(self.metadata)


@frozen
class Append:
    """Append messages, of which the first is to have seq `first_seq`; renews the lease.

    What the log already holds of them is passed over. A `first_seq` beyond the next one changes
    nothing: the sentinel that comes back tells the producer from where the store has lost its tail.
    """

    epoch: str
    first_seq: int
    messages: tuple[Message, ...]
    characters: int
    """Code points in `messages` together."""


@frozen
class Renew:
    """Promise to be alive for another lease."""

    epoch: str


@frozen
class Finish:
    """End the stream after `last_seq`: done, failed, or lost (the lease is given up).

    Changes nothing while the store lacks events up to `last_seq`. An `error` of more than 4,096
    bytes of UTF-8 is cut. Raises `InvalidInput` for any other outcome: to stop a stream is not its
    producer's business.
    """

    epoch: str
    outcome: Outcome
    last_seq: int
    error: str | None = None

    def __post_init__(self) -> None:
        """Refuse an outcome that is not a producer's, and cut the error: the end has to be told."""
        if self.outcome is Outcome.STOPPED:
            raise InvalidInput("a producer ends as done, failed or lost; to stop a stream, `Stop`")
        if self.error is not None:
            object.__setattr__(self, "error", _cut(self.error))


@frozen
class Stop:
    """End the stream from anywhere; the producer learns of it. Nothing happens to an ended one.

    With an `epoch`, only the stream that this claim has started or taken over: one that has been
    started in its place goes on. Raises `InvalidInput` when the reason is no text, or over 4,096
    bytes of UTF-8.
    """

    reason: str | None = None
    epoch: str | None = None

    def __post_init__(self) -> None:
        """Refuse a reason that could not be shown."""
        if self.reason is not None:
            _check_reason(self.reason)


@frozen
class Observe:
    """Look at the stream, and record as lost a producer whose lease has run out.

    `connected_for` is for how many seconds the observer has been watching the store: one that has
    just (re)connected may not tell an outage of the store from the death of a producer.
    """

    connected_for: float = math.inf


@frozen
class Recover:
    """Write a sentinel again that the store has lost, or skip seqs whose events nobody has.

    The log goes on after `last_seq`; `characters` are the code points up to it.
    """

    epoch: str
    lineage: Lineage
    last_seq: int
    characters: int
    lease: float
    retention: Retention
    metadata: Mapping[str, object]


@frozen
class Expire:
    """Forget the stream when its time to be kept is over."""


@frozen
class Delete:
    """Remove the stream at once; a tombstone keeps its producer from restoring it.

    With an `epoch`, only what that claim has made: so a claim is taken back of which nobody knows
    whether it was applied.
    """

    epoch: str | None = None


@frozen
class Publication:
    """Carry a message to a channel: to everybody, or to the recipients `to` alone.

    What is published again under the same `key`, while the channel still holds the first, is not
    published a second time. Raises `InvalidInput` when the key or a recipient has not 1 to 255
    bytes of UTF-8 or holds control characters, and for no recipient at all, or more than 256.
    """

    message: Message
    key: str
    to: frozenset[str] | None = None
    size: int = field(init=False, repr=False, compare=False)
    """Bytes that it takes in the log, with the names of its recipients."""

    def __post_init__(self) -> None:
        """Refuse what nobody could ever read."""
        check_name("a key", self.key)
        size = self.message.size
        if self.to is not None:
            if not 1 <= len(self.to) <= MAX_RECIPIENTS:
                raise InvalidInput(
                    f"a targeted message has 1 to {MAX_RECIPIENTS} recipients, got {len(self.to)}; "
                    "one for everybody has None"
                )
            for recipient in self.to:
                check_name("a recipient", recipient)
                size += len(recipient.encode())
        object.__setattr__(self, "size", size)


@frozen
class Publish:
    """Append to a channel, whoever else does; open it if it is not there.

    `epoch` is newly drawn for every attempt: it becomes the channel's when the channel is opened,
    and when `store`, which names what the store's memory goes back to, is not what it was at the
    last time. A store that took over from another, or was restarted, may lack events that others
    have seen already, and their ids are never given to other content.
    """

    epoch: str
    publications: tuple[Publication, ...]
    retention: Retention
    store: str = ""


Change: TypeAlias = (
    Claim | Append | Renew | Finish | Stop | Observe | Recover | Expire | Delete | Publish
)
"""Whatever can be done to a stream. All may be repeated as they are."""


def _check_metadata(metadata: object) -> None:
    if not isinstance(metadata, Mapping):
        raise InvalidInput(f"metadata is a mapping, got {type(metadata).__name__}")
    try:
        size = len(json.dumps(metadata, allow_nan=False).encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"metadata is what JSON can say: {error}") from error
    if size > MAX_METADATA_BYTES:
        raise InvalidInput(f"metadata has at most {MAX_METADATA_BYTES} bytes as JSON, got {size}")


def _check_reason(reason: object) -> None:
    if not isinstance(reason, str):
        raise InvalidInput(f"a reason is text, got {type(reason).__name__}")
    try:
        size = len(reason.encode())
    except UnicodeEncodeError:
        raise InvalidInput("a reason must be valid Unicode, got a lone surrogate") from None
    if size > MAX_REASON_BYTES:
        raise InvalidInput(f"a reason has at most {MAX_REASON_BYTES} bytes of UTF-8, got {size}")


def _cut(reason: str) -> str:
    """Return as much of `reason` as UTF-8 can hold within the limit."""
    encoded = reason[: MAX_REASON_BYTES + 1].encode(errors="replace")
    if len(encoded) > MAX_REASON_BYTES:
        encoded = encoded[: MAX_REASON_BYTES - 3] + "…".encode()
    return encoded.decode(errors="ignore")
