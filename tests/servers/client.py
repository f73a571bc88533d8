"""A client that sees whether a body was complete, and can end as abruptly as a crash does."""

import json
import socket
import struct
from contextlib import contextmanager
from http.client import HTTPConnection, IncompleteRead

from resumable_core import Decoder

TIMEOUT = 20  # seconds: nothing waits for ever


class Client:
    """Make requests to a server on the loopback, each over a connection of its own."""

    def __init__(self, port):
        self.port = port
        self._debugger = HTTPConnection("127.0.0.1", port, TIMEOUT)

    def get(self, path, *, method="GET", body=None, **headers):
        """Return the whole answer to a request."""
        with self.request(path, method=method, body=body, **headers) as response:
            response.read()
            return response

    def post(self, path, body=b""):
        return self.get(path, method="POST", body=body)

    def debug(self):
        """Return what the app tells of itself; over one connection, so as to change nothing."""
        try:
            self._debugger.request("GET", "/debug")
            return json.load(self._debugger.getresponse())
        except ConnectionError:  # it was idle for too long
            self._debugger.close()
            self._debugger.request("GET", "/debug")
            return json.load(self._debugger.getresponse())

    def close(self):
        self._debugger.close()

    @contextmanager
    def request(self, path, *, method="GET", body=None, receive_buffer=None, **headers):
        """Make a request, whose answer is to be read from the response that this yields.

        Keyword arguments are headers: `last_event_id` is Last-Event-ID.
        """
        connection = HTTPConnection("127.0.0.1", self.port)
        connection.sock = sock = socket.socket()
        try:
            sock.settimeout(TIMEOUT)
            if receive_buffer is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            sock.connect(("127.0.0.1", self.port))
            fields = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, fields)
            response = Response(connection, sock)
            try:
                yield response
            finally:
                response.close()
        finally:
            connection.close()
            sock.close()


class Response:
    """An answer, read bit by bit."""

    def __init__(self, connection, sock):
        self.body = b""
        self.ended = False
        self.complete = False
        """Whether the body has ended as HTTP says, instead of with the connection."""
        self._connection = connection
        self._sock = sock
        self._http = None
        self._decoder = Decoder()
        self._events = []
        self._last_event_id = ""

    @property
    def status(self):
        return self._head.status

    @property
    def headers(self):
        return self._head.headers

    def read_some(self, size=65536):
        """Wait for the next bytes of the body and return them; nothing when it has ended."""
        if self.ended:
            return b""
        try:
            chunk = self._head.read1(size)
        except (IncompleteRead, ConnectionError):
            self.ended, chunk = True, b""
        else:
            self.ended = self.complete = not chunk
        self.body += chunk
        self._events += self._decoder.feed(chunk)
        return chunk

    def read(self):
        """Read to the end and return the body."""
        while not self.ended:
            self.read_some()
        return self.body

    # Event streams

    def event(self):
        """Wait for the next event and return it; None when the body has ended."""
        while not self._events and not self.ended:
            self.read_some()
        if not self._events:
            return None
        event = self._events.pop(0)
        self._last_event_id = event.last_event_id
        return event

    def events(self):
        """Iterate over the events up to the end of the body."""
        return iter(self.event, None)

    @property
    def last_event_id(self):
        """What to reconnect with to get what follows the last `event()`; empty: nothing came."""
        return self._last_event_id if self._events else self._decoder.last_event_id

    @property
    def retry(self):
        return self._decoder.retry

    # Leaving

    def cut(self):
        """End the connection as a crash does: with a reset instead of a farewell."""
        linger = struct.pack("ii", 1, 0)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close()
        self._connection.close()
        self._sock.close()

    def close(self):
        self.ended = True
        if self._http is not None:
            self._http.close()

    @property
    def _head(self):
        if self._http is None:
            self._http = self._connection.getresponse()
        return self._http
