"""Routes of real applications, written as the map writes them; what cannot be listed is said, never left out."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from fastapi import APIRouter, FastAPI, WebSocket
from flask import Blueprint, Flask
from flask.views import MethodView
from litestar import Litestar, asgi, get, post
from litestar.params import FromPath
from quart import Quart
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.responses import Response
from starlette.routing import Host, Mount, Route, Router, WebSocketRoute
from starlette.staticfiles import StaticFiles
from support import make_guard
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from tradeguard.adapters.asgi import ASGI
from tradeguard.adapters.openapi import read_openapi
from tradeguard.adapters.routes import Routes, list_routes
from tradeguard.adapters.wsgi import WSGI
from tradeguard.core.errors import ConfigError
from tradeguard.core.policy import Operations


def rows(found: Routes) -> list[str]:
    return [f"{route.method} {route.path}" for route in found.http]


def lost(found: Routes) -> list[str]:
    return [entry.where for entry in found.unmapped]


async def _say_nothing(*_: Any) -> Response:
    """Say nothing.

    And more of it.
    """
    return Response()


view: Any = _say_nothing  # every framework types its handlers in its own way


class Thing(HTTPEndpoint):
    async def get(self, _: Any) -> Response:
        return Response()

    async def delete(self, _: Any) -> Response:
        return Response()


async def raw(_scope: Any, _receive: Any, _send: Any) -> None:
    """An application that is a function: nobody can look into it."""


def starlette_app() -> Starlette:
    return Starlette(
        routes=[
            Route("/v1/orders/{id:int}", view, methods=["GET", "PUT"], name="order"),
            Route("/files/{rest:path}", view),
            Route("/x-{a}/{b}.json", view),
            Route("/a/{rest:path}/edit", view),
            Route("/thing", Thing),
            WebSocketRoute("/stream", view),
            Mount("/sub", routes=[Route("/deep/{id}", view, methods=["POST"])]),
            Mount("/{tenant}", app=Router([Route("/{tenant}/own", view)])),
            Mount("/static", StaticFiles(directory=".")),
            Mount("/raw", raw),
            Host("other.example", Starlette(routes=[Route("/there", view)])),
        ]
    )


def test_starlette() -> None:
    found = list_routes(starlette_app())
    assert rows(found) == [
        "GET /v1/orders/{id}", "PUT /v1/orders/{id}", "GET /files/**", "GET /*/*", "GET /thing", "DELETE /thing",
        "POST /sub/deep/{id}", "GET /{tenant}/{tenant_}/own", "GET /static/**", "GET /there",
    ]  # fmt: skip
    assert found.websockets == ["/stream"]
    assert lost(found) == ["GET /a/{rest:path}/edit", "/raw/**"]
    assert found.unmapped[1].below == "/raw/"
    assert found.http[0][2:] == ("order", "Say nothing.")


def test_fastapi_with_routers_in_routers_and_applications_in_applications() -> None:
    inner, outer, app = APIRouter(prefix="/inner"), APIRouter(prefix="/outer"), FastAPI(openapi_url=None)
    inner.add_api_route("/{id}", view, methods=["DELETE"])

    @inner.websocket("/ws")
    async def stream(_: WebSocket) -> None: ...

    outer.include_router(inner)
    app.include_router(outer, prefix="/v1")
    sub = FastAPI(openapi_url=None)
    sub.include_router(inner)
    app.mount("/sub", sub)
    found = list_routes(app)
    assert rows(found) == ["DELETE /v1/outer/inner/{id}", "DELETE /sub/inner/{id}"]
    assert found.websockets == ["/v1/outer/inner/ws", "/sub/inner/ws"]
    assert found.unmapped == []


def flask_app() -> Flask:
    app = Flask("venue", static_folder=None)
    blueprint = Blueprint("v1", "venue", url_prefix="/v1")

    @blueprint.route("/orders/<int:id>", methods=["GET", "DELETE"])
    def order(id: int) -> str:
        """One order."""
        return str(id)

    class Balance(MethodView):
        def get(self) -> str:
            return ""

        def post(self) -> str:
            return ""

    app.register_blueprint(blueprint)
    for number, rule in enumerate(
        ("/f/<path:rest>", "/<any(a, b):k>/<string(length=2):l>", "/n<int:i>", "/<path:p>/edit")
    ):
        app.add_url_rule(rule, f"f{number}", lambda **_: "")
    app.add_url_rule("/options", "options", lambda: "", methods=["OPTIONS"], provide_automatic_options=False)
    app.add_url_rule("/balance", view_func=Balance.as_view("balance"))
    return app


FLASK = [
    "DELETE /v1/orders/{id}", "GET /v1/orders/{id}", "GET /f/**", "GET /{k}/{l}", "GET /*", "GET /balance",
    "POST /balance",
]  # fmt: skip


def test_flask() -> None:
    found = list_routes(flask_app())
    assert sorted(rows(found)) == sorted([*FLASK, "OPTIONS /options"])
    assert lost(found) == ["GET /{p:path}/edit"]
    assert {route.doc for route in found.http if "orders" in route.path} == {"One order."}


def test_quart() -> None:
    app = Quart("venue", static_folder=None)
    app.add_url_rule("/v1/orders/<int:id>", "order", view, methods=["POST"])
    app.add_websocket("/ws", "ws", view)
    found = list_routes(app)
    assert (rows(found), found.websockets) == (["POST /v1/orders/{id}"], ["/ws"])


def test_aiohttp() -> None:
    app, sub, other = web.Application(), web.Application(), web.Application()
    other.router.add_get("/there", view)
    sub.router.add_post("/orders/{id}", view, name="order")
    app.add_subapp("/sub", sub)
    app.add_domain("other.example", other)
    for path in (
        r"/n/{id:\d+}",
        r"/m/{id:\d+}-x",
        "/rest/{tail:.*}",
        r"/nested/{id:(a|b)/c}",
        "/ü",
        "/two/{a}/{b:[a-z]+}",
    ):
        app.router.add_get(path, view)
    app.router.add_route("*", "/any", view)
    app.router.add_static("/static", ".")
    found = list_routes(app)
    assert sorted(rows(found)) == sorted(
        [
            "POST /sub/orders/{id}", "GET /there", "GET /n/{id}", "GET /m/*", "GET /rest/**", "GET /nested/**",
            "GET /ü", "GET /two/{a}/{b}", "* /any", "GET /static/**",
        ]
    )  # fmt: skip
    assert found.unmapped == []


def test_litestar() -> None:
    @get("/orders/{id:int}")
    async def order(id: FromPath[int]) -> str:
        """One order."""
        return str(id)

    @post("/files/{rest:path}")
    async def files(rest: FromPath[str]) -> str:
        return rest

    @asgi("/raw", is_mount=True, copy_scope=True)
    async def mounted(scope: Any, receive: Any, send: Any) -> None: ...

    found = list_routes(Litestar([order, files, mounted], openapi_config=None))
    assert sorted(rows(found)) == ["GET /orders/{id}", "POST /files/**"]
    assert lost(found) == ["/raw/**"]


DJANGO = r"""
import sys
import django
from django.conf import settings
from django.http import HttpResponse
from django.urls import include, path, re_path
from django.views import View
from django.views.decorators.http import require_http_methods
settings.configure(ROOT_URLCONF=__name__, SECRET_KEY="x", ALLOWED_HOSTS=["*"])
django.setup()

