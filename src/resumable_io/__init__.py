"""Streams that survive refreshes, dropped connections, crashed producers and changed servers.

`resumable_core` decides, this package waits: it drives the machines with anyio, on asyncio and
trio. The layout, in the order in which things depend on each other:

    abc             the backend contract
    memory          streams in the memory of one process
    sqlite          streams in a file, shared by the processes of one host
    _sources        what a source may be, and what it may yield
    _producer       drives the producer machine
    _followers      drives the follower machines
    _subscription   drives the cursor machine: an async iterator
    _production     producing by hand
    _channels       Channel: publish, subscribe
    _streams        Streams: start, resume, stop
    asgi            ASGI responses: resume, heartbeat, disconnect, drain
    ai_sdk          the same for the clients of Vercel's AI SDK
    channels        channels over HTTP: who may subscribe and publish, and how much
    starlette       the same as Starlette and FastAPI responses
    testing         the kit for backends
    client          an event source for Python; providers' streams as sources
    cli             the `resumable` command
"""

from resumable_core import (
    After,
    AtCharacter,
    BackendError,
    BackendFull,
    BackendUnavailable,
    Beginning,
    End,
    Event,
    EventId,
    Fenced,
    Gap,
    GapReason,
    Interruption,
    InvalidInput,
    InvalidMessage,
    InvalidPosition,
    InvalidStreamId,
    Live,
    Message,
    Outcome,
    Position,
    ProducerLimits,
    Record,
    Reset,
    ResetReason,
    ResumableError,
    Retention,
    Sentinel,
    State,
    StreamError,
    StreamExists,
    StreamExpired,
    StreamFailed,
    StreamGap,
    StreamLost,
    StreamNotFound,
    StreamReset,
    StreamStopped,
    Takeover,
)

from ._channels import CHANNEL_RETENTION, Channel
from ._followers import StreamsClosed
from ._positions import PositionLike
from ._production import Production
from ._sources import Encoder, Source, SourceError
from ._streams import Statistics, Streams
from ._subscription import Subscription
from .abc import Backend
from .memory import MemoryBackend

__all__ = [
    "CHANNEL_RETENTION",
    "After",
    "AtCharacter",
    "Backend",
    "BackendError",
    "BackendFull",
    "BackendUnavailable",
    "Beginning",
    "Channel",
    "Encoder",
    "End",
    "Event",
    "EventId",
    "Fenced",
    "Gap",
    "GapReason",
    "Interruption",
    "InvalidInput",
    "InvalidMessage",
    "InvalidPosition",
    "InvalidStreamId",
    "Live",
    "MemoryBackend",
    "Message",
    "Outcome",
    "Position",
    "PositionLike",
    "ProducerLimits",
    "Production",
    "Record",
    "Reset",
    "ResetReason",
    "ResumableError",
    "Retention",
    "Sentinel",
    "Source",
    "SourceError",
    "State",
    "Statistics",
    "StreamError",
    "StreamExists",
    "StreamExpired",
    "StreamFailed",
    "StreamGap",
    "StreamLost",
    "StreamNotFound",
    "StreamReset",
    "StreamStopped",
    "Streams",
    "StreamsClosed",
    "Subscription",
    "Takeover",
]
