"""A guarded server for real clients, on 127.0.0.1 and ::1; run as a script. And a stranger, who keeps what it is sent.

The application answers with what reached it. A redirect and a first failure are asked for by the query, or the form.
"""

import base64
import contextlib
import json
import os
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs

sys.path.insert(0, str(Path(__file__).parents[1]))  # support.py, when run as a script

from support import make_checks

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
ROWS: dict[str, Any] = {
    "GET /v1/time": {"lane": "public"},
    "GET /": "orders:read",
    **{f"{method} /v1/{place}": "orders:read" for method in METHODS for place in ("echo", "busy", "away")},
    "GET /v1/items/{id}": "orders:read",
}


class Places(NamedTuple):
    """Where the server listens, as origins."""

    v4: str
    v6: str


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Report what was received."""
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    query = scope["query_string"].decode()
    status, fields = _decide(scope["path"], parse_qs(query if "=" in query else body.decode("latin-1")))
    seen = {
        "method": scope["method"],
        "path": scope["path"],
        "query": query,
        "body": base64.b64encode(body).decode(),
        "kind": dict(scope["headers"]).get(b"content-type", b"").decode(),
        "key": getattr(scope["tradeguard"].principal, "key_id", None),
    }
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": json.dumps(seen).encode()})


_once: set[str] = set()


def _decide(path: str, query: dict[str, list[str]]) -> tuple[int, list[tuple[bytes, bytes]]]:
    """Redirect, or fail the first time a name is seen."""
    if path.endswith("/away"):
        return int(query["status"][0]), [(b"location", query["to"][0].encode())]
    name = query.get("once", [""])[0]
    if path.endswith("/busy") and name not in _once:
        _once.add(name)
        return 503, [(b"retry-after", b"0")]
    return 200, [(b"content-type", b"application/json")]


def serve(journal: str) -> None:
    """Run the server, and tell the two ports."""
    import uvicorn

    from tradeguard import ASGI, Guard, Journal, Memory, Operations, Source

    def make_guard() -> Guard:
        checks = [Source(pair=10_000, address=10_000), *make_checks()[1:]]
        return Guard(checks, operations=Operations(ROWS), state=Memory(since=1), journal=Journal(journal))

    sockets = [socket.create_server(("127.0.0.1", 0)), socket.create_server(("::1", 0), family=socket.AF_INET6)]
    print(*(sock.getsockname()[1] for sock in sockets), flush=True)
    uvicorn.Server(uvicorn.Config(ASGI(app, guard=make_guard), log_level="warning")).run(sockets=sockets)


@contextlib.contextmanager
def open_venue(folder: Path) -> Iterator[Places]:
    """Run the server until the end of the block."""
    command = [sys.executable, __file__, str(folder / "journal.jsonl")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ.copy(), text=True)
    try:
        assert process.stdout is not None
        v4, v6 = process.stdout.readline().split()
        _wait(int(v4))
        yield Places(f"http://127.0.0.1:{v4}", f"http://[::1]:{v6}")
    finally:
        process.terminate()
        process.communicate(timeout=20)


def _wait(port: int) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 2) as sock:
            sock.sendall(b"GET /v1/time HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            if b" 200 " in sock.recv(64):
                return
        time.sleep(0.05)
    raise AssertionError("the venue does not answer")


class Stranger(socketserver.TCPServer):
    """Somebody else's server: it answers everything with 200 and keeps every byte. `heard` is all of it."""

    def __init__(self) -> None:
        self.heard = b""
        super().__init__(("127.0.0.1", 0), _Listen)
        self.origin = f"http://127.0.0.1:{self.server_address[1]}"


class _Listen(socketserver.StreamRequestHandler):
    server: Stranger

    def handle(self) -> None:
        """Read a head and its body, answer, and read on until the other side has nothing more to say."""
        length = 0
        while line := self.rfile.readline():
            self.server.heard += line
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
            if line == b"\r\n":
                break
        self.server.heard += self.rfile.read(length)
        self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        with contextlib.suppress(OSError):  # it has gone already
            self.connection.shutdown(socket.SHUT_WR)
            self.server.heard += self.rfile.read()


@contextlib.contextmanager
def open_stranger() -> Iterator[Stranger]:
    """Run the stranger until the end of the block."""
    with Stranger() as stranger:
        thread = threading.Thread(target=stranger.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield stranger
        finally:
            stranger.shutdown()
            thread.join()


if __name__ == "__main__":
    serve(sys.argv[1])
