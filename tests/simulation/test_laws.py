"""The laws, each at its plainest: what goes wrong is said, and what must come of it.

Whatever a client is told is judged in each of these worlds, too.
"""

import pytest

from resumable_core import ABSENT, EventLog, Outcome
from resumable_core.testing.simulation import Script, Setup, Step
from resumable_core.testing.simulation._play import Play
from resumable_core.testing.simulation._script import CHECK, LEASE, NEVER

COUNT = 10
START = Step(0.0, "start", (0, "refuse", COUNT, 0.2, "done"))
JOIN = Step(0.1, "join", (1, "sse", "beginning"))
TRUSTING = Setup(check=NEVER)


def play(*steps, setup=TRUSTING):
    """Play a script until everybody has finished."""
    play = Play(Script(setup, (*steps, Step(4.0, "stall", (0, 0.0)))))
    play.run()
    return play


def texts(client):
    return [id.seq for id in client.events.values()]


def test_resume():
    """Law 3: whoever leaves again and again, and comes back, has the whole, once."""
    slow = Step(0.0, "start", (0, "refuse", COUNT, 0.5, "done"))
    leaving = [Step(0.7 * n, "leave", (0,)) for n in range(1, 7)]
    world = play(slow, JOIN, *leaving, setup=Setup(check=NEVER, held_back=30))
    assert texts(world.clients[0]) == list(range(1, COUNT + 1))
    assert world.clients[0].reconnects == 6
    assert [end.outcome for end in world.clients[0].ends] == [Outcome.DONE]


def test_who_has_seen_the_end_is_told_nothing():
    """Law 5."""
    world = play(START, JOIN, *(Step(3.0 + n, "leave", (0,)) for n in range(3)))
    assert [end.outcome for end in world.clients[0].ends] == [Outcome.DONE]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_one_producer(order):
    """Law 4: of those who start at once, one produces, although no claim is answered at first."""
    starts = [
        step
        for process in order
        for step in (
            Step(0.0, "calls", (process, "write", "unanswered", 1, 0.0)),
            Step(0.0, "start", (process, "refuse", COUNT, 0.2, "done")),
        )
    ]
    world = play(*starts, JOIN, setup=Setup(latencies=(0.02,) * 3, check=NEVER))
    assert (world.seen["Claim"], world.seen["StreamExists"]) == (1, 2)
    assert world.workers[0].source.indices, "the first that arrives"


def test_a_fenced_producer():
    """Law 4: who was taken over appends nothing any more, and its source is not wanted."""
    world = play(
        Step(0.0, "start", (0, "refuse", 50, 0.2, "done")),
        JOIN,
        Step(1.0, "pause", ("producer", 2 * LEASE)),
        Step(1.0 + 1.5 * LEASE, "start", (1, "continue", COUNT, 0.2, "done")),
        Step(1.0 + 3 * LEASE, "leave", (0,)),
        setup=Setup(),
    )
    assert (world.seen["Fenced"], world.seen["Claim"]) == (1, 2)
    (first, _), (second, since) = world.store.log.sentinel.lineage.epochs
    assert (first, second) == ("e0", "e1")
    assert len(texts(world.clients[0])) == since - 1 + COUNT


@pytest.mark.parametrize("fate", ["unanswered", "lost", "late", "full"])
def test_exactly_once(fate):
    """Law 6: commands are repeated, and each counts once."""
    world = play(JOIN, START, Step(0.5, "calls", (0, "write", fate, 3, 1.5)))
    assert texts(world.clients[0]) == list(range(1, COUNT + 1))


@pytest.mark.parametrize("feed", ["works", "is silent"])
def test_liveness(feed):
    """Law 7: when a producer dies, all know within the lease plus one check interval."""
    silent = [Step(0.0, "calls", (1, "feed", "lost", 1000, 0.0))] if feed == "is silent" else []
    script = (
        Step(0.0, "start", (0, "refuse", 50, 1.0, "")),
        *silent,
        Step(0.1, "join", (1, "records", "beginning")),
        Step(0.1, "join", (1, "records", "live")),
        Step(2 * LEASE, "kill", (0, 100.0)),
        Step(10 * LEASE, "start", (1, "restart", 1, 0.0, "done")),
    )
    world = Play(Script(Setup(), script))
    world.run_until(2 * LEASE + LEASE + CHECK + 0.1)
    assert [client.ends[-1].outcome for client in world.clients] == [Outcome.LOST] * 2
    world.run()
    assert world.seen["Claim"] == 2, "the id can be claimed again"


def test_a_failover_is_not_noticed():
    """Laws 2 and 6: what the producer still has is there again, under the same ids."""
    world = play(START, JOIN, Step(1.5, "fail_over", (4, "noticed")), setup=Setup())
    assert texts(world.clients[0]) == list(range(1, COUNT + 1))
    told = {what for what in world.seen if what.startswith(("Gap", "Reset"))}
    assert told == set()


def test_an_end_that_a_failover_swallowed_is_restored():
    """Law 5: the producer stands by for a while."""
    world = play(START, JOIN, Step(3.0, "fail_over", (2, "silent")), setup=Setup())
    assert world.store.log.sentinel.outcome is Outcome.DONE
    assert world.store.log.sentinel.last_seq == COUNT


def test_a_wiped_store_without_a_producer():
    """Laws 5 and 7: nobody waits for what is gone for ever."""
    world = play(
        Step(0.0, "start", (0, "refuse", 50, 0.2, "")),
        JOIN,
        Step(1.0, "kill", (0, 100.0)),
        Step(1.1, "wipe"),
        setup=Setup(),
    )
    assert [end.outcome for end in world.clients[0].ends] == [Outcome.LOST]


def test_reads_create_nothing():
    """Law 9."""
    world = play(JOIN, Step(0.5, "join", (0, "text", "beginning")), setup=Setup())
    assert world.store.log == EventLog()
    assert world.store.log.sentinel is ABSENT
