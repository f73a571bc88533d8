"""What goes wrong in one call, or in one row, is told to whoever asked, and to nobody else."""

import threading

import pytest
from anyio import create_task_group, fail_after

from resumable_core import (
    BackendError,
    BackendUnavailable,
    Claim,
    Finish,
    Interrupted,
    InvalidInput,
    Message,
    Outcome,
    Publication,
    Publish,
    Renew,
    Retention,
)
from resumable_core.testing import append
from resumable_io.sqlite import _writer
from resumable_io.sqlite._clock import Clock
from resumable_io.sqlite._writer import SWEEP, Follow, Job, Writer
from resumable_io.sqlite.backend import SCAN_PAGE
from resumable_io.testing import Inbox, following
from tests.sqlite.files import looking_into, read, started

WHOLE = ["one", "two", "three"]


def publish(epoch):
    return Publish(epoch, (Publication(Message("one"), "key"),), Retention())


def broken():
    """Make a claim that cannot be decided on: its metadata is no JSON any more."""
    metadata = {}
    claim = Claim("a", 1.0, metadata=metadata)
    metadata["owner"] = {1, 2}
    return claim


async def works(backend, stream_id):
    """Check that others are served, and that what was acknowledged is there at once."""
    await started(backend, stream_id, *WHOLE)
    assert [event.data for event in (await read(backend, stream_id)).events] == WHOLE


def counting(turn, sizes):
    """Note how many jobs are done in each turn."""

    def counted(jobs):
        sizes.append(len(jobs))
        return turn(jobs)

    return counted


# Calls


async def test_a_call_that_breaks_down_is_told_so_alone(open_backend):
    """Whatever is written at once with it is kept."""
    async with open_backend() as backend:
        sizes = []
        backend._writer.turn = counting(backend._writer.turn, sizes)

        async def breaks_down(stream_id):
            with pytest.raises(InvalidInput, match="JSON"):
                await backend.apply(stream_id, broken())

        async with create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(breaks_down, f"x-{number}")
                tasks.start_soon(works, backend, f"y-{number}")
        assert max(sizes) > 2
        assert len([each async for each in backend.scan()]) == 20


@pytest.mark.parametrize("undone", ["FAIL", "ABORT", "ROLLBACK"])
async def test_a_call_that_breaks_down_leaves_nothing_behind(path, open_backend, undone):
    """Although it had cleared the log already, and also when SQLite undoes the whole turn."""
    async with open_backend() as backend:
        await started(backend, "x", *WHOLE)
        await backend.apply("x", Finish("a", Outcome.FAILED, 3))
        before = await read(backend, "x")
        with looking_into(path) as db, db:
            db.execute(
                "CREATE TRIGGER refusing BEFORE UPDATE ON stream WHEN OLD.id = 'x' "
                f"BEGIN SELECT RAISE({undone}, 'not today'); END"
            )
        with pytest.raises(BackendError, match="not today"):
            await backend.apply("x", Claim("b", 1.0, replaces="a"))
        assert await read(backend, "x") == before
        await works(backend, "y")


async def test_a_turn_that_breaks_down_is_told_to_who_shared_it(open_backend):
    async with open_backend() as backend, following(backend, "y"):

        def breaks_down(jobs):
            raise RuntimeError("no turn today")

        turn, backend._writer.turn = backend._writer.turn, breaks_down
        with pytest.raises(BackendError, match="no turn today") as told:
            await backend.apply("x", Claim("a", 1.0))
        assert not isinstance(told.value, BackendUnavailable)  # it would only happen again
        backend._writer.turn = turn
        await works(backend, "y")


# Rows

STREAM = [
    "sentinel = x'00'",
    "sentinel = 'text'",
    "sentinel = 5",
    "lease_until = 'x'",
    "expires_at = 'x'",
    "count = 'x'",
    "size = x'00'",
]
BATCH = ["record = x'00'", "record = 'text'", "record = 5", "first_seq = 'x'", "last_seq = 'x'"]
KEPT = ["last_seq = 'x'", "count = 'x'", "size = 'x'", "time = 'x'"]


@pytest.mark.parametrize("column", STREAM)
async def test_a_foreign_stream_is_told_to_who_asks_for_it(path, open_backend, column):
    """Also by whoever opens the file anew, and although it has expired."""
    async with open_backend() as backend:
        for stream_id in "cxy":
            await started(backend, stream_id, *WHOLE)
        await backend.publish("channel", publish("a"))
    with looking_into(path) as db, db:
        db.execute(f"UPDATE stream SET {column} WHERE id IN ('x', 'channel')")
    async with open_backend() as backend, following(backend, "c"):
        for call in (
            read(backend, "x"),
            backend.apply("x", Renew("a")),
            backend.follow("x", Inbox().tell, events=True),
        ):
            with pytest.raises(BackendError, match="foreign data at stream 'x'"):
                await call
        with pytest.raises(BackendError, match="foreign data at stream 'channel'"):
            await backend.publish("channel", publish("b"))
        assert len((await read(backend, "c")).events) == 3
        await backend.apply("c", Renew("a"))
        await works(backend, "z")


