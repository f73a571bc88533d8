"""Where servers listen, and under which names they may be asked."""

from __future__ import annotations

import errno
import os
import socket

from resumable_io.cli._exits import EXIT_ADDRESS, fail


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket, or end the command."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        number = error.errno or 0  # Negative: from looking the name up.
        reason = os.strerror(number) if number > 0 else error.strerror
        advice = "; try --port 0" if number == errno.EADDRINUSE else ""
        fail(f"cannot listen on {host}, port {port}: {reason}{advice}", EXIT_ADDRESS)


def url_of(host: str, listener: socket.socket) -> str:
    """Return the URL of what listens."""
    port: int = listener.getsockname()[1]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def allowed_hosts(host: str) -> list[str]:
    """Return the names under which a server may be asked.

    On loopback only its own names: otherwise any site could have its name resolve to this machine
    and ask through the visitor's browser.
    """
    loopback = ["localhost", "127.0.0.1", "::1", "[::1]"]
    return loopback if host in loopback else ["*"]
