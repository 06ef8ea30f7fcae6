"""What is special about ends: halts, threads, files, cancelled tasks, routes that differ from the map."""

import asyncio
import contextlib
import http.client
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from adapters.live_hosts import PATIENCE, ROWS, SERVERS, Site, make_site, until
from adapters.test_live import hear_the_end, read_to_the_end, run
from aiohttp import WSServerHandshakeError, web
from halts.operators import operators, propose, put, signed
from support import READER, TRADER, make_checks, make_guard, make_keys

from tradeguard import WSGI, Memory, MemoryJournal, MemoryKeys, Operations, aiohttp_middleware
from tradeguard.adapters.live import Watch
from tradeguard.checks.halt import Halt
from tradeguard.core.errors import BackendDown
from tradeguard.core.halt import Mode
from tradeguard.halts.view import Halts
from tradeguard.keys.cache import CachedKeys
from tradeguard.signing.signer import Outgoing

UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}


@pytest.mark.parametrize("name", SERVERS)
def test_a_halt_closes_what_its_lane_refuses_and_leaves_the_rest_open(name: str) -> None:
    state = Memory(since=1)

    async def test(site: Site) -> None:
        trading, reading = await site.open("/v1/trade"), await site.open("/v1/echo")
        at = time.time_ns()
        put(state, signed(propose("account:acme", Mode.NO_NEW, number=at, at=at), "olga"))
        assert await hear_the_end(trading) == (1008, "halt.no_new")
        await reading.send_str("still here")
        assert (await reading.receive()).data == "still here"
        put(state, signed(propose("venue", Mode.BLOCKED, number=at, at=at), "olga", "otto"))
        assert await hear_the_end(reading) == (1008, "halt.blocked")
        assert [event.code for event in await site.events("outcome", 2)] == ["halt.no_new", "halt.blocked"]

    run(name, test, make_site([Halt(Halts(state, operators()))], state=state))


@pytest.mark.parametrize("revoked", [False, True])
def test_a_task_that_somebody_else_cancels_is_cancelled(revoked: bool) -> None:
    from tradeguard import ASGI

    site = make_site()
    sent: list[Any] = []

    async def forever(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    async def main() -> None:
        path = b"/v1/idle"
        out = TRADER.sign(Outgoing("GET", "api.example", path, b"", b""), time.time_ns())
        scope: dict[str, Any] = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path.decode(),
        }
        scope |= {"raw_path": path, "query_string": b"", "headers": [(b"host", b"api.example"), *out.headers]}
        task = asyncio.create_task(ASGI(forever, guard=site.guard)(scope, None, send))  # type: ignore[arg-type]
        await until(lambda: bool(sent))
        if revoked:
            site.revoke()
            await Watch.here().look()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert Watch.here().streams == set()

    asyncio.run(main())
    assert [event.code for event in site.journal.events if event.kind == "outcome"] == (
        ["signature.revoked"] if revoked else [""]
    )


def test_a_check_that_raises_when_it_is_asked_again_ends_the_stream() -> None:
    class Broken:
        name = "broken"

        async def __call__(self, _request: Any, /) -> None: ...

        def recheck(self, _request: Any, _at: int, /) -> None:
            raise RuntimeError("a bug")

    async def test(site: Site) -> None:
        assert await hear_the_end(await site.open("/v1/echo")) == (1008, "outage.fault")

    run(SERVERS[0], test, make_site([Broken()]))


def serve_aiohttp(app: web.Application, site: Site, test: Callable[[Site], Any]) -> None:
    """Run a test beside an application of its own."""

    async def main() -> None:
        runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=1)
        await runner.setup()
        tcp = web.TCPSite(runner, "127.0.0.1", 0)
        await tcp.start()
        site.port = runner.addresses[0][1]
        from aiohttp import ClientSession

        async with asyncio.timeout(PATIENCE), ClientSession() as site.session:
            await test(site)
        await runner.cleanup()

    asyncio.run(main())


def test_a_file_that_aiohttp_sends_by_itself_is_cut_off_too(tmp_path: Path) -> None:
    from tradeguard.adapters.aiohttp import Tradeguard

    large, site, app = tmp_path / "large", make_site(), web.Application()
    with large.open("wb") as file:
        file.truncate(1 << 31)

    async def download(_request: web.Request) -> web.StreamResponse:
        return web.FileResponse(large)

    Tradeguard(site.guard).init_app(app)
    app.router.add_get("/v1/busy", download)

    async def test(site: Site) -> None:
        response = await site.get("/v1/busy")
        site.revoke()
        await until(lambda: site.journal.events[-1].code == "signature.revoked")  # nothing is read: the client is slow
        await read_to_the_end(response)
        assert Watch.here().streams == set()

    serve_aiohttp(app, site, test)


