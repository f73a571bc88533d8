"""Serve an example as its reader would: a real server in a process of its own."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import httpx2

from resumable_core import Decoder, ServerSentEvent

UVICORN = ("-m", "uvicorn", "--port=0")
HYPERCORN = ("-m", "hypercorn", "--bind=127.0.0.1:0")


class Server:
    """A server that runs, and a client of it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.log: list[str] = []
        url = self._wait_for_url()
        # Whoever does not read what it logs would block it.
        self._reader = Thread(target=lambda: self.log.extend(process.stdout), daemon=True)
        self._reader.start()
        self.client = httpx2.Client(base_url=url, timeout=30, trust_env=False)

    def _wait_for_url(self) -> str:
        for line in self.process.stdout:
            self.log.append(line)
            if found := re.search(r"unning on (http://127\.0\.0\.1:\d+)", line):
                return found[1]
        raise AssertionError(f"the server did not start:\n{''.join(self.log)}")

    def terminate(self) -> None:
        """Ask it to stop, and see that it does."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=30)
        self._reader.join()
        assert status in (0, -signal.SIGTERM), "".join(self.log)


@contextmanager
def serving(directory: Path, *command: str, bind: str = "127.0.0.1:0") -> Iterator[Server]:
    """Run `python *command` in a directory until the block is left."""
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=directory,
        env=os.environ | {"BIND": bind, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        server = Server(process)
        with server.client:
            yield server
        if process.poll() is None:
            server.terminate()
        assert "Traceback" not in "".join(server.log), "".join(server.log)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


class EventStream:
    """Read an event stream over one connection after the other, as an EventSource does."""

    def __init__(self, client: httpx2.Client, url: str, **request: object) -> None:
        self.client = client
        self.url = url
        self.request = {"method": "GET", **request}
        self.last_event_id = ""
        self.retry: int | None = None
        self.events: list[ServerSentEvent] = []

    def read(self, most: int | None = None) -> list[ServerSentEvent]:
        """Connect, read up to so many events or until the response ends, and break off."""
        new: list[ServerSentEvent] = []
        decoder = Decoder(last_event_id=self.last_event_id)
        headers = {"Last-Event-ID": self.last_event_id} if self.last_event_id else {}
        with self.client.stream(url=self.url, headers=headers, **self.request) as response:
            response.raise_for_status()
            assert response.headers["content-type"].startswith("text/event-stream")
            for chunk in response.iter_raw():
                new += decoder.feed(chunk)
                if most is not None and len(new) >= most:
                    break
        new = new[:most]
        self.last_event_id = decoder.last_event_id if most is None else new[-1].last_event_id
        self.retry = decoder.retry
        self.events += new
        return new

    @property
    def text(self) -> str:
        """The data of all messages."""
        return "".join(event.data for event in self.events if event.type == "message")

    @property
    def epochs(self) -> set[str]:
        """The claims that the ids name; one, where a source has run once."""
        return {event.last_event_id.partition("-")[0] for event in self.events}
