"""What URLs of several servers say."""

import pytest

from resumable_core import InvalidInput
from resumable_io import Streams
from resumable_io.redis._urls import ServersUrl


@pytest.mark.parametrize(
    "url",
    ["redis://h", "redis://h/", "rediss://u:p@h:1/0", "unix:///path", "redis://h?db=1"],
)
def test_the_url_of_one_server_is_left_to_the_clients(url):
    assert ServersUrl.parse(url) is None


@pytest.mark.parametrize(
    ("url", "addresses", "one"),
    [
        ("redis+cluster://a", [("a", 6379)], "redis://h:7/"),
        ("redis+cluster://a:1,b,c:3", [("a", 1), ("b", 6379), ("c", 3)], "redis://h:7/"),
        ("rediss+cluster://[::1]:1/0?x=y", [("::1", 1)], "rediss://h:7/0?x=y"),
        ("redis+cluster://u:p%40@a:1,b:2", [("a", 1), ("b", 2)], "redis://u:p%40@h:7/"),
        ("redis+cluster://:p@ss@a", [("a", 6379)], "redis://:p@ss@h:7/"),
        ("redis+sentinel://a,b:2/main", [("a", 26379), ("b", 2)], "redis://h:7/"),
        ("rediss+sentinel://u@a/main/3?x=y", [("a", 26379)], "rediss://u@h:7/3?x=y"),
    ],
)
def test_addresses_are_told_apart_from_what_all_have_in_common(url, addresses, one):
    parsed = ServersUrl.parse(url)
    assert list(parsed.addresses) == addresses
    assert parsed.of(("h", 7)) == one
    assert parsed.is_tls is url.startswith("rediss")


def test_an_address_of_a_node_may_be_one_of_ipv6():
    assert ServersUrl.parse("redis+cluster://a").of(("::1", 7)) == "redis://[::1]:7/"


@pytest.mark.parametrize(("path", "service"), [("/main", "main"), ("/m%2Fn/0", "m/n")])
def test_a_service_has_a_name(path, service):
    assert ServersUrl.parse(f"redis+sentinel://a{path}").service == service


@pytest.mark.parametrize(
    "url",
    [
        "redis+cluster://",
        "redis+cluster://u:s3cret@",
        "redis+cluster://u:s3cret@a,",
        "redis+cluster://u:s3cret@a:port",
        "redis+cluster://u:s3cret@a:99999",
        "redis+sentinel://u:s3cret@a",
        "redis+sentinel://u:s3cret@a/",
        "redis+other://u:s3cret@h",
        "http+cluster://u:s3cret@h",
        "sqlite:///s3cret",
        "redis://u:s3cret@h:port",
        "redis://u:s3cret/@h",
        "redis://u:s3cret@[::1",
    ],
)
def test_what_is_none_is_refused_without_its_password(url):
    with pytest.raises(InvalidInput, match="expected") as refused:
        ServersUrl.parse(url)
    assert "s3cret" not in str(refused.value)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("redis://h?db=x", "db"),
        ("redis+cluster://h?db=x&client_name=y", "db, client_name"),
        ("redis+sentinel://h/main?db=x", "db"),
        ("redis://h?prefix=app", "prefix"),
        ("rediss://h?prefix=app", "prefix"),
        ("redis://u:s3cret@h?ssl_certfile=x", "ssl_certfile"),
        ("unix:///path?prefix=app", "prefix"),
        ("redis+cluster://u:s3cret@h?prefix=app", "prefix"),
        ("redis+sentinel://u:s3cret@h/main?prefix=app", "prefix"),
    ],
)
async def test_options_that_no_client_takes_are_named(url, named):
    with pytest.raises(InvalidInput, match=f"does not take .*: {named} ") as refused:
        async with Streams(url):
            pass
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://u:s3cret@h/x",
        "rediss://u:s3cret@h/0x",
        "redis://h/-1",
        "redis://h/0/app",
        "redis://:6379/s3cret@h",
        "redis+cluster://u:s3cret@h/x",
        "redis+sentinel://u:s3cret@h/main/x",
    ],
)
def test_a_database_is_a_number(url):
    """Or the clients take it for 0, in which other people's data may be."""
    with pytest.raises(InvalidInput, match="number of a database") as refused:
        ServersUrl.parse(url)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("scheme", ["redis", "rediss", "redis+cluster", "rediss+sentinel"])
def test_streams_take_all_of_them(scheme):
    assert Streams(f"{scheme}://localhost/main")


def test_a_scheme_that_there_is_not_is_refused():
    with pytest.raises(InvalidInput, match="no backend"):
        Streams("redis+other://localhost")
