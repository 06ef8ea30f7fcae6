"""Added time per framework: the bare application against the guarded one, interleaved, in this process.

    python benchmarks/frameworks.py [REQUESTS]

ASGI and WSGI applications are called as a server calls them, without sockets; aiohttp over a loopback connection. A
round asks both, one after the other; the figures are medians of all rounds. Every request is a signed GET that is
used once; the signing is not measured.
"""

import asyncio
import io
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import tradeguard as tg
from tradeguard.signing.signer import Outgoing

SIGNER = tg.Signer(tg.TG1, "k1", b"0123456789abcdef0123456789abcdef")
HOST = "api.example"
Ask = Callable[[dict[str, str]], float]
_running: list[tuple["asyncio.Task[None]", asyncio.Event]] = []
_serving: list[tuple[asyncio.StreamWriter, Any]] = []  # a connection, and the aiohttp runner behind it


def make_guard() -> tg.Guard:
    """Everything on memory."""
    keys = tg.MemoryKeys(
        [
            tg.KeyRecord(
                id="k1", dialect="tg1", material=tg.Hmac("0123456789abcdef0123456789abcdef"), scopes={"orders:read"}
            )
        ]
    )
    return tg.Guard(
        [tg.Source(), tg.Signature(keys), tg.Freshness(), tg.Network(), tg.Scope(), tg.Replay()],
        operations=tg.Operations({"GET /orders/{id}": "orders:read"}),
        state=tg.Memory(since=1),
        journal=tg.MemoryJournal(),
    )


def sign() -> dict[str, str]:
    """The fields of a request that is signed now."""
    out = SIGNER.sign(Outgoing("GET", HOST, b"/orders/17"), time.time_ns())
    return {"host": HOST} | {name.decode(): value.decode() for name, value in out.headers}


def make_starlette(*, guarded: bool) -> Any:
    """Starlette."""
    from starlette.applications import Starlette  # noqa: PLC0415
    from starlette.responses import JSONResponse  # noqa: PLC0415
    from starlette.routing import Route  # noqa: PLC0415

    from tradeguard.adapters.starlette import Tradeguard  # noqa: PLC0415

    async def order(request: Any) -> JSONResponse:
        return JSONResponse({"id": request.path_params["id"]})

    app = Starlette(routes=[Route("/orders/{id}", order)])
    if guarded:
        Tradeguard(make_guard()).init_app(app)
    return app


def make_fastapi(*, guarded: bool) -> Any:
    """FastAPI."""
    from fastapi import FastAPI  # noqa: PLC0415

    from tradeguard.adapters.fastapi import CurrentPrincipal, Tradeguard  # noqa: PLC0415

    app = FastAPI()
    if guarded:

        @app.get("/orders/{id}")
        async def order(id: str, principal: CurrentPrincipal) -> dict[str, str]:
            return {"id": id}

        Tradeguard(make_guard()).init_app(app)
    else:

        @app.get("/orders/{id}")
        async def bare(id: str) -> dict[str, str]:
            return {"id": id}

    return app


def make_litestar(*, guarded: bool) -> Any:
    """Litestar."""
    from litestar import Litestar, get  # noqa: PLC0415
    from litestar.params import FromPath  # noqa: PLC0415

    from tradeguard.adapters.litestar import Tradeguard  # noqa: PLC0415

    @get("/orders/{id:str}")
    async def order(id: FromPath[str]) -> dict[str, str]:
        return {"id": id}

    return Litestar([order], plugins=[Tradeguard(make_guard())] if guarded else [])


def make_quart(*, guarded: bool) -> Any:
    """Quart."""
    from quart import Quart  # noqa: PLC0415

    from tradeguard.adapters.quart import Tradeguard  # noqa: PLC0415

    app = Quart("bench")

    @app.get("/orders/<id>")
    async def order(id: str) -> dict[str, str]:
        return {"id": id}

    if guarded:
        Tradeguard(make_guard()).init_app(app)
    return app


