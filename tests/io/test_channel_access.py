"""Who may come in: the authorization matrix, bearer tokens, cookies and origins."""

import hmac
import math

import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from resumable_io import BackendUnavailable, InvalidInput, Streams, starlette
from resumable_io.channels import (
    Connection,
    Forbidden,
    Principal,
    Unauthorized,
    bearer,
    channel_endpoint,
    cookie,
)
from tests.io.channel_requests import ANN, BOB, ChannelClient, as_named, catch_up, get, post

NOW = 1_800_000_000.0  # Unix time


def sync(principal):
    return lambda connection, channel: principal


def awaited(principal):
    async def authorize(connection, channel):
        return principal

    return authorize


def raising(error):
    def authorize(connection, channel):
        raise error

    return authorize


TOKEN = {"authorization": "Bearer x"}
COOKIE = {"cookie": "a=b"}
GONE = Principal("ann", may_publish=True, expires_at=NOW)

MATRIX = {
    "no-credentials": (sync(None), {}, 401, "Bearer"),
    "no-credentials-async": (awaited(None), {}, 401, "Bearer"),
    "a-token-without-the-right": (sync(None), TOKEN, 403, None),
    "a-cookie-without-the-right": (awaited(None), COOKIE, 403, None),
    "unauthorized": (raising(Unauthorized("no", challenge="Basic")), TOKEN, 401, "Basic"),
    "forbidden": (raising(Forbidden("no")), {}, 403, None),
    "expired": (sync(GONE), TOKEN, 401, "Bearer"),
    "the-store-of-users-is-away": (raising(BackendUnavailable("away")), TOKEN, 503, None),
    "granted": (sync(ANN), {}, 200, None),
    "granted-async": (awaited(ANN), TOKEN, 200, None),
}


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("case", MATRIX)
async def test_the_authorization_matrix(case, method):
    """Who has no credentials gets 401 and is told which; who has not the right gets 403. Nothing
    of it is kept by anybody on the way, and nothing is created.
    """
    authorize, headers, status, challenge = MATRIX[case]
    async with Streams() as streams:
        endpoint = channel_endpoint(
            streams, authorize, authorize_publish=authorize, clock=lambda: NOW
        )
        if method == "POST":
            client = await post(endpoint, {"data": "x"}, **headers)
            status = 202 if status == 200 else status
        elif method == "HEAD" or status != 200:
            client = await get(endpoint, method=method, **headers)
        else:
            await streams.channel("news").publish("x")
            client = await catch_up(endpoint, 1, **headers)
        assert client.status == status
        assert client.headers.get("www-authenticate") == ([challenge] if challenge else None)
        assert client.headers["cache-control"][0].startswith("no-store")
        assert client.headers.get("retry-after") == (["1"] if status == 503 else None)
        if status not in {200, 202}:
            assert [each async for each in streams._backend.scan()] == []


async def test_an_event_source_is_not_turned_away_by_an_outage_of_the_users_store():
    """It would take anything but 200 for final."""
    async with Streams() as streams:
        endpoint = channel_endpoint(streams, raising(BackendUnavailable("away")))
        client = await get(endpoint, accept="text/event-stream")
        assert (client.status, client.complete) == (200, True)
        assert client.body.startswith(b"retry: ")


async def test_publishing_is_off_unless_somebody_says_who_may():
    async with Streams() as streams:
        closed = await post(channel_endpoint(streams, as_named), {"data": "x"})
        assert (closed.status, closed.headers["allow"]) == (405, ["GET, HEAD"])
        endpoint = channel_endpoint(streams, as_named, authorize_publish=as_named)
        assert (await post(endpoint, {"data": "x"}, x_user="bob")).status == 403
        assert (await post(endpoint, {"data": "x"}, x_user="ann")).status == 202
        for method in ("PUT", "DELETE", "OPTIONS", "PATCH"):
            client = await get(endpoint, method=method)
            assert (client.status, client.headers["allow"]) == (405, ["GET, HEAD, POST"])


