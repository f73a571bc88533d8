"""Iterate over the streams that Redis holds."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Self

from anyio import fail_after

from resumable_core import ABSENT, BackendError, BackendUnavailable, Sentinel

from ._keys import Keys, keys_of, sentinel_pattern, stream_id_of
from ._port import Driver
from ._stored import Stored

logger: Final = logging.getLogger("resumable_io")


class Scan:
    """Iterate over streams. No generator, since a scan that is left early is closed by nobody."""

    def __init__(
        self,
        driver: Driver,
        prefix: str,
        timeout: float,
        look: Callable[[Keys], Awaitable[Stored]],
    ) -> None:
        self._driver = driver
        self._timeout = timeout
        self._prefix = prefix
        self._look = look
        self._cursor: object = None
        self._begun = False
        self._keys: deque[str] = deque()
        self._seen: set[str] = set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[str, Sentinel]:
        while True:
            while self._keys:
                stream_id = stream_id_of(self._prefix, self._keys[0])
                sentinel = await self._sentinel(stream_id)
                self._keys.popleft()
                if sentinel.known:
                    return stream_id, sentinel
            if self._begun and self._cursor is None:
                raise StopAsyncIteration
            self._cursor, keys = await self._page()
            self._begun = True
            self._keys += [key for key in keys if key not in self._seen]
            self._seen.update(keys)

    async def _page(self) -> tuple[object, Sequence[str]]:
        pattern = sentinel_pattern(self._prefix)
        try:
            with fail_after(self._timeout):
                try:
                    return await self._driver.scan(pattern, self._cursor)
                except BackendUnavailable:
                    # Often it is but the connection, which broke while it was idle.
                    return await self._driver.scan(pattern, self._cursor)
        except TimeoutError:
            raise BackendUnavailable(f"Redis did not answer within {self._timeout:g} s") from None

    async def _sentinel(self, stream_id: str) -> Sentinel:
        try:
            return (await self._look(keys_of(self._prefix, stream_id))).sentinel
        except BackendUnavailable:
            raise
        except BackendError as error:
            logger.warning("a scan passes over a stream: %s", error)
            return ABSENT
