"""Tell whoever operates this when Redis is lost, and when it is back: a line for each.

The live feed is who notices: its connection breaks whenever Redis goes away, and is asked for a
sign of life otherwise. Redis is back when a connection has not only been made but has stood for a
while, so that one which breaks again and again is one outage.
"""

from __future__ import annotations

import logging
from typing import Final

from anyio import current_time

from resumable_core import BackendError

logger: Final = logging.getLogger("resumable_io")


class Outages:
    """Log the outages of one Redis; both lines are warnings, or one might show without the other.

    Not logged is what keeps a backend from being entered: that is raised.
    """

    def __init__(self) -> None:
        self._since: float | None = None

    def begin(self, why: BackendError | None) -> None:
        """Take that a connection that stood is lost."""
        if self._since is None:
            self._since = current_time()
            logger.warning("Redis is lost, and asked again until it is back: %s", why)

    def end(self, back_since: float) -> None:
        """Take that a connection stands, and since when."""
        if self._since is not None:
            logger.warning("Redis is back, after %.1f s", back_since - self._since)
            self._since = None
