"""Input in pieces: lines, JSON lines, or whatever arrives together."""

from __future__ import annotations

import codecs
import json
import os
from collections.abc import AsyncGenerator, AsyncIterable
from enum import StrEnum
from typing import Final

from anyio import wait_readable
from anyio.lowlevel import checkpoint

from resumable_io import SourceError

READ: Final = 64 * 1024
LONGEST_LINE: Final = 1024 * 1024
"""Characters; a line that never ends must not fill the memory."""


class Cut(StrEnum):
    """How input is cut into messages."""

    LINES = "lines"
    CHUNKS = "chunks"
    JSONL = "jsonl"


async def pieces(input: AsyncIterable[bytes], cut: Cut) -> AsyncGenerator[str]:
    """Yield the messages that some input stands for; bytes that are not UTF-8 become U+FFFD.

    Lines keep their newline, so that all messages joined are the input; JSON lines do not. Raises
    `SourceError` for a line that is too long, and for one that is not JSON.
    """
    utf8 = codecs.getincrementaldecoder("utf-8")("replace")
    if cut is Cut.CHUNKS:
        async for raw in input:
            if text := utf8.decode(raw):
                yield text
        if text := utf8.decode(b"", final=True):
            yield text
        return
    number, rest = 0, ""
    async for raw in input:
        *lines, rest = (rest + utf8.decode(raw)).split("\n")
        for line in lines:
            number += 1
            yield _message(f"{line}\n", number, cut)
        if len(rest) > LONGEST_LINE:
            raise SourceError(f"line {number + 1} has more than {LONGEST_LINE} characters")
    if rest := rest + utf8.decode(b"", final=True):
        yield _message(rest, number + 1, cut)


def _message(line: str, number: int, cut: Cut) -> str:
    if cut is Cut.LINES:
        return line
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        raise SourceError(f"line {number} is not JSON") from None
    return line.strip()


async def read(fd: int) -> AsyncGenerator[bytes]:
    """Yield what can be read as soon as it is there, without a thread that would outlive us.

    Raises `SourceError` for what cannot be read.
    """
    waits = True
    while True:
        if waits:
            try:
                await wait_readable(fd)
            except PermissionError:  # a file: it is readable always, and cannot be waited for
                waits = False
        try:
            raw = os.read(fd, READ)
        except OSError as error:
            raise SourceError(f"the input cannot be read: {error.strerror}") from error
        if not raw:
            return
        yield raw
        await checkpoint()