async def test_foreign_streams_that_have_expired_keep_no_others_in_the_file(
    path, open_backend, caplog
):
    """Law 8: they go as any other, whatever they hold; what they were is logged."""
    async with open_backend() as backend:
        for number in range(2 * SWEEP):
            await started(backend, f"foreign-{number}", *WHOLE)
        await started(backend, "old", *WHOLE)
    with looking_into(path) as db, db:
        db.execute("UPDATE stream SET sentinel = x'00', expires_at = 0 WHERE id != 'old'")
        db.execute("UPDATE stream SET expires_at = 1 WHERE id = 'old'")
    async with open_backend() as backend, following(backend, "other"):
        for number in range(3):
            await works(backend, f"y-{number}")
    with looking_into(path) as db:
        ids = db.execute("SELECT id FROM stream ORDER BY id").fetchall()
        assert ids == [("y-0",), ("y-1",), ("y-2",)]
        assert db.execute("SELECT count(*) FROM batch").fetchone() == (3,)
    assert "foreign data at stream 'foreign-0'" in caplog.text


async def test_a_foreign_stream_that_expires_interrupts_its_followers(path, open_backend):
    async with open_backend() as backend:
        await started(backend, "x", *WHOLE)
        async with following(backend, "x") as feed:
            with looking_into(path) as db, db:
                db.execute("UPDATE stream SET sentinel = 5, expires_at = 0")
            await works(backend, "y")
            with fail_after(10):
                assert list(await feed.receive()) == [Interrupted()]
            await works(backend, "x")


@pytest.mark.parametrize("column", BATCH)
async def test_a_foreign_batch_is_told_to_who_reads_it(path, open_backend, column):
    async with open_backend() as backend:
        await started(backend, "x", *WHOLE)
        with looking_into(path) as db, db:
            db.execute(f"UPDATE batch SET {column}")
        with pytest.raises(BackendError, match="foreign data at stream 'x'"):
            await read(backend, "x")
        await works(backend, "y")


@pytest.mark.parametrize("column", KEPT)
async def test_a_foreign_batch_is_told_to_who_would_remove_it(path, open_backend, column):
    async with open_backend() as backend:
        await started(backend, "x", "one", count=1)
        with looking_into(path) as db, db:
            db.execute(f"UPDATE batch SET {column}")
            before = db.execute("SELECT * FROM stream, batch").fetchall()
        with pytest.raises(BackendError, match="foreign data at stream 'x'"):
            await backend.apply("x", append("a", 2, [Message("two")]))
        with looking_into(path) as db:
            assert db.execute("SELECT * FROM stream, batch").fetchall() == before
        await works(backend, "y")


async def test_a_foreign_key_is_told_to_who_publishes_with_it(path, open_backend):
    async with open_backend() as backend:
        await backend.publish("c", publish("a"))
        with looking_into(path) as db, db:
            db.execute("UPDATE published SET seq = 'x'")
        with pytest.raises(BackendError, match="foreign data at stream 'c'"):
            await backend.publish("c", publish("b"))
        await works(backend, "y")


async def test_a_foreign_stream_interrupts_its_followers(path, open_backend):
    async with open_backend() as backend:
        await started(backend, "x", *WHOLE)
        async with following(backend, "x") as feed:
            with looking_into(path) as db, db:
                db.execute("UPDATE stream SET sentinel = 5, changed = 99")
            with fail_after(10):
                assert list(await feed.receive()) == [Interrupted()]
            await works(backend, "y")


@pytest.mark.parametrize("change", ["DELETE FROM turn", "UPDATE turn SET number = 'x'"])
async def test_a_file_that_has_lost_count_of_its_turns_says_so(path, open_backend, change):
    """Nobody can write to it; reading goes on."""
    async with open_backend() as backend:
        await started(backend, "x", *WHOLE)
    with looking_into(path) as db, db:
        db.execute(change)
    async with open_backend() as backend:
        for _ in range(2):
            with pytest.raises(BackendError, match=r"streams\.db has lost") as told:
                await backend.apply("x", Renew("a"))
            assert not isinstance(told.value, BackendUnavailable)
            assert len((await read(backend, "x")).events) == 3


@pytest.mark.parametrize(
    "column",
    ["sentinel = x'00'", "id = x'ffff'", "id = CAST(x'ffff' AS TEXT)", "lease_until = 'x'"],
)
async def test_a_scan_passes_over_what_is_not_ours(path, open_backend, caplog, column):
    """One stream that cannot be read hides none of the others, however many pages there are."""
    names = [f"{number:03}" for number in range(SCAN_PAGE + 2)]
    async with open_backend() as backend:
        for name in names:
            await backend.apply(name, Claim("a", 100.0))
        with looking_into(path) as db, db:
            db.execute(f"UPDATE stream SET {column} WHERE id = '000'")
            db.execute("UPDATE stream SET sentinel = 5 WHERE id = ?", (names[SCAN_PAGE - 1],))
        for _ in range(2):
            caplog.clear()
            found = [stream_id async for stream_id, _ in backend.scan()]
            assert sorted(found) == [*names[1 : SCAN_PAGE - 1], *names[SCAN_PAGE:]]
            assert caplog.text.count("foreign data at stream") == 2
            await works(backend, names[-1])


