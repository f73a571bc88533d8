"""The handshake, the listener's side, against the producer's, with all that can go wrong between.

`Wire` carries messages, loses them when a subscription breaks, and lets the producer die. Whatever
happens, a listener that says that the text is complete has all of it; and it always says something.
"""

import math
from collections import deque

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resumable_core import (
    DONE_MESSAGE,
    FAILED_MESSAGE,
    SENTINEL_DONE,
    SENTINEL_FREE,
    HandshakeListener,
    HandshakeProducer,
    HandshakeStep,
    InvalidInput,
    StreamFailed,
    StreamLost,
    StreamNotFound,
    StreamReset,
    skip_units,
)
from resumable_core._listener import TRIES, TRY_AGAIN_AFTER

PIECES = ["a", "bc", "😀", "日本", "", "e\u0301"]
ACK, WATCHDOG = 1.0, 10.0


class Wire:
    """A producer, a listener, and the channels between them."""

    def __init__(self, skip):
        self.now = 0.0
        self.producer = HandshakeProducer()
        self.listener = HandshakeListener(skip, ack_timeout=ACK, watchdog=WATCHDOG)
        self.channels: dict[str, deque[str]] = {}
        self.alive = True
        self.lingers = True
        self.names = 0
        self.received = ""

    def produce(self, piece=None, *, failure=None):
        if not self.alive:
            return
        if piece is None:
            self.producer.end(failure)
        elif not self.producer.ended:
            self.producer.append(piece)
        self.deliver()

    def deliver(self):
        for delivery in self.producer.deliveries():
            if delivery.listener in self.channels:
                self.channels[delivery.listener].append(delivery.text)
            else:
                self.producer.forget(delivery.listener)

    def publish(self, request):
        if not self.alive or (self.producer.ended and not self.lingers):
            return 0
        self.producer.requested(request)
        self.deliver()
        return 1

    def restart(self, pieces):
        """Another producer takes the stream over."""
        self.alive = True
        self.producer = HandshakeProducer()
        for piece in pieces:
            self.producer.append(piece)

    @property
    def sentinel(self):
        return SENTINEL_DONE if self.producer.ended else "1"

    def step(self):
        """Do what the listener wants next."""
        listener = self.listener
        match listener.next(self.now):
            case HandshakeStep.ASK:
                name = str(self.names)
                self.names += 1
                self.channels[name] = deque()
                listener.asked(self.publish(listener.asking(name)), self.now)
            case HandshakeStep.ASK_AGAIN:
                listener.asked(self.publish(listener.asking_again()), self.now)
            case HandshakeStep.LOOK:
                listener.looked(self.sentinel, self.now)
            case HandshakeStep.WAIT:
                if not self.hear():
                    self.now = listener.deadline
            case HandshakeStep.STOP:
                pass
        for name in self.channels.keys() - set(listener.listeners):
            del self.channels[name]

    def hear(self):
        """Hand over the oldest message, of the former channel first: they share a connection."""
        for name in reversed(self.listener.listeners):
            if self.channels[name]:
                message = self.channels[name].popleft()
                self.received += self.listener.received(name, message, self.now)
                return True
        return False

    def interrupt(self):
        for name in self.listener.listeners:
            self.channels[name].clear()
            self.listener.interrupted(name)

    def wait(self):
        self.now += WATCHDOG

    def finish(self):
        """Let the listener come to its end."""
        for _ in range(200):
            if self.listener.next(self.now) is HandshakeStep.STOP:
                return
            self.step()
        pytest.fail("the listener waits for ever")


ACTIONS = st.one_of(
    st.tuples(st.just("produce"), st.sampled_from(PIECES)),
    st.tuples(st.sampled_from(["step", "hear", "interrupt", "wait", "vanish"]), st.none()),
)


