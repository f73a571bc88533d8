"""The programs in the documentation run, on both event loops, and print what stands below them."""

import runpy
from functools import partial

import anyio
import pytest

from tests.docs.pages import BLOCKS, NOT_EXECUTED
from tests.docs.test_servers import SERVED

SCRIPTS = [block for block in BLOCKS if block.kind == "script"]
OUTPUTS = {(block.page, block.name): block.text for block in BLOCKS if block.kind == "output"}


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: f"{script.page}-{script.name}")
def test_a_script_prints_what_the_page_says(script, loop, tmp_path, monkeypatch, capsys):
    path = tmp_path / script.name
    path.write_text(script.text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)  # for those that make files
    monkeypatch.setattr(anyio, "run", partial(anyio.run, backend=loop))
    runpy.run_path(str(path), run_name="__main__")
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    expected = OUTPUTS[script.page, script.name]
    assert printed == [line.rstrip() for line in expected.splitlines()]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.page}-{block.line}")
def test_every_block_is_executed_or_says_why_not(block):
    match block.kind:
        case "script":
            assert (block.page, block.name) in OUTPUTS
        case "output":
            assert any((each.page, each.name) == (block.page, block.name) for each in SCRIPTS)
        case "file":
            assert block.page in SERVED
        case "not executed":
            assert len(block.name) > 10
        case _:
            assert block.language in NOT_EXECUTED


def test_blocks_are_found():
    assert len(SCRIPTS) > 5
    assert {block.page for block in BLOCKS if block.kind == "file"} == SERVED
    assert sum(block.language == "python" for block in BLOCKS) > 15
