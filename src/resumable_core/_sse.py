"""The event stream format of server-sent events: an encoder and an incremental decoder.

Both follow the WHATWG HTML standard, section 9.2; "9.2.6" and the like below are its sections.
See https://html.spec.whatwg.org/multipage/server-sent-events.html

A stream is a series of blocks, each closed by an empty line. A block is a series of lines
``field: value``. The fields are ``data`` (a line of the text), ``event`` (the type), ``id`` and
``retry``. A line ends in LF, CR LF or CR and nowhere else: U+2028, U+0085 and VT, at which
`str.splitlines` cuts too, are content.
"""

import codecs
import re
from typing import Final

from ._frozen import frozen

__all__ = [
    "MAX_EVENT_SIZE",
    "MAX_RETRY",
    "Decoder",
    "EventTooLarge",
    "ServerSentEvent",
    "encode_comment",
    "encode_event",
    "encode_id",
    "encode_retry",
]

MAX_RETRY: Final = 2**31 - 1
"""The longest reconnection time, in milliseconds: 24 days, as far as a browser's timers go."""

MAX_EVENT_SIZE: Final = 8 * 1024 * 1024
"""The default bound of a decoder, in characters: far above what a sensible event has."""


# -- Encoder --------------------------------------------------------------------------------------


def encode_event(
    data: str, *, id: str | None = None, type: str | None = None, retry: int | None = None
) -> bytes:
    """Encode one event as a block, the closing empty line included.

    Newlines in `data` (CR LF, CR, LF) arrive as LF, since the format has no other; everything else
    arrives as it is. Without a `type` the event arrives as a "message", without an `id` under the
    id that was sent last. `retry` is the reconnection time, in milliseconds.

    Raises `ValueError`, naming the field, for CR, LF or NUL in `id` or `type`, for a lone surrogate
    anywhere, and for a `retry` that is no integer from 0 to `MAX_RETRY`.

    See 9.2.5 and 9.2.6.
    """
    head = ""
    if type is not None:
        head = f"event: {one_line('type', type)}\n"
    if id is not None:
        head += f"id: {one_line('id', id)}\n"
    if retry is not None:
        head += f"retry: {_milliseconds('retry', retry)}\n"
    try:
        return f"{head}{data_lines(data)}\n".encode()
    except UnicodeEncodeError:
        raise ValueError("data has a lone surrogate, expected text that UTF-8 can hold") from None


def data_lines(data: str) -> str:
    """Return the lines of a block that carry `data`. For framings, which encode whole pages."""
    if "\r" in data:
        data = data.replace("\r\n", "\n").replace("\r", "\n")
    if "\n" in data:
        data = data.replace("\n", "\ndata: ")
    return f"data: {data}\n"


def encode_id(id: str) -> bytes:
    """Encode a block that moves the client's last event id without dispatching an event.

    Raises `ValueError` for CR, LF, NUL or a lone surrogate.

    See 9.2.6: to dispatch is to set the last event id, and then to return if there is no data.
    """
    return f"id: {one_line('id', id)}\n\n".encode()


def encode_retry(milliseconds: int) -> bytes:
    """Encode a block that sets the client's reconnection time without dispatching an event.

    Raises `ValueError` for anything but an integer from 0 to `MAX_RETRY`.

    See 9.2.6.
    """
    return f"retry: {_milliseconds('retry', milliseconds)}\n\n".encode()


def encode_comment(text: str = "") -> bytes:
    """Encode a comment, which clients ignore: a heartbeat.

    Raises `ValueError` for CR, LF, NUL or a lone surrogate.

    See 9.2.7, which advises one every 15 seconds or so, against proxies that drop idle connections.
    """
    return f": {one_line('text', text)}\n\n".encode()


_NOT_IN_A_LINE: Final = re.compile("[\r\n\0\ud800-\udfff]")


def one_line(field: str, text: str) -> str:
    """Return `text`. Raises `ValueError` where it would not be one line of a block."""
    if found := _NOT_IN_A_LINE.search(text):
        raise ValueError(
            f"{field} has U+{ord(found[0]):04X} at index {found.start()}, "
            "expected text without CR, LF, NUL and lone surrogates"
        )
    return text


