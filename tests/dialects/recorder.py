"""A loopback HTTP server that keeps requests as they came and answers what it was told; what ccxt raises for that.

On the command line: `python tests/dialects/recorder.py raised okx 401 '{"code":"50113","msg":"Invalid Sign"}' 'A: b'`.
"""

import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import responses
from io import BufferedIOBase
from typing import Any

Fields = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One request as it stood on the wire: headers untouched and in order; `at`: ns UTC, when it was read."""

    method: str
    target: str
    headers: Fields
    body: bytes
    at: int

    def header(self, name: str) -> str | None:
        """The first value of a header, whatever the case of its name."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server says next."""

    status: int = 200
    body: bytes = b"{}"
    headers: Fields = ()


Script = Answer | Callable[[Recorded], Answer]


@dataclass(slots=True)
class Recorder:
    """The running server: where it is, what it has read so far, and what it answers (it may be changed at any time)."""

    url: str
    answer: Script = Answer()
    requests: list[Recorded] = field(default_factory=list[Recorded])

    def say(self, request: Recorded) -> Answer:
        """Keep a request; the answer to it."""
        self.requests.append(request)
        return self.answer(request) if callable(self.answer) else self.answer


def read_request(stream: BufferedIOBase) -> Recorded | None:
    """The next request of a connection; None at its end. Bodies by Content-Length or chunked; nothing is decoded."""
    first = stream.readline().rstrip(b"\r\n").decode("latin-1")
    if not first:
        return None
    lines = iter(lambda: stream.readline().rstrip(b"\r\n").decode("latin-1"), "")
    headers = tuple((name, value.strip(" \t")) for name, _, value in (line.partition(":") for line in lines))
    low = {name.lower(): value for name, value in headers}
    chunked = low.get("transfer-encoding", "").lower() == "chunked"
    body = b"".join(_chunks(stream)) if chunked else stream.read(int(low.get("content-length", "0")))
    method, target, _ = first.split(" ")
    return Recorded(method=method, target=target, headers=headers, body=body, at=time.time_ns())


def _chunks(stream: BufferedIOBase) -> Iterator[bytes]:
    while size := int(stream.readline().partition(b";")[0], 16):
        yield stream.read(size)
        stream.readline()
    stream.readline()


def write_answer(answer: Answer) -> bytes:
    """An answer as it goes on the wire; Content-Type is application/json unless it says another."""
    low = {name.lower() for name, _ in answer.headers}
    usual = [] if "content-type" in low else [("Content-Type", "application/json")]
    lines = [f"{name}: {value}" for name, value in [*usual, *answer.headers, ("Content-Length", str(len(answer.body)))]]
    reason = responses.get(answer.status, "Unknown")
    return "\r\n".join([f"HTTP/1.1 {answer.status} {reason}", *lines, "", ""]).encode("latin-1") + answer.body


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


@contextmanager
def recording(answer: Script = Answer()) -> Iterator[Recorder]:
    """A recorder on a free port of 127.0.0.1, for as long as the block runs."""
    recorder = Recorder("", answer)

    class Connection(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while (request := read_request(self.rfile)) is not None:
                self.wfile.write(write_answer(recorder.say(request)))

    with _Server(("127.0.0.1", 0), Connection) as server:
        recorder.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield recorder
        finally:
            server.shutdown()
            thread.join()


def raised(venue: str, status: int, body: bytes, headers: Fields = (), call: str = "order") -> dict[str, Any]:
    """What unmodified ccxt raises when a venue answers a signed call like this.

    Args:
        venue: a name of `dialects.venues.VENUES`.
        status: of the answer.
        body: of the answer.
        headers: of the answer.
        call: which of the venue's calls; "order" is the signed order.

    Returns:
        `raised`: the names of the exception's classes, from its own up to BaseError ([] if none was raised);
        `text`: its text.
    """
    from dialects.sdk import perform_with
    from dialects.venues import VENUES, credentials_of

    with recording(Answer(status, body, headers)) as recorder:
        outcomes = perform_with(VENUES[venue].client, venue, recorder.url, credentials_of(venue), (call,))
    if len(recorder.requests) != 1:
        raise AssertionError(f"{venue} {call}: {len(recorder.requests)} requests went out instead of one: {outcomes}")
    found: dict[str, Any] = outcomes[0]
    return found


def main(arguments: list[str]) -> None:
    """Print what ccxt raises: raised VENUE STATUS BODY ["Name: value" ...]."""
    _, venue, status, body, *more = arguments
    parts = [line.partition(":") for line in more]
    outcome = raised(venue, int(status), body.encode(), tuple((name, value.strip()) for name, _, value in parts))
    print(f"{venue} {status}: {' < '.join(outcome['raised']) or 'nothing raised'}\n{outcome['text']}")


if __name__ == "__main__":
    main(sys.argv[1:])
