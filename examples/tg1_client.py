"""A client of the `tg1` dialect on a plain socket; it sends exactly the bytes it is given.

API_KEY=trader API_SECRET=... python examples/tg1_client.py GET http://127.0.0.1:8000/v1/orders
API_KEY=trader API_SECRET=... python examples/tg1_client.py POST http://127.0.0.1:8000/v1/orders '{"quantity": "1"}'
"""

import json
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple, Self
from urllib.parse import urlsplit

from tradeguard import TG1, Signer
from tradeguard.signing.signer import Outgoing

JSON = b"application/json"
Field = tuple[bytes, bytes]


class Answer(NamedTuple):
    """What came back. `status` is 0 where the server closed the connection, or kept silent, instead."""

    status: int
    headers: Mapping[str, str] = {}
    body: bytes = b""

    @property
    def problem(self) -> dict[str, object]:
        """The members of a problem+json answer (RFC 9457); none for any other."""
        if self.headers.get("content-type") != "application/problem+json":
            return {}
        problem: dict[str, object] = json.loads(self.body)
        return problem

    @property
    def code(self) -> str:
        """The code of a refusal by the guard, in whatever shape it comes; empty for the server's own."""
        return str(self.problem.get("code", self.headers.get("tradeguard-code", "")))

    @property
    def brief(self) -> str:
        """Status and code in one line; a refusal without a code is the server's own."""
        if not self.status:
            return "no answer"
        if self.status < 400:
            return str(self.status)
        return f"{self.status} {self.code or 'server'}"


class Wire:
    """One keep-alive connection to loopback.

    Args:
        port: where the server listens.
        patience: seconds to wait for an answer.
    """

    def __init__(self, port: int, patience: float = 10.0) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), patience)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._socket.sendall(data)

    def answer(self) -> Answer:
        """Read one answer."""
        try:
            status = self._file.readline().split()
            if len(status) < 2:
                return Answer(0)
            headers: dict[str, str] = {}
            while line := self._file.readline().strip():
                name, _, value = line.decode("latin-1").partition(":")
                headers[name.lower()] = value.strip()
            return Answer(int(status[1]), headers, self._body(int(status[1]), headers))
        except (TimeoutError, ConnectionError, ValueError):  # a length that is none: the connection broke there
            return Answer(0)

    def _body(self, status: int, headers: Mapping[str, str]) -> bytes:
        """Read what belongs to an answer (RFC 9112, 6.3): some have none, chunks say their sizes, else until close."""
        if status < 200 or status in (204, 304):
            return b""
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return b"".join(self._chunks())
        return self._file.read(int(headers.get("content-length", "-1")))

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self._file.readline().partition(b";")[0], 16):
            yield self._file.read(size)
            self._file.readline()
        while self._file.readline().strip():
            pass  # trailers

    def ask(self, data: bytes) -> Answer:
        """Send a whole request and read its answer."""
        try:
            self.send(data)
        except ConnectionError:
            return Answer(0)
        return self.answer()


def render(request: Outgoing, *more: Field) -> bytes:
    """Return the bytes of an HTTP/1.1 request. `more` is not signed and may replace Host and Content-Length."""
    fields = [*request.headers, *more]
    names = {name for name, _ in fields}
    if b"host" not in names:
        fields.insert(0, (b"host", request.authority.encode()))
    if request.content_type:
        fields.append((b"content-type", request.content_type))
    if request.body and not names & {b"content-length", b"transfer-encoding"}:
        fields.append((b"content-length", b"%d" % len(request.body)))
    head = b"".join(b"%s: %s\r\n" % field for field in fields)
    return b"%s %s HTTP/1.1\r\n%s\r\n%s" % (request.method.encode(), request.target, head, request.body)


def main() -> int:
    """Sign one request, send it, print the answer."""
    if len(sys.argv) < 3 or not {"API_KEY", "API_SECRET"} <= os.environ.keys():
        print(__doc__, file=sys.stderr)
        return 2
    method, url, body = sys.argv[1], urlsplit(sys.argv[2]), "".join(sys.argv[3:4]).encode()
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    request = Outgoing(method, url.netloc, target.encode(), JSON if body else b"", body)
    signer = Signer(TG1, os.environ["API_KEY"], os.environ["API_SECRET"].encode())
    try:
        with Wire(url.port or 80) as wire:
            answer = wire.ask(render(signer.sign(request, time.time_ns())))
    except OSError as error:
        print(f"{url.netloc}: {error.strerror}", file=sys.stderr)
        return 2
    print(answer.brief)
    print(answer.body.decode("utf-8", "replace"))
    return 0 if 200 <= answer.status < 300 else 1


if __name__ == "__main__":
    sys.exit(main())