def _milliseconds(field: str, value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_RETRY:
        return value
    raise ValueError(f"{field} must be a whole number of milliseconds, from 0 to {MAX_RETRY}")


# -- Decoder --------------------------------------------------------------------------------------


@frozen
class ServerSentEvent:
    """An event as it reaches a client: its type is "message" when the server gave it none."""

    type: str
    data: str
    last_event_id: str


class EventTooLarge(ValueError):
    """The server sent an event that is larger than this decoder accepts."""


class Decoder:
    """Decode an event stream that arrives in pieces, one decoder for each connection.

    The events do not depend on how the bytes are cut, and each is returned for the very byte that
    completes it. Invalid UTF-8 becomes U+FFFD and what the standard does not know is ignored, so
    that the only error is size. A block that is unfinished when the stream ends is not an event.

    `max_event_size`, in characters, bounds the lines of a block together with the line that has no
    end yet; comments count until they end. What is held takes at most 16 bytes per character, and
    usually one. `last_event_id` is the one that the connection resumes after: it stands until the
    stream sets another.

    Raises `ValueError` for a `max_event_size` below 1. See 9.2.5 and 9.2.6.
    """

    def __init__(self, max_event_size: int = MAX_EVENT_SIZE, *, last_event_id: str = "") -> None:
        if max_event_size < 1:
            raise ValueError(f"max_event_size is {max_event_size}, expected at least 1 character")
        self._max_event_size = max_event_size
        self._last_event_id = last_event_id
        self._retry: int | None = None

        # From bytes to lines. "sig": a byte order mark at the very start is dropped.
        self._utf8 = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._after_cr = False
        # The line that has no end yet, in UTF-8 again: strings of one character each would take 80
        # bytes, and one string would be copied for each chunk.
        self._tail = bytearray()
        self._tail_size = 0

        # From lines to events: the buffers of 9.2.6, and the size of the block that fills them.
        self._data: list[str] = []
        self._type = "message"
        self._id = last_event_id
        self._size = 0

    @property
    def last_event_id(self) -> str:
        """The id to reconnect with: that of the last block that was closed, even without data."""
        return self._last_event_id

    @property
    def retry(self) -> int | None:
        """The last valid reconnection time, in milliseconds; `MAX_RETRY` if it was longer."""
        return self._retry

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """Take the next bytes of the stream and return the events that they complete.

        Raises `EventTooLarge` when the stream exceeds `max_event_size`, and at every later call.
        Events completed before are not lost: they are returned, and the next call raises.
        """
        self._check_size()
        events: list[ServerSentEvent] = []
        data = self._data
        for line in self._lines(chunk):
            if line:
                self._size += len(line)
                if self._size > self._max_event_size:
                    break
                # The usual spelling of the usual fields; a match here can't contain another colon.
                name, _, value = line.partition(": ")
                if name == "data":
                    data.append(value)
                elif name == "id" and "\0" not in value:
                    self._id = value
                else:
                    self._field(line)
            else:
                self._last_event_id = self._id
                if data:
                    events.append(ServerSentEvent(self._type, "\n".join(data), self._id))
                    data.clear()
                self._type = "message"
                self._size = 0
        if not events:
            self._check_size()
        return events

    def _lines(self, chunk: bytes) -> list[str]:
        text = self._utf8.decode(chunk)
        if text:
            # A CR ends its line at once, so the LF of a CR LF may come when that is long done.
            if self._after_cr:
                text = text.removeprefix("\n")
            self._after_cr = text.endswith("\r")
            if "\r" in text:
                text = text.replace("\r\n", "\n").replace("\r", "\n")
        lines = text.split("\n")
        tail = lines.pop()
        if lines and self._tail:
            lines[0] = self._tail.decode() + lines[0]
            self._tail.clear()
            self._tail_size = 0
        self._tail += tail.encode()
        self._tail_size += len(tail)
        return lines

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "data":
                self._data.append(value)
            case "event":
                self._type = value or "message"
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if value.isascii() and value.isdigit():
                # Eleven digits exceed the bound already; to read thousands takes quadratic time.
                self._retry = min(int(value.lstrip("0")[:11] or "0"), MAX_RETRY)
            case "":
                # A comment is not held, and a stream of nothing else may go on for ever.
                self._size -= len(line)
            case _:
                pass

    def _check_size(self) -> None:
        size = self._size + self._tail_size
        if size > self._max_event_size:
            raise EventTooLarge(
                f"the event stream has an event of {size} characters or more, expected at most "
                f"{self._max_event_size}: close the connection, and raise max_event_size if the "
                "server is meant to send such events"
            )
