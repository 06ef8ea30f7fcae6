"""aiohttp: every response carries our fields once, however the handler sends it; and the extension that sees to it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from adapters.native import fields_of, sign
from aiohttp import ClientPayloadError, ClientSession, WSMsgType, web
from aiohttp.test_utils import TestServer
from support import make_guard
from yarl import URL

from tradeguard import ConfigError, Guard, MemoryJournal, Operations, Policy, aiohttp_middleware
from tradeguard.adapters.aiohttp import GRANT, GUARD, PRINCIPAL, Tradeguard
from tradeguard.core.cors import Cors
from tradeguard.core.proxy import Proxies

PAGE, HSTS = "https://trade.example", "max-age=63072000"
ROWS: Mapping[str, Any] = {
    "GET /v1/{what}": "orders:read",
    "WS /v1/{what}": "orders:read",
    "GET /v1/open": {"lane": "public"},
}
POLICY = Policy(
    cors=Cors(origins=[PAGE]), proxies=Proxies(header="x-forwarded-for", trusted=["127.0.0.1/32"]), hsts=HSTS
)
AFAR = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https", "Origin": PAGE}
THEIRS = [
    ("X-Request-Id", "made up"),
    ("x-request-id", "twice"),
    ("Access-Control-Allow-Origin", "*"),
    ("Strict-Transport-Security", "max-age=0"),
    ("Vary", "Accept"),
    ("X-Own", "kept"),
]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Got(NamedTuple):
    """An answer, with every field as often as it came."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for field, value in self.fields if field.lower() == name]


def make(journal: MemoryJournal, **parts: Any) -> Guard:
    given = {"operations": Operations(ROWS), "policy": POLICY, "journal": journal, "runtime": None}
    return make_guard(**{**given, **parts})


def make_app(handler: Handler, guard: Guard) -> web.Application:
    app = web.Application()
    app.router.add_get("/v1/open", handler)
    app.router.add_get("/v1/{what}", handler)
    Tradeguard(guard).init_app(app)
    return app


def fields(target: str = "/v1/x") -> dict[str, str]:
    return fields_of(sign("GET", target)) | AFAR


def ask(app: web.Application, target: str = "/v1/x", headers: Mapping[str, str] | None = None) -> Got:
    """Ask a real server on loopback."""

    async def main() -> Got:
        async with TestServer(app) as server, ClientSession() as session:
            url = URL(str(server.make_url("/")).rstrip("/") + target, encoded=True)
            async with session.get(url, headers=fields(target) if headers is None else headers) as answer:
                return Got(answer.status, list(answer.headers.items()), await answer.read())

    return asyncio.run(main())


def assert_ours(got: Got, journal: MemoryJournal) -> None:
    """All that the policy says stands there, once."""
    assert got.all("x-request-id") == [journal.events[-1].request_id]
    assert got.all("strict-transport-security") == [HSTS]
    assert got.all("access-control-allow-origin") == [PAGE]
    assert len(got.all("access-control-expose-headers")) == 1
    assert ",".join(got.all("vary")).lower().count("origin") == 1


def add_theirs(response: web.StreamResponse) -> None:
    for name, value in THEIRS:
        response.headers.add(name, value)


async def plain(_request: web.Request) -> web.Response:
    response = web.Response(body=b"body")
    add_theirs(response)
    return response


async def stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    add_theirs(response)
    response.content_type = "text/event-stream"
    await response.prepare(request)
    response.headers["X-Late"] = "not sent"
    await response.write(b"data: 1\n\n")
    await response.write_eof()
    return response


