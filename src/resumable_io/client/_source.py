"""Drive the core's client machine: an event stream over as many connections as it takes."""

from __future__ import annotations

import random
import zlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, suppress
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

from anyio import CancelScope, current_time, move_on_after, sleep_until
from anyio.lowlevel import checkpoint

from resumable_core import (
    ClientPhase,
    End,
    EventTooLarge,
    Gap,
    Outcome,
    Reconnect,
    ReconnectLimits,
    Reset,
    ResumableError,
    ServerSentEvent,
    Verdict,
    read_notice,
)
from resumable_io._subscription import RecordIterator, interruption

from ._content import decoder_of
from ._request import REPEATABLE, HTTPClient, Template, library_of

Received: TypeAlias = ServerSentEvent | Gap | Reset | End
"""What a client receives."""

CLEANUP_SECONDS: Final = 5.0
COMPLAINT: Final = 2000  # bytes of an answer that is refused: enough to understand it
COMPLAINT_SECONDS: Final = 2.0


class ClientError(ResumableError):
    """Be the common base of what a client gives up with."""


class ConnectionLost(ClientError):
    """Say that the stream broke off and could not be had again: what came is not the whole."""


class ResponseRefused(ClientError):
    """Say that the server answered with something other than an event stream."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status: int = status
        """The HTTP status."""
        self.body: bytes = b""
        """The beginning of what the server said: at most 2,000 bytes, as they came."""


def connect(
    url: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    content: str | bytes | None = None,
    json: object = None,
    last_event_id: str = "",
    limits: ReconnectLimits | None = None,
    repeatable: bool | None = None,
    client: HTTPClient | None = None,
) -> EventSource:
    """Follow an event stream, over as many connections as it takes; to be entered.

    `content` or `json` is the body of every request. `last_event_id` is where to go on.
    `repeatable` says whether the request may be sent again without an id to go on from; unless told
    otherwise, that depends on the method. `client` is an `AsyncClient` of httpx2 or httpx, which
    stays open; without one, each event source has its own.

    Raises `InvalidInput`.
    """
    template = Template.make(method, url, headers, content, json)
    if repeatable is None:
        repeatable = template.method in REPEATABLE
    return EventSource(template, limits or ReconnectLimits(), last_event_id, repeatable, client)


class EventSource:
    """Receive an event stream, and connect again whenever the connection is gone.

    It is made by `connect`, and follows the WHATWG HTML standard, section 9.2; see `Reconnect`.
    Iterate over it for the events alone. If the server is one of ours, whatever would make a part
    look like the whole is then raised as an `Interruption`, as `Subscription` does. Or iterate over
    `records()`, where gaps, resets and the end are yielded.

    One task at a time may iterate. Cancelled while waiting, it drops its connection, and the next
    call goes on from the last event id: nothing is lost where the server gives ids.
    """

    def __init__(
        self,
        template: Template,
        limits: ReconnectLimits,
        last_event_id: str,
        repeatable: bool,  # noqa: FBT001 - `connect` has it as a keyword
        client: HTTPClient | None,
    ) -> None:
        self._library: Any = None if client is None else library_of(client)
        self._template = template
        self._limits = limits
        self._last_event_id = last_event_id
        self._repeatable = repeatable
        self._client = client
        self._stack = AsyncExitStack()
        self._machine: Reconnect | None = None
        self._error: ResumableError | None = None
        self._records: deque[Received] = deque()
        # The open connection: its body as it comes, and the slices of what came last.
        self._response: Any = None
        self._chunks: AsyncGenerator[bytes, None] | None = None
        self._decode: Callable[[bytes], Iterator[bytes]] | None = None
        self._slices: Iterator[bytes] = iter(())

    @property
    def last_event_id(self) -> str:
        """Return the id of the last event that was handed out: where a later client goes on."""
        return self._last_event_id

    async def __aenter__(self) -> Self:
        """Get ready; the first connection is made by the first call for an event."""
        if self._client is None:
            import httpx2

            own = await self._stack.enter_async_context(httpx2.AsyncClient())
            self._client = own
        self._library = library_of(self._client)
        self._machine = Reconnect(
            self._limits,
            current_time(),
            last_event_id=self._last_event_id,
            repeatable=self._repeatable,
        )
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection."""
        if self._machine is not None:
            self._machine.close()
        await self._hang_up()
        with move_on_after(CLEANUP_SECONDS, shield=True):
            await self._stack.aclose()

    def __aiter__(self) -> Self:
        """Return itself: an event source has one place."""
        return self

    async def __anext__(self) -> ServerSentEvent:
        """Return the next event; end when the stream is done, or the server says so by a 204.

        Raises `StreamGap` and `StreamReset`, after which it goes on, `StreamFailed`,
        `StreamStopped` and `StreamLost`; `ResponseRefused` for an answer that is final,
        `ConnectionLost` when there is no use in trying again, and `ClientError` for an event that
        exceeds `max_event_size`.
        """
        match await self._receive():
            case ServerSentEvent() as event:
                return event
            case None | End(outcome=Outcome.DONE):
                raise StopAsyncIteration
            case End() | Gap() | Reset() as record:
                raise interruption(record)

    def records(self) -> AsyncIterator[Received]:
        """Iterate over events and, if the server is one of ours, `Gap`, `Reset` and `End`.

        Raises `ClientError` as iterating over the event source does.
        """
        return RecordIterator(self._receive)

    async def _receive(self) -> Received | None:
        machine = self._machine
        if machine is None:
            raise RuntimeError("this event source is not entered: use `async with connect(…)`")
        while not self._records:
            if self._error is not None:
                raise self._error
            match machine.phase:
                case ClientPhase.PAUSED:
                    await sleep_until(machine.deadline)
                    machine.connect(current_time())
                case ClientPhase.CONNECTING:
                    await self._guarded(self._ask, machine)
                case ClientPhase.OPEN:
                    machine.listen(current_time())
                    await self._guarded(self._read, machine)
                case ClientPhase.CLOSED:
                    return None
        record = self._records.popleft()
        if isinstance(record, ServerSentEvent):
            self._last_event_id = record.last_event_id
        elif isinstance(record, End):
            self._last_event_id = f"{record.id}-end"
            machine.close()
            await self._hang_up()
        else:
            self._last_event_id = str(record.id)
        return record

    async def _guarded(self, step: Callable[[Reconnect], Any], machine: Reconnect) -> None:
        """Take a step before the machine's deadline; whatever breaks it is a connection lost."""
        before = machine.phase
        library = self._library
        try:
            with CancelScope(deadline=machine.deadline) as scope:
                await step(machine)
            if scope.cancelled_caught and machine.phase is before:
                await self._lose(machine, f"the server was silent for {self._limits.idle:g} s")
        except library.InvalidURL as error:
            await self._fail(machine, ClientError(f"the URL is invalid: {error}"))
        except (library.ConnectError, library.ConnectTimeout, library.PoolTimeout) as error:
            await self._lose(machine, "the server cannot be reached", error, reached=False)
        except (library.HTTPError, library.StreamError) as error:
            what = "before it answered" if before is ClientPhase.CONNECTING else "while it answered"
            await self._lose(machine, f"the connection to the server broke {what}", error)
        except zlib.error as error:
            await self._lose(machine, "the server's compressed answer is damaged", error)
        except EventTooLarge as error:
            await self._fail(machine, ClientError(str(error)), error)
        except BaseException:
            await self._hang_up()
            if machine.phase in {ClientPhase.CONNECTING, ClientPhase.OPEN}:
                self._note(machine, "the wait for an event was cancelled")
            raise

    async def _ask(self, machine: Reconnect) -> None:
        """Send the request, and follow it to where it leads."""
        assert self._client is not None  # noqa: S101 - it is entered
        request = self._template.request(self._client, machine.last_event_id)
        while True:
            self._response = response = await self._client.send(
                request, stream=True, follow_redirects=False
            )
            verdict = machine.answered(
                response.status_code,
                response.headers.get("content-type", ""),
                current_time(),
                random.random(),
                moved=response.next_request is not None,
            )
            match verdict:
                case Verdict.READ:
                    await self._open(machine, response)
                    return
                case Verdict.FOLLOW | Verdict.FOLLOW_FOR_GOOD:
                    request = response.next_request
                    if verdict is Verdict.FOLLOW_FOR_GOOD:
                        self._template = self._template.moved(request)
                    await self._hang_up()
                case Verdict.REFUSED | Verdict.GIVEN_UP:
                    self._error = refusal = _refusal(response)
                    refusal.body = await _complaint(response)
                    await self._hang_up()
                    return
                case _:
                    await self._hang_up()
                    return

    async def _open(self, machine: Reconnect, response: Any) -> None:
        coding = response.headers.get("content-encoding", "")
        self._decode = decoder_of(coding)
        if self._decode is None:
            await self._fail(
                machine,
                ResponseRefused(
                    f"the server compressed its answer as {coding[:40]!r}, expected gzip, deflate "
                    "or, best for an event stream, nothing",
                    response.status_code,
                ),
            )
            return
        self._chunks = response.aiter_raw()
        self._slices = iter(())

    async def _read(self, machine: Reconnect) -> None:
        """Take one slice of the body."""
        assert self._chunks is not None  # noqa: S101 - the phase says so
        assert self._decode is not None  # noqa: S101
        slice_ = next(self._slices, None)
        if slice_ is None:
            chunk = await anext(self._chunks, None)
            if chunk is None:
                await self._lose(machine, "the stream broke off")
                return
            self._slices = self._decode(chunk)
            return
        await checkpoint()  # there may be a thousand slices in one chunk
        for event in machine.feed(slice_):
            self._records.append(read_notice(event) or event)

    async def _lose(
        self,
        machine: Reconnect,
        reason: str,
        error: Exception | None = None,
        *,
        reached: bool = True,
    ) -> None:
        await self._hang_up()
        self._note(machine, reason, error, reached=reached)

    def _note(
        self,
        machine: Reconnect,
        reason: str,
        error: Exception | None = None,
        *,
        reached: bool = True,
    ) -> None:
        """Tell the machine that the connection is gone, and keep what there is to raise for it."""
        match machine.lost(current_time(), random.random(), reached=reached):
            case Verdict.GIVEN_UP:
                self._error = ConnectionLost(
                    f"{reason}; given up, failures in a row: {machine.failures}"
                )
            case Verdict.UNREPEATABLE:
                self._error = ConnectionLost(
                    f"{reason}, and a {self._template.method} without an event id to go on from is "
                    "not repeated: it might have its effect twice"
                )
            case _:
                return
        self._error.__cause__ = error

    async def _fail(
        self, machine: Reconnect, failure: ClientError, cause: Exception | None = None
    ) -> None:
        failure.__cause__ = cause
        self._error = failure
        machine.close()
        await self._hang_up()

    async def _hang_up(self) -> None:
        chunks, response, self._chunks, self._response = self._chunks, self._response, None, None
        if chunks is not None:
            await _unwind(chunks)
        if response is not None:
            with move_on_after(CLEANUP_SECONDS, shield=True):
                await response.aclose()


