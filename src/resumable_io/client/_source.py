"""Drive the core's client machine: an event stream over as many connections as it takes."""

from __future__ import annotations

import random
import zlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self, TypeAlias

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
from resumable_io._sources import CLEANUP_SECONDS
from resumable_io._subscription import RecordIterator, interruption

from ._request import REPEATABLE, HTTPClient, Template, library_of
from ._response import Response

Received: TypeAlias = ServerSentEvent | Gap | Reset | End
"""What a client receives."""


class ClientError(ResumableError):
    """Be the common base of the errors with which a client gives up."""


class ConnectionLost(ClientError):
    """Say that the connection broke and the rest cannot be had: what came is not the whole."""


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
    `repeatable` says whether the request may be sent again before there is an id to go on from; by
    default, it may if its method means the same when it is sent twice (RFC 9110, section 9.2.2), as
    a GET does. `client` is an `AsyncClient` of httpx2 or httpx, which stays open; without one, each
    event source has its own.

    Raises `InvalidInput` for a URL, headers or a body that cannot be sent, and for a `client` that
    is none.
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
        self._response: Response | None = None  # of the open connection

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
        """Take a step before the machine's deadline; if it fails, the connection is lost."""
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
            answer = await self._client.send(request, stream=True, follow_redirects=False)
            self._response = response = Response(answer)
            verdict = machine.answered(
                answer.status_code,
                answer.headers.get("content-type", ""),
                current_time(),
                random.random(),
                moved=answer.next_request is not None,
            )
            match verdict:
                case Verdict.READ:
                    if not response.readable:
                        await self._fail(machine, _unreadable(answer, response.coding))
                    return
                case Verdict.FOLLOW | Verdict.FOLLOW_FOR_GOOD:
                    request = answer.next_request
                    if verdict is Verdict.FOLLOW_FOR_GOOD:
                        self._template = self._template.moved(request)
                    await self._hang_up()
                case Verdict.REFUSED | Verdict.GIVEN_UP:
                    self._error = refusal = _refusal(answer)
                    refusal.body = await response.beginning()
                    await self._hang_up()
                    return
                case _:
                    await self._hang_up()
                    return

    async def _read(self, machine: Reconnect) -> None:
        """Take one slice of the body, or wait for more of it."""
        assert self._response is not None  # noqa: S101 - the phase says so
        slice_ = self._response.next_slice()
        if slice_ is None:
            if not await self._response.receive():
                await self._lose(machine, "the stream broke off")
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
        """Tell the machine that the connection is gone, and keep the error if it gives up."""
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
        response, self._response = self._response, None
        if response is not None:
            await response.aclose()


def _refusal(answer: Any) -> ResponseRefused:
    status: int = answer.status_code
    if status != 200:
        said = f"the server answered {status} {answer.reason_phrase}".rstrip()
        return ResponseRefused(said, status)
    type_ = answer.headers.get("content-type", "")
    shown = repr(type_[:80]) if type_ else "no content type"
    return ResponseRefused(f"the server answered with {shown}, expected text/event-stream", status)


def _unreadable(answer: Any, coding: str) -> ResponseRefused:
    return ResponseRefused(
        f"the server compressed its answer as {coding[:40]!r}, expected gzip, deflate or, best for "
        "an event stream, nothing",
        answer.status_code,
    )
