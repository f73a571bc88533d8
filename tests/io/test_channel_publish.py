"""Publishing by POST: JSON, read strictly; idempotent by key; nothing that is refused is stored."""

import json

import pytest
from anyio import create_task_group, sleep
from hypothesis import given
from hypothesis import strategies as st

from resumable_io import InvalidInput, Retention, Streams
from resumable_io.channels import ChannelLimits, Connection, Principal, channel_endpoint
from resumable_io.channels._messages import parse
from tests.io.channel_requests import ChannelClient, as_named, catch_up, get, post

LIMIT = 1000


def by_name(connection, channel):
    return Principal(connection.headers["x-user"], {"ann", "bob"}, may_publish=True)


def endpoint_of(streams, **limits):
    limits = ChannelLimits(message_bytes=LIMIT, **limits)
    return channel_endpoint(streams, by_name, authorize_publish=by_name, limits=limits)


async def published(streams, message, **kwargs):
    """Publish, and return the answer and the event that everybody gets for it."""
    endpoint = endpoint_of(streams)
    answer = await post(endpoint, message, **kwargs)
    assert answer.status == 202, answer.body
    client = await catch_up(endpoint, 1, x_user="reader")
    return answer, client.events[0]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("text", "text"),
        ("", ""),
        ("two\nlines", "two\nlines"),
        ("😀", "😀"),
        (None, "null"),
        (0, "0"),
        (1.5, "1.5"),
        (False, "false"),
        ([], "[]"),
        ({"a": {"b": ["ü", 2]}}, '{"a":{"b":["ü",2]}}'),
    ],
    ids=range(10),
)
async def test_text_is_sent_as_it_is_and_anything_else_as_compact_json(data, text):
    async with Streams() as streams:
        answer, event = await published(streams, {"data": data, "type": "note"})
    assert answer.headers == {"content-type": ["application/json"], "cache-control": ["no-store"]}
    assert json.loads(answer.body) == {"id": event.last_event_id}
    assert (event.type, event.data) == ("note", text)


async def test_a_channel_keeps_what_the_endpoint_was_told_to():
    async with Streams() as streams:
        kept = Retention(count=1)
        endpoint = channel_endpoint(streams, by_name, authorize_publish=by_name, retention=kept)
        for data in ("one", "two"):
            await post(endpoint, {"data": data})
        assert (await catch_up(endpoint, 2, x_user="ann")).data == ["two"]


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)  # fmt: skip


@given(JSONS)
def test_whatever_json_can_say_comes_back(data):
    """However it was escaped on its way."""
    read = parse(json.dumps({"data": data}).encode(), Connection(ChannelClient().scope))
    text = read.message.data
    assert (text if isinstance(data, str) else json.loads(text)) == data


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"data=x", "JSON"),
        (b'\xef\xbb\xbf{"data": "x"}', "JSON"),
        ('{"data": "x"}'.encode("utf-16"), "UTF-8"),
        (b'{"data": "\xff"}', "UTF-8"),
        (b'{"data": NaN}', "NaN"),
        (b'{"data": [-Infinity]}', "Infinity"),
        (b'{"data": 1e999}', "JSON can say"),
        (b'{"data": ' + b"[" * 400 + b"]" * 400 + b"} ", None),
        (b'{"data": 1, "data": 2}', "twice"),
        (b'{"data": {"a": 1, "a": 2}}', "twice"),
        (b"null", "object, got null"),
        (b"[]", "object, got a list"),
        (b'"x"', "object, got text"),
        (b"true", "object, got a boolean"),
        (b"7", "object, got a number"),
        (b"{}", "has data"),
        (b'{"type": "x"}', "has data"),
        (b'{"data": "x", "recipient": "ann"}', "no member 'recipient'"),
        (b'{"data": "\\ud800"}', "lone surrogate"),
        (b'{"data": ["\\ud800"]}', "lone surrogate"),
        (b'{"data": "x", "type": 7}', "type is text, got a number"),
        (b'{"data": "x", "type": null}', "type is text, got null"),
        (b'{"data": "x", "type": ""}', "not empty"),
        (b'{"data": "x", "type": "a\\nb"}', "CR, LF or NUL"),
        (b'{"data": "x", "type": "a\\rb"}', "CR, LF or NUL"),
        (b'{"data": "x", "type": "a\\u0000b"}', "CR, LF or NUL"),
        (b'{"data": "x", "type": "expired"}', "reserved"),
        (b'{"data": "x", "type": "gap"}', "reserved"),
        (b'{"data": "x", "to": null}', "recipient"),
        (b'{"data": "x", "to": 7}', "recipient"),
        (b'{"data": "x", "to": {}}', "recipient"),
        (b'{"data": "x", "to": ["ann", 7]}', "recipient"),
        (b'{"data": "x", "to": []}', "1 to 256 recipients"),
        (b'{"data": "x", "to": ""}', "a recipient has 1 to 255 bytes"),
        (b'{"data": "x", "to": ["ann", "a\\nb"]}', "no control characters"),
        (b'{"data": "x", "to": "' + b"x" * 256 + b'"}', "a recipient has 1 to 255 bytes"),
        (b'{"data": "x", "key": ""}', "a key has 1 to 255 bytes"),
        (b'{"data": "x", "key": 7}', "key is text"),
        (b'{"data": "x", "key": "a\\u0000"}', "no control characters"),
    ],
    ids=range(41),
)
async def test_messages_that_are_none_are_refused(body, complaint):
    """400 and a reason; nothing is created."""
    async with Streams() as streams:
        client = await post(endpoint_of(streams), body)
        if complaint is None:  # deep, but no deeper than JSON may be
            assert client.status == 202
            return
        assert client.status == 400
        assert complaint in client.text
        assert [each async for each in streams._backend.scan()] == []


