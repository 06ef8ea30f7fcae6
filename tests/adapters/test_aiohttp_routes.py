"""aiohttp: the route that it has chosen is held against the row of the map, whatever kind of route it is."""

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from adapters.asks import Got, ask_aiohttp
from adapters.native import fields_of, sign
from aiohttp import web
from support import BINA, make_guard

from tradeguard import MemoryJournal, Operations, aiohttp_middleware
from tradeguard.adapters.aiohttp import PRINCIPAL, Tradeguard
from tradeguard.adapters.template import agree, read_quoted

READ, WRITE = "orders:read", "orders:write"
Build = Callable[[web.Application], object]


async def answer(request: web.Request) -> web.Response:
    return web.Response(text=f"{request[PRINCIPAL].key_id} {request.path}")


def add(*paths: str) -> Build:
    """Routes for GET (and HEAD), in this order."""
    return lambda app: app.add_routes([web.get(path, answer) for path in paths])


def below(prefix: str, *builds: Build) -> Build:
    """A sub-application."""

    def build(app: web.Application) -> None:
        inner = web.Application()
        for build in builds:
            build(inner)
        app.add_subapp(prefix, inner)

    return build


def ask(
    rows: Iterable[str] | Mapping[str, Any], build: Build, target: str, method: str = "GET", **how: Any
) -> tuple[Got, MemoryJournal]:
    """Send one signed request to an application with these routes."""
    journal = MemoryJournal()
    table = rows if isinstance(rows, Mapping) else dict.fromkeys(rows, READ)
    guard = make_guard(runtime=None, journal=journal, operations=Operations(table))
    app = web.Application()
    build(app)
    Tradeguard(guard).init_app(app)
    out = sign(method, target, **how)
    got = ask_aiohttp(app, method, out.target.decode(), fields_of(out).items(), body=out.body)
    return got, journal


AGREE: dict[str, tuple[list[str], Build, str]] = {
    "plain": (["GET /v1/orders"], add("/v1/orders"), "/v1/orders"),
    "root": (["GET /"], add("/"), "/"),
    "last slash": (["GET /v1/orders/"], add("/v1/orders", "/v1/orders/"), "/v1/orders/"),
    "no last slash": (["GET /v1/orders"], add("/v1/orders/", "/v1/orders"), "/v1/orders"),
    "parameter": (["GET /v1/{id}"], add("/v1/{number}"), "/v1/7"),
    "parameter and slash": (["GET /v1/{id}/"], add("/v1/{number}/"), "/v1/7/"),
    "digits": (["GET /v1/orders/{id}"], add(r"/v1/orders/{id:\d+}"), "/v1/orders/17"),
    "letters": (["GET /v1/orders/{id}/x"], add(r"/v1/orders/{id:[A-Z]{3,6}}/x"), "/v1/orders/USD/x"),
    "one of two": (["GET /v1/{side}"], add("/v1/{side:(buy|sell)}"), "/v1/sell"),
    "mixed segment": (["GET /v1/*"], add("/v1/v{number}"), "/v1/v7"),
    "rest": (["GET /v1/**"], add("/v1/{rest:.*}"), "/v1/a/b"),
    "empty rest": (["GET /v1/**"], add("/v1/{rest:.*}"), "/v1/"),
    "open route spelt out": (["GET /v1/a/b"], add("/v1/{rest:.+}"), "/v1/a/b"),
    "percent-encoded": (["GET /v1/é"], add("/v1/é"), "/v1/%C3%A9"),
    "reserved beside a parameter": (["GET /{id}/a+b"], add("/{id}/a+b"), "/7/a+b"),
    "encoded in a parameter": (["GET /v1/{id}"], add("/v1/{id}"), "/v1/%C3%A9%20x"),
    "sub-application": (["GET /sub/items/{id}"], below("/sub", add("/items/{id}")), "/sub/items/7"),
    "its root": (["GET /sub/"], below("/sub", add("/")), "/sub/"),
    "its root without slash": (["GET /sub"], below("/sub", add("")), "/sub"),
    "deeper": (["GET /a/b/{id}"], below("/a", below("/b", add(r"/{id:\d+}"))), "/a/b/7"),
    "domain": (["GET /v1/{id}"], lambda app: app.add_domain("api.example", _inner("/v1/{id}")), "/v1/7"),
}  # fmt: skip


