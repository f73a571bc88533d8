"""The file: what it may be, what its errors say, and that nothing is forgotten in it."""

import secrets
import sqlite3
import time
from contextlib import suppress

import psutil
import pytest
from anyio import (
    CancelScope,
    create_task_group,
    current_time,
    fail_after,
    move_on_after,
    sleep,
    sleep_forever,
    to_thread,
    wait_all_tasks_blocked,
)
from anyio.lowlevel import checkpoint

from resumable_core import (
    PAGE_BYTES,
    BackendError,
    BackendFull,
    BackendUnavailable,
    Claim,
    Delete,
    Finish,
    Interrupted,
    InvalidInput,
    Message,
    Observe,
    Outcome,
    Publication,
    Publish,
    Renew,
    Retention,
    State,
    StreamExists,
)
from resumable_core.testing import append
from resumable_io import Streams
from resumable_io._backends import open_backend as open_url
from resumable_io.sqlite import SQLiteBackend, _clock
from resumable_io.sqlite._rows import batches_after, load
from resumable_io.testing import following
from tests.io.scripted import Script, data_of
from tests.sqlite.files import looking_into, read, started

WHOLE = ["one", "two", "three"]


# URLs


async def test_a_url_names_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for url in ("sqlite:///some.db", f"sqlite:///{tmp_path}/some.db"):
        async with Streams(url) as streams:
            if await streams.state("x") is None:
                await data_of(await streams.start("x", WHOLE))
            assert await data_of(await streams.resume("x")) == WHOLE
    assert (tmp_path / "some.db").exists()


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///", "sqlite://some.db", "sqlite:///some.db?mode=ro"]
)
def test_a_url_that_names_no_file_is_refused(url):
    with pytest.raises(InvalidInput, match="names no file"):
        open_url(url)


# What is no file of ours


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not a database, but long enough to have a header of one" * 100, "no SQLite database"),
        (None, "Its folder must exist"),
    ],
)
async def test_what_is_no_database_is_refused(path, open_backend, content, message):
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(BackendError, match=message):
        async with open_backend():
            pass
    if content is not None:
        assert path.read_bytes() == content


async def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(BackendError, match=r"nowhere/x\.db cannot be written"):
        async with SQLiteBackend(tmp_path / "nowhere" / "x.db"):
            pass


async def test_a_database_of_another_application_stays_as_it_is(path, open_backend):
    with looking_into(path) as db:
        db.execute("CREATE TABLE theirs (x)")
    before = path.read_bytes()
    with pytest.raises(BackendError, match="another application"):
        async with open_backend():
            pass
    assert path.read_bytes() == before


async def test_tables_of_another_version_are_refused(path, open_backend):
    async with open_backend():
        pass
    with looking_into(path) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(BackendError, match="version 99"):
        async with open_backend():
            pass


async def test_memory_is_no_file():
    with pytest.raises(BackendError, match="local disk"):
        async with SQLiteBackend(":memory:"):
            pass


async def test_many_may_make_the_file_at_once(open_backend):
    async with create_task_group() as tasks:

        async def make(number):
            async with open_backend() as backend:
                await started(backend, f"x-{number}", *WHOLE)

        for number in range(12):
            tasks.start_soon(make, number)
    async with open_backend() as backend:
        assert len([each async for each in backend.scan()]) == 12


# Others that write


async def test_who_makes_the_file_waits_for_who_was_faster(path, open_backend):
    """Which SQLite itself does not do while the journal is the old one."""
    with looking_into(path) as db:
        db.execute("BEGIN IMMEDIATE")
        with pytest.raises(BackendUnavailable, match="locked"):
            async with open_backend(timeout=0.05):
                pass

        async def leave():
            await sleep(0.1)
            db.execute("ROLLBACK")

        async with create_task_group() as tasks:
            tasks.start_soon(leave)
            async with open_backend() as backend:
                await started(backend, "x", "one")


async def test_what_is_acknowledged_is_on_the_disk(open_backend):
    """So that it survives a power cut: each commit waits for the disk, whatever SQLite was built
    to do.
    """
    full = 2
    async with open_backend() as backend:
        await started(backend, "x", "one")
        await read(backend, "x")
        for db in (backend._writer._db, *backend._idle):
            assert db.execute("PRAGMA synchronous").fetchone() == (full,)


