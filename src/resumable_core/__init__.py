"""Decide how a stream survives: ids, logs, and the machines around them, without any I/O.

Nothing here waits, reads a clock, draws a random number or logs. Time, epochs and jitter are
arguments; machines return commands, and the moment at which they want to be asked again. Whoever
drives them — `resumable_io`, or your own transport — carries the commands out.

The layout, in the order in which things depend on each other:

    _frozen      what all records are made by: a dataclass that is cheap to define and to make
    _errors      the exception tree: whose fault, what to do
    _ids         event ids and positions, their order and text form
    _numbers     times and counts that callers hand in
    _records     Message goes in; Event, Gap, Reset, End come out
    _retention   how much of a log to keep
    _lineage     the epochs a log went through; which ids are its own
    _changes     whatever can be done to a stream, and to a channel
    _lifecycle   THE lifecycle table: state × input → state
    _sentinel    the one state record, and what a change makes of it
    _pages       batches, which a log keeps, and pages, which are read from it
    _log         what a change does to a log; EventLog, the reference semantics
    _codec       batches and sentinels as bytes, for stores and live feeds
    _run         the messages that a producer holds: kept for repair, to be appended
    _lane        one command to a store at a time, and pauses after failures
    _producer    claim, buffer, flush, renew, finish; restores what the store lost
    _publisher   what a process publishes to a channel, gathered and sent in order
    _window      the contiguous recent part of a log, for all consumers of a process
    _follower    merges live feed and log into one contiguous window
    _cursor      one consumer's place: replay, live, gap, end
    _sse         event-stream encoder and incremental decoder
    _notices     the framing's notices as records again, for clients
    _reconnect   a client's place in an event stream, over many connections
    _framing     how records become bytes for a client
    _rate        how often something may happen: token buckets
    _watch       how long a store has been watched without a break
    ai_sdk       the UI message streams of Vercel's AI SDK: chunks, framing, resuming
    _transcript  text as JavaScript counts it
    _handshake   the producer's side of the protocol of vercel/resumable-stream
    _listener    the listener's side of it
    testing      strategies, machines and a simulator, to test what is built on this
"""

from ._changes import (
    Append,
    Change,
    Claim,
    Delete,
    Expire,
    Finish,
    Observe,
    Publication,
    Publish,
    Recover,
    Renew,
    Stop,
    Takeover,
)
from ._codec import ForeignData, decode_batch, decode_sentinel, encode_batch, encode_sentinel
from ._cursor import Cursor, Reader
from ._errors import (
    BackendError,
    BackendFull,
    BackendUnavailable,
    Fenced,
    Interruption,
    InvalidInput,
    InvalidMessage,
    InvalidPosition,
    InvalidStreamId,
    ResumableError,
    StreamError,
    StreamExists,
    StreamExpired,
    StreamFailed,
    StreamGap,
    StreamLost,
    StreamNotFound,
    StreamReset,
    StreamStopped,
)
from ._follower import (
    Appended,
    Changed,
    FeedItem,
    Fetch,
    Follower,
    Interrupted,
)
from ._framing import Framed, Framing, SSEFraming, TextFraming, Then, encode_expired
from ._handshake import (
    DONE_MESSAGE,
    FAILED_MESSAGE,
    SENTINEL_DONE,
    SENTINEL_FREE,
    Delivery,
    HandshakeProducer,
    ResumeRequest,
)
from ._ids import (
    After,
    AtCharacter,
    Beginning,
    EventId,
    Live,
    Position,
    Unreadable,
    channel_log_id,
    check_epoch,
    check_name,
    check_stream_id,
    has_received,
    is_channel,
    parse_last_event_id,
)
from ._lifecycle import TABLE, Input, Refusal, State, input_of
from ._limits import FollowerLimits, ProducerLimits, PublisherLimits
from ._lineage import Lineage
from ._listener import HandshakeListener, HandshakeStep
from ._log import Effect, EventLog, decide
from ._notices import read_notice
from ._numbers import check_count, check_seconds
from ._pages import PAGE_BYTES, PAGE_EVENTS, TOP, Batch, Page, page_of
from ._producer import RENEWALS_PER_LEASE, Command, Phase, Producer, WriteCommand
from ._publisher import Publisher, Ticket
from ._rate import TokenBucket, TokenBuckets
from ._reconnect import ClientPhase, Reconnect, ReconnectLimits, Verdict
from ._records import (
    RESERVED_TYPES,
    End,
    Event,
    Gap,
    GapReason,
    Message,
    Outcome,
    Record,
    Reset,
    ResetReason,
)
from ._retention import Retention
from ._sentinel import ABSENT, Sentinel, is_startable, is_told, transition
from ._sse import (
    Decoder,
    EventTooLarge,
    ServerSentEvent,
    encode_comment,
    encode_event,
    encode_id,
    encode_retry,
)
from ._transcript import Transcript, skip_units, utf16_units
from ._watch import Watch