@given(
    st.integers(0, 6),
    st.lists(ACTIONS, max_size=25),
    st.sampled_from(["done", "failed", "killed"]),
    st.booleans(),
)
@example(1, [("produce", "😀"), ("step", None), ("hear", None), ("interrupt", None)], "done", True)
def test_what_is_said_to_be_complete_is_complete(skip, actions, end, lingers):
    """Nothing is missing and nothing is twice, however often the channels break."""
    wire = Wire(skip)
    wire.lingers = lingers
    for action, argument in actions:
        match action:
            case "produce":
                wire.produce(argument)
            case "step":
                wire.step()
            case "hear":
                wire.hear()
            case "interrupt":
                wire.interrupt()
            case "wait":
                wire.wait()
            case "vanish":  # the producer could not publish: it forgets the listener
                for name in wire.listener.listeners:
                    wire.producer.forget(name)
    match end:
        case "done":
            wire.produce()
        case "failed":
            wire.produce(failure="it broke")
        case "killed":
            wire.alive = False
    wire.finish()
    listener = wire.listener
    expected = skip_units("".join(wire.producer.text.pieces), skip)
    assert expected.startswith(wire.received)
    if listener.error is None:
        assert wire.received == (expected if listener.attached else "")
        assert end == "done" or not listener.attached
    assert not listener.dead or end == "killed"
    assert isinstance(listener.error, StreamLost | StreamFailed | None)


def attached(skip=0, *pieces):
    wire = Wire(skip)
    for piece in pieces:
        wire.produce(piece)
    wire.step()
    wire.hear()
    assert wire.listener.attached
    return wire


def test_an_interrupted_channel_is_asked_for_anew():
    """Where the text went on in the meantime, it is whole in the end."""
    wire = attached(0, "ab")
    wire.produce("cd")
    wire.interrupt()
    assert wire.listener.next(wire.now) is HandshakeStep.ASK
    wire.produce("ef")
    wire.step()
    wire.hear()
    assert wire.received == "abcdef"


def test_silence_is_asked_about():
    wire = attached(0, "ab")
    assert wire.listener.next(wire.now) is HandshakeStep.WAIT
    assert wire.listener.deadline == WATCHDOG
    wire.wait()
    assert wire.listener.next(wire.now) is HandshakeStep.ASK


def test_what_comes_on_the_former_channel_counts_until_the_new_one_answers():
    wire = attached(0, "ab")
    listener = wire.listener
    listener.next(WATCHDOG)
    listener.asking("new")
    listener.asked(1, WATCHDOG)
    assert listener.listeners == ("new", "0")
    assert listener.received("0", "cd", WATCHDOG) == "cd"
    assert listener.received("new", "abc", WATCHDOG) == ""
    assert listener.listeners == ("new",)
    assert listener.received("0", "ef", WATCHDOG) == ""
    assert listener.received("new", "def", WATCHDOG) == "ef"


def test_the_end_may_come_on_the_former_channel():
    """A producer of another library may end right when it is asked again."""
    wire = attached(0, "ab")
    listener = wire.listener
    listener.next(WATCHDOG)
    listener.asking("new")
    for _ in range(TRIES):
        listener.asked(0, WATCHDOG)
    listener.looked(SENTINEL_DONE, WATCHDOG)
    assert listener.next(WATCHDOG) is HandshakeStep.WAIT
    listener.received("0", DONE_MESSAGE, WATCHDOG)
    assert listener.next(WATCHDOG) is HandshakeStep.STOP
    assert listener.error is None


def test_an_end_that_does_not_come_is_an_error():
    """It is not taken for a clean end: the last part may be missing."""
    wire = attached(0, "ab")
    wire.lingers = False
    wire.produce("cd")
    wire.produce()
    wire.interrupt()
    wire.finish()
    assert wire.received == "ab"
    assert "last part" in str(wire.listener.error)
    assert not wire.listener.dead


def test_the_former_channel_may_break():
    wire = attached()
    listener = wire.listener
    listener.next(WATCHDOG)
    listener.asking("new")
    listener.interrupted("0")
    assert listener.listeners == ("new",)
    listener.asked(1, WATCHDOG)
    listener.interrupted("new")
    listener.asked(1, WATCHDOG)
    assert listener.next(WATCHDOG) is HandshakeStep.ASK


def test_an_answer_may_come_before_it_is_known_who_was_asked():
    listener = HandshakeListener(ack_timeout=ACK, watchdog=WATCHDOG)
    listener.asking("one")
    assert listener.received("one", "a", 1.0) == "a"
    listener.asked(0, 1.0)
    assert listener.deadline == 1.0 + WATCHDOG