def make_flask(*, guarded: bool) -> Any:
    """Flask."""
    from flask import Flask  # noqa: PLC0415

    from tradeguard.adapters.flask import Tradeguard  # noqa: PLC0415

    app = Flask("bench")

    @app.get("/orders/<id>")
    def order(id: str) -> dict[str, str]:
        return {"id": id}

    if guarded:
        Tradeguard(app, guard=make_guard())
    return app


def make_django(handler: str, *, guarded: bool) -> Any:
    """Django, as a WSGI or ASGI application."""
    import django  # noqa: PLC0415
    from django.conf import settings  # noqa: PLC0415
    from django.core.handlers import asgi, wsgi  # noqa: PLC0415

    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="bench", LOGGING_CONFIG=None)
        django.setup()
    settings.TRADEGUARD = {"guard": make_guard}
    settings.MIDDLEWARE = ["tradeguard.adapters.django.guard"] if guarded else []
    return asgi.ASGIHandler() if handler == "asgi" else wsgi.WSGIHandler()


def __getattr__(name: str) -> Any:
    """Give Django its URLs, when it asks for them."""
    if name != "urlpatterns":
        raise AttributeError(name)
    from django.http import JsonResponse  # noqa: PLC0415
    from django.urls import path  # noqa: PLC0415

    return [path("orders/<str:id>", lambda _request, id: JsonResponse({"id": id}))]


def ask_wsgi(app: Any) -> Ask:
    """Call a WSGI application as a server does."""

    def ask(fields: dict[str, str]) -> float:
        said: list[str] = []
        environ: dict[str, Any] = {
            "REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": "/orders/17", "QUERY_STRING": "",
            "RAW_URI": "/orders/17", "SERVER_NAME": HOST, "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1", "wsgi.version": (1, 0), "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(),
            "wsgi.errors": sys.stderr, "wsgi.multithread": True, "wsgi.multiprocess": False, "wsgi.run_once": False,
            **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in fields.items()},
        }  # fmt: skip
        start = time.perf_counter()
        response = app(environ, lambda status, *_: said.append(status))
        body = b"".join(response)
        if hasattr(response, "close"):
            response.close()
        took = time.perf_counter() - start
        assert said[0].startswith("200"), (said, body)
        return took

    return ask


def ask_asgi(app: Any, loop: asyncio.AbstractEventLoop) -> Ask:
    """Call an ASGI application as a server does."""
    loop.run_until_complete(_start(app))

    async def serve(fields: dict[str, str]) -> float:
        sent: list[Any] = []
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
            "path": "/orders/17", "raw_path": b"/orders/17", "query_string": b"", "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in fields.items()],
            "client": ("127.0.0.1", 50_000), "server": ("127.0.0.1", 80), "state": {}, "extensions": {},
        }  # fmt: skip
        bodies, gone = iter([b""]), asyncio.Event()

        async def receive() -> Any:
            for body in bodies:
                return {"type": "http.request", "body": body, "more_body": False}
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        start = time.perf_counter()
        await app(scope, receive, send)
        took = time.perf_counter() - start
        assert sent[0]["status"] == 200, sent
        return took

    return lambda fields: loop.run_until_complete(serve(fields))


async def _start(app: Any) -> None:
    """Start an application and leave it running; Django's knows no lifespan."""
    if type(app).__name__ == "ASGIHandler":
        return
    started, stop = asyncio.Event(), asyncio.Event()
    messages = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> Any:
        message = next(messages)
        if message == "lifespan.shutdown":
            await stop.wait()
        return {"type": message}

    async def send(message: Any) -> None:
        assert not message["type"].endswith("failed"), message
        started.set()

    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    _running.append((asyncio.create_task(app(scope, receive, send)), stop))
    await started.wait()