__all__ = [
    "ABSENT",
    "DONE_MESSAGE",
    "FAILED_MESSAGE",
    "PAGE_BYTES",
    "PAGE_EVENTS",
    "RENEWALS_PER_LEASE",
    "RESERVED_TYPES",
    "SENTINEL_DONE",
    "SENTINEL_FREE",
    "TABLE",
    "TOP",
    "After",
    "Append",
    "Appended",
    "AtCharacter",
    "BackendError",
    "BackendFull",
    "BackendUnavailable",
    "Batch",
    "Beginning",
    "Change",
    "Changed",
    "Claim",
    "ClientPhase",
    "Command",
    "Cursor",
    "Decoder",
    "Delete",
    "Delivery",
    "Effect",
    "End",
    "Event",
    "EventId",
    "EventLog",
    "EventTooLarge",
    "Expire",
    "FeedItem",
    "Fenced",
    "Fetch",
    "Finish",
    "Follower",
    "FollowerLimits",
    "ForeignData",
    "Framed",
    "Framing",
    "Gap",
    "GapReason",
    "HandshakeListener",
    "HandshakeProducer",
    "HandshakeStep",
    "Input",
    "Interrupted",
    "Interruption",
    "InvalidInput",
    "InvalidMessage",
    "InvalidPosition",
    "InvalidStreamId",
    "Lineage",
    "Live",
    "Message",
    "Observe",
    "Outcome",
    "Page",
    "Phase",
    "Position",
    "Producer",
    "ProducerLimits",
    "Publication",
    "Publish",
    "Publisher",
    "PublisherLimits",
    "Reader",
    "Reconnect",
    "ReconnectLimits",
    "Record",
    "Recover",
    "Refusal",
    "Renew",
    "Reset",
    "ResetReason",
    "ResumableError",
    "ResumeRequest",
    "Retention",
    "SSEFraming",
    "Sentinel",
    "ServerSentEvent",
    "State",
    "Stop",
    "StreamError",
    "StreamExists",
    "StreamExpired",
    "StreamFailed",
    "StreamGap",
    "StreamLost",
    "StreamNotFound",
    "StreamReset",
    "StreamStopped",
    "Takeover",
    "TextFraming",
    "Then",
    "Ticket",
    "TokenBucket",
    "TokenBuckets",
    "Transcript",
    "Unreadable",
    "Verdict",
    "Watch",
    "WriteCommand",
    "channel_log_id",
    "check_count",
    "check_epoch",
    "check_name",
    "check_seconds",
    "check_stream_id",
    "decide",
    "decode_batch",
    "decode_sentinel",
    "encode_batch",
    "encode_comment",
    "encode_event",
    "encode_expired",
    "encode_id",
    "encode_retry",
    "encode_sentinel",
    "has_received",
    "input_of",
    "is_channel",
    "is_startable",
    "is_told",
    "page_of",
    "parse_last_event_id",
    "read_notice",
    "skip_units",
    "transition",
    "utf16_units",
]
