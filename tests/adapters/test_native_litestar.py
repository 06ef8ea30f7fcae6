"""Litestar: the plug-in, handlers and mounts held against rows."""

from pathlib import Path
from typing import Any

import pytest
from adapters.native import BROKEN, call, make_guard, run_server, sign
from litestar import Litestar, Request, asgi, get, post
from litestar.exceptions import ImproperlyConfiguredException
from litestar.params import FromPath
from support import READER

from tradeguard import ConfigError
from tradeguard.adapters.litestar import Tradeguard
from tradeguard.signing.signer import Outgoing

ROWS = {
    "GET /v1/orders": "orders:read", "POST /v1/orders": "orders:write", "GET /v1/orders/{id}": "orders:read",
    "GET /v1/trades/{id}": "orders:read", "GET /v1/files/**": "orders:read", "GET /market/**": "orders:read",
    "GET /mounted/a": "orders:read", "GET /other/{a}": "orders:read",
}  # fmt: skip


def make_app(rows: Any = ROWS) -> Litestar:
    @get("/v1/orders")
    async def orders(request: Request[Any, Any, Any]) -> dict[str, str]:
        return {"key": request.scope["tradeguard"].principal.key_id}  # type: ignore[typeddict-item]

    @post("/v1/orders", status_code=200)
    async def place(request: Request[Any, Any, Any]) -> dict[str, str]:
        return {"body": (await request.body()).decode()}

    @get("/v1/orders/{id:int}")
    async def order(id: FromPath[int]) -> dict[str, int]:
        return {"id": id}

    @get("/v1/trades/all")
    async def trades() -> str:
        return "everybody's trades"

    @get("/v1/files/{name:path}")
    async def file(name: FromPath[str]) -> str:
        return name

    @asgi("/mounted", is_mount=True, copy_scope=True)
    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"mounted", "more_body": False})

    return Litestar([orders, place, order, trades, file, mounted], plugins=[Tradeguard(lambda: make_guard(rows))])


def test_a_signed_request_reaches_the_handler_and_the_principal_is_there() -> None:
    assert call(make_app(), sign("GET", "/v1/orders")).json == {"key": "trader"}
    reply = call(make_app(), sign("POST", "/v1/orders", b'{"qty":"1"}', "application/json"))
    assert reply.json == {"body": '{"qty":"1"}'}
    assert call(make_app(), sign("GET", "/v1/orders/17")).json == {"id": 17}
    assert call(make_app(), sign("GET", "/v1/files/a/b")).status == 200
    assert call(make_app(), sign("GET", "/mounted/a")).body == b"mounted"


def test_strangers_keys_without_the_scope_and_paths_nobody_knows_are_refused_by_the_guard() -> None:
    assert call(make_app(), Outgoing("GET", "api.example", b"/v1/orders")).code == "unauthorized"
    assert call(make_app(), Outgoing("GET", "api.example", b"/nothing")).code == "unauthorized"
    assert call(make_app(), sign("POST", "/v1/orders", b"{}", signer=READER)).code == "scope.missing"


def test_a_request_that_is_routed_elsewhere_than_the_map_says_is_refused() -> None:
    reply = call(make_app(), sign("GET", "/v1/trades/all"))
    assert (reply.status, reply.code) == (503, "template.mismatch")


def test_a_root_path_in_the_middle_of_a_path_does_not_lead_past_the_map() -> None:
    """Litestar routes by what stands behind the first root path that it finds, wherever that is."""
    request = sign("GET", "/x/market/x/v1/orders")._replace(target=b"/market/x/v1/orders")
    reply = call(make_app(), request, root_path="/x")
    assert (reply.status, reply.code) == (503, "template.mismatch")


def test_a_mount_that_takes_another_rows_path_is_refused() -> None:
    rows = {"GET /*/a": "orders:read"}
    assert call(make_app(rows), sign("GET", "/mounted/a")).status == 200
    rows = {"GET /{any}/a": "orders:read"}
    assert call(make_app(rows), sign("GET", "/mounted/a")).code == "template.mismatch"


def test_an_application_that_was_never_started_answers_nothing() -> None:
    reply = call(make_app(), sign("GET", "/v1/orders"), live=False)
    assert (reply.status, reply.code) == (503, "answer.unconfigured")


def test_an_application_takes_one_plug_in() -> None:
    with pytest.raises((ConfigError, ImproperlyConfiguredException), match="guarded already"):
        Litestar([], plugins=[Tradeguard(make_guard), Tradeguard(make_guard)])


def test_a_wrong_configuration_stops_the_server_with_a_sentence(tmp_path: Path) -> None:
    module = f"{BROKEN}\nfrom litestar import Litestar\nfrom tradeguard.adapters.litestar import Tradeguard\n"
    module += "app = Litestar([], plugins=[Tradeguard(broken)])\n"
    ended = run_server(tmp_path, module, ["uvicorn", "app:app", "--port", "0"])
    assert ended.returncode != 0
    assert "the map is wrong; mend it" in ended.stderr