async def test_credentials_are_looked_at_on_every_connect():
    """What was granted once is no right for ever."""
    allowed = {"ann"}

    def authorize(connection, channel):
        return as_named(connection, channel) if connection.headers["x-user"] in allowed else None

    async with Streams() as streams:
        await streams.channel("news").publish("x")
        endpoint = channel_endpoint(streams, authorize)
        client = await catch_up(endpoint, 1, x_user="ann", cookie="a=b")
        allowed.clear()
        again = await get(endpoint, x_user="ann", cookie="a=b", last_event_id=client.place)
        assert again.status == 403


async def test_an_authorizer_that_answers_something_else_is_a_mistake():
    async with Streams() as streams:
        with pytest.raises(TypeError, match="a Principal or None, got bool"):
            await get(channel_endpoint(streams, lambda connection, channel: True))


async def test_an_authorizer_is_told_the_channel_and_the_connection():
    asked = []

    def authorize(connection, channel):
        asked.append((connection, channel))

    async with Streams() as streams:
        await get(channel_endpoint(streams, authorize), "café", "a=1&a=2&b", x_tenant="t")
    [(connection, channel)] = asked
    assert channel == "café"
    assert (connection.method, connection.path) == ("GET", "/channels/café")
    assert connection.client == ("127.0.0.1", 1234)
    assert connection.query == {"a": "1", "b": ""}
    assert connection.headers == {"x-tenant": "t"}
    assert connection.scope["type"] == "http"


async def test_routes_of_ones_own_may_refuse_in_the_same_way():
    """With the exception handlers for Starlette and FastAPI."""

    async def route(request):
        raise Unauthorized("who are you?", challenge="Basic")

    app = Starlette(
        routes=[Route("/channels/news", route)], exception_handlers=starlette.exception_handlers
    )
    client = await get(app)
    assert (client.status, client.text) == (401, "who are you?")
    assert client.headers["www-authenticate"] == ["Basic"]
    assert client.headers["cache-control"] == ["no-store"]


# Principals


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"name": ""}, "a principal's name"),
        ({"name": "a\nb"}, "a principal's name"),
        ({"name": "a" * 256}, "a principal's name"),
        ({"name": "a", "recipients": {""}}, "a recipient"),
        ({"name": "a", "recipients": ["\0"]}, "a recipient"),
        ({"name": "a", "expires_at": math.nan}, "Unix time"),
        ({"name": "a", "expires_at": math.inf}, "Unix time"),
    ],
    ids=range(7),
)
def test_principals_that_are_none_are_refused(arguments, complaint):
    with pytest.raises(InvalidInput, match=complaint):
        Principal(**arguments)


def test_recipients_may_be_one_or_several():
    assert Principal("a", recipients="ann").recipients == {"ann"}
    assert Principal("a", recipients=["ann", "bob"]).recipients == {"ann", "bob"}
    assert Principal("a").recipients == frozenset()


# Bearer tokens

TOKENS = {"token-of-ann": ANN, "token-of-bob": BOB}


async def find_later(token):
    return TOKENS.get(token)


@pytest.mark.parametrize("lookup", [TOKENS, TOKENS.get, find_later], ids=["table", "sync", "async"])
@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, "Bearer"),
        ("", "Bearer"),
        ("Basic token-of-ann", "Bearer"),
        ("token-of-ann", "Bearer"),
        ("Bearer", "Bearer"),
        ("Bearer  ", "Bearer"),
        ("Bearer x", 'Bearer error="invalid_token"'),
        ("Bearer token-of-an", 'Bearer error="invalid_token"'),
        ("Bearer token-of-ann2", 'Bearer error="invalid_token"'),
        ("Bearer token-of-ann token-of-bob", 'Bearer error="invalid_token"'),
        ("Bearer tökén", 'Bearer error="invalid_token"'),
        ("Bearer token-of-ann", ANN),
        ("bearer   token-of-bob ", BOB),
    ],
    ids=range(13),
)
async def test_bearer_tokens(lookup, header, expected):
    authorize = bearer(lookup)
    headers = {} if header is None else {"authorization": header}
    connection = Connection(ChannelClient(**headers).scope)
    if isinstance(expected, Principal):
        assert await authorize(connection, "news") is expected
    else:
        with pytest.raises(Unauthorized) as raised:
            await authorize(connection, "news")
        assert raised.value.headers == {"www-authenticate": expected}


