"""Servers in the loop of a test, with an application that keeps responses and WebSockets open; and clients for them."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

from adapters.hosts import listen
from aiohttp import ClientResponse, ClientSession, ClientWebSocketResponse, web
from support import OPERATIONS, TRADER, make_checks, make_guard, make_keys

from tradeguard import ASGI, Guard, MemoryJournal, MemoryKeys, Operations, Signer
from tradeguard.adapters.aiohttp import Tradeguard
from tradeguard.core.event import Event, EventKind
from tradeguard.signing.signer import Outgoing

ROWS: dict[str, Any] = {
    **OPERATIONS,
    "GET /v1/idle": "orders:read",
    "GET /v1/busy": "orders:read",
    "GET /v1/deaf": "orders:read",
    "WS /v1/echo": {"scopes": "orders:read", "lane": "read"},
    "WS /v1/push": {"scopes": "orders:read", "lane": "read"},
    "WS /v1/trade": {"scopes": "orders:write"},
    "WS /v1/ticker": {"lane": "public"},
}
ASGI_SERVERS = ["uvicorn-h11-wsproto", "uvicorn-httptools-websockets-sansio", "hypercorn"]
SERVERS = [*ASGI_SERVERS, "aiohttp"]
PATIENCE = 30  # seconds after which a test gives up


async def until(holds: Callable[[], bool]) -> None:
    """Give the loop to others until something holds."""
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - nobody tells us
            await asyncio.sleep(0.01)


class Site:
    """One guarded server and what a test wants to know of it."""

    def __init__(self, guard: Guard, keys: MemoryKeys, journal: MemoryJournal, port: int = 0) -> None:
        self.guard, self.keys, self.journal, self.port = guard, keys, journal, port
        self.session: ClientSession = None  # type: ignore[assignment]  # it needs a loop

    def fields(self, signer: Signer, path: str) -> dict[str, str]:
        out = signer.sign(Outgoing("GET", f"127.0.0.1:{self.port}", path.encode(), b"", b""), time.time_ns())
        return {name.decode(): value.decode() for name, value in out.headers}

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    async def get(self, path: str, signer: Signer = TRADER) -> ClientResponse:
        """A response whose first piece has arrived."""
        response = await self.session.get(self.url(path), headers=self.fields(signer, path))
        assert await response.content.readany()
        return response

    async def open(self, path: str, signer: Signer | None = TRADER) -> ClientWebSocketResponse:
        headers = {} if signer is None else self.fields(signer, path)
        return await self.session.ws_connect(self.url(path), headers=headers, autoping=True)

    def revoke(self, id: str = "trader") -> None:
        record = self.keys._records[id]
        self.keys.put_now(replace(record, state="revoked", version=record.version + 1))

    async def events(self, kind: EventKind, number: int = 1) -> list[Event]:
        """The events of a kind, once there are so many."""
        await until(lambda: [event.kind for event in self.journal.events].count(kind) >= number)
        return [event for event in self.journal.events if event.kind == kind]


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    """Keeps open what it is asked for."""
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return
    elif scope["type"] == "websocket":
        await _socket(scope, receive, send)
    elif scope["path"] == "/v1/deaf":
        await _stream(scope["path"], send)
    else:
        sending = asyncio.create_task(_stream(scope["path"], send))
        try:
            while (await receive())["type"] != "http.disconnect":
                pass
        finally:
            sending.cancel()


async def _stream(path: str, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"first\n", "more_body": True})
    while path != "/v1/idle":
        try:
            await asyncio.sleep(0.02)
        except asyncio.CancelledError:
            if path != "/v1/deaf":
                raise
        await send({"type": "http.response.body", "body": b"more\n", "more_body": True})
    await asyncio.Event().wait()


async def _socket(scope: Any, receive: Any, send: Any) -> None:
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    while scope["path"] == "/v1/push":
        await send({"type": "websocket.send", "text": "tick"})
        await asyncio.sleep(0.02)
    while (message := await receive())["type"] == "websocket.receive":
        text = message.get("text")
        await send({"type": "websocket.send", "text": text if text is not None else f"{len(message['bytes'])} bytes"})


async def aio_stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"first\n")
    while request.path != "/v1/idle":
        try:
            await asyncio.sleep(0.02)
        except asyncio.CancelledError:
            if request.path != "/v1/deaf":
                raise
        await response.write(b"more\n")
    await asyncio.Event().wait()
    return response


async def aio_socket(request: web.Request) -> web.StreamResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    while request.path == "/v1/push":
        await socket.send_str("tick")
        await asyncio.sleep(0.02)
    async for message in socket:
        await socket.send_str(message.data if isinstance(message.data, str) else f"{len(message.data)} bytes")
    return socket


def make_site(checks: list[object] | None = None, **parts: Any) -> Site:
    """A site that nothing serves yet; `checks` stand behind the usual ones."""
    keys, journal = make_keys(), MemoryJournal()
    given: dict[str, Any] = {"runtime": None, "journal": journal, "operations": Operations(ROWS)}
    return Site(make_guard([*make_checks(keys), *(checks or [])], **{**given, **parts}), keys, journal)


@contextlib.asynccontextmanager
async def serving(name: str, site: Site, app: Any = asgi_app) -> AsyncIterator[Site]:
    """Serve a site until the end of the block."""
    sock = listen()
    site.port = sock.getsockname()[1]
    start: Callable[..., Awaitable[Callable[[], Awaitable[None]]]] = {
        "aiohttp": _start_aiohttp,
        "hypercorn": _start_hypercorn,
    }.get(name, _start_uvicorn)
    stop = await start(name, site, sock, app)
    try:
        async with ClientSession() as site.session:
            yield site
    finally:
        await stop()
        sock.close()


async def _start_uvicorn(name: str, site: Site, sock: Any, app: Any) -> Callable[[], Awaitable[None]]:
    import uvicorn

    _, http, ws = name.split("-", 2)
    config = uvicorn.Config(
        ASGI(app, guard=site.guard), http=http, ws=ws, log_level="critical", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve([sock]))
    await until(lambda: server.started)

    async def stop() -> None:
        server.should_exit = True
        await task

    return stop


async def _start_hypercorn(_name: str, site: Site, sock: Any, app: Any) -> Callable[[], Awaitable[None]]:
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    config, end = Config(), asyncio.Event()
    config.bind, config.graceful_timeout, config.errorlog = [f"fd://{sock.detach()}"], 1, None
    guarded: Any = ASGI(app, guard=site.guard)
    task = asyncio.create_task(serve(guarded, config, shutdown_trigger=end.wait))

    async def stop() -> None:
        end.set()
        await task

    return stop


async def _start_aiohttp(_name: str, site: Site, sock: Any, _app: Any) -> Callable[[], Awaitable[None]]:
    app = web.Application()
    Tradeguard(site.guard).init_app(app)
    for path in ("/v1/idle", "/v1/busy", "/v1/deaf"):
        app.router.add_get(path, aio_stream)
    for path in ("/v1/echo", "/v1/push", "/v1/trade", "/v1/ticker"):
        app.router.add_get(path, aio_socket)
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=1)
    await runner.setup()
    await web.SockSite(runner, sock).start()
    return runner.cleanup