async def test_who_is_locked_out_says_so(path, open_backend):
    """And goes on when the lock is gone; those who watched start watching anew."""
    async with open_backend(timeout=0.1) as backend, following(backend, "x") as feed:
        await started(backend, "x", "one")
        with looking_into(path) as db:
            db.execute("BEGIN IMMEDIATE")
            with pytest.raises(BackendUnavailable, match="locked"):
                await backend.apply("x", Renew("a"))
            assert len((await read(backend, "x")).events) == 1  # reading goes on
            db.execute("ROLLBACK")
        await backend.apply("x", append("a", 2, [Message("two")]))
        with fail_after(10):
            while True:
                items = await feed.receive()
                if getattr(items[-1], "batch", None) and items[-1].batch.last_seq == 2:
                    break


@pytest.mark.parametrize("what", ["locked", "full"])
async def test_who_could_not_renew_its_lease_is_not_dead(path, open_backend, what):
    """Law 7: although whoever looks first when it passes has not waited for it just then."""
    async with open_backend(timeout=0.05) as backend, open_backend(timeout=0.05) as elsewhere:
        await started(backend, "x", "one", lease=0.2)
        with looking_into(path) as db:
            if what == "locked":
                db.execute("BEGIN IMMEDIATE")
            else:
                for each in (backend, elsewhere):
                    each._writer._db.execute("PRAGMA max_page_count = 1")
            with pytest.raises((BackendFull, BackendUnavailable)):
                await backend.apply("x", append("a", 2, [Message("." * 200_000)]))
            await sleep(0.3)
            with pytest.raises((BackendFull, BackendUnavailable)):
                await started(elsewhere, "y", "." * 200_000)
            assert current_time() - elsewhere.connected_since < 0.2
            assert len((await read(elsewhere, "x")).events) == 1  # it could not record a loss
            if what == "locked":
                db.execute("ROLLBACK")
        assert (await elsewhere.apply("x", Observe())).state is State.ACTIVE
        assert (await backend.apply("x", Renew("a"))).state is State.ACTIVE


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_who_had_to_wait_for_the_file_judges_nobody_by_it(path, open_backend):
    """Law 7: whoever renews may have waited as long, and come second."""
    async with open_backend() as backend, open_backend() as elsewhere:
        await started(backend, "x", "one", lease=0.5)
        states = []

        async def look():
            states.append((await elsewhere.apply("x", Observe())).state)

        with looking_into(path) as db:
            db.execute("BEGIN IMMEDIATE")
            async with create_task_group() as tasks:
                tasks.start_soon(look)
                await wait_all_tasks_blocked()
                await sleep(2)  # more than a second is an outage
                db.execute("ROLLBACK")
        assert states == [State.ACTIVE]
        with fail_after(10):
            while states[-1] is State.ACTIVE:
                await sleep(0.1)
                await look()


async def test_a_file_that_may_not_be_written_says_so_on_entering(path, open_backend, monkeypatch):
    async with open_backend() as backend:
        await started(backend, "x", "one")
    connect = sqlite3.connect
    uri = f"file:{path}?mode=ro"  # an administrator may write where others may not
    monkeypatch.setattr(
        sqlite3, "connect", lambda _, *args, **kw: connect(uri, *args, uri=True, **kw)
    )
    with pytest.raises(BackendError, match="cannot be written: attempt to write a readonly"):
        async with open_backend():
            pass


async def test_who_is_locked_out_at_the_start_may_read(path, open_backend):
    async with open_backend() as backend:
        await started(backend, "x", "one")
        with looking_into(path) as db:
            db.execute("BEGIN IMMEDIATE")
            async with open_backend(timeout=0.05) as other:
                assert len((await read(other, "x")).events) == 1
                with pytest.raises(BackendUnavailable, match="locked"):
                    await other.apply("x", Renew("a"))


async def test_a_disk_that_is_full_says_so(open_backend):
    async with open_backend() as backend:
        await started(backend, "x", "one")
        backend._writer._db.execute("PRAGMA max_page_count = 20")
        with pytest.raises(BackendFull, match="the disk is full"):
            await backend.apply("x", append("a", 2, [Message("." * 200_000)]))
        assert len((await read(backend, "x")).events) == 1
        await backend.apply("x", append("a", 2, [Message("two")]))
        assert len((await read(backend, "x")).events) == 2