async def _stop() -> None:
    for task, stop in _running:
        stop.set()
        await task
    for writer, runner in _serving:
        writer.close()
        await writer.wait_closed()
        await runner.cleanup()


def ask_aiohttp(loop: asyncio.AbstractEventLoop, *, guarded: bool) -> Ask:
    """Ask an aiohttp server over one connection of its own."""
    from aiohttp import web  # noqa: PLC0415

    from tradeguard.adapters.aiohttp import Tradeguard  # noqa: PLC0415

    async def order(request: web.Request) -> web.Response:
        return web.json_response({"id": request.match_info["id"]})

    async def start() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        app = web.Application()
        app.add_routes([web.get("/orders/{id}", order)])
        if guarded:
            Tradeguard(make_guard()).init_app(app)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port: int = runner.addresses[0][1]
        streams = await asyncio.open_connection("127.0.0.1", port)
        _serving.append((streams[1], runner))
        return streams

    reader, writer = loop.run_until_complete(start())

    async def exchange(fields: dict[str, str]) -> float:
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        begin = time.perf_counter()
        writer.write(f"GET /orders/17 HTTP/1.1\r\n{head}\r\n".encode())
        answer = await reader.readuntil(b"}")
        took = time.perf_counter() - begin
        assert answer.startswith(b"HTTP/1.1 200"), answer
        return took

    return lambda fields: loop.run_until_complete(exchange(fields))


def pairs(loop: asyncio.AbstractEventLoop) -> Iterator[tuple[str, Ask, Ask]]:
    """Give every framework, bare and guarded."""
    for make in (make_starlette, make_fastapi, make_litestar, make_quart):
        yield make.__name__[5:], ask_asgi(make(guarded=False), loop), ask_asgi(make(guarded=True), loop)
    yield "django (asgi)", *(ask_asgi(make_django("asgi", guarded=guarded), loop) for guarded in (False, True))
    yield "aiohttp (socket)", ask_aiohttp(loop, guarded=False), ask_aiohttp(loop, guarded=True)
    yield "flask", ask_wsgi(make_flask(guarded=False)), ask_wsgi(make_flask(guarded=True))
    yield "django (wsgi)", *(ask_wsgi(make_django("wsgi", guarded=guarded)) for guarded in (False, True))


def measure(rounds: int) -> Iterator[tuple[str, float, float]]:
    """Give the medians of every framework, bare and guarded, in s."""
    loop = asyncio.new_event_loop()
    for name, bare, guarded in pairs(loop):
        print(f"\r{name:<24}", end="", file=sys.stderr, flush=True)
        times: tuple[list[float], list[float]] = ([], [])
        for number, fields in enumerate(sign() for _ in itertools.repeat(None, rounds)):
            for which in (0, 1) if number % 2 else (1, 0):
                times[which].append((bare, guarded)[which](fields))
        yield name, statistics.median(times[0]), statistics.median(times[1])
    print(file=sys.stderr)
    loop.run_until_complete(_stop())
    loop.close()


def report(rounds: int) -> list[str]:
    """Return the lines for results.md."""
    lines = [
        "",
        "## Added time per framework",
        "",
        f"One signed GET of a route with a parameter; keys, state and journal in memory. Medians of {rounds} rounds,",
        "bare and guarded in turn, in one process. Applications are called as a server calls them; aiohttp is asked",
        "over a loopback connection, which is in both of its figures.",
        "",
        "| framework | bare µs | guarded µs | added µs | guarded / bare |",
        "|---|---|---|---|---|",
    ]
    for name, bare, guarded in measure(rounds):
        one, two = bare * 1e6, guarded * 1e6
        lines.append(f"| {name} | {one:.0f} | {two:.0f} | {two - one:.0f} | {two / one:.2f} |")
    return [*lines, ""]


def main() -> None:
    """Measure, and print a table."""
    print("\n".join(report(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000)))


if __name__ == "__main__":
    main()
