"""Test what is built on the core: strategies, machines, and a simulator of whole worlds.

    strategies   ids, positions, messages, records, lineages, and bytes cut anywhere
    changes      whatever can be done to a stream, rightly or wrongly aimed, and where it leads
    model        a stream as plainly as can be: the oracle of any log
    worlds       around a producer, a follower, a cursor: a test says what happens, step by step
    machines     in which anything happens, checked after each step; subclass them to add rules
    simulation   producers, processes, clients and a store that fails, all by one seed

Needs Hypothesis: `pip install "resumable-io[testing]"`.
"""

from .changes import Plan, append, copy_of, logs, pauses, plans, sentinels
from .machines.channel import ChannelMachine
from .machines.cursor import CursorMachine
from .machines.follower import FollowerMachine
from .machines.log import LogMachine
from .machines.producer import ProducerMachine
from .model import Model
from .strategies import (
    LONE_SURROGATES,
    NASTY_BYTES,
    NASTY_TEXTS,
    afters,
    almost_event_ids,
    bad_stream_ids,
    bad_types,
    blobs,
    chunkings,
    ends,
    epochs,
    event_ids,
    events,
    gaps_and_resets,
    lineages,
    messages,
    notices,
    positions,
    records,
    retentions,
    seqs,
    sources,
    stream_ids,
    texts,
    types,
)

__all__ = [
    "LONE_SURROGATES",
    "NASTY_BYTES",
    "NASTY_TEXTS",
    "ChannelMachine",
    "CursorMachine",
    "FollowerMachine",
    "LogMachine",
    "Model",
    "Plan",
    "ProducerMachine",
    "afters",
    "almost_event_ids",
    "append",
    "bad_stream_ids",
    "bad_types",
    "blobs",
    "chunkings",
    "copy_of",
    "ends",
    "epochs",
    "event_ids",
    "events",
    "gaps_and_resets",
    "lineages",
    "logs",
    "messages",
    "notices",
    "pauses",
    "plans",
    "positions",
    "records",
    "retentions",
    "sentinels",
    "seqs",
    "sources",
    "stream_ids",
    "texts",
    "types",
]
