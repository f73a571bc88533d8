"""The client against servers of raw bytes: every answer that a server may give, right or wrong."""

import gzip
import zlib

import anyio
import httpx2
import pytest

from resumable_io import (
    End,
    EventId,
    Gap,
    InvalidInput,
    Outcome,
    StreamFailed,
    StreamGap,
    StreamLost,
    StreamReset,
    StreamStopped,
)
from resumable_io.client import (
    ClientError,
    ConnectionLost,
    ReconnectLimits,
    ResponseRefused,
    connect,
)
from tests.client.raw_server import HEAD, STREAM, raw_server

NO_CONTENT = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
QUICK = ReconnectLimits(retry=0.01, longest_backoff=0.02, patience=2.0, idle=5.0)


async def everything(url, **options):
    options.setdefault("limits", QUICK)
    with anyio.fail_after(20):
        async with connect(url, **options) as events:
            return [(e.type, e.data, e.last_event_id) async for e in events]


async def test_events_arrive_and_204_ends_them():
    with raw_server(STREAM + b"id: 1\nevent: x\ndata: a\ndata: b\n\n", NO_CONTENT) as server:
        assert await everything(server.url) == [("x", "a\nb", "1")]
    (first, headers, _), (_, again, _) = server.requests
    assert first == "GET / HTTP/1.1"
    assert headers["accept"] == "text/event-stream"
    assert headers["cache-control"] == "no-store"
    assert "last-event-id" not in headers
    assert again["last-event-id"] == "1"


async def test_wherever_the_connection_breaks_nothing_is_lost_or_doubled():
    """Law 3: the server resumes after the id it is given; every cut of its bytes is tried."""
    blocks = [b"id: 1\r\ndata: a\r\n\r\n", b"id: 2\ndata: \xc3\xbc\n\n", b"id: 3\rdata: c\r\r"]
    whole = b"".join(blocks)

    for cut in range(len(whole) + 1):
        done = sum(cut >= len(b"".join(blocks[: n + 1])) for n in range(3))
        # The LF of a block that ends in CR LF is no part of it: its CR has ended it already.
        done += any(cut == len(b"".join(blocks[: n + 1])) - 1 for n in (0,))
        rest = b"".join(blocks[done:])
        with raw_server(STREAM + whole[:cut], STREAM + rest, NO_CONTENT) as server:
            assert [data for _, data, _ in await everything(server.url)] == ["a", "ü", "c"]
        assert server.requests[1][1].get("last-event-id", "") == ("" if done == 0 else str(done))


async def test_the_body_may_come_byte_by_byte_in_chunks():
    body = b"\xef\xbb\xbf: hello\ndata:\xff\n\nid: 5\n\nid: a\0b\ndata\n\n"
    pieces = [b"1\r\n%c\r\n" % byte for byte in body]
    head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    with raw_server([head, *pieces, b"0\r\n\r\n"], NO_CONTENT) as server:
        assert await everything(server.url) == [("message", "\ufffd", ""), ("message", "", "5")]
    assert server.requests[1][1]["last-event-id"] == "5"


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
async def test_a_client_can_be_handed_in(library):
    module = pytest.importorskip(library, reason=f"{library} is not installed")
    with raw_server(STREAM + b"id: 1\ndata: a\n\n", NO_CONTENT) as server:
        async with module.AsyncClient(headers={"X-Own": "yes"}) as client:
            assert await everything(server.url, client=client) == [("message", "a", "1")]
            assert not client.is_closed
    assert server.requests[0][1]["x-own"] == "yes"
    assert server.requests[0][1]["accept"] == "text/event-stream"


async def test_method_body_and_headers_are_sent_every_time():
    with raw_server(STREAM + b"id: 1\ndata: a\n\n", NO_CONTENT) as server:
        await everything(server.url, method="POST", json={"a": 1}, headers={"X-A": "b"})
    assert [(line, body) for line, _, body in server.requests] == [
        ("POST / HTTP/1.1", b'{"a":1}')
    ] * 2
    assert all(headers["x-a"] == "b" for _, headers, _ in server.requests)


