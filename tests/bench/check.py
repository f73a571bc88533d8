"""Say whether every event arrived, once and in order."""

from __future__ import annotations

from collections.abc import Iterable

SIZE = 40
"""Characters of a text."""


def text_of(index: int, stream: int = 0) -> str:
    """Return the text of the event at `index`, from 0; no two are alike."""
    return f"{stream:08d}-{index:031d}"


def texts(count: int, stream: int = 0) -> list[str]:
    """Return what is sent as one stream."""
    return [text_of(index, stream) for index in range(count)]


class Checker:
    """Compare what arrives of one stream with what was sent: `texts(count, stream)`.

    Its memory is bounded by what is missing.
    """

    def __init__(self, count: int, stream: int = 0) -> None:
        self.count = count
        self.arrived = self.repeated = self.out_of_order = self.foreign = 0
        self._prefix = f"{stream:08d}-"
        self._next = 0
        self._holes: set[int] = set()

    def take(self, text: str) -> None:
        """Take the next one that has arrived."""
        index = self._index(text)
        self.arrived += 1
        if index is None:
            self.foreign += 1
        elif index >= self._next:
            self._holes.update(range(self._next, index))
            self._next = index + 1
        elif index in self._holes:
            self._holes.remove(index)
            self.out_of_order += 1
        else:
            self.repeated += 1

    def verdict(self) -> dict[str, int]:
        """Return how many arrived, and what is wrong with them, by name."""
        return {
            "arrived": self.arrived,
            "lost": len(self._holes) + self.count - self._next,
            "repeated": self.repeated,
            "out of order": self.out_of_order,
            "foreign": self.foreign,
        }

    def _index(self, text: str) -> int | None:
        prefix, digits = text[:9], text[9:]
        if prefix != self._prefix or len(text) != SIZE or not digits.isdecimal():
            return None
        index = int(digits)
        return index if index < self.count else None


def check(received: Iterable[str], count: int, stream: int = 0) -> dict[str, int]:
    """Return the verdict on all that was received of one stream."""
    checker = Checker(count, stream)
    for text in received:
        checker.take(text)
    return checker.verdict()


def check_joined(received: Iterable[str], count: int, stream: int = 0) -> dict[str, int]:
    """Do the same for text that may be cut anywhere."""
    text = "".join(received)
    pieces = (text[start : start + SIZE] for start in range(0, len(text), SIZE))
    return check(pieces, count, stream)


def total(verdicts: Iterable[dict[str, int]]) -> dict[str, int]:
    """Return the sum of several verdicts."""
    sum_: dict[str, int] = {}
    for verdict in verdicts:
        for name, number in verdict.items():
            sum_[name] = sum_.get(name, 0) + number
    return sum_


def faults(verdict: dict[str, int]) -> dict[str, int]:
    """Return what is wrong; nothing when every event arrived, once and in order."""
    return {name: number for name, number in verdict.items() if number and name != "arrived"}