@pytest.mark.parametrize("streams", [False, True])
def test_a_plain_handler_answers_no_handshake_of_aiohttp(streams: bool) -> None:
    """One route serves both, so a handshake must not get what a row for GET asks other scopes for."""
    from tradeguard.adapters.aiohttp import Tradeguard

    site, app = make_site(), web.Application()

    async def plain(request: web.Request) -> web.StreamResponse:
        if streams:
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b"secret")
            return response
        return web.Response(text="secret")

    Tradeguard(site.guard).init_app(app)
    app.router.add_get("/v1/echo", plain)

    async def test(site: Site) -> None:
        def ask() -> tuple[int, bytes]:
            connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=PATIENCE)
            connection.request("GET", "/v1/echo", headers=site.fields(TRADER, "/v1/echo") | UPGRADE)
            with contextlib.closing(connection), connection.getresponse() as response:
                return response.status, response.read()

        status, body = await asyncio.to_thread(ask)
        assert status == (500 if streams else 503)
        assert b"secret" not in body

    serve_aiohttp(app, site, test)
    assert [event.status for event in site.journal.events if event.kind == "outcome"] in ([503], [0])


def test_the_middleware_alone_serves_streams_but_hears_no_websocket() -> None:
    site = make_site()
    app = web.Application(middlewares=[aiohttp_middleware(site.guard)])

    async def never(_request: web.Request) -> web.StreamResponse:
        raise AssertionError("must not run")

    from adapters.live_hosts import aio_stream

    app.router.add_get("/v1/echo", never)
    app.router.add_get("/v1/busy", aio_stream)

    async def test(site: Site) -> None:
        with pytest.raises(WSServerHandshakeError) as refused:
            await site.open("/v1/echo")
        assert refused.value.status == 503
        response = await site.get("/v1/busy")
        site.revoke()
        await read_to_the_end(response)

    serve_aiohttp(app, site, test)
    assert [event.code for event in site.journal.events] == ["answer.unconfigured", "signature.revoked"]


def starlette_app() -> Any:
    from starlette.applications import Starlette
    from starlette.routing import WebSocketRoute

    from tradeguard.adapters.starlette import Tradeguard

    return Starlette(routes=[WebSocketRoute("/v1/echo", _echo), WebSocketRoute("/v1/{other}", _echo)]), Tradeguard


def fastapi_app() -> Any:
    from fastapi import FastAPI
    from starlette.routing import WebSocketRoute

    from tradeguard.adapters.fastapi import Tradeguard

    app = FastAPI()
    app.router.routes += [WebSocketRoute("/v1/echo", _echo), WebSocketRoute("/v1/{other}", _echo)]
    return app, Tradeguard


def quart_app() -> Any:
    from quart import Quart, websocket

    from tradeguard.adapters.quart import Tradeguard

    app = Quart("live")

    async def echo(other: str = "") -> None:
        while True:
            await websocket.send(await websocket.receive())

    app.add_websocket("/v1/echo", view_func=echo)
    app.add_websocket("/v1/<other>", "other", view_func=echo)
    return app, Tradeguard


async def _echo(socket: Any) -> None:
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(text)


@pytest.mark.parametrize("make", [starlette_app, fastapi_app, quart_app])
def test_a_handshake_that_is_routed_elsewhere_than_the_map_says_is_refused(make: Callable[[], Any]) -> None:
    site = make_site()
    app, adapter = make()
    adapter(site.guard).init_app(app)

    async def main() -> None:
        import uvicorn
        from adapters.hosts import listen
        from aiohttp import ClientSession

        sock = listen()
        site.port = sock.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(app, ws="wsproto", log_level="critical", timeout_graceful_shutdown=1))
        task = asyncio.create_task(server._serve([sock]))
        await until(lambda: server.started)
        async with asyncio.timeout(PATIENCE), ClientSession() as site.session:
            socket = await site.open("/v1/echo")
            await socket.send_str("hello")
            assert (await socket.receive()).data == "hello"
            with pytest.raises(WSServerHandshakeError) as refused:  # the row is /v1/push, the route /v1/{other}
                await site.open("/v1/push")
            assert refused.value.status == 503
            site.revoke()
            assert await hear_the_end(socket) == (1008, "signature.revoked")
        server.should_exit = True
        await task

    asyncio.run(main())
    assert [event.code for event in site.journal.events if event.kind == "outcome"] == [
        "template.mismatch",
        "signature.revoked",
    ]


