"""A row's own route does not take a request (its text is no number), and a route that takes anything would: refused."""

from collections.abc import Callable
from typing import Any

import pytest
from adapters.native import Reply, call, make_guard, sign
from adapters.test_refusal import call_asgi, call_django, call_wsgi
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from django.urls import include, path
from fastapi import FastAPI
from flask import Flask
from litestar import Litestar, get
from litestar.params import FromPath
from quart import Quart
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from support import READER, TRADER

from tradeguard import Guard
from tradeguard.adapters import fastapi, flask, litestar, quart, starlette
from tradeguard.signing.signer import Outgoing

ROWS: dict[str, Any] = {"GET /v1/orders/{id}": "orders:read", "GET /**": "orders:write"}
DEEP: dict[str, Any] = {"GET /v1/deep/orders/{id}": "orders:read", "GET /**": "orders:write"}


def make_starlette(guard: Guard) -> Any:
    async def order(_: Any) -> PlainTextResponse:
        return PlainTextResponse("order")

    async def anything(_: Any) -> PlainTextResponse:
        return PlainTextResponse("anything")

    deep = Mount("/v1/deep", routes=[Route("/orders/{id:int}", order)])
    app = Starlette(routes=[Route("/v1/orders/{id:int}", order), deep, Route("/{rest:path}", anything)])
    starlette.Tradeguard(guard).init_app(app)
    return app


def make_fastapi(guard: Guard) -> Any:
    async def order(id: int) -> str:
        return f"order {id}"

    async def anything(rest: str) -> str:
        return f"anything {rest}"

    app = FastAPI()
    app.get("/v1/orders/{id:int}")(order)
    app.get("/{rest:path}")(anything)
    fastapi.Tradeguard(guard).init_app(app)
    return app


def make_flask(guard: Guard) -> Any:
    app = Flask("shop", static_folder=None)
    app.add_url_rule("/v1/orders/<int:id>", "order", lambda id: f"order {id}")
    app.add_url_rule("/<path:rest>", "anything", lambda rest: f"anything {rest}")
    flask.Tradeguard(app, guard=guard)
    return app


def make_quart(guard: Guard) -> Any:
    async def order(id: int) -> str:
        return f"order {id}"

    async def anything(rest: str) -> str:
        return f"anything {rest}"

    app = Quart("shop", static_folder=None)
    app.add_url_rule("/v1/orders/<int:id>", "order", order)
    app.add_url_rule("/<path:rest>", "anything", anything)
    quart.Tradeguard(guard).init_app(app)
    return app


def make_litestar(guard: Guard) -> Any:
    @get("/v1/orders/{id:int}")
    async def order(id: FromPath[int]) -> str:
        return f"order {id}"

    @get("/{rest:path}")
    async def anything(rest: FromPath[str]) -> str:
        return f"anything {rest}"

    return Litestar([order, anything], plugins=[litestar.Tradeguard(guard)], openapi_config=None)


urlpatterns = [
    path("v1/orders/<int:id>", lambda _, id: HttpResponse(f"order {id}")),
    path("v1/deep/", include([path("orders/<int:id>", lambda _, id: HttpResponse(f"order {id}"))])),
    path("<path:rest>", lambda _, rest: HttpResponse(f"anything {rest}")),
]


FRAMEWORKS: dict[str, Callable[[Guard, Outgoing], Reply]] = {
    "starlette": lambda guard, request: call(make_starlette(guard), request),
    "fastapi": lambda guard, request: call(make_fastapi(guard), request),
    "flask": lambda guard, request: call_wsgi(make_flask(guard), request, "http"),
    "quart": lambda guard, request: call(make_quart(guard), request),
    "litestar": lambda guard, request: call_asgi(make_litestar(guard), request, "http", live=True),
    "django": lambda guard, request: call_django(WSGIHandler, call_wsgi, __name__)(guard, request, "http"),
    "django-asgi": lambda guard, request: call_django(ASGIHandler, call_asgi, __name__)(guard, request, "http"),
}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_row_does_not_stand_for_a_route_that_takes_what_its_own_passed_over(framework: str) -> None:
    ask = FRAMEWORKS[framework]
    reply = ask(make_guard(ROWS), sign("GET", "/v1/orders/7", signer=READER))
    assert (reply.status, b"order" in reply.body) == (200, True)
    reply = ask(make_guard(ROWS), sign("GET", "/v1/orders/abc", signer=READER))
    assert (reply.status, b"anything" in reply.body) in ((503, False), (404, False))
    reply = ask(make_guard(ROWS), sign("GET", "/else", signer=READER))
    assert (reply.status, reply.code) == (403, "scope.missing")
    reply = ask(make_guard(ROWS), sign("GET", "/else", signer=TRADER))
    assert (reply.status, b"anything" in reply.body) == (200, True)


@pytest.mark.parametrize("framework", ["starlette", "django", "django-asgi"])
def test_a_route_below_a_mount_is_the_rows_own_too(framework: str) -> None:
    ask = FRAMEWORKS[framework]
    assert ask(make_guard(DEEP), sign("GET", "/v1/deep/orders/7", signer=READER)).status == 200
    reply = ask(make_guard(DEEP), sign("GET", "/v1/deep/orders/abc", signer=READER))
    assert (reply.status, b"anything" in reply.body) in ((503, False), (404, False))


@pytest.mark.parametrize(
    "framework", sorted(FRAMEWORKS.keys() - {"litestar"})
)  # whose templates do not tell `path` from `str`
def test_a_row_may_spell_out_what_only_an_open_route_takes(framework: str) -> None:
    rows = {**ROWS, "GET /else/{id}": "orders:read"}
    reply = FRAMEWORKS[framework](make_guard(rows), sign("GET", "/else/abc", signer=READER))
    assert (reply.status, b"anything" in reply.body) == (200, True)
