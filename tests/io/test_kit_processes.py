"""The kit for backends in several processes: what is only right in one of them is rejected."""

import sys
from functools import partial

import pytest

from resumable_io.testing import PROCESSES, check_processes

if sys.platform == "win32":
    pytest.skip("the backend of this test locks a file as POSIX does", allow_module_level=True)

from tests.io import filed


@pytest.mark.parametrize("scenario", PROCESSES, ids=lambda scenario: scenario.__name__)
async def test_a_backend_on_a_file_passes(tmp_path, scenario, anyio_backend_name):
    open_backend = partial(filed.Filed, tmp_path / "streams")
    await check_processes(open_backend, [scenario], event_loop=anyio_backend_name)


BROKEN = {
    filed.Lockless: "of_many_processes_each_has_its_own",
    filed.Caching: "what_another_process_does_is_told",
    filed.Introverted: "what_another_process_does_is_told",
}


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("broken", BROKEN, ids=lambda kind: kind.__name__)
async def test_what_is_right_in_one_process_alone_is_rejected(tmp_path, monkeypatch, broken):
    monkeypatch.setattr("resumable_io.testing._stage.NEWS", 2.0)
    with pytest.raises(AssertionError) as caught:
        await check_processes(partial(broken, tmp_path / "streams"))
    assert f"in the scenario {BROKEN[broken]}" in caught.value.__notes__[0]
