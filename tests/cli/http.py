"""HTTP for those who may have to wait: httpx's functions, with more patience than its 5 seconds."""

from functools import partial

import httpx2

from tests.cli.commands import PATIENCE

request = partial(httpx2.request, timeout=PATIENCE)
get = partial(httpx2.get, timeout=PATIENCE)
head = partial(httpx2.head, timeout=PATIENCE)
post = partial(httpx2.post, timeout=PATIENCE)
delete = partial(httpx2.delete, timeout=PATIENCE)
stream = partial(httpx2.stream, timeout=PATIENCE)