async def test_an_id_beyond_ascii_is_sent_as_utf_8():
    with raw_server(STREAM + "id: ü\ndata: a\n\n".encode(), NO_CONTENT) as server:
        assert await everything(server.url) == [("message", "a", "ü")]
    assert server.requests[1][1]["last-event-id"] == "ü"


async def test_a_post_without_an_id_to_go_on_from_is_not_repeated():
    with raw_server(STREAM + b"data: a\n\n") as server:
        async with connect(server.url, method="POST", limits=QUICK) as events:
            assert (await anext(events)).data == "a"
            with pytest.raises(ConnectionLost, match="not repeated"):
                await anext(events)
            with pytest.raises(ConnectionLost, match="not repeated"):
                await anext(events)  # a part never looks like the whole, however often one asks
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "status", [b"400 Bad Request", b"404 Not Found", b"500 Oops", b"503 Later"]
)
async def test_other_statuses_are_final(status):
    with (
        raw_server(b"HTTP/1.1 %s\r\nContent-Length: 3\r\n\r\nwhy" % status) as server,
        pytest.raises(ResponseRefused, match=f"answered {status.decode()}") as caught,
    ):
        await everything(server.url)
    assert caught.value.status == int(status[:3])
    assert caught.value.body == b"why"
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "said",
    [
        b"Content-Length: 9\r\nConnection: close\r\n\r\nwhy",
        b"Transfer-Encoding: chunked\r\n\r\n3\r\nwhy\r\nno chunk",
        b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nwhy",
        b"Content-Encoding: br\r\nContent-Length: 3\r\n\r\nwhy",
    ],
    ids=["cut off", "no HTTP", "damaged", "unknown"],
)
async def test_an_answer_that_is_refused_may_break_off(said):
    """It is refused for its status, however much of what it says can be read."""
    with (
        raw_server(b"HTTP/1.1 404 Not Found\r\n" + said) as server,
        pytest.raises(ResponseRefused, match="answered 404 Not Found") as caught,
    ):
        await everything(server.url)
    assert caught.value.body in {b"", b"why"}
    assert len(server.requests) == 1


async def test_statuses_may_be_retried():
    limits = ReconnectLimits(retry=0.01, retry_statuses=frozenset({503}))
    busy = b"HTTP/1.1 503 Later\r\nContent-Length: 0\r\n\r\n"
    with raw_server(busy, STREAM + b"data: a\n\n", NO_CONTENT) as server:
        assert await everything(server.url, limits=limits) == [("message", "a", "")]


@pytest.mark.parametrize("field", [b"", b"Content-Type: text/html\r\n"])
async def test_another_content_type_is_refused(field):
    with (
        raw_server(b"HTTP/1.1 200 OK\r\n%sConnection: close\r\n\r\n<p>" % field) as server,
        pytest.raises(ResponseRefused, match="expected text/event-stream"),
    ):
        await everything(server.url)


@pytest.mark.parametrize(("status", "second"), [(301, "/b"), (302, "/"), (307, "/b"), (308, "/b")])
async def test_redirects_are_followed_and_permanent_ones_remembered(status, second):
    redirect = b"HTTP/1.1 %d Go\r\nLocation: /b\r\nConnection: close\r\n\r\n" % status
    with raw_server(redirect, STREAM + b"id: 1\ndata: a\n\n", NO_CONTENT) as server:
        assert await everything(server.url) == [("message", "a", "1")]
    paths = [line.split()[1] for line, _, _ in server.requests]
    assert paths == ["/", "/b", second]
    assert server.requests[2][1]["last-event-id"] == "1"


async def test_a_post_stays_a_post_where_the_redirect_says_so():
    redirect = b"HTTP/1.1 307 Go\r\nLocation: /b\r\nConnection: close\r\n\r\n"
    with raw_server(redirect, STREAM + b"id: 1\ndata: a\n\n", NO_CONTENT) as server:
        await everything(server.url, method="POST", content="hello")
    assert [(line.split()[:2], body) for line, _, body in server.requests] == [
        (["POST", "/"], b"hello"),
        (["POST", "/b"], b"hello"),
        (["POST", "/b"], b"hello"),
    ]


