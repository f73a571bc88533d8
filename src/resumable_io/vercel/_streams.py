"""What a caller gets: an async iterator over text."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self


class TextStream(ABC):
    """Iterate over the chunks of a stream.

    Where a part would look like the whole, an `Interruption` is raised: `StreamFailed` when the
    source has failed, `StreamLost` when the producer died, or the end was not heard, `StreamReset`
    when the stream was started anew meanwhile. One task at a time may iterate; any may close.
    Cancelled, it has lost nothing. Closing is optional: who leaves is forgotten after a while.
    """

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    @abstractmethod
    async def __anext__(self) -> str:
        """Return the next chunk."""

    @abstractmethod
    async def aclose(self) -> None:
        """Stop reading; the stream goes on."""
