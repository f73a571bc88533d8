"""The body of a response, in virtual time, before servers that take their time over a piece."""

from itertools import groupby

import pytest
from anyio import create_task_group, current_time, sleep
from hypothesis import example, given
from hypothesis import strategies as st

from resumable_io._body import SLICE_BYTES, Body

HEARTBEAT, TIMEOUT = 10.0, 30.0
BEAT = b"h"

pytestmark = pytest.mark.virtual_time


class Server:
    """Takes some seconds for each message, in turn, and then none."""

    def __init__(self, delays):
        self.delays = list(delays)
        self.begun = []  # when each message was begun, ended, and what it brought
        self.ended = []
        self.received = []

    async def send(self, message):
        assert len(self.begun) == len(self.ended), "one message at a time"
        self.begun.append(current_time())
        await sleep(self.delays.pop(0) if self.delays else 0)
        self.ended.append(current_time())
        self.received.append(message["body"])


async def send_all(body, pieces):
    """Send pieces, each after a pause, while somebody keeps watch; return when it was left."""
    async with create_task_group() as tasks:
        tasks.start_soon(body.keep_watch, lambda: BEAT, HEARTBEAT)
        with body.patience:
            for pause, piece in pieces:
                await sleep(pause)
                await body.send(piece)
        tasks.cancel_scope.cancel()
    return current_time()


def piece(number, slices):
    return bytes([number]) * (slices * SLICE_BYTES - 1)


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 3)), max_size=8),
    st.lists(st.integers(0, 29), max_size=12),
)
@example([(0, 3), (1, 1)], [9, 9, 9, 9])
@example([(0, 1)], [15])  # it is left at the very time at which a heartbeat is due
@example([(HEARTBEAT + 1, 1)], [20])  # a piece has to wait for a heartbeat
async def test_pieces_arrive_whole_and_silence_is_never_long(pauses, delays):
    """Law 1; and no heartbeat comes into the middle of a piece, nor any later than promised."""
    server = Server(delays)
    body = Body(server.send, TIMEOUT)
    pieces = [(pause, piece(number, slices)) for number, (pause, slices) in enumerate(pauses)]
    start = current_time()
    end = await send_all(body, pieces)
    assert body.intact
    received = [part for part in server.received if part != BEAT]
    assert b"".join(received) == b"".join(data for _, data in pieces)
    runs = [first for first, _ in groupby(part[:1] for part in server.received) if first != BEAT]
    assert len(runs) == len(pieces), "a heartbeat within a piece"
    for silent_since, until in zip([start, *server.ended], [*server.begun, end], strict=True):
        assert until - silent_since <= HEARTBEAT + 1e-6


@given(st.integers(0, 60), st.integers(0, 3))
async def test_a_piece_is_given_up_after_the_timeout_or_half_as_long_again(pause, slices):
    server = Server([0] * slices + [1e9])
    body = Body(server.send, TIMEOUT)
    await send_all(body, [(pause, piece(1, slices + 1)), (0, piece(2, 1))])
    assert body.stalled
    stuck = server.begun[-1]
    assert TIMEOUT - 1e-6 <= current_time() - stuck <= 1.5 * TIMEOUT
    assert bytes([2]) not in b"".join(server.received)


async def test_a_heartbeat_is_given_up_too():
    """A client that is gone for good is found out although there is nothing to send."""
    server, start = Server([0, 1e9]), current_time()
    body = Body(server.send, TIMEOUT)
    await send_all(body, [(0, b"one"), (1e6, b"two")])
    assert body.stalled
    assert current_time() - start <= HEARTBEAT + TIMEOUT + 1e-6


async def test_nobody_waits_for_a_client_that_the_server_knows_to_be_gone():
    async def send(message):
        raise BrokenPipeError

    body, start = Body(send, TIMEOUT), current_time()
    await send_all(body, [(1e6, b"one")])
    assert body.unwanted
    assert not body.stalled
    assert current_time() - start <= HEARTBEAT + 1e-6
