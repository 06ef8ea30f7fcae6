"""Hosts of a guarded application on loopback, for a test at a time: ASGI, WSGI and aiohttp.

One uvicorn and one waitress serve all tests, each in its turn; aiohttp is started for each. What is shared ends with
the process.
"""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import uvicorn
import waitress.server
from aiohttp import web

from tradeguard import ASGI, WSGI, Guard
from tradeguard.adapters.aiohttp import Tradeguard
from tradeguard.core.runtime import Loop, Threads


def in_background(work: Callable[[], object]) -> None:
    """Run something until the process ends."""
    threading.Thread(target=work, daemon=True).start()


@dataclass(slots=True)
class _Box:
    """The application that a server which is shared runs just now."""

    url: str = ""
    app: Any = None

    async def asgi(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)

    def wsgi(self, environ: Any, start_response: Any) -> Any:
        return self.app(environ, start_response)


@cache
def _uvicorn() -> _Box:
    box, sock = _Box(), socket.create_server(("127.0.0.1", 0))
    box.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    options: dict[str, Any] = {"interface": "asgi3", "lifespan": "off", "ws": "none", "proxy_headers": False}
    config = uvicorn.Config(box.asgi, log_level="error", **options)
    server = uvicorn.Server(config)
    in_background(lambda: server.run([sock]))
    while not server.started:
        time.sleep(0.005)
    return box


@cache
def _waitress() -> _Box:
    box, sock = _Box(), socket.create_server(("127.0.0.1", 0))
    box.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    server = waitress.server.create_server(box.wsgi, sockets=[sock], threads=2, ident=None)
    in_background(server.run)
    return box


@contextmanager
def _asgi(guard: Guard, fine: bytes) -> Iterator[str]:
    async def app(_scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        fields = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": fine})

    box = _uvicorn()
    box.app = ASGI(app, guard=guard)
    yield box.url


@contextmanager
def _wsgi(guard: Guard, fine: bytes) -> Iterator[str]:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Type", "application/json")])
        return [fine]

    box = _waitress()
    box.app = WSGI(app, guard=guard)
    yield box.url


@contextmanager
def _aiohttp(guard: Guard, fine: bytes) -> Iterator[str]:
    async def handle(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=fine, content_type="application/json")

    app, sock = web.Application(), socket.create_server(("127.0.0.1", 0))
    Tradeguard(guard).init_app(app)
    app.router.add_route("*", "/{tail:.*}", handle)
    loop, runner = asyncio.new_event_loop(), web.AppRunner(app, access_log=None)

    async def start() -> None:
        await runner.setup()
        await web.SockSite(runner, sock).start()

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(start(), loop).result(10)
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


HOSTED: Mapping[str, Any] = {"asgi": _asgi, "wsgi": _wsgi, "aiohttp": _aiohttp}
"""By host: what serves a guarded application, which always answers the same, until the end of a block; its address."""
RUNTIMES: Mapping[str, Callable[[], Loop | Threads]] = {"asgi": Loop, "wsgi": Threads, "aiohttp": Loop}
"""By host: the clock of a guard there."""
