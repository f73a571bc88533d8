"""A server of raw bytes: for each connection a script, a generator that takes the request's head
and yields what to send. It answers whatever a test wants, right or wrong.
"""

import socket
import threading
from contextlib import contextmanager, suppress

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
STREAM = HEAD + b"Connection: close\r\n\r\n"
"""The head of an event stream that ends with its connection."""


class RawServer:
    """Answer one connection after the other, each by the next script; the last one is repeated."""

    def __init__(self, scripts):
        self.requests = []
        """What was asked: (request line, headers with names in lower case, body)."""
        self._scripts = scripts
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open = None
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        if self._open is not None:
            self._open.close()
        self._thread.join(10)
        assert not self._thread.is_alive()

    def _serve(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open = connection
            with connection, suppress(OSError):  # the client has left
                self._answer(connection)

    def _answer(self, connection):
        connection.settimeout(10)
        file = connection.makefile("rb")
        line = file.readline().decode().strip()
        headers = {}
        while field := file.readline().decode().strip():
            name, _, value = field.partition(": ")
            headers[name.lower()] = value
        body = file.read(int(headers.get("content-length", 0)))
        number = len(self.requests)
        self.requests.append((line, headers, body))
        script = self._scripts[min(number, len(self._scripts) - 1)]
        for piece in [script] if isinstance(script, bytes) else script:
            connection.sendall(piece)


@contextmanager
def raw_server(*scripts):
    server = RawServer(scripts)
    try:
        yield server
    finally:
        server.close()