@pytest.mark.parametrize("again", ["AB", "xy", "abc"])
def test_a_text_that_has_become_another_one_is_void(again):
    """The producer died, and another one has taken the stream over."""
    wire = attached(0, "abcd")
    wire.restart([again])
    wire.interrupt()
    wire.step()
    wire.hear()
    wire.produce("efgh" if again != "abc" else None)
    wire.finish()
    assert isinstance(wire.listener.error, StreamReset)
    assert wire.received == "abcd"


def test_a_slow_consumer_is_no_silent_producer():
    wire = attached(0, "ab")
    wire.wait()
    wire.listener.paused(wire.now)
    assert wire.listener.next(wire.now) is HandshakeStep.WAIT
    assert wire.listener.deadline == 2 * WATCHDOG


def test_an_answer_is_not_waited_for_any_longer_because_the_consumer_is_slow():
    listener = HandshakeListener(ack_timeout=ACK)
    listener.asking("one")
    listener.asked(1, 0.0)
    listener.paused(ACK)
    assert listener.next(ACK) is HandshakeStep.LOOK


# -- Asking --------------------------------------------------------------------------------------


def ask(listener, receivers):
    while listener.next(0.0) is HandshakeStep.ASK or listener.next(1.0) is HandshakeStep.ASK_AGAIN:
        listener.asking("one")
        listener.asked(receivers, 0.0)


def test_a_request_that_reaches_nobody_is_published_twice():
    listener = HandshakeListener()
    assert listener.next(0.0) is HandshakeStep.ASK
    request = listener.asking("one")
    listener.asked(0, 0.0)
    assert listener.next(0.0) is HandshakeStep.WAIT
    assert listener.next(TRY_AGAIN_AFTER) is HandshakeStep.ASK_AGAIN
    assert listener.asking_again() == request
    listener.asked(0, TRY_AGAIN_AFTER)
    assert listener.next(TRY_AGAIN_AFTER) is HandshakeStep.LOOK


@pytest.mark.parametrize("receivers", [1, None])
def test_an_answer_is_waited_for(receivers):
    listener = HandshakeListener(ack_timeout=3.0)
    assert listener.deadline == -math.inf
    listener.asking("one")
    listener.asked(receivers, 5.0)
    assert listener.deadline == 8.0
    assert listener.next(8.0) is HandshakeStep.LOOK
    listener.looked("4", 8.0)
    assert isinstance(listener.error, StreamLost)
    assert "did not answer within 3 s" in str(listener.error)
    assert not listener.dead


@pytest.mark.parametrize("sentinel", [None, SENTINEL_FREE])
def test_no_such_stream(sentinel):
    listener = HandshakeListener()
    ask(listener, 0)
    listener.looked(sentinel, 1.0)
    assert isinstance(listener.error, StreamNotFound)
    assert not listener.dead


def test_a_stream_that_is_gone_while_it_is_listened_to_is_lost():
    wire = attached()
    wire.alive = False
    wire.wait()
    while wire.listener.next(wire.now) is not HandshakeStep.LOOK:
        wire.step()
    wire.listener.looked(None, wire.now)
    assert isinstance(wire.listener.error, StreamLost)


def test_a_stream_that_had_ended_before():
    listener = HandshakeListener()
    ask(listener, 0)
    listener.looked(SENTINEL_DONE, 1.0)
    assert listener.next(1.0) is HandshakeStep.STOP
    assert listener.error is None
    assert not listener.attached


def test_a_failure():
    listener = HandshakeListener()
    listener.asking("one")
    listener.received("one", FAILED_MESSAGE + "it broke", 0.0)
    assert isinstance(listener.error, StreamFailed)
    assert str(listener.error) == "it broke"


def test_a_dead_producer():
    wire = attached(0, "ab")
    wire.alive = False
    wire.finish()
    assert isinstance(wire.listener.error, StreamLost)
    assert wire.listener.dead


def test_after_the_end_nothing_matters():
    listener = HandshakeListener()
    listener.asking("one")
    listener.received("one", DONE_MESSAGE, 0.0)
    listener.asked(0, 0.0)
    listener.interrupted("one")
    listener.looked(None, 0.0)
    assert listener.received("one", "more", 0.0) == ""
    assert listener.next(0.0) is HandshakeStep.STOP
    assert listener.error is None


def test_what_is_skipped_is_counted_from_the_beginning():
    with pytest.raises(InvalidInput, match="counted from 0"):
        HandshakeListener(-1)
