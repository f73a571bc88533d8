"""Test what is built on the core: strategies for Hypothesis that draw what goes through it.

    strategies   ids, positions, messages, records, lineages, and bytes cut anywhere
    changes      whatever can be done to a stream, rightly or wrongly aimed, and where it leads

Needs Hypothesis: `pip install "resumable-io[testing]"`.
"""

from .changes import Plan, append, copy_of, logs, pauses, plans, sentinels
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
    stream_ids,
    texts,
    types,
)

__all__ = [
    "LONE_SURROGATES",
    "NASTY_BYTES",
    "NASTY_TEXTS",
    "Plan",
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
    "stream_ids",
    "texts",
    "types",
]
