"""How a process comes to its end: responses end, producers get a grace, and hurry ends that."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager

from anyio import CancelScope, move_on_after


class Shutdown:
    """Know whether the process is about to stop, and what is still open then."""

    def __init__(self) -> None:
        self.begun: bool = False
        """Whether responses are to end, and nothing is to begin."""
        self.at_end: ExitStack = ExitStack()
        """What is to be undone once the streams have been left."""
        self._responses: set[CancelScope] = set()
        self._graces: set[CancelScope] = set()
        self._hurried = False

    @property
    def responses(self) -> int:
        """Return the number of open responses."""
        return len(self._responses)

    @contextmanager
    def responding(self, scope: CancelScope) -> Generator[None]:
        """Count a response as open; its scope is cancelled when the shutdown begins."""
        self._responses.add(scope)
        if self.begun:
            scope.cancel()
        try:
            yield
        finally:
            self._responses.discard(scope)

    def begin(self) -> None:
        """End all open responses, so that their clients reconnect elsewhere at once."""
        self.begun = True
        for scope in tuple(self._responses):
            scope.cancel()

    @contextmanager
    def grace(self, seconds: float) -> Generator[None]:
        """Give a block some seconds to finish, and none any more once there is hurry."""
        with move_on_after(0 if self._hurried else seconds) as scope:
            self._graces.add(scope)
            try:
                yield
            finally:
                self._graces.discard(scope)

    def hurry(self) -> None:
        """End the grace now: what is not finished is recorded as lost, at once.

        A server that is told twice to stop may not even leave the streams in order any more.
        """
        self._hurried = True
        for scope in tuple(self._graces):
            scope.cancel()
