"""FastAPI and Starlette: who is asking as a dependency, the schema from the map, and routes held against rows."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
from adapters.native import BROKEN, ROWS, call, make_guard, run_server, sign
from fastapi import APIRouter, Depends, FastAPI, Request, Security
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route
from support import READER

from tradeguard import ConfigError
from tradeguard.adapters import starlette as starlette_adapter
from tradeguard.adapters.fastapi import CurrentPrincipal, Tradeguard, tradeguard_principal
from tradeguard.core.principal import Principal
from tradeguard.signing.signer import Outgoing

Reads = Annotated[Principal, Security(tradeguard_principal, scopes=["orders:read"])]
Writes = Annotated[Principal, Security(tradeguard_principal, scopes=["orders:write"])]


def make_app(change: Callable[[FastAPI], None] = lambda _: None, rows: Any = ROWS) -> FastAPI:
    """An application with routes of its own, an included router and a sub-application."""
    app, router, sub = FastAPI(), APIRouter(prefix="/v1"), FastAPI()

    @app.get("/v1/time")
    async def read_time() -> str:
        return "now"

    @router.get("/orders")
    async def list_orders(principal: Reads) -> dict[str, str]:
        return {"key": principal.key_id}

    @router.post("/orders")
    async def place(principal: Writes, request: Request) -> dict[str, str]:
        return {"key": principal.key_id, "body": (await request.body()).decode()}

    @router.get("/orders/{id}")
    async def read_order(id: str, principal: CurrentPrincipal) -> dict[str, str]:
        return {"key": principal.key_id, "id": id}

    @router.get("/trades/all")
    async def all_trades() -> str:
        return "everybody's trades"

    @router.get("/trades/{id}")
    async def read_trade(id: str) -> str:
        return id

    @router.get("/files/{name:path}")
    async def read_file(name: str) -> str:
        return name

    @sub.get("/items/{id}")
    async def read_item(id: str, principal: Reads) -> dict[str, str]:
        return {"key": principal.key_id, "id": id}

    app.include_router(router)
    app.mount("/sub", sub)
    app.mount("/static", PlainTextResponse("css"))
    change(app)
    Tradeguard(lambda: make_guard(rows)).init_app(app)
    return app


def test_a_signed_request_reaches_the_route_and_the_principal_is_there() -> None:
    assert call(make_app(), sign("GET", "/v1/orders")).json == {"key": "trader"}
    reply = call(make_app(), sign("POST", "/v1/orders", b'{"qty":"1"}', "application/json"))
    assert reply.json == {"key": "trader", "body": '{"qty":"1"}'}
    assert call(make_app(), sign("GET", "/v1/orders/17")).json == {"key": "trader", "id": "17"}
    assert call(make_app(), sign("GET", "/v1/files/a/b.txt")).status == 200
    assert call(make_app(), Outgoing("GET", "api.example", b"/static/app.css")).body == b"css"


def test_a_stranger_and_a_key_without_the_scope_are_refused() -> None:
    assert call(make_app(), Outgoing("GET", "api.example", b"/v1/orders")).code == "unauthorized"
    assert call(make_app(), sign("POST", "/v1/orders", b"{}", signer=READER)).code == "scope.missing"


@pytest.mark.parametrize("target", ["/v1/trades/all", "/v1/lost", "/sub/items/all"])
def test_a_request_that_is_routed_elsewhere_than_the_map_says_is_refused(
    target: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "tradeguard"):
        reply = call(make_app(rows={**ROWS, "GET /v1/trades/{trade}": "orders:read"} if "trades" in target else ROWS),
                     sign("GET", target))  # fmt: skip
    assert (reply.status, reply.code, reply.json["executed"]) == (503, "template.mismatch", False)
    assert reply.fields["x-request-id"] == reply.json["request_id"]


def test_the_operator_reads_row_and_route_of_a_mismatch_once(caplog: pytest.LogCaptureFixture) -> None:
    rows = {"GET /v1/trades/{only_here}": "orders:read"}
    with caplog.at_level(logging.ERROR, "tradeguard"):
        for _ in range(3):
            call(make_app(rows=rows), sign("GET", "/v1/trades/all"))
    said = [record.getMessage() for record in caplog.records if "only_here" in record.getMessage()]
    [line] = said
    assert line.startswith("operation 'GET /v1/trades/{only_here}' is routed to /v1/trades/all, so it is refused")


def test_a_middleware_that_rewrites_the_path_does_not_lead_past_the_map() -> None:
    class Rewrite:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await self.app({**scope, "path": "/v1/trades/all"} if scope["type"] == "http" else scope, receive, send)

    app = make_app(lambda app: app.add_middleware(Rewrite))
    assert call(app, sign("GET", "/v1/orders/17")).code == "template.mismatch"


def test_the_schema_says_what_the_map_asks_for_and_how_it_is_refused() -> None:
    schema = make_app().openapi()
    place = schema["paths"]["/v1/orders"]["post"]
    assert place["security"] == [{"tradeguard": ["orders:write"]}]
    assert schema["paths"]["/v1/orders/{id}"]["get"]["security"] == [{"tradeguard": ["orders:read"]}]  # undeclared
    assert "security" not in schema["paths"]["/v1/time"]["get"]
    for status in ("401", "403", "409", "429", "503"):
        content = place["responses"][status]["content"]["application/problem+json"]
        assert content["schema"] == {"$ref": "#/components/schemas/TradeguardProblem"}
    assert "executed" in schema["components"]["schemas"]["TradeguardProblem"]["required"]
    scheme = schema["components"]["securitySchemes"]["tradeguard"]
    assert (scheme["type"], scheme["in"], scheme["name"]) == ("apiKey", "header", "TG-Key")


def test_a_route_that_declares_other_scopes_than_the_map_does_not_start() -> None:
    def widen(app: FastAPI) -> None:
        router = APIRouter()

        @router.get("/v1/lost")
        async def lost(_: Writes) -> None: ...

        app.include_router(router)

    with pytest.raises(AssertionError, match=r"GET /v1/lost declares \['orders:write'\].*asks for \['orders:read'\]"):
        call(make_app(widen), sign("GET", "/v1/orders"))


@pytest.mark.parametrize("mounted", [False, True])
def test_a_route_outside_the_schema_that_declares_other_scopes_is_refused_and_never_widens(mounted: bool) -> None:
    def widen(app: FastAPI) -> None:
        where = FastAPI() if mounted else app

        @where.get("/hidden", include_in_schema=False)
        async def hidden(_: Writes) -> None: ...

        if mounted:
            app.mount("/deep", where)

    path = "/deep/hidden" if mounted else "/hidden"
    reply = call(make_app(widen, {f"GET {path}": "orders:read"}), sign("GET", path))
    assert (reply.status, reply.json.get("detail", reply.json)["code"] if mounted else reply.code) == (
        403,
        "template.scopes",
    )


def test_scopes_of_router_and_route_add_up_and_a_dependency_is_asked_once_for_each() -> None:
    calls: list[str] = []

    async def who(principal: Reads) -> Principal:
        calls.append(principal.key_id)
        return principal

    def add(app: FastAPI) -> None:
        router = APIRouter(dependencies=[Security(tradeguard_principal, scopes=["orders:cancel"])])

        @router.get("/both")
        async def both(one: Annotated[Principal, Depends(who)], two: Annotated[Principal, Depends(who)]) -> bool:
            return one is two

        app.include_router(router)

    app = make_app(add, {"GET /both": ["orders:read", "orders:cancel"]})
    assert call(app, sign("GET", "/both")).json is True
    assert calls == ["trader"]
    assert app.openapi()["paths"]["/both"]["get"]["security"] == [{"tradeguard": ["orders:cancel", "orders:read"]}]


def test_a_public_row_without_a_signature_has_no_principal_to_give() -> None:
    rows = {"GET /v1/orders/{id}": {"lane": "public"}}
    assert call(make_app(rows=rows), Outgoing("GET", "api.example", b"/v1/orders/1")).status == 401
    assert call(make_app(rows=rows), sign("GET", "/v1/orders/1")).status == 200


def test_a_middleware_outside_the_guard_stops_the_server() -> None:
    app = make_app()
    app.add_middleware(lambda app: app)
    with pytest.raises(AssertionError, match="added after init_app"):
        call(app, sign("GET", "/v1/orders"))


def test_an_application_is_guarded_once() -> None:
    app = make_app()
    with pytest.raises(ConfigError, match="guarded already"):
        Tradeguard(make_guard()).init_app(app)


def test_a_router_that_lost_its_guard_answers_nothing() -> None:
    app = make_app()
    del app.user_middleware[0]
    reply = call(app, sign("GET", "/v1/orders"), live=False)
    assert (reply.status, reply.code) == (503, "answer.unconfigured")


@pytest.mark.parametrize("adapter", ["fastapi", "starlette"])
def test_a_wrong_configuration_stops_the_server_with_a_sentence(adapter: str, tmp_path: Path) -> None:
    name = {"fastapi": "fastapi import FastAPI", "starlette": "starlette.applications import Starlette as FastAPI"}
    module = f"{BROKEN}\nfrom {name[adapter]}\nfrom tradeguard.adapters.{adapter} import Tradeguard\n"
    module += "app = FastAPI()\nTradeguard(broken).init_app(app)\n"
    ended = run_server(tmp_path, module, ["uvicorn", "app:app", "--port", "0"])
    assert ended.returncode != 0
    assert "the map is wrong; mend it" in ended.stderr


async def say(request: Any) -> PlainTextResponse:
    return PlainTextResponse(request.scope["tradeguard"].principal.key_id)


def make_starlette() -> Starlette:
    """Mounts in mounts, a host, and a mounted application without routes."""
    below = [Route("/items/{id:int}", say), Mount("/deep", routes=[Route("/{a}/{b}", say)])]
    routes = [
        Route("/v1/orders", say, methods=["GET", "POST"]),
        Mount("/sub", routes=below, middleware=[Middleware(lambda app: app)]),
        Mount("/open", PlainTextResponse("anything")),
        Host("api.example", Starlette(routes=[Route("/hosted", say)])),
    ]
    app = Starlette(routes=routes)
    rows = {
        "GET /v1/orders": "orders:read", "GET /sub/items/{id}": "orders:read", "GET /sub/items/x": "orders:read",
        "GET /sub/deep/{a}/{b}": "orders:read", "GET /sub/deep/a/{b}": "orders:read", "GET /open/a/b": "orders:read",
        "GET /hosted": "orders:read", "GET /gone/**": "orders:read",
    }  # fmt: skip
    starlette_adapter.Tradeguard(lambda: make_guard(rows)).init_app(app)
    return app


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/v1/orders", 200), ("/sub/items/7", 200), ("/sub/deep/b/c", 200), ("/open/a/b", 200), ("/hosted", 200),
        ("/sub/deep/a/c", 503), ("/sub/items/x", 503), ("/gone/away", 404), ("/unmapped", 404),
    ],
)  # fmt: skip
def test_routes_below_mounts_are_held_against_their_rows(target: str, status: int) -> None:
    assert call(make_starlette(), sign("GET", target)).status == status


def test_a_method_that_the_route_does_not_take_is_the_routers_405() -> None:
    reply = call(make_app(rows={"DELETE /v1/orders": "orders:read"}), sign("DELETE", "/v1/orders"))
    assert (reply.status, reply.fields["allow"]) == (405, "GET")


def test_a_root_path_is_no_part_of_the_template() -> None:
    assert call(make_starlette(), sign("GET", "/api/sub/items/7"), root_path="/api").status == 200
