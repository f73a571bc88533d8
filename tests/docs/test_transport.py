"""The WebSocket transport in the documentation, on real servers, with a client that is cut off."""

import contextlib
import json
import socket
from urllib.parse import urlsplit

import pytest
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)

from tests.docs.pages import write
from tests.docs.serving import HYPERCORN, UVICORN, serving

PAGE = "docs/howto/another-transport.md"
WHOLE = "".join(f"{number} " for number in range(20))


class Client:
    """A WebSocket: iterating yields the objects it is sent; then `closed` is the code."""

    def __init__(self, url, path):
        address = urlsplit(str(url))
        self.closed = None
        self._socket = socket.create_connection((address.hostname, address.port), timeout=30)
        self._connection = WSConnection(ConnectionType.CLIENT)
        self._send(Request(host=address.netloc, target=path))

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._socket.close()

    def __iter__(self):
        while self.closed is None:
            data = self._socket.recv(65536)
            self._connection.receive_data(data or None)
            for event in self._connection.events():
                match event:
                    case AcceptConnection():
                        pass
                    case TextMessage(data=text, message_finished=True):
                        yield json.loads(text)
                    case Ping():
                        self._send(event.response())
                    case CloseConnection(code=code):
                        self.closed = code
                        with contextlib.suppress(OSError):
                            self._send(event.response())
                    case RejectConnection() | _:
                        raise AssertionError(event)

    def say(self, text):
        self._send(TextMessage(text))

    def _send(self, event):
        self._socket.sendall(self._connection.send(event))


@pytest.mark.parametrize("command", [UVICORN, HYPERCORN], ids=["uvicorn", "hypercorn"])
def test_a_client_that_is_cut_off_gets_the_whole(command, tmp_path):
    with serving(write(PAGE, tmp_path), *command, "app:app") as server:
        url, got, last_id = server.client.base_url, [], None
        for most in (3, 5, 1, 100):
            query = f"?last_event_id={last_id}" if last_id else ""
            with Client(url, f"/one{query}") as client:
                for record, _ in zip(client, range(most), strict=False):
                    got.append(record)
                    last_id = record["id"]
        assert "".join(record.get("data", "") for record in got) == WHOLE
        assert got[-1]["end"] == "done"
        assert len({record["id"].partition("-")[0] for record in got}) == 1

        with Client(url, "/one") as client:  # a page that was reloaded
            assert [*client] == got
            assert client.closed == 1000
        with Client(url, f"/one?last_event_id={last_id}") as client:
            assert [*client] == []
        with Client(url, "/unknown?last_event_id=abc-1") as client:
            assert [*client] == []
            assert client.closed == 4404
        with Client(url, "/one?last_event_id=abc-1") as client:
            assert next(iter(client))["reset"]


def test_stop_comes_over_the_socket(tmp_path):
    with serving(write(PAGE, tmp_path), *UVICORN, "app:app") as server:
        with Client(server.client.base_url, "/one") as client:
            records = iter(client)
            next(records)
            client.say("stop")
            *_, last = records
        assert (last["end"], last["error"]) == ("stopped", "the user pressed stop")