@contextlib.contextmanager
def threaded(name: str, app: Any) -> Iterator[int]:
    """Serve a WSGI application in a thread until the end of the block."""
    if name == "wsgiref":
        from wsgiref.simple_server import WSGIRequestHandler, make_server

        class Quiet(WSGIRequestHandler):
            def log_message(self, *_: Any) -> None: ...

        server = make_server("127.0.0.1", 0, app, handler_class=Quiet)
        port, serve, stop = server.server_port, server.serve_forever, server.shutdown
        close = server.server_close
    else:
        from waitress.server import create_server

        waitress: Any = create_server(app, host="127.0.0.1", port=0, threads=2)
        port, serve, close = waitress.effective_port, waitress.run, lambda: None

        def stop() -> None:
            waitress.close()
            waitress.task_dispatcher.shutdown(timeout=1)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield int(port)
    finally:
        stop()
        thread.join(10)
        close()


@pytest.mark.parametrize("name", ["wsgiref", "waitress"])
def test_a_response_in_pieces_is_looked_at_between_them(name: str) -> None:
    """In a host of threads: the key is revoked after the second piece, and the third is never sent."""
    keys, journal, closed = make_keys(), MemoryJournal(), list[bool]()

    class Pieces:
        def __iter__(self) -> Iterator[bytes]:
            yield b"one\n"
            yield b"two\n"
            record = keys._records["trader"]
            keys.put_now(replace(record, state="revoked", version=2))
            yield b"three\n"
            yield b"four\n"

        def close(self) -> None:
            closed.append(True)

    def app(_environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Length", "100")])
        return Pieces()

    guard = make_guard(
        make_checks(keys), runtime=None, journal=journal, operations=Operations({"GET /v1/x": "orders:read"})
    )
    with threaded(name, WSGI(app, guard=guard)) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        out = TRADER.sign(Outgoing("GET", f"127.0.0.1:{port}", b"/v1/x", b"", b""), time.time_ns())
        connection.request("GET", "/v1/x", headers={k.decode(): v.decode() for k, v in out.headers})
        response = connection.getresponse()
        with pytest.raises(http.client.IncompleteRead) as broken:
            response.read()
        connection.close()
    assert b"one" in broken.value.partial
    assert b"four" not in broken.value.partial
    assert closed == [True]
    [outcome] = [event for event in journal.events if event.kind == "outcome"]
    assert (outcome.code, outcome.status) == ("signature.revoked", 200)


class Distant(MemoryKeys):
    """A key store that waits on a loop, as one over a network does, and is down when a test says so."""

    colour = "async"
    down = False

    async def find(self, id: str, /) -> Any:
        await self._travel()
        return await super().find(id)

    async def changes(self, mark: Any, /) -> Any:
        await self._travel()
        return await super().changes(mark)

    async def _travel(self) -> None:
        await asyncio.sleep(0)
        if self.down:
            raise BackendDown("down")


def test_an_idle_socket_hears_of_what_changed_in_a_store_that_waits_on_the_loop() -> None:
    """Nobody asks for anything: it is the watcher that asks. A change that ends nothing ends nothing."""
    keys, journal = Distant([*make_keys()._records.values()]), MemoryJournal()
    cached = CachedKeys(keys, poll=1, stale_after=1)
    parts: dict[str, Any] = {"runtime": None, "journal": journal, "operations": Operations(ROWS)}
    site = Site(make_guard(make_checks(cached), **parts), keys, journal)  # type: ignore[arg-type]

    async def test(site: Site) -> None:
        trader, reader = await site.open("/v1/echo"), await site.open("/v1/echo", READER)
        record = keys._records["trader"]
        keys.put_now(replace(record, version=2))
        await Watch.here().look()
        assert not any(stream.is_cut for stream in Watch.here().streams)
        site.revoke()
        assert await hear_the_end(trader) == (1008, "signature.revoked")
        keys.down = True
        assert await hear_the_end(reader) == (1008, "outage.down")

    run(SERVERS[0], test, site)
