"""Text as JavaScript counts it: in UTF-16 code units."""

from __future__ import annotations

from bisect import bisect_right
from typing import Final


def utf16_units(text: str) -> int:
    """Return the length of `text` in UTF-16 code units."""
    return len(text) if text.isascii() else len(_utf16(text)) // 2


def skip_units(text: str, units: int) -> str:
    """Return what follows so many code units, from 0 on.

    Inside a surrogate pair, that begins with the character itself.
    """
    if text.isascii():
        return text[units:]
    encoded = _utf16(text)
    is_inside = encoded[2 * units + 1 : 2 * units + 2] in _LOW_SURROGATES
    return encoded[2 * (units - is_inside) :].decode("utf-16-le", "surrogatepass")


def _utf16(text: str) -> bytes:
    return text.encode("utf-16-le", "surrogatepass")


_LOW_SURROGATES: Final = {bytes((high,)) for high in range(0xDC, 0xE0)}


class Transcript:
    """Hold a text that grows, and cut it at any code unit."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        """What was appended."""
        self.units: int = 0
        """Its length, in UTF-16 code units."""
        self._starts: list[int] = []

    def append(self, piece: str) -> None:
        """Add a piece."""
        self.pieces.append(piece)
        self._starts.append(self.units)
        self.units += utf16_units(piece)

    def after(self, offset: int) -> str:
        """Return what follows so many code units; nothing when there are not as many."""
        if offset >= self.units:
            return ""
        index = bisect_right(self._starts, offset) - 1
        first = skip_units(self.pieces[index], offset - self._starts[index])
        return first + "".join(self.pieces[index + 1 :])
