"""A store for each test, named as on the command line: `--sqlite PATH` or `--redis URL`."""

import pytest

from tests.redis.server import RedisServer


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory):
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(params=["sqlite", "redis"])
def store(request, tmp_path):
    if request.param == "sqlite":
        return ("--sqlite", str(tmp_path / "streams.db"))
    server = request.getfixturevalue("redis_server")
    server.run("FLUSHALL")
    return ("--redis", server.url)