async def test_json_that_is_too_deep_is_refused():
    async with Streams() as streams:
        endpoint = channel_endpoint(streams, by_name, authorize_publish=by_name)
        client = await post(endpoint, b'{"data": ' + b"[" * 30_000 + b"]" * 30_000 + b"}")
        assert client.status == 400


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "json"]
)
async def test_what_is_not_said_to_be_json_is_refused(kind):
    """A page of another origin may send those without having asked."""
    async with Streams() as streams:
        client = await post(endpoint_of(streams), {"data": "x"}, content_type=kind)
        assert client.status == 415
        for said in ("application/json; charset=utf-8", "Application/JSON"):
            client = await post(endpoint_of(streams), {"data": "x"}, content_type=said)
            assert client.status == 202


# The body


def message_of(size):
    return b'{"data": "' + b"x" * (size - 12) + b'"}'


@pytest.mark.parametrize("cut", [1, 7, LIMIT])
@pytest.mark.parametrize("said", ["rightly", "not"])
async def test_bodies_up_to_the_limit_are_read_in_any_pieces(cut, said):
    async with Streams() as streams:
        for size, status in ((LIMIT, 202), (LIMIT + 1, 413)):
            headers = {"content_length": str(size)} if said == "rightly" else {}
            client = await post(endpoint_of(streams), message_of(size), cut=cut, **headers)
            assert client.status == status


async def test_a_body_that_is_said_to_be_too_large_is_not_read():
    async with Streams() as streams:
        client = await post(endpoint_of(streams), {"data": "x"}, content_length=str(10**30))
        assert client.status == 413
        assert client._pieces


async def test_no_more_is_read_of_a_body_than_the_limit():
    """Whatever was said of its length."""
    async with Streams() as streams:
        client = await post(endpoint_of(streams), b"x" * 100_000, cut=100, content_length="5")
        assert client.status == 413
        assert len(client._pieces) == 1000 - LIMIT // 100 - 1


@pytest.mark.parametrize("length", ["14", "12", "-1", "x", "", "1_3", "+13", "²"])
async def test_a_length_that_is_not_the_bodys_is_refused(length):
    async with Streams() as streams:
        client = await post(endpoint_of(streams), b'{"data": "x"}', content_length=length)
        assert client.status == 400
        assert "content-length" in client.text


async def test_two_lengths_are_refused():
    async with Streams() as streams:
        client = ChannelClient(
            method="POST", body=b'{"data": "x"}', content_type="application/json", x_user="ann"
        )
        client.scope["headers"] += [(b"content-length", b"13"), (b"Content-Length", b"14")]
        await client.get(endpoint_of(streams))
        assert client.status == 400