async def test_redirects_in_a_circle_end():
    redirect = b"HTTP/1.1 302 Go\r\nLocation: /\r\nConnection: close\r\n\r\n"
    with raw_server(redirect) as server, pytest.raises(ResponseRefused, match="302"):
        await everything(server.url)
    assert len(server.requests) == 21


async def test_credentials_do_not_go_to_another_host():
    with raw_server(STREAM + b"id: 1\ndata: a\n\n", NO_CONTENT) as other:
        elsewhere = other.url.replace("127.0.0.1", "localhost").encode()
        redirect = b"HTTP/1.1 301 Go\r\nLocation: %s\r\nConnection: close\r\n\r\n" % elsewhere
        with raw_server(redirect) as server:
            await everything(server.url, headers={"Authorization": "Bearer secret"})
        assert server.requests[0][1]["authorization"] == "Bearer secret"
    assert len(other.requests) == 2
    assert not any("authorization" in headers for _, headers, _ in other.requests)


async def test_an_endless_line_ends_the_client():
    def endless():
        yield STREAM
        while True:
            yield b"x" * 10_000

    limits = ReconnectLimits(max_event_size=100_000)
    with (
        raw_server(endless()) as server,
        pytest.raises(ClientError, match="expected at most 100000"),
    ):
        await everything(server.url, limits=limits)


@pytest.mark.parametrize(
    ("coding", "compress"), [(b"gzip", gzip.compress), (b"deflate", zlib.compress)], ids=["gz", "z"]
)
async def test_a_compressed_bomb_is_unpacked_in_slices(coding, compress):
    bomb = compress(b"data: " + b"x" * 50_000_000)
    head = HEAD + b"Content-Encoding: %s\r\nConnection: close\r\n\r\n" % coding
    limits = ReconnectLimits(max_event_size=100_000)
    with (
        raw_server(head + bomb) as server,
        pytest.raises(ClientError, match="expected at most 100000"),
    ):
        await everything(server.url, limits=limits)


async def test_many_small_events_in_a_bomb_are_not_unpacked_before_they_are_wanted():
    bomb = gzip.compress(b"data: x\n\n" * 2_000_000)
    head = HEAD + b"Content-Encoding: gzip\r\nConnection: close\r\n\r\n"
    with raw_server(head + bomb) as server:
        async with connect(server.url, limits=QUICK) as events:
            await anext(events)
            assert len(events._records) < 10_000


async def test_a_compressed_stream_is_read():
    body = gzip.compress(b"data: a\n\n") + gzip.compress(b"data: b\n\n")
    head = HEAD + b"Content-Encoding: gzip\r\nConnection: close\r\n\r\n"
    with raw_server(head + body, NO_CONTENT) as server:
        assert [data for _, data, _ in await everything(server.url)] == ["a", "b"]


async def test_damaged_compression_is_a_connection_lost():
    head = HEAD + b"Content-Encoding: gzip\r\nConnection: close\r\n\r\n"
    with raw_server(head + b"data: a\n\n") as server:
        limits = ReconnectLimits(retry=0.01, patience=0.05)
        with pytest.raises(ConnectionLost, match="damaged"):
            await everything(server.url, limits=limits)


async def test_an_unknown_compression_is_refused():
    head = HEAD + b"Content-Encoding: br\r\nConnection: close\r\n\r\n"
    with raw_server(head) as server, pytest.raises(ResponseRefused, match="'br'"):
        await everything(server.url)


async def test_a_server_that_cannot_be_reached_is_given_up():
    with raw_server() as server:
        url = server.url
    limits = ReconnectLimits(retry=0.01, patience=0.05)
    with pytest.raises(ConnectionLost, match="cannot be reached; given up"):
        await everything(url, limits=limits)


async def test_what_is_no_http_is_a_connection_lost():
    limits = ReconnectLimits(retry=0.01, patience=0.05)
    with (
        raw_server(b"SSH-2.0-x\r\n\r\n") as server,
        pytest.raises(ConnectionLost, match="broke before it answered"),
    ):
        await everything(server.url, limits=limits)