def _inner(path: str) -> web.Application:
    inner = web.Application()
    inner.add_routes([web.get(path, answer)])
    return inner


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("name", AGREE)
def test_a_request_that_is_routed_as_the_map_says_is_answered(name: str, method: str) -> None:
    rows, build, target = AGREE[name]
    got, journal = ask(rows, build, target, method)
    assert (got.status, got.body[:6]) == (200, b"trader" if method == "GET" else b"")
    assert (journal.events[-1].operation, journal.events[-1].status) == (rows[0], 200)


DIFFER: dict[str, tuple[list[str], Build, str]] = {
    "text before a parameter": (["GET /v1/{id}"], add("/v1/all", "/v1/{id}"), "/v1/all"),
    "parameter for text": (["GET /v1/lost"], add("/v1/{id}"), "/v1/lost"),
    "digits for text": (["GET /v1/7"], add(r"/v1/{id:\d+}"), "/v1/7"),
    "mixed segment for a parameter": (["GET /v1/{id}"], add("/v1/v{number}"), "/v1/v7"),
    "two parameters in one": (["GET /v1/{id}"], add("/v1/{a}-{b}"), "/v1/a-b"),
    "sub-application": (["GET /sub/items/all"], below("/sub", add("/items/{id}")), "/sub/items/all"),
    "deeper": (["GET /a/b/all"], below("/a", below("/b", add("/{id}"))), "/a/b/all"),
    "prefix for a parameter": (["GET /{v}/items"], below("/v1", add("/items")), "/v1/items"),
    "percent-encoded": (["GET /v1/{id}"], add("/v1/é", "/v1/{id}"), "/v1/%C3%A9"),
    "domain": (["GET /v1/{id}"], lambda app: app.add_domain("api.example", _inner("/v1/all")), "/v1/all"),
}  # fmt: skip