@pytest.mark.parametrize("authorizer", [bearer, lambda table: cookie("session", table, [])])
def test_an_empty_secret_is_refused(authorizer):
    """As a setting that is missing would make one: it would let everybody in."""
    with pytest.raises(InvalidInput, match="is a setting missing"):
        authorizer({"token-of-ann": ANN, "": BOB})


async def test_a_token_in_a_url_is_none():
    for query in ("token=token-of-ann", "access_token=token-of-ann", "authorization=Bearer x"):
        async with Streams() as streams:
            client = await get(channel_endpoint(streams, bearer(TOKENS)), query=query)
            assert client.status == 401


async def test_a_token_is_compared_with_all_that_are_known(monkeypatch):
    """In constant time each, and without stopping at the one that is right."""
    compared = []
    compare = hmac.compare_digest

    def spy(one, other):
        compared.append(len(one) == len(other) == 32)
        return compare(one, other)

    monkeypatch.setattr("hmac.compare_digest", spy)
    authorize = bearer({"first": ANN, "second": BOB, "third": BOB})
    for token in ("first", "third", "a much longer token than any"):
        compared.clear()
        try:
            await authorize(Connection(ChannelClient(authorization=f"Bearer {token}").scope), "x")
        except Unauthorized:
            assert token not in {"first", "third"}
        assert compared == [True] * 3


# Cookies

OWN = "https://app.example"
SESSIONS = {"s3cret": ANN}


@pytest.mark.parametrize(
    ("method", "headers", "expected"),
    [
        ("GET", {"origin": OWN}, ANN),
        ("GET", {"origin": "https://other.example"}, ANN),
        ("GET", {"origin": "https://evil.example"}, 403),
        ("GET", {"origin": "https://app.example.evil.example"}, 403),
        ("GET", {"origin": "http://app.example"}, 403),
        ("GET", {"origin": "https://app.example:8443"}, 403),
        ("GET", {"origin": "null"}, 403),
        ("GET", {"origin": ""}, 403),
        ("GET", {"origin": OWN, "sec_fetch_site": "cross-site"}, ANN),
        ("GET", {"sec_fetch_site": "same-origin"}, ANN),
        ("GET", {"sec_fetch_site": "same-site"}, 403),
        ("GET", {"sec_fetch_site": "cross-site"}, 403),
        ("GET", {"sec_fetch_site": "none"}, 403),
        ("GET", {}, ANN),
        ("POST", {"origin": OWN}, ANN),
        ("POST", {"origin": "https://evil.example"}, 403),
        ("POST", {"sec_fetch_site": "same-origin"}, 403),
        ("POST", {}, 403),
    ],
    ids=range(18),
)
async def test_a_cookie_is_good_for_pages_of_known_origins(method, headers, expected):
    authorize = cookie("session", SESSIONS, [OWN, "https://other.example"])
    request = ChannelClient(method=method, cookie="a=b; session=s3cret", **headers)
    if expected == 403:
        with pytest.raises(Forbidden):
            await authorize(Connection(request.scope), "news")
    else:
        assert await authorize(Connection(request.scope), "news") is expected


@pytest.mark.parametrize(
    "line", [None, "", "session", "session=", "session=x", "Session=s3cret", "x=s3cret"]
)
async def test_a_cookie_that_is_none_is_no_credential(line):
    authorize = cookie("session", SESSIONS.get, OWN)
    request = ChannelClient(**({} if line is None else {"cookie": line}))
    with pytest.raises(Unauthorized) as raised:
        await authorize(Connection(request.scope), "news")
    assert raised.value.headers == {"www-authenticate": "Cookie"}


def test_of_cookies_with_one_name_the_first_counts():
    """However many headers they come in."""
    scope = ChannelClient(cookie="session=a; session=b;x=1=2").scope
    scope["headers"].append((b"Cookie", b"session=c; y=3"))
    assert Connection(scope).cookies == {"session": "a", "x": "1=2", "y": "3"}


@pytest.mark.parametrize(
    "origin", ["", "*", "null", "app.example", "https://app.example/", "https://App.example"]
)
def test_origins_that_never_match_are_refused(origin):
    with pytest.raises(InvalidInput, match=r"https://app\.example"):
        cookie("session", SESSIONS, [OWN, origin])
