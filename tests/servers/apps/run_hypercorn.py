"""Serve an example app with hypercorn: `python -m … asyncio|trio MODULE SOCKET SECONDS`."""

import sys
from functools import partial
from importlib import import_module

import anyio
import hypercorn.asyncio
import hypercorn.trio
from hypercorn.config import Config

from resumable_io.asgi import shutdown_trigger

SERVE = {"asyncio": hypercorn.asyncio.serve, "trio": hypercorn.trio.serve}

worker, module, socket, graceful_timeout = sys.argv[1:]
example = import_module(module)
config = Config()
config.bind = [f"fd://{socket}"]
config.errorlog = "-"
config.graceful_timeout = float(graceful_timeout)
serve = partial(
    SERVE[worker], example.app, config, shutdown_trigger=shutdown_trigger(example.streams)
)
anyio.run(serve, backend=worker)
