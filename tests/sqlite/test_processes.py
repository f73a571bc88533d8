"""Several real processes on one file: followed from here, and killed in the middle."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from anyio import fail_after

from resumable_core import Appended, Interrupted
from resumable_io.sqlite import SQLiteBackend
from resumable_io.testing import following

ROOT = Path(__file__).parents[2]
WORKER = Path(__file__).with_name("worker.py")


@contextlib.contextmanager
def producing(path, stream_id):
    """Run a producer in a process of its own, killed at the end of the block."""
    command = [sys.executable, str(WORKER), str(path), stream_id]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def acknowledged(process, at_least):
    """Wait until a seq was acknowledged."""
    for line in process.stdout:
        if int(line) >= at_least:
            return
    raise AssertionError("it ended by itself")


def last_line(process):
    """Return the last seq that was acknowledged by a process that was killed."""
    return max((int(line) for line in process.stdout if line.endswith("\n")), default=0)


async def seqs_of(backend, stream_id):
    found, after = [], 0
    while page := (await backend.read(stream_id, after, 500, connected_for=0)).events:
        for event in page:
            assert event.data.startswith(f"{stream_id} {event.id.seq} ")
        found += [event.id.seq for event in page]
        after = found[-1]
    return found


@pytest.mark.parametrize("kill_after", [1, 30, 100, 200])
async def test_a_process_that_is_killed_loses_nothing_acknowledged(path, kill_after):
    """Law 2: what was acknowledged is there, and no batch is half there, in the stream of whoever
    was killed and in those of others.
    """
    with producing(path, "x") as one, producing(path, "y") as other:
        acknowledged(one, kill_after)
        acknowledged(other, 1)
        one.kill()
        one.wait()
        async with SQLiteBackend(path) as backend:
            found = await seqs_of(backend, "x")
            assert len(found) >= max(kill_after, last_line(one))
            assert found == [*range(1, len(found) + 1)]
            assert len(found) % 3 == 0
            acknowledged(other, 1)  # nobody else is disturbed
            other.kill()
            other.wait()
            found = await seqs_of(backend, "y")
            assert len(found) >= last_line(other)
            assert found == [*range(1, len(found) + 1)]


async def test_another_process_is_followed(path):
    """Laws 1 and 2: its batches are heard in order, and what is not heard is reported."""
    async with SQLiteBackend(path) as backend, following(backend, "x") as feed:
        with producing(path, "x"), fail_after(60):
            last, batches = 0, 0
            while last < 300:
                for item in await feed.receive():
                    match item:
                        case Interrupted():
                            page = await backend.read("x", 0, 1, connected_for=0)
                            last = page.sentinel.last_seq
                        case Appended(batch) if batch.last_seq > last:
                            assert batch.first_seq == last + 1
                            last = batch.last_seq
                            batches += 1
    assert batches > 10


PROCESSES, WRITERS, EACH = 4, 4, 10


def test_many_processes_publish_to_one_channel(path):
    """Laws 1, 3 and 6: no event is lost, repeated or out of order, whoever subscribes, and each has
    the id that its writer was told.
    """
    worker, count = WORKER.with_name("channel_worker.py"), PROCESSES * WRITERS * EACH
    with contextlib.ExitStack() as stack:
        running = []
        for number in range(PROCESSES):
            numbers = [str(each) for each in (number, WRITERS, EACH, count)]
            command = [sys.executable, str(worker), str(path), *numbers]
            process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
            running.append(stack.enter_context(process))
            stack.callback(process.kill)
        told = [json.loads(process.communicate(timeout=60)[0]) for process in running]
    ids = {text: id for each in told for text, id in each["ids"].items()}
    assert len(ids) == count
    for each in told:
        assert {text: id for id, text in each["records"]} == ids
        assert [int(id.partition("-")[2]) for id, _ in each["records"]] == [*range(1, count + 1)]
        for writer in {text.partition(":")[0] for text in ids}:
            own = [text for _, text in each["records"] if text.startswith(f"{writer}:")]
            assert own == [f"{writer}:{number}" for number in range(1, EACH + 1)]
