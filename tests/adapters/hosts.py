"""Real servers on loopback, each with the same small guarded application; run as `python hosts.py <server> <journal>`.

The application reports what it saw, so that a test can tell what reached it. A server prints its port when it listens.
"""

import asyncio
import hashlib
import json
import os
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # support.py, when run as a script

from support import OPERATIONS, make_checks

from tradeguard import ASGI, WSGI, Guard, Journal, Memory, Operations, Policy, Source

ROWS = {
    **OPERATIONS,
    "GET /": {"lane": "public"},
    "GET /v1/stream": "orders:read",
    "GET /v1/fail": "orders:read",
    "POST /v1/twice": "orders:write",
    "GET /v1/market/{symbol}": "orders:read",
    "OPTIONS /v1/orders": "orders:read",
}


def make_guard(journal: str) -> Guard:
    """The guard that every server runs: short body deadline, real clock, no barrier, a gate for many attacks."""
    return Guard(
        [Source(pair=10_000, address=10_000), *make_checks()[1:]],
        operations=Operations(ROWS),
        state=Memory(since=1),
        journal=Journal(journal),
        policy=Policy(body_seconds=1.0, body_bytes=300_000),
    )


def report(method: str, path: str, query: str, body: bytes, principal: object, length: str | None = None) -> bytes:
    """What the application saw."""
    key = getattr(principal, "key_id", None)
    seen = {"method": method, "path": path, "query": query, "body": hashlib.sha256(body).hexdigest(), "key": key}
    return json.dumps({**seen, "length": length}).encode()


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    """The application for ASGI servers."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    if scope["path"].endswith("/v1/fail"):
        raise RuntimeError("the handler failed")
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    fields = [(b"content-type", b"application/json"), (b"x-request-id", b"made-by-the-handler")]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    if scope["path"].endswith("/v1/stream"):
        async for piece in _stream():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    grant = scope["tradeguard"]
    text = report(scope["method"], scope["path"], scope["query_string"].decode(), body, grant.principal)
    await send({"type": "http.response.body", "body": text})


async def _lifespan(receive: Any, send: Any) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


async def _stream() -> AsyncIterator[bytes]:
    for number in range(3):
        yield b"%d\n" % number
        await asyncio.sleep(0.3)


def wsgi_app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The application for WSGI servers."""
    if environ["PATH_INFO"] == "/v1/fail":
        raise RuntimeError("the handler failed")
    length = environ.get("CONTENT_LENGTH")
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "application/json"), ("X-Request-Id", "made-by-the-handler")])
    path, query = environ["PATH_INFO"].encode("latin-1").decode(), environ["QUERY_STRING"]
    text = report(environ["REQUEST_METHOD"], path, query, body, environ["tradeguard"].principal, length)
    return _pieces(text) if environ["PATH_INFO"] == "/v1/stream" else [text]


def _pieces(text: bytes) -> Iterator[bytes]:
    pause = threading.Event()
    for number in range(3):
        yield b"%d\n" % number
        pause.wait(0.3)
    yield text


def listen() -> socket.socket:
    """A listening socket on a free loopback port."""
    sock = socket.create_server(("127.0.0.1", 0))
    sock.set_inheritable(True)
    return sock


def announce(sock: socket.socket) -> None:
    """Tell the test where we listen."""
    print(sock.getsockname()[1], flush=True)


def run_uvicorn(journal: str, http: str, **settings: Any) -> None:
    """uvicorn, with its defaults but for what is given."""
    import uvicorn

    sock = listen()
    announce(sock)
    app = ASGI(asgi_app, guard=lambda: make_guard(journal))
    uvicorn.Server(uvicorn.Config(app, http=http, log_level="warning", **settings)).run(sockets=[sock])


def run_hypercorn(journal: str, **settings: Any) -> None:
    """hypercorn on asyncio."""
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    sock = listen()
    announce(sock)
    config = Config()
    config.bind = [f"fd://{sock.fileno()}"]
    for name, value in settings.items():
        setattr(config, name, value)
    app: Any = ASGI(asgi_app, guard=lambda: make_guard(journal))
    asyncio.run(serve(app, config, mode="asgi"))


def run_aiohttp(journal: str) -> None:
    """aiohttp's own server."""
    from adapters.aiohttp_app import make_app
    from aiohttp import web

    sock = listen()
    announce(sock)
    web.run_app(make_app(make_guard(journal)), sock=sock, print=None)


def run_wsgiref(journal: str) -> None:
    """The reference server, a thread per request."""
    from socketserver import ThreadingMixIn
    from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

    class Quiet(WSGIRequestHandler):
        def log_message(self, *_: Any) -> None: ...

    class Server(ThreadingMixIn, WSGIServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Quiet) as server:
        server.set_app(WSGI(wsgi_app, guard=make_guard(journal)))
        announce(server.socket)
        server.serve_forever()


def run_waitress(journal: str) -> None:
    """waitress."""
    from waitress import serve

    sock = listen()
    announce(sock)
    serve(WSGI(wsgi_app, guard=make_guard(journal)), sockets=[sock], threads=4, ident=None)


def run_gunicorn(journal: str) -> None:
    """gunicorn, two threads in one worker; memory state knows no second one."""
    from gunicorn.app.base import BaseApplication

    sock = listen()
    announce(sock)
    os.environ["GUNICORN_FD"] = str(sock.fileno())

    class Server(BaseApplication):
        def load_config(self) -> None:
            self.cfg.set("bind", f"fd://{sock.fileno()}")
            self.cfg.set("worker_class", "gthread")
            self.cfg.set("threads", 4)
            self.cfg.set("loglevel", "error")
            self.cfg.set("keepalive", 5)
            self.cfg.set("control_socket_disable", True)

        def load(self) -> Any:
            return WSGI(wsgi_app, guard=make_guard(journal))

    Server().run()


SERVERS: dict[str, Callable[[str], None]] = {
    "uvicorn-h11": lambda journal: run_uvicorn(journal, "h11"),
    "uvicorn-httptools": lambda journal: run_uvicorn(journal, "httptools"),
    "uvicorn-prefix": lambda journal: run_uvicorn(journal, "h11", root_path="/api"),
    "hypercorn": run_hypercorn,
    "hypercorn-prefix": lambda journal: run_hypercorn(journal, root_path="/api"),
    "aiohttp": run_aiohttp,
    "wsgiref": run_wsgiref,
    "waitress": run_waitress,
    "gunicorn": run_gunicorn,
}

if __name__ == "__main__":
    SERVERS[sys.argv[1]](sys.argv[2])