async def test_what_gathers_is_one_transaction(open_backend):
    """Law 8: who waits for the disk is joined by all who write meanwhile."""
    async with open_backend() as backend:
        turns = 0
        turn = backend._writer.turn

        def counting(jobs):
            nonlocal turns
            turns += 1
            return turn(jobs)

        backend._writer.turn = counting
        async with create_task_group() as tasks:
            for number in range(100):
                tasks.start_soon(backend.apply, f"x-{number}", Claim("a", 100.0))
        assert turns < 10
        assert len([each async for each in backend.scan()]) == 100


async def test_nobody_looks_when_nobody_follows(open_backend):
    async with open_backend() as backend, open_backend() as other:
        looks = 0
        turn = backend._writer.turn

        def counting(jobs):
            nonlocal looks
            looks += not jobs
            return turn(jobs)

        backend._writer.turn = counting
        await started(backend, "x", "one")
        await sleep(0.1)
        assert looks == 0
        async with following(backend, "x") as feed:
            await other.apply("x", append("a", 2, [Message("two")]))
            with fail_after(10):
                (item,) = await feed.receive()
            assert item.batch.events[0].data == "two"
        assert looks > 0


# What is kept


async def test_streams_survive_the_process(open_backend):
    async with Streams(open_backend()) as streams:
        await data_of(await streams.start("x", WHOLE, metadata={"owner": 1}))
    async with Streams(open_backend()) as streams:
        assert await data_of(await streams.resume("x")) == WHOLE
        assert (await streams.state("x")).metadata == {"owner": 1}


async def test_what_was_refused_when_the_file_was_closed_is_not_done_later(open_backend):
    """Whoever asked was told so, and may have asked elsewhere since."""
    backend, refused = open_backend(), set()

    async def claim(stream_id, turns):
        for _ in range(turns):
            await checkpoint()
        try:
            await backend.apply(stream_id, Claim("a", 100.0))
        except BackendUnavailable:
            refused.add(stream_id)

    async with create_task_group() as tasks:
        async with backend:
            for turns in range(10):
                tasks.start_soon(claim, str(turns), turns)
        tasks.cancel_scope.cancel()
    assert refused
    async with backend:
        await started(backend, "x", *WHOLE)
        assert not refused & {stream_id async for stream_id, _ in backend.scan()}


async def test_who_asks_a_file_that_was_closed_is_told_so(open_backend):
    """Law 7: nobody waits for an answer that nobody will give."""
    async with open_backend() as backend:
        await started(backend, "x", "one")
    publication = Publish("a", (Publication(Message("one"), "key"),), Retention())
    for call in (
        lambda: backend.apply("x", Observe()),
        lambda: backend.publish("\n", publication),
        lambda: backend.follow("x", print, events=True),
        lambda: read(backend, "x"),
        lambda: anext(backend.scan()),
    ):
        with fail_after(5), pytest.raises(BackendUnavailable, match="backend was left"):
            await call()


async def test_whoever_leaves_cancelled_gives_its_streams_up_at_once(open_backend):
    """Law 7: the backend serves until that is done, although whoever opened it is cancelled."""
    with fail_after(4), CancelScope() as scope:  # less than what is allowed for cleaning up
        async with Streams(open_backend()) as streams:
            await anext(await streams.start("x", Script("one")))
            scope.cancel()
            await sleep_forever()
    assert scope.cancelled_caught
    async with Streams(open_backend()) as streams:
        assert (await streams.state("x")).state is State.LOST


async def test_what_has_expired_leaves_the_file(path, open_backend, monkeypatch):
    """Law 8: whoever writes removes some of it, though nobody asks for it again."""
    async with open_backend() as backend:
        for number in range(10):
            await started(backend, f"x-{number}", *WHOLE, lease=10.0, keep=0)
        await started(backend, "stays", *WHOLE)
        now = time.time()
        monkeypatch.setattr(_clock.time, "time", lambda: now + 60)
        for _ in range(5):
            await backend.apply("stays", Renew("a"))
    with looking_into(path) as db:
        assert db.execute("SELECT id FROM stream").fetchall() == [("stays",)]
        assert db.execute("SELECT count(*) FROM batch").fetchone() == (1,)


