"""The body of a response as it was meant, in slices of bounded size, whatever its compression.

The HTTP libraries can decompress, too, but not all of them in bounded steps: a few kilobytes may
stand for gigabytes.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Final

SLICE: Final = 64 * 1024
"""Bytes of decompressed body at a time."""

_EITHER_HEADER: Final = 32 + zlib.MAX_WBITS  # gzip or zlib, as the data says


def decoder_of(coding: str) -> Callable[[bytes], Iterator[bytes]] | None:
    """Return what turns the pieces of a body with this Content-Encoding into slices.

    None when it is none of gzip, deflate and identity. What is returned raises `zlib.error` for
    data that is damaged.
    """
    match coding.strip().lower():
        case "" | "identity":
            return lambda piece: iter((piece,))
        case "gzip" | "x-gzip" | "deflate":
            return _Inflating().slices
        case _:
            return None


class _Inflating:
    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(_EITHER_HEADER)

    def slices(self, piece: bytes) -> Iterator[bytes]:
        while piece:
            if self._inflate.eof:  # a body may be several compressed ones, one after the other
                self._inflate = zlib.decompressobj(_EITHER_HEADER)
            slice_ = self._inflate.decompress(piece, SLICE)
            piece = self._inflate.unconsumed_tail or self._inflate.unused_data
            yield slice_
            while len(slice_) == SLICE and not piece:  # more may be held back
                slice_ = self._inflate.decompress(b"", SLICE)
                yield slice_
