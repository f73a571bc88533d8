"""The options of a context, and what the environment says."""

from __future__ import annotations

import logging
import os
from typing import Final

from resumable_core import InvalidInput

from ._context import ResumableStreamContext
from ._pubsub import Publisher, Subscriber
from ._wire import Options

logger: Final = logging.getLogger("resumable_io.vercel")

DAY: Final = 24 * 60 * 60


def create_resumable_stream_context(
    *,
    key_prefix: str = "resumable-stream",
    redis_url: object = None,
    publisher: Publisher | None = None,
    subscriber: Subscriber | None = None,
    ttl: int = DAY,
    ack_timeout: float = 1.0,
    watchdog: float = 10.0,
    grace: float = 10.0,
) -> ResumableStreamContext:
    """Return a context, to be entered before it is used.

    `key_prefix`    begins the names of all keys and channels; the same for all that share streams
    `redis_url`     where Redis is, or a client of redis-py or coredis; else REDIS_URL or KV_URL of
                    the environment. `memory://`: streams of this process alone
    `publisher`     and `subscriber`: in place of Redis; see `Publisher` and `Subscriber`
    `ttl`           seconds for which a stream is known, renewed while it is produced (a day)
    `ack_timeout`   seconds for which a producer may take to answer (1)
    `watchdog`      seconds of silence after which a producer is asked whether it lives (10)
    `grace`         seconds that producers get to finish when the context is left (10)

    DEBUG in the environment logs what happens, by the logger `resumable_io.vercel`.

    Raises `InvalidInput` when it is not said where Redis is, or a time is none.
    """
    for name, value in (("ttl", ttl), ("ack_timeout", ack_timeout), ("watchdog", watchdog)):
        if not 0 < value < float("inf"):
            raise InvalidInput(f"{name} is a finite number of seconds above 0, got {value!r}")
    redis = redis_url or os.environ.get("REDIS_URL") or os.environ.get("KV_URL")
    if redis is None and (publisher is None or subscriber is None):
        raise InvalidInput(
            "where is Redis? Pass redis_url, or set REDIS_URL or KV_URL in the environment; "
            "or pass both a publisher and a subscriber; or redis_url='memory://' for one process"
        )
    if os.environ.get("DEBUG"):
        logger.setLevel(logging.DEBUG)
        if not logger.hasHandlers():
            logger.addHandler(logging.StreamHandler())
    return ResumableStreamContext(
        key_prefix=key_prefix,
        redis=redis,
        publisher=publisher,
        subscriber=subscriber,
        options=Options(ttl, ack_timeout, watchdog),
        grace=grace,
    )