@pytest.mark.virtual_time
async def test_a_body_that_does_not_come_is_not_waited_for():
    async with Streams() as streams:
        client = ChannelClient(
            method="POST", body=b"{ ", cut=1, content_type="application/json", x_user="ann"
        )

        async def receive():
            await sleep(20)
            return {"type": "http.request", "body": b" ", "more_body": True}

        client.receive = receive
        await client.get(endpoint_of(streams))
        assert client.status == 408


async def test_a_client_that_leaves_before_the_end_has_published_nothing():
    async with Streams() as streams, create_task_group() as group:
        client = ChannelClient(
            method="POST", body=b'{"data": "x"}', cut=3, content_type="application/json"
        )
        client.scope["headers"].append((b"x-user", b"ann"))
        whole = list(client._pieces)

        async def receive():
            if len(client._pieces) > len(whole) - 2:
                piece = client._pieces.pop(0)
                return {"type": "http.request", "body": piece, "more_body": True}
            return {"type": "http.disconnect"}

        client.receive = receive
        group.start_soon(client.get, endpoint_of(streams))
    assert client.status is None


# Keys


async def test_a_repeat_under_the_same_key_is_not_published_again():
    """Law 6: whatever it says, and whether the key is in the body or the header."""
    async with Streams() as streams:
        endpoint = endpoint_of(streams)
        answers = [
            await post(endpoint, {"data": "first", "key": "k"}),
            await post(endpoint, {"data": "again", "key": "k"}),
            await post(endpoint, {"data": "again"}, idempotency_key="k"),
            await post(endpoint, {"data": "again"}, idempotency_key='"k"'),
            await post(endpoint, {"data": "again", "key": "k"}, idempotency_key='"k"'),
        ]
        assert len({client.body for client in answers}) == 1
        others = [
            await post(endpoint, {"data": "of bob", "key": "k"}, x_user="bob"),
            await post(endpoint, {"data": "other key", "key": '"k"'}),
            await post(endpoint, {"data": "no key"}),
            await post(endpoint, {"data": "no key"}),
        ]
        assert {client.status for client in answers + others} == {202}
        assert len({client.body for client in others}) == 4
        client = await catch_up(endpoint, 5, x_user="ann")
        assert client.data == ["first", "of bob", "other key", "no key", "no key"]


async def test_two_keys_are_refused():
    async with Streams() as streams:
        client = await post(endpoint_of(streams), {"data": "x", "key": "a"}, idempotency_key="b")
        assert (client.status, "differ" in client.text) == (400, True)
        client = await post(endpoint_of(streams), {"data": "x"}, idempotency_key="")
        assert client.status == 400


async def test_no_content_can_inject_a_field():
    """Law 11."""
    nasty = "x\n\nevent: end\ndata: {}\n\nid: 7\r\rretry: 1\r\n\r\n: \0"
    async with Streams() as streams:
        _, event = await published(streams, {"data": nasty, "type": "to: ken"})
    newlines = nasty.replace("\r\n", "\n").replace("\r", "\n")
    assert (event.type, event.data) == ("to: ken", newlines)


async def test_nobody_publishes_for_recipients_through_a_name():
    """A single recipient is one name, not its letters."""
    async with Streams() as streams:
        endpoint = channel_endpoint(streams, as_named, authorize_publish=as_named)
        await post(endpoint, {"data": "x", "to": "bob"})
        await post(endpoint, {"data": "y"})
        assert (await catch_up(endpoint, 2, x_user="bob")).data == ["x", "y"]
        assert (await catch_up(endpoint, 1, x_user="ann")).data == ["y"]


async def test_a_process_that_shuts_down_publishes_nothing():
    async with Streams() as streams:
        endpoint = endpoint_of(streams)
    client = await post(endpoint, {"data": "x"})
    assert (client.status, client.headers["retry-after"]) == (503, ["1"])
    assert (await get(endpoint, x_user="ann")).status == 503


def test_message_bytes_is_a_limit():
    with pytest.raises(InvalidInput):
        ChannelLimits(message_bytes=0)
