"""Commands arrive as they were meant, whatever their arguments hold."""

import hiredis
from hypothesis import example, given
from hypothesis import strategies as st

from resumable_io.redis._packing import packed, packed_in_python

arguments = st.text() | st.binary() | st.integers()


@given(st.lists(st.lists(arguments, min_size=1), max_size=5))
@example([["SET", "a\r\n$1\r\nb", b"%d\x00\xff"], ["PING"]])
@example([["EVALSHA", "", 0, -1, b""]])
def test_what_is_packed_is_read_back(commands):
    """A request is what a reply may be, too: so a reader of replies tells what it holds."""
    reader = hiredis.Reader()
    reader.feed(packed(commands))
    read = [reader.gets() for _ in commands]
    assert read == [
        [part if isinstance(part, bytes) else str(part).encode() for part in command]
        for command in commands
    ]
    assert not reader.has_data()


@given(st.lists(arguments, min_size=1))
def test_it_is_packed_alike_where_hiredis_is_not_installed(command):
    """redis-py works without it, too."""
    assert packed_in_python(tuple(command)) == packed([command])