def anything(request, **more):
    "Say nothing."
    return HttpResponse()

class Orders(View):
    def get(self, request): ...
    def post(self, request): ...

inner = [path("<slug:name>/", anything, name="inner"), re_path(r"^old/(?P<id>\d{1,8})/$", anything)]
urlpatterns = [
    path("v1/orders/<int:id>", require_http_methods(["GET", "DELETE"])(anything), name="order"),
    path("v1/orders", Orders.as_view()),
    path("files/<path:rest>", require_http_methods(["GET"])(anything)),
    path("in/", include(inner)),
    re_path(r"^year/(?P<y>[0-9]{4})/$", require_http_methods(["GET"])(anything)),
    re_path(r"^either/(a|b)/$", anything),
    re_path(r"^open/", anything),
    re_path(r"^rest/(?P<rest>.*)$", require_http_methods(["GET"])(anything)),
]
from django.core.handlers.wsgi import WSGIHandler
from tradeguard.adapters.routes import list_routes
import json
found = list_routes(WSGIHandler())
print(json.dumps([[f"{r.method} {r.path}" for r in found.http], found.unmapped]))
assert not {"flask", "fastapi", "starlette", "aiohttp", "litestar", "quart"} & set(sys.modules)
"""


def test_django_alone(tmp_path: Path) -> None:
    (tmp_path / "venue.py").write_text(DJANGO)
    done = subprocess.run(
        [sys.executable, "venue.py"], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    listed, unmapped = json.loads(done.stdout)
    assert listed == [
        "DELETE /v1/orders/{id}", "GET /v1/orders/{id}", "GET /v1/orders", "POST /v1/orders", "GET /files/**",
        "* /in/{name}/", "* /in/old/{id}/", "GET /year/{y}/", "GET /rest/**",
    ]  # fmt: skip
    assert [(where, below) for where, _, below in unmapped] == [
        ("/^either/(a|b)/$", "/either/"),
        ("/^open/", "/open/"),
    ]


def environment() -> dict[str, str]:
    paths = [str(Path(path).absolute()) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def test_a_guard_around_it_is_looked_through() -> None:
    wrapped: Iterable[Any] = (
        ASGI(starlette_app(), make_guard),
        ASGI(ASGI(starlette_app(), make_guard), make_guard),
    )
    for app in wrapped:
        assert list_routes(app) == list_routes(starlette_app())
    app = flask_app()
    app.wsgi_app = WSGI(app.wsgi_app, make_guard(runtime=None))  # type: ignore[method-assign]
    assert rows(list_routes(app)) == rows(list_routes(flask_app()))


def test_a_dispatcher_is_looked_through_with_what_is_mounted_on_it() -> None:
    both = DispatcherMiddleware(flask_app(), {"/other": flask_app(), "/raw": lambda _environ, _start: [b""]})
    found = list_routes(both)
    assert {"GET /balance", "GET /other/balance"} <= set(rows(found))
    assert "/raw/**" in lost(found)
    app = flask_app()
    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/other": flask_app()})  # type: ignore[method-assign]
    assert "GET /other/balance" in rows(list_routes(app))


def test_every_route_that_is_listed_makes_a_row() -> None:
    for app in (starlette_app(), flask_app()):
        for route in list_routes(app).http:
            assert Operations({f"{route.method.replace('*', 'GET')} {route.path}": "orders:read"}).all


@pytest.mark.parametrize("app", [raw, None, 5, object(), "app:app", Flask])
def test_what_cannot_be_listed_at_all_is_refused(app: object) -> None:
    with pytest.raises(ConfigError, match="cannot be listed"):
        list_routes(app)


def test_an_application_in_itself_comes_to_an_end() -> None:
    app = Starlette(routes=[Route("/x", view)])
    app.mount("/again", app)
    found = list_routes(app)
    assert "GET /again/again/x" in rows(found)
    assert lost(found)[-1].startswith("/again/again")


class Wrapper:
    """A wrapper around itself."""

    def __init__(self) -> None:
        self.app = self

    def __call__(self) -> None: ...


def test_a_wrapper_around_itself_comes_to_an_end() -> None:
    with pytest.raises(ConfigError):
        list_routes(Wrapper())


@pytest.mark.parametrize("literal", ["/a;b", "/a%2Fb", "//x", "/a b", "/../x"])
def test_a_path_that_no_row_can_have_is_said(literal: str) -> None:
    found = list_routes(Starlette(routes=[Route(literal, view)]))
    assert (rows(found), len(found.unmapped)) == ([], 1)


OPENAPI = {
    "openapi": "3.1.0",
    "paths": {
        "/v1/orders/{orderId}": {
            "parameters": [],
            "get": {"operationId": "getOrder", "summary": "One order."},
            "delete": {},
            "x-more": {},
        },
        "/v1/there": {"$ref": "other.yaml#/there"},
    },
}


@pytest.mark.parametrize("name", ["api.json", "api.yaml", "api.yml"])
def test_an_openapi_file(tmp_path: Path, name: str) -> None:
    text = json.dumps(OPENAPI) if name.endswith("json") else yaml.safe_dump(OPENAPI)
    (tmp_path / name).write_text(text)
    found = read_openapi(tmp_path / name)
    assert rows(found) == ["GET /v1/orders/{orderId}", "DELETE /v1/orders/{orderId}"]
    assert found.http[0][2:] == ("getOrder", "One order.")
    assert lost(found) == ["/v1/there"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", "{"), ("a.json", "[]"), ("a.json", '{"paths": []}'), ("a.yaml", "a: [1"), ("a.yaml", "5"),
        ("a.yaml", "!!python/object/apply:os.system ['true']"), ("a.json", "\ufeff"), ("a.json", "[" * 100_000),
    ],
)  # fmt: skip
def test_a_file_that_is_none_is_refused(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=name):
        read_openapi(tmp_path / name)
    with pytest.raises(ConfigError, match="No such file"):
        read_openapi(tmp_path / "none.json")
