"""A client that sends exactly the bytes it is told to, and reads one answer."""

import contextlib
import http.client
import json
import socket
import time
from pathlib import Path
from typing import Any, NamedTuple

from tradeguard.signing.signer import Outgoing, Signer
from tradeguard.testing.loopback import only_here

only_here()


class Host(NamedTuple):
    """A running server."""

    name: str
    port: int
    journal: Path

    def events(self, request_id: str) -> list[dict[str, Any]]:
        """Return the events of one request, once its outcome or refusal is there.

        Raises:
            AssertionError: it never came.
        """
        return self._wait("request_id", request_id)

    def outcome(self, operation: str) -> dict[str, Any]:
        """Return the last event of an operation, once that is an outcome or a refusal.

        Raises:
            AssertionError: it never came.
        """
        return self._wait("operation", operation)[-1]

    def _wait(self, field: str, value: str) -> list[dict[str, Any]]:
        for _ in range(100):
            lines = [json.loads(line) for line in self.journal.read_text().splitlines()]
            found = [line for line in lines if line[field] == value]
            if found and found[-1]["kind"] != "intent":
                return found
            time.sleep(0.02)
        raise AssertionError(f"no outcome of {value} in the journal")


class Reply(NamedTuple):
    """An answer, its fields in lower case."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        """Return every value of a field."""
        return [value for field, value in self.fields if field == name]

    @property
    def json(self) -> Any:
        """Return the body, read as JSON."""
        return json.loads(self.body)


def wait_until_ready(host: Host) -> None:
    """Ask for a public operation until it is answered, for ten seconds at most.

    Raises:
        AssertionError: it never was.
    """
    for _ in range(200):
        with contextlib.suppress(OSError, http.client.HTTPException):
            if send(host, Outgoing("GET", "", b"/v1/time")).status == 200:
                return
        time.sleep(0.05)
    raise AssertionError(f"{host.name} does not answer")


def signed(host: Host, signer: Signer, method: str, target: bytes, body: bytes = b"", kind: bytes = b"") -> Outgoing:
    """Return a request that is signed now, for this host."""
    request = Outgoing(method, f"127.0.0.1:{host.port}", target, kind, body)
    return signer.sign(request, time.time_ns())


def send(host: Host, request: Outgoing, *, chunked: bool = False, extra: tuple[tuple[str, str], ...] = ()) -> Reply:
    """Send a request as it is, target and all."""
    fields = [("Host", f"127.0.0.1:{host.port}"), ("Connection", "close"), *extra]
    fields += [(name.decode(), value.decode()) for name, value in request.headers]
    if request.content_type:
        fields.append(("Content-Type", request.content_type.decode()))
    body = request.body
    if chunked:
        fields.append(("Transfer-Encoding", "chunked"))
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    elif body:
        fields.append(("Content-Length", str(len(body))))
    return exchange(host, head(request.method, request.target, fields) + body)


def head(method: str, target: bytes, fields: list[tuple[str, str]]) -> bytes:
    """Return the head of a request, byte for byte as given."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
    return method.encode() + b" " + target + b" HTTP/1.1\r\n" + lines.encode("latin-1") + b"\r\n"


def exchange(host: Host, data: bytes) -> Reply:
    """Send bytes, read one answer."""
    with socket.create_connection(("127.0.0.1", host.port), timeout=10) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(data)
        return read_reply(sock)


def read_reply(sock: socket.socket) -> Reply:
    """Read one answer."""
    response = http.client.HTTPResponse(sock)
    response.begin()
    fields = [(name.lower(), value) for name, value in response.getheaders()]
    return Reply(response.status, fields, response.read())