async def test_what_has_expired_is_not_listed(open_backend, monkeypatch):
    """Also while nobody has written since, who would have removed it."""
    async with open_backend() as backend:
        await started(backend, "x", *WHOLE, lease=10.0, keep=0)
        await started(backend, "stays", *WHOLE)
        now = time.time()
        monkeypatch.setattr(_clock.time, "time", lambda: now + 60)
        assert [stream_id async for stream_id, _ in backend.scan()] == ["stays"]


async def test_no_more_is_read_than_a_page_holds(open_backend):
    """Law 8: however large what follows is."""
    async with open_backend() as backend:
        await started(backend, "x")
        for seq in range(1, 7):
            await backend.apply("x", append("a", seq, [Message("." * (PAGE_BYTES // 2))]))
        batches = await backend._ask(lambda db: batches_after(db, load(db, "x"), 0, 1000))
        assert [batch.last_seq for batch in batches] == [1, 2]


async def test_a_log_that_is_trimmed_leaves_the_file(path, open_backend):
    async with open_backend() as backend:
        await started(backend, "x", "1", count=5)
        for seq in range(2, 100):
            await backend.apply("x", append("a", seq, [Message(str(seq))]))
    with looking_into(path) as db:
        assert db.execute("SELECT count(*), min(last_seq) FROM batch").fetchone() == (5, 95)
        assert db.execute("SELECT count, size FROM stream").fetchone() == (5, 10)


def publish(*data, count=100_000, keep=1000.0):
    publications = tuple(Publication(Message(each), each) for each in data)
    return Publish(secrets.token_hex(8), publications, Retention(count, keep=keep))


async def test_keys_leave_the_file_with_their_events(path, open_backend):
    """Law 8: when the log is trimmed, when the channel is deleted, and when it has expired."""
    query = "SELECT stream.id, published.key, seq FROM published JOIN stream ON stream = stream.key"
    async with open_backend() as backend:
        for number in range(1, 101):
            await backend.publish("c", publish(str(number), count=3))
        for gone in ("deleted", "expired"):
            await backend.publish(gone, publish("one", "two", keep=0.01))
        await backend.apply("deleted", Delete())
        await sleep(0.05)
        await backend.publish("c", publish("100"))  # the turn of somebody else
    with looking_into(path) as db:
        assert db.execute(f"{query} ORDER BY seq").fetchall() == [
            *(("c", str(number), number) for number in (98, 99, 100))
        ]
        assert db.execute("SELECT count(*) FROM published").fetchone() == (3,)


async def test_a_file_without_keys_is_of_another_version(path, open_backend):
    """One that was made before there were channels."""
    async with open_backend():
        pass
    with looking_into(path) as db:
        db.execute("DROP TABLE published")
        db.execute("PRAGMA user_version = 1")
    with pytest.raises(BackendError, match="tables of version 1, but version 2 is expected"):
        async with open_backend():
            pass


async def test_deleted_streams_leave_a_tombstone_and_no_text(path, open_backend):
    async with open_backend() as backend:
        await started(backend, "x", *WHOLE)
        await backend.apply("x", Delete())
    with looking_into(path) as db:
        assert db.execute("SELECT count(*) FROM batch").fetchone() == (0,)
        assert db.execute("SELECT count(*) FROM stream").fetchone() == (1,)


# The clock


async def test_a_clock_that_jumps_kills_nobody(open_backend, monkeypatch):
    """Law 7: a host that has slept looks like a thousand dead producers."""
    async with open_backend() as backend:
        await started(backend, "x", "one", lease=20.0)
        assert backend.connected_since == -float("inf")
        now = time.time()
        monkeypatch.setattr(_clock.time, "time", lambda: now + 60)
        assert (await read(backend, "x")).sentinel.state is State.ACTIVE
        assert (await backend.apply("x", Observe())).state is State.ACTIVE
        assert backend.connected_since > -float("inf")
        assert (await backend.apply("x", Renew("a"))).lease_until == now + 80


async def test_a_read_does_not_wait_for_a_write(open_backend):
    async with open_backend() as backend:
        await started(backend, "x", "one")
        turn, reading = backend._writer.turn, False

        def slow(jobs):
            while not reading:
                time.sleep(0.001)
            return turn(jobs)

        backend._writer.turn = slow
        async with create_task_group() as tasks:
            tasks.start_soon(backend.apply, "x", Finish("a", Outcome.DONE, 1))
            await sleep(0.01)
            with fail_after(10):
                assert (await read(backend, "x")).sentinel.state is State.ACTIVE
            reading = True
        assert (await read(backend, "x")).sentinel.state is State.DONE


@pytest.mark.parametrize("how", ["in order", "cancelled"])
async def test_the_file_is_closed_when_it_was_left(path, open_backend, how):
    """Law 10: by whoever was cancelled, too, although it is closed in a thread."""

    def is_open():
        return str(path) in {each.path for each in psutil.Process().open_files()}

    backend = open_backend()
    with CancelScope() as scope:
        async with backend:
            await started(backend, "x", "one")
            await read(backend, "x")
            assert is_open()
            if how == "cancelled":
                scope.cancel()
                await checkpoint()
    assert not is_open()


async def test_who_is_cancelled_before_its_turn_has_changed_nothing(open_backend):
    """Law 10: what is still waiting is not done behind the back of who gave it up."""
    async with open_backend() as backend:
        await started(backend, "x", "one")
        async with create_task_group() as tasks:
            with backend._writer._turns:
                tasks.start_soon(backend.apply, "x", Renew("a"))
                await wait_all_tasks_blocked()  # it has its turn, which waits
                with move_on_after(0.05):
                    await backend.apply("y", Claim("b", 100.0))
        await backend.apply("x", Renew("a"))
        assert [stream_id async for stream_id, _ in backend.scan()] == ["x"]


async def test_the_pool_of_the_application_is_left_alone(open_backend):
    """Sources that block in all of its worker threads do not keep streams from being written."""
    limiter = to_thread.current_default_thread_limiter()
    async with open_backend() as backend:
        borrower = [object() for _ in range(int(limiter.total_tokens))]
        for each in borrower:
            limiter.acquire_on_behalf_of_nowait(each)
        try:
            with fail_after(10):
                await started(backend, "x", "one")
                assert len((await read(backend, "x")).events) == 1
        finally:
            for each in borrower:
                limiter.release_on_behalf_of(each)


async def test_a_start_that_is_cancelled_while_the_file_is_locked_is_taken_back(path, open_backend):
    """Its turn goes on, and claims what nobody will produce; the id is free at once."""
    async with Streams(open_backend(), lease=60.0) as streams, Streams(open_backend()) as elsewhere:
        with looking_into(path) as db:
            db.execute("BEGIN IMMEDIATE")
            with fail_after(10), move_on_after(0.3):
                await streams.start("x", ["never"])
            db.execute("COMMIT")
        with fail_after(10):
            subscription = None
            while subscription is None:
                with suppress(StreamExists):  # for as long as it takes to be taken back
                    subscription = await elsewhere.start("x", ["one"])
            assert [event.data async for event in subscription] == ["one"]


@pytest.mark.parametrize("what", ["", "-wal", "-shm"], ids=["the file", "its log", "its index"])
@pytest.mark.parametrize("how", ["moved", "removed", "replaced"])
async def test_a_file_that_is_taken_away_says_so(path, open_backend, what, how):
    """Law 4: nobody goes on in a file that others do not see. When it is put back, all go on."""
    taken, aside = path.with_name(path.name + what), path.with_name("aside")
    async with open_backend() as backend, open_backend() as other:
        await started(backend, "x", "one")
        async with following(other, "x") as feed:
            aside.hardlink_to(taken)
            taken.unlink()
            if how == "moved":
                aside.rename(path.with_name("moved"))
            elif how == "replaced":
                taken.touch()
            for call in (
                backend.apply("x", Renew("a")),
                read(backend, "x"),
                other.apply("y", Claim("a", 100.0)),
                other.read("x", 0, 9, connected_for=0.0),
            ):
                with pytest.raises(BackendError, match=r"its -shm was removed") as told:
                    await call
                assert not isinstance(told.value, BackendUnavailable)
            (path.with_name("moved") if how == "moved" else aside).replace(taken)
            await backend.apply("x", append("a", 2, [Message("two")]))
            with fail_after(10):
                assert Interrupted() in await feed.receive()
            assert [event.data for event in (await read(other, "x")).events] == ["one", "two"]


async def test_whoever_changes_its_folder_stays_with_its_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    async with SQLiteBackend("streams.db") as backend:
        await started(backend, "x", "one")
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir("elsewhere")
        assert [event.data for event in (await read(backend, "x")).events] == ["one"]
    assert not (tmp_path / "elsewhere" / "streams.db").exists()