def notice(type, data, id="e-1"):
    return f"event: {type}\nid: {id}\ndata: {data}\n\n".encode()


async def test_gaps_and_resets_interrupt_and_it_goes_on():
    body = notice("gap", '{"reason":"trimmed"}') + notice("reset", '{"reason":"unknown"}')
    body += b"id: e-2\ndata: a\n\n" + notice("end", '{"outcome":"done","error":null}', "e-2-end")
    with raw_server(STREAM + body) as server:
        async with connect(server.url, limits=QUICK) as events:
            with pytest.raises(StreamGap):
                await anext(events)
            with pytest.raises(StreamReset):
                await anext(events)
            assert [e.data async for e in events] == ["a"]
            assert events.last_event_id == "e-2-end"
        async with connect(server.url, limits=QUICK) as events:
            records = [record async for record in events.records()]
    assert isinstance(records[0], Gap)
    assert records[-1] == End(EventId("e", 2), Outcome.DONE, None)
    assert len(server.requests) == 2  # after the end it does not come back


@pytest.mark.parametrize(
    ("outcome", "error"),
    [("failed", StreamFailed), ("stopped", StreamStopped), ("lost", StreamLost)],
    ids=["failed", "stopped", "lost"],
)
async def test_an_end_that_was_no_success_is_raised(outcome, error):
    body = notice("end", f'{{"outcome":"{outcome}","error":"why"}}', "e-1-end")
    with raw_server(STREAM + body) as server, pytest.raises(error, match="why"):
        await everything(server.url)


async def test_the_notices_of_other_servers_are_events():
    with raw_server(STREAM + b"event: end\ndata: bye\n\n", NO_CONTENT) as server:
        assert await everything(server.url) == [("end", "bye", "")]


async def test_cancelled_it_goes_on_from_its_place():
    def hanging():
        yield STREAM + b"id: 1\ndata: a\n\n"
        released.wait(10)

    import threading

    released = threading.Event()
    with raw_server(hanging(), STREAM + b"id: 2\ndata: b\n\n", NO_CONTENT) as server:
        async with connect(server.url, limits=QUICK) as events:
            assert (await anext(events)).data == "a"
            with anyio.move_on_after(0.2) as scope:
                await anext(events)
            assert scope.cancelled_caught
            released.set()
            assert (await anext(events)).data == "b"
    assert server.requests[1][1]["last-event-id"] == "1"


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "ftp://example.org"},
        {"url": "example.org"},
        {"url": "http://x", "json": 1, "content": "1"},
        {"url": "http://x", "json": {1, 2}},
        {"url": "http://x", "headers": {"ü": "1"}},
        {"url": "http://x", "headers": {"a b": "1"}},
        {"url": "http://x", "headers": {"": "1"}},
        {"url": "http://x", "headers": {"authorization": "Bearer sk-secret\n"}},  # read from a file
        {"url": "http://x", "headers": {"authorization": "sk-secret\r\nx: y"}},
        {"url": "http://x", "headers": {"authorization": " sk-secret"}},
        {"url": "http://x", "client": object()},
        {"url": "http://"},
        {"url": "http:///path"},
        {"url": "http://:80/"},
        {"url": "http://x:99999/"},
        {"url": "http://x:y/"},
        {"url": "http://[::1/"},
        {"url": "http://me:secret/@x/"},
    ],
    ids=range(18),
)
def test_what_cannot_be_asked_is_refused(wrong):
    """At once: to repeat it is in vain. A key is not told."""
    with pytest.raises(InvalidInput) as caught:
        connect(**wrong)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("value", ["a", "a b", "ü", "a\tb"])
async def test_what_a_header_may_hold(value):
    with raw_server(NO_CONTENT) as server:
        assert await everything(server.url, headers={"x-it": value}) == []
    assert server.requests[0][1]["x-it"] == value


async def test_what_is_not_entered_says_so():
    with pytest.raises(RuntimeError, match="async with"):
        await anext(connect("http://127.0.0.1"))


def test_both_libraries_have_what_is_used():
    assert issubclass(httpx2.ConnectError, httpx2.HTTPError)
    assert not issubclass(httpx2.StreamError, httpx2.HTTPError)