async def chunked(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    add_theirs(response)
    await response.prepare(request)
    for _ in range(3):
        await response.write(b"x" * 10)
    return response


async def file(_request: web.Request) -> web.FileResponse:
    response = web.FileResponse(__file__)
    add_theirs(response)
    return response


async def conflict(_request: web.Request) -> web.Response:
    error = web.HTTPConflict(text="taken")
    add_theirs(error)
    raise error


async def redirect(_request: web.Request) -> web.Response:
    raise web.HTTPNotModified(headers=dict(THEIRS))


async def changed_late(request: web.Request) -> web.StreamResponse:
    response = await stream(request)
    response.headers["X-Request-Id"] = "too late"
    return response


@pytest.mark.parametrize(
    ("handler", "status"),
    [
        (plain, 200),
        (stream, 200),
        (chunked, 200),
        (file, 200),
        (conflict, 409),
        (redirect, 304),
        (changed_late, 200),
    ],
)
def test_every_kind_of_response_has_our_fields_once(handler: Handler, status: int) -> None:
    journal = MemoryJournal()
    got = ask(make_app(handler, make(journal)))
    assert (got.status, journal.events[-1].kind, journal.events[-1].status) == (status, "outcome", status)
    assert_ours(got, journal)
    assert got.all("x-own") == ["kept"]
    assert got.all("x-late") == []


def test_a_file_is_sent_whole_and_in_part() -> None:
    app = make_app(file, make(MemoryJournal()))
    assert ask(app).body == Path(__file__).read_bytes()
    journal = MemoryJournal()
    got = ask(make_app(file, make(journal)), headers=fields() | {"Range": "bytes=3-7"})
    assert (got.status, got.body) == (206, Path(__file__).read_bytes()[3:8])
    assert_ours(got, journal)


def test_an_error_of_the_handler_has_our_fields() -> None:
    async def broken(_request: web.Request) -> web.Response:
        raise RuntimeError("secret")

    journal = MemoryJournal()
    got = ask(make_app(broken, make(journal)))
    assert (got.status, journal.events[-1].status, journal.events[-1].detail) == (500, 0, "RuntimeError")
    assert_ours(got, journal)
    assert b"secret" not in got.body


def test_a_stream_that_breaks_off_had_our_fields() -> None:
    journal = MemoryJournal()

    async def breaks(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"1")
        raise RuntimeError

    async def main() -> Got:
        async with TestServer(make_app(breaks, make(journal))) as server, ClientSession() as session:
            answer = await session.get(server.make_url("/v1/x"), headers=fields())
            with pytest.raises(ClientPayloadError):
                await answer.read()
            return Got(answer.status, list(answer.headers.items()), b"")

    assert_ours(asyncio.run(main()), journal)
    assert (journal.events[-1].status, journal.events[-1].detail) == (0, "RuntimeError")


def test_a_websocket_has_our_fields_in_its_handshake() -> None:
    journal = MemoryJournal()

    async def echo(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        add_theirs(socket)
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(f"{request[PRINCIPAL].key_id}: {message.data}")
        return socket

    async def main() -> tuple[Got, list[str]]:
        async with TestServer(make_app(echo, make(journal))) as server, ClientSession() as session:
            socket = await session.ws_connect(server.make_url("/v1/x"), headers=fields())
            await socket.send_str("hello")
            said, answer = await socket.receive(), socket._response
            await socket.close()
            assert said.type is WSMsgType.TEXT
            return Got(answer.status, list(answer.headers.items()), b""), [said.data]

    got, said = asyncio.run(main())
    assert (got.status, said) == (101, ["trader: hello"])
    assert_ours(got, journal)
    assert got.all("x-own") == ["kept"]


def test_a_websocket_without_a_proof_is_refused_with_our_fields() -> None:
    async def never(_request: web.Request) -> web.WebSocketResponse:
        raise AssertionError("must not run")

    journal = MemoryJournal()
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Host": "api.example"}
    got = ask(make_app(never, make(journal)), headers=AFAR | upgrade)
    assert got.status == 401
    assert_ours(got, journal)


def test_a_websocket_whose_handshake_fails_is_an_answer_like_any_other() -> None:
    async def upgrade(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        raise AssertionError("must not come here")

    journal = MemoryJournal()
    got = ask(make_app(upgrade, make(journal)))  # no upgrade was asked for
    assert (got.status, journal.events[-1].status) == (400, 400)
    assert_ours(got, journal)


@pytest.mark.parametrize(("target", "status"), [("/v1/x", 401), ("/nothing", 401), ("/v1//x", 400)])
def test_a_refusal_has_our_fields_once(target: str, status: int) -> None:
    journal = MemoryJournal()
    got = ask(make_app(plain, make(journal)), target, AFAR)
    assert got.status == status
    assert_ours(got, journal)


def test_a_request_that_no_route_takes_has_our_fields() -> None:
    journal = MemoryJournal()
    app = make_app(plain, make(journal, operations=Operations({"GET /gone": "orders:read"})))
    got = ask(app, "/gone")
    assert (got.status, journal.events[-1].status) == (404, 404)
    assert_ours(got, journal)


def test_what_another_middleware_answers_instead_has_our_fields() -> None:
    @web.middleware
    async def replaces(request: web.Request, handler: Any) -> web.StreamResponse:
        await handler(request)
        response = web.Response(status=202)
        add_theirs(response)
        return response

    journal, app = MemoryJournal(), web.Application(middlewares=[replaces])
    app.router.add_get("/v1/{what}", plain)
    Tradeguard(make(journal)).init_app(app)
    got = ask(app)
    assert (got.status, journal.events[-1].status) == (202, 202)
    assert_ours(got, journal)


@pytest.mark.parametrize("handler", [plain, stream])
@pytest.mark.parametrize("same", [True, False])
def test_two_guards_on_the_way_say_everything_once(handler: Handler, same: bool) -> None:
    journal, inner_journal = MemoryJournal(), MemoryJournal()
    outer = make(journal)
    inner = web.Application()
    inner.router.add_get("/{what}", handler)
    Tradeguard(outer if same else make(inner_journal)).init_app(inner)
    app = web.Application()
    app.add_subapp("/v1", inner)
    Tradeguard(outer).init_app(app)
    got = ask(app)
    assert got.status == 200
    assert_ours(got, journal)
    assert len(inner_journal.events) == (0 if same else 1)


def test_a_sub_application_alone_may_be_guarded() -> None:
    def build() -> web.Application:
        inner, app = web.Application(), web.Application()
        inner.router.add_get("/{what}", stream)
        Tradeguard(make(journal)).init_app(inner)
        app.add_subapp("/v1", inner)
        app.router.add_get("/free", plain)
        return app

    journal = MemoryJournal()
    assert_ours(ask(build()), journal)
    assert ask(build(), "/free", {}).all("x-request-id") == ["made up", "twice"]  # beside it nothing is ours


def test_signals_of_the_application_run_beside_ours() -> None:
    seen: list[bool] = []

    async def stamp(_request: web.Request, response: web.StreamResponse) -> None:
        seen.append("X-Request-Id" in response.headers)
        response.headers["X-Stamp"] = "1"

    journal, app = MemoryJournal(), web.Application()
    app.router.add_get("/v1/{what}", stream)
    app.on_response_prepare.append(stamp)
    Tradeguard(make(journal)).init_app(app)
    got = ask(app)
    assert_ours(got, journal)
    assert (got.all("x-stamp"), seen) == (["1"], [True])


# the extension


def test_guard_grant_and_principal_have_typed_keys() -> None:
    async def handler(request: web.Request) -> web.Response:
        assert request.app[GUARD] is guard
        assert request[GRANT].principal is request[PRINCIPAL]
        return web.Response(text=request[PRINCIPAL].key_id)

    guard = make(MemoryJournal())
    assert ask(make_app(handler, guard)).body == b"trader"


def test_nobody_who_signed_is_no_principal() -> None:
    async def handler(request: web.Request) -> web.Response:
        assert PRINCIPAL not in request
        return web.Response(text=str(request[GRANT].principal))

    assert ask(make_app(handler, make(MemoryJournal())), "/v1/open", AFAR).body == b"None"


def test_an_application_is_guarded_once() -> None:
    app = make_app(plain, make(MemoryJournal()))
    with pytest.raises(ConfigError, match="guarded already; call init_app once"):
        Tradeguard(make(MemoryJournal())).init_app(app)


def test_an_application_that_runs_is_not_guarded_any_more() -> None:
    async def main() -> None:
        app = web.Application()
        async with TestServer(app):
            with pytest.raises(ConfigError, match="runs already; call init_app before"):
                Tradeguard(make(MemoryJournal())).init_app(app)

    asyncio.run(main())


def test_a_middleware_that_was_put_before_the_guard_stops_the_server() -> None:
    @web.middleware
    async def outside(request: web.Request, handler: Any) -> web.StreamResponse:
        raise AssertionError("must not run")

    app = make_app(plain, make(MemoryJournal()))
    app.middlewares.insert(0, outside)
    with pytest.raises(ConfigError, match="put before the guard"):
        ask(app)


def test_a_wrong_configuration_is_an_error_at_once() -> None:
    with pytest.raises(ConfigError, match="give either guard="):
        Tradeguard().init_app(web.Application())
    with pytest.raises(ConfigError, match="no configuration at"):
        Tradeguard(config="missing.toml").init_app(web.Application())
    with pytest.raises(ConfigError, match="aiohttp cannot route it"):
        Tradeguard(make(MemoryJournal(), operations=Operations({"GET /^/{x}": "orders:read"}))).init_app(
            web.Application()
        )


def test_the_guard_is_closed_with_the_application() -> None:
    class Closing(MemoryJournal):
        flushed = 0

        def flush(self) -> None:
            self.flushed += 1
            super().flush()

    journal = Closing()
    ask(make_app(plain, make(journal)))
    assert journal.flushed == 1


@pytest.mark.parametrize("handler", [plain, conflict])
def test_the_middleware_alone_says_everything_once_too(handler: Handler) -> None:
    journal = MemoryJournal()
    app = web.Application(middlewares=[aiohttp_middleware(make(journal))])
    app.router.add_get("/v1/{what}", handler)
    assert_ours(ask(app), journal)