@pytest.mark.parametrize("name", DIFFER)
def test_a_request_that_is_routed_elsewhere_than_the_map_says_is_refused(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    rows, build, target = DIFFER[name]
    with caplog.at_level(logging.ERROR, "tradeguard"):
        got, journal = ask(rows, build, target)
    _assert_mismatch(got, journal)
    assert journal.events[-1].operation == rows[0]
    assert rows[0] in journal.events[-1].detail


def _assert_mismatch(got: Got, journal: MemoryJournal) -> None:
    body, last = json.loads(got.body), journal.events[-1]
    assert (got.status, body["code"], body["executed"]) == (503, "template.mismatch", False)
    assert got.all("x-request-id") == [body["request_id"]] == [last.request_id]
    assert (last.kind, last.code, last.status) == ("outcome", "template.mismatch", 503)


@pytest.mark.parametrize("target", ["/v1/abc", "/v1/7x"])
@pytest.mark.parametrize("rest", ["/{tail:.*}", "/v1/{tail:.*}"])
def test_a_row_does_not_open_what_is_behind_its_own_route_where_that_takes_only_digits(rest: str, target: str) -> None:
    rows = {"GET /v1/{id}": READ, f"GET {rest.replace('{tail:.*}', '**')}": WRITE}
    _assert_mismatch(*ask(rows, add(r"/v1/{id:\d+}", rest), target))
    assert ask(rows, add(r"/v1/{id:\d+}", rest), "/v1/7")[0].status == 200
    assert ask(rows, add(r"/v1/{id:\d+}", rest), "/v1/7/8")[0].status == 200


def test_a_row_does_not_open_what_is_behind_its_own_route_in_a_sub_application() -> None:
    build = below("/v1", add(r"/{id:\d+}", "/{tail:.*}"))
    _assert_mismatch(*ask(["GET /v1/{id}"], build, "/v1/abc"))
    assert ask(["GET /v1/{id}"], build, "/v1/7")[0].status == 200


@pytest.mark.parametrize(("method", "status"), [("POST", 200), ("*", 503), ("GET", 503)])
def test_a_route_for_another_method_is_no_route_of_the_rows_own(method: str, status: int) -> None:
    def build(app: web.Application) -> None:
        app.router.add_route(method, r"/v1/{id:\d+}", answer)
        app.router.add_route("GET", "/{tail:.*}", answer)

    assert ask(["GET /v1/{id}"], build, "/v1/abc")[0].status == status


def test_a_head_that_the_route_of_its_row_does_not_take_is_refused() -> None:
    def build(app: web.Application) -> None:
        app.router.add_get("/v1/a", answer, allow_head=False)
        app.router.add_route("*", "/{tail:.*}", answer)

    rows = {"GET /v1/a": READ, "GET /**": WRITE}
    assert ask(rows, build, "/v1/a")[0].status == 200
    got, journal = ask(rows, build, "/v1/a", "HEAD")
    assert (got.status, journal.events[-1].code) == (503, "template.mismatch")


def test_an_order_that_is_routed_elsewhere_does_not_reach_the_handler() -> None:
    reached: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        reached.append(request.path)
        return web.Response()

    def build(app: web.Application) -> None:
        app.router.add_post("/v1/{what}", handler)

    rows = {"POST /v1/orders": WRITE}
    _assert_mismatch(*ask(rows, build, "/v1/orders", "POST", body=b"{}", kind="application/json"))
    assert reached == []


def test_a_dialect_is_refused_in_its_own_shape() -> None:
    got, journal = ask(["GET /v1/lost"], add("/v1/{id}"), "/v1/lost", signer=BINA)
    assert (got.status, got.all("tradeguard-code")) == (503, ["template.mismatch"])
    assert "msg" in json.loads(got.body)
    assert journal.events[-1].code == "template.mismatch"


def test_static_files_are_held_against_their_rows(tmp_path: Path) -> None:
    (tmp_path / "css").mkdir()
    (tmp_path / "css" / "app.css").write_text("css")
    (tmp_path / "secret.txt").write_text("secret")

    def build(app: web.Application) -> None:
        app.router.add_static("/static", tmp_path)
        app.router.add_static("/", tmp_path)

    rows: Mapping[str, Any] = {
        "GET /static/css/app.css": {"lane": "public"}, "GET /css/{name}": READ, "GET /{v}/secret.txt": READ,
    }  # fmt: skip
    assert ask(rows, build, "/static/css/app.css")[0].body == b"css"
    assert ask(rows, build, "/css/app.css")[0].body == b"css"
    assert ask(rows, build, "/secret.txt")[0].status == 404  # no row
    _assert_mismatch(*ask(rows, build, "/static/secret.txt"))


@pytest.mark.parametrize(("target", "status"), [("/v1/gone", 404), ("/v1/here", 405)])
def test_what_no_route_takes_is_the_frameworks_answer(target: str, status: int) -> None:
    rows = {"POST /v1/gone": WRITE, "POST /v1/here": WRITE}
    got, journal = ask(rows, add("/v1/here"), target, "POST", body=b"{}", kind="application/json")
    assert (got.status, len(got.all("x-request-id")), journal.events[-1].status) == (status, 1, status)


def test_the_middleware_alone_compares_too() -> None:
    journal = MemoryJournal()
    guard = make_guard(runtime=None, journal=journal, operations=Operations({"GET /v1/lost": READ}))
    app = web.Application(middlewares=[aiohttp_middleware(guard)])
    add("/v1/{id}")(app)
    out = sign("GET", "/v1/lost")
    _assert_mismatch(ask_aiohttp(app, "GET", "/v1/lost", fields_of(out).items()), journal)


def test_text_that_aiohttp_keeps_encoded_is_read_as_the_map_writes_it() -> None:
    assert agree("/v1/é/{id}", read_quoted("/v1/%C3%A9/{number}"))
    assert not agree("/v1/{é}", read_quoted("/v1/%7B%C3%A9%7D"))  # braces of the text are no parameter