def _refusal(response: Any) -> ResponseRefused:
    status: int = response.status_code
    if status != 200:
        said = f"the server answered {status} {response.reason_phrase}".rstrip()
        return ResponseRefused(said, status)
    type_ = response.headers.get("content-type", "")
    shown = repr(type_[:80]) if type_ else "no content type"
    return ResponseRefused(f"the server answered with {shown}, expected text/event-stream", status)


async def _complaint(response: Any) -> bytes:
    """Return the beginning of what the server says: what of it comes soon, and can be read."""
    said = b""
    decode = decoder_of(response.headers.get("content-encoding", ""))
    if decode is None:
        return said
    chunks = response.aiter_raw()
    with move_on_after(COMPLAINT_SECONDS), suppress(Exception):
        while len(said) < COMPLAINT and (chunk := await anext(chunks, None)) is not None:
            for slice_ in decode(chunk):
                said += slice_[: COMPLAINT - len(said)]
                if len(said) >= COMPLAINT:
                    break
    await _unwind(chunks)
    return said


async def _unwind(chunks: AsyncGenerator[bytes, None]) -> None:
    """Finish an iterator that is read no further, with all the generators that it is made of.

    To close it would leave the inner ones to the garbage collector, which can't wait. Cancelled
    at their next wait, they all come to their ends.
    """
    with CancelScope(shield=True) as scope, suppress(Exception):
        scope.cancel()
        while await anext(chunks, None) is not None:
            pass
