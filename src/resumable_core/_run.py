"""The run of messages that a producer holds, with two marks in it.

          kept for repair      to be appended
        ┌─────────────────┐┌───────────────────┐
    …   5   6   7   8   9   10  11  12  13  14
                        ▲                   ▲
                      acked                last

`acked` is how far the store got, by its own account. Whatever lies behind it is appended next, so
that a first append, a repeat, a batch that gathered meanwhile, and a tail that a failover swallowed
are all the same. Where `acked` falls before the run itself, nobody has the events between.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from ._records import Message


class Run:
    """Hold consecutive messages of one producer; bytes are those of `Message.size`."""

    def __init__(self) -> None:
        self.acked = 0
        """The seq up to which the store has the stream."""
        self.characters_before = 0
        """Code points of the stream before the run."""
        self.last = 0
        """The seq of the last message."""
        self.unacked_bytes = 0
        self._kept_bytes = 0
        self.before = 0
        """The seq before the first message."""
        self._kept: deque[Message] = deque()
        self._unacked: deque[Message] = deque()

    def begin_after(self, last_seq: int, characters: int) -> None:
        """Say where in the stream the run begins: it is claimed, or goes on, after `last_seq`."""
        self.acked = last_seq
        self.before = last_seq
        self.last = last_seq + len(self._unacked)
        self.characters_before = characters

    @property
    def unacked(self) -> int:
        """Return how many messages, or events that nobody has, the store lacks."""
        return self.last - self.acked

    @property
    def torn(self) -> bool:
        """Say whether the store lacks events that the run holds no more."""
        return self.acked < self.before

    def push(self, message: Message) -> None:
        """Add a message."""
        self._unacked.append(message)
        self.last += 1
        self.unacked_bytes += message.size

    def kept(self) -> Iterable[tuple[int, Message]]:
        """Return the messages that the store has, with their seqs."""
        return enumerate(self._kept, self.before + 1)

    def to_append(self) -> tuple[Message, ...]:
        """Return the messages that the store lacks. To be called on a run that isn't torn."""
        return tuple(self._unacked)

    def acknowledge(self, last_seq: int) -> None:
        """Move the mark to what the store has: forward, or back if it has lost something."""
        more = max(0, last_seq - self.before) - len(self._kept)
        if more > 0:
            moved = [self._unacked.popleft() for _ in range(min(more, len(self._unacked)))]
            self._kept += moved
            size = sum([message.size for message in moved])
        else:
            moved = [self._kept.pop() for _ in range(-more)]
            self._unacked.extendleft(moved)
            size = -sum([message.size for message in moved])
        self.unacked_bytes -= size
        self._kept_bytes += size
        self.acked = last_seq

    def forget(self, *, count: int, size: int) -> None:
        """Let go of the oldest that are kept: at most `count` stay, of at most `size` bytes."""
        kept, kept_bytes, characters = self._kept, self._kept_bytes, self.characters_before
        held = len(kept)
        while len(kept) > count or kept_bytes > size:
            message = kept.popleft()
            kept_bytes -= message.size
            characters += message.characters
        self.before += held - len(kept)
        self._kept_bytes, self.characters_before = kept_bytes, characters
