"""Applications that misbehave, and guards that meet twice: what happens is defined, and always on record."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import flask
import pytest
from adapters.asks import ask_aiohttp, ask_asgi, ask_wsgi
from aiohttp import web
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from support import TRADER, make_guard
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from tradeguard import ASGI, WSGI, Guard, Memory, MemoryJournal, Outgoing, aiohttp_middleware
from tradeguard.core.runtime import Loop, Threads

PATH = "/v1/orders"


def signed(path: str = PATH, method: str = "GET", body: bytes = b"", host: str = "localhost") -> list[tuple[str, str]]:
    out = TRADER.sign(Outgoing(method, host, path.encode(), b"", body), time.time_ns())
    return [(name.decode(), value.decode()) for name, value in out.headers]


def outcomes(journal: MemoryJournal) -> list[tuple[int, str]]:
    return [(event.status, event.detail) for event in journal.events if event.kind == "outcome"]


@pytest.fixture
def journal() -> MemoryJournal:
    return MemoryJournal()


@pytest.fixture
def loop_guard(journal: MemoryJournal) -> Guard:
    return make_guard(runtime=Loop(), journal=journal)


@pytest.fixture
def thread_guard(journal: MemoryJournal) -> Guard:
    return make_guard(runtime=Threads(), journal=journal)


def lifespan(app: Any, *kinds: str) -> list[str]:
    """Take an application through its life; return what it said."""
    messages = [{"type": f"lifespan.{kind}"} for kind in kinds]
    sent: list[str] = []

    async def receive() -> dict[str, str]:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    asyncio.run(app({"type": "lifespan", "state": {}}, receive, send))
    return sent


def test_an_application_that_fails_to_start_stops_the_server(loop_guard: Guard) -> None:
    @asynccontextmanager
    async def life(_app: FastAPI) -> AsyncIterator[None]:
        raise RuntimeError("no database")
        yield

    app = ASGI(FastAPI(lifespan=life), guard=loop_guard)
    with pytest.raises(RuntimeError, match="no database"):
        lifespan(app, "startup")


def test_an_application_without_lifespan_is_guarded_all_the_same(loop_guard: Guard) -> None:
    async def bare(scope: Any, _receive: Any, _send: Any) -> None:
        assert scope["type"] == "http"

    app = ASGI(bare, guard=loop_guard)
    with pytest.raises(AssertionError):
        lifespan(app, "startup")  # which is how it tells the server that it knows none
    assert ask_asgi_status(app) == 401


def ask_asgi_status(app: Any) -> int:
    return ask_asgi(app, "GET", PATH).status


def test_an_endless_stream_ends_with_its_client_and_has_an_outcome(loop_guard: Guard, journal: MemoryJournal) -> None:
    async def endless(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"x", "more_body": True})

    pieces = 0

    async def send(message: Any) -> None:
        nonlocal pieces
        pieces += message["type"] == "http.response.body"
        if pieces == 100:
            raise OSError("the client is gone")

    async def run() -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        fields = [(n.encode().lower(), v.encode()) for n, v in [("host", "localhost"), *signed()]]
        scope: dict[str, Any] = {"type": "http", "http_version": "1.1", "method": "GET", "scheme": "http", "path": PATH}
        scope |= {"raw_path": PATH.encode(), "query_string": b"", "root_path": "", "client": ("127.0.0.1", 5)}
        scope["headers"] = fields
        await ASGI(endless, guard=loop_guard)(scope, receive, send)

    with pytest.raises(OSError, match="the client is gone"):
        asyncio.run(run())
    assert outcomes(journal) == [(200, "OSError")]


def test_an_endless_stream_of_a_thread_ends_when_the_server_closes_it(
    thread_guard: Guard, journal: MemoryJournal
) -> None:
    closed: list[bool] = []

    def endless(_environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        try:
            while True:
                yield b"x"
        finally:
            closed.append(True)

    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": PATH, "QUERY_STRING": "", "SCRIPT_NAME": ""}
    environ |= {"wsgi.url_scheme": "http", "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_HOST": "localhost"}
    environ["REMOTE_ADDR"] = "127.0.0.1"
    environ |= {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in signed()}
    response: Any = WSGI(endless, guard=thread_guard)(environ, lambda *_: lambda _data: None)
    chunks = iter(response)
    assert [next(chunks) for _ in range(100)] == [b"x"] * 100
    assert outcomes(journal) == []
    response.close()
    assert (closed, outcomes(journal)) == ([True], [(200, "")])


def test_a_body_is_read_once_and_then_the_client_is_gone(loop_guard: Guard) -> None:
    seen: list[Any] = []

    async def twice(_scope: Any, receive: Any, send: Any) -> None:
        seen.extend([await receive(), await receive(), await receive()])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    body = b'{"a":1}'
    ask_asgi(ASGI(twice, guard=loop_guard), "POST", PATH, signed(PATH, "POST", body), body=body)
    assert seen[0] == {"type": "http.request", "body": body, "more_body": False}
    assert [message["type"] for message in seen[1:]] == ["http.disconnect"] * 2


def test_a_body_that_a_thread_reads_twice_is_empty_the_second_time(thread_guard: Guard) -> None:
    def twice(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [environ["wsgi.input"].read(), b"|", environ["wsgi.input"].read()]

    body = b'{"a":1}'
    got = ask_wsgi(WSGI(twice, guard=thread_guard), "POST", PATH, signed(PATH, "POST", body), body=body)
    assert got.body == body + b"|"


def test_an_application_that_answers_nothing_has_an_outcome_without_a_status(
    loop_guard: Guard, journal: MemoryJournal
) -> None:
    async def silent(_scope: Any, _receive: Any, _send: Any) -> None: ...

    with pytest.raises(IndexError):  # nothing went out
        ask_asgi(ASGI(silent, guard=loop_guard), "GET", PATH, signed())
    assert outcomes(journal) == [(0, "")]


def test_a_thread_that_returns_nothing_is_the_servers_error_and_an_outcome(
    thread_guard: Guard, journal: MemoryJournal
) -> None:
    def nothing(_environ: Any, _start_response: Any) -> Any:
        return None

    with pytest.raises(TypeError):
        ask_wsgi(WSGI(nothing, guard=thread_guard), "GET", PATH, signed())
    assert outcomes(journal) == [(0, "TypeError")]


def test_an_aiohttp_handler_that_returns_nothing_is_a_500_and_an_outcome(journal: MemoryJournal) -> None:
    async def nothing(_request: web.Request) -> Any:
        return None

    app = web.Application(middlewares=[aiohttp_middleware(make_guard(runtime=None, journal=journal))])
    app.router.add_get("/v1/time", nothing)
    assert ask_aiohttp(app, "GET", "/v1/time").status == 500
    assert [status for status, _ in outcomes(journal)] == [0]


def test_headers_that_an_application_changes_change_nothing_for_the_guard(
    loop_guard: Guard, journal: MemoryJournal
) -> None:
    async def rude(scope: Any, _receive: Any, send: Any) -> None:
        scope["headers"].clear()
        scope["method"], scope["path"], scope["client"] = "DELETE", "/gone", None
        headers = [(b"X-Request-ID", b"theirs"), (b"x-request-id", b"theirs too")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        headers.append((b"x-late", b"1"))
        await send({"type": "http.response.body", "body": b""})

    got = ask_asgi(ASGI(rude, guard=loop_guard), "GET", PATH, signed())
    [event] = journal.events
    assert (event.operation, event.source, event.status) == ("GET /v1/orders", "127.0.0.1", 200)
    assert got.all("x-request-id") == [event.request_id]


def test_a_wsgi_application_may_change_its_environment(thread_guard: Guard, journal: MemoryJournal) -> None:
    def rude(environ: Any, start_response: Any) -> list[bytes]:
        environ.clear()
        start_response("200 OK", [("X-Request-ID", "theirs")])
        return [b""]

    got = ask_wsgi(WSGI(rude, guard=thread_guard), "GET", PATH, signed())
    assert got.all("x-request-id") == [journal.events[0].request_id]
    assert journal.events[0].operation == "GET /v1/orders"


async def answer(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.scope["tradeguard"].principal.key_id)


def shop(guard: Guard) -> Starlette:
    app = Starlette(routes=[Route("/{path:path}", answer)])
    app.add_middleware(ASGI, guard=guard)
    return app


def test_the_same_guard_met_twice_judges_once(loop_guard: Guard, journal: MemoryJournal) -> None:
    app = ASGI(ASGI(shop(loop_guard), guard=loop_guard), guard=loop_guard)
    got = ask_asgi(app, "GET", PATH, signed())
    assert (got.status, got.body, len(got.all("x-request-id"))) == (200, b"trader", 1)
    assert len(journal.events) == 1
    assert ask_asgi(app, "GET", PATH).status == 401


def test_the_same_guard_in_a_mounted_application_judges_once(loop_guard: Guard, journal: MemoryJournal) -> None:
    app = ASGI(Starlette(routes=[Mount("/v1", app=shop(loop_guard))]), guard=loop_guard)
    assert ask_asgi(app, "GET", PATH, signed()).status == 200
    assert len(journal.events) == 1


def flask_shop() -> Any:
    app = flask.Flask("shop")
    app.add_url_rule("/<path:path>", view_func=lambda path: flask.request.environ["tradeguard"].principal.key_id)
    return app


def test_the_same_guard_met_twice_by_threads_judges_once(thread_guard: Guard, journal: MemoryJournal) -> None:
    inner = WSGI(flask_shop(), guard=thread_guard)
    for app in (WSGI(inner, guard=thread_guard), WSGI(DispatcherMiddleware(inner, {"/v1": inner}), guard=thread_guard)):
        journal.events.clear()
        got = ask_wsgi(app, "GET", PATH, signed())
        assert (got.status, got.body, len(got.all("x-request-id"))) == (200, b"trader", 1)
        assert len(journal.events) == 1


def test_the_same_guard_met_twice_by_aiohttp_judges_once(journal: MemoryJournal) -> None:
    guard = make_guard(runtime=None, journal=journal)

    async def hello(_request: web.Request) -> web.Response:
        return web.Response(text="hello")

    inner = web.Application(middlewares=[aiohttp_middleware(guard)])
    inner.router.add_get("/time", hello)
    app = web.Application(middlewares=[aiohttp_middleware(guard)])
    app.add_subapp("/v1", inner)
    got = ask_aiohttp(app, "GET", "/v1/time")
    assert (got.status, len(got.all("x-request-id")), len(journal.events)) == (200, 1, 1)


@pytest.mark.parametrize("change", [{"method": "DELETE"}, {"path": "/v1/withdraw", "raw_path": b"/v1/withdraw"}])
def test_what_was_granted_is_that_request_and_no_other(
    loop_guard: Guard, journal: MemoryJournal, change: dict[str, Any]
) -> None:
    inner = shop(loop_guard)

    async def rewrites(scope: Any, receive: Any, send: Any) -> None:
        await inner({**scope, **change}, receive, send)

    assert ask_asgi(ASGI(rewrites, guard=loop_guard), "GET", PATH, signed()).status == 401
    assert [event.kind for event in journal.events] == ["refused", "outcome"]


def test_two_guards_both_judge(journal: MemoryJournal) -> None:
    outer, inner = MemoryJournal(), journal
    app = ASGI(shop(make_guard(runtime=None, journal=inner)), guard=make_guard(runtime=None, journal=outer))
    assert ask_asgi(app, "GET", PATH, signed()).status == 200
    assert (len(outer.events), len(inner.events)) == (1, 1)


def test_two_guards_over_one_state_refuse_what_the_other_has_used_up(journal: MemoryJournal) -> None:
    state = Memory(since=1)
    guards = [make_guard(runtime=None, journal=journal, state=state) for _ in range(2)]
    app = ASGI(shop(guards[1]), guard=guards[0])
    assert ask_asgi(app, "GET", PATH, signed()).status == 409