@pytest.mark.parametrize("table", ["stream", "batch", "published", "turn"])
async def test_a_table_that_is_missing_is_no_outage(path, open_backend, table):
    """Nobody is to try again."""
    async with open_backend():
        pass
    with looking_into(path) as db, db:
        db.execute(f"DROP TABLE {table}")
    with pytest.raises(BackendError, match=rf"streams\.db .*no such table: {table}") as told:
        async with open_backend() as backend:
            await backend.publish("c", publish("a"))
    assert not isinstance(told.value, BackendUnavailable)


# Feeds


async def test_who_breaks_down_when_they_are_told_does_so_alone(open_backend):
    """Law 10: neither who made it happen nor who else follows has to do with that."""

    def breaks_down(item):
        raise ZeroDivisionError

    async with open_backend() as backend:
        unfollow = await backend.follow("x", breaks_down, events=True)
        async with following(backend, "x") as feed:
            await works(backend, "x")
            with fail_after(10):
                await feed.receive()
        unfollow()
        await works(backend, "y")


def rolling_back(path, stream_id):
    """Let SQLite undo every turn in which a stream is changed."""
    with looking_into(path) as db, db:
        db.execute(
            f"CREATE TRIGGER refusing BEFORE UPDATE ON stream WHEN OLD.id = '{stream_id}' "
            "BEGIN SELECT RAISE(ROLLBACK, 'not today'); END"
        )


async def test_what_a_turn_has_seen_before_it_was_undone_is_not_lost(path, open_backend):
    """Law 2: what another process has done meanwhile is told, or that something was missed."""
    async with open_backend() as backend, open_backend() as elsewhere:
        for stream_id in "xy":
            await started(backend, stream_id, *WHOLE)
        rolling_back(path, "y")
        async with following(backend, "x") as feed:
            turn = backend._writer.turn
            backend._writer.turn = lambda jobs: turn(jobs) if jobs else ()  # it looks only then
            await elsewhere.apply("x", append("a", 4, [Message("four")]))
            with pytest.raises(BackendError, match="not today"):
                await backend.apply("y", Renew("a"))
            backend._writer.turn = turn
            with fail_after(10):
                assert list(await feed.receive()) == [Interrupted()]


@pytest.mark.parametrize("what", ["much", "trimmed", "restarted"])
async def test_what_others_have_done_is_told_as_a_whole_or_not_at_all(
    open_backend, monkeypatch, what
):
    """Law 2: where some of it cannot be told, it is told that something was missed."""
    monkeypatch.setattr(_writer, "MOST_TOLD", 3)
    async with open_backend() as backend, open_backend() as elsewhere:
        await started(backend, "x", *WHOLE, count=3 if what == "trimmed" else 100)
        async with following(backend, "x") as feed:
            turn = backend._writer.turn
            backend._writer.turn = lambda jobs: turn(jobs) if jobs else ()  # it looks no more
            if what == "restarted":
                await elsewhere.apply("x", Finish("a", Outcome.DONE, 3))
                await elsewhere.apply("x", Claim("b", 100.0, replaces="a"))
                await elsewhere.apply("x", append("b", 1, map(Message, WHOLE)))
            else:
                for seq in range(4, 8):
                    await elsewhere.apply("x", append("a", seq, [Message("more")]))
            backend._writer.turn = turn
            with fail_after(5):
                assert list(await feed.receive()) == [Interrupted()]


async def test_who_leaves_in_a_turn_that_fails_has_left(path, open_backend):
    """Law 8: nothing is remembered for them."""
    async with open_backend(timeout=0.05) as backend:
        await started(backend, "x", *WHOLE)
        async with following(backend, "x"):
            assert "x" in backend._writer._told
            with looking_into(path) as db:
                db.execute("BEGIN IMMEDIATE")
                unfollow = await backend.follow("z", Inbox().tell, events=True)
                unfollow()
                with pytest.raises(BackendUnavailable):
                    await backend.apply("x", Renew("a"))
                db.execute("ROLLBACK")
        await works(backend, "y")
        assert backend._writer._told.keys() <= {"y"}


def test_the_file_is_not_closed_in_the_middle_of_a_turn(path, monkeypatch):
    """A runner that ends cancels the task that waits for a turn, and the turn goes on without it:
    SQLite would crash this process.
    """
    writer = Writer(str(path), 5.0, Clock())
    begun, go_on = threading.Event(), threading.Event()

    def look():
        begun.set()
        assert go_on.wait(60)
        return []

    monkeypatch.setattr(writer, "_look", look)
    turn = threading.Thread(target=writer.turn, args=[[Job("x", Follow.BEGIN)]])
    close = threading.Thread(target=writer.close)
    turn.start()
    assert begun.wait(60)
    close.start()
    close.join(0.2)
    waits = close.is_alive()
    go_on.set()
    for thread in (turn, close):
        thread.join(60)
    assert waits
