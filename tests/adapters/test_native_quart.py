"""Quart: the ASGI form with Flask's manners, rules held against rows."""

from pathlib import Path

import pytest
from adapters.native import BROKEN, call, make_guard, run_server, sign
from quart import Blueprint, Quart, g, request
from support import READER

from tradeguard import ConfigError
from tradeguard.adapters.quart import Tradeguard
from tradeguard.signing.signer import Outgoing


def make_app() -> Quart:
    app, blueprint = Quart("shop"), Blueprint("v1", "v1", url_prefix="/v1")

    @blueprint.route("/orders", methods=["GET", "POST"])
    async def orders() -> dict[str, str]:
        return {"key": g.principal.key_id, "body": await request.get_data(as_text=True)}

    @blueprint.get("/orders/<int:id>")
    async def order(id: int) -> dict[str, int]:
        return {"id": id}

    @blueprint.get("/trades/all")
    async def trades() -> str:
        return "everybody's trades"

    @blueprint.get("/<lost>")
    async def lost(lost: str) -> str:
        return lost

    app.register_blueprint(blueprint)
    Tradeguard(make_guard).init_app(app)
    return app


def test_a_signed_request_reaches_the_view_and_the_principal_is_in_g() -> None:
    assert call(make_app(), sign("GET", "/v1/orders")).json == {"key": "trader", "body": ""}
    reply = call(make_app(), sign("POST", "/v1/orders", b'{"qty":"1"}', "application/json"))
    assert reply.json == {"key": "trader", "body": '{"qty":"1"}'}
    assert call(make_app(), sign("GET", "/v1/orders/17")).json == {"id": 17}


def test_strangers_and_keys_without_the_scope_are_refused() -> None:
    assert call(make_app(), Outgoing("GET", "api.example", b"/v1/orders")).code == "unauthorized"
    assert call(make_app(), sign("POST", "/v1/orders", b"{}", signer=READER)).code == "scope.missing"


@pytest.mark.parametrize("target", ["/v1/trades/all", "/v1/lost"])
def test_a_request_that_is_routed_elsewhere_than_the_map_says_is_refused(target: str) -> None:
    reply = call(make_app(), sign("GET", target))
    assert (reply.status, reply.code) == (503, "template.mismatch")
    assert reply.fields["x-request-id"] == reply.json["request_id"]


def test_an_application_is_guarded_once() -> None:
    with pytest.raises(ConfigError, match="guarded already"):
        Tradeguard(make_guard()).init_app(make_app())


def test_a_way_around_the_guard_answers_nothing() -> None:
    app = make_app()
    app.asgi_app = app.asgi_app.app  # type: ignore[method-assign, attr-defined]
    reply = call(app, sign("GET", "/v1/orders"))
    assert (reply.status, reply.code) == (503, "answer.unconfigured")


def test_a_wrong_configuration_stops_the_server_with_a_sentence(tmp_path: Path) -> None:
    module = f"{BROKEN}\nfrom quart import Quart\nfrom tradeguard.adapters.quart import Tradeguard\n"
    module += "app = Quart('app')\nTradeguard(broken).init_app(app)\n"
    ended = run_server(tmp_path, module, ["uvicorn", "app:app", "--port", "0"])
    assert ended.returncode != 0
    assert "the map is wrong; mend it" in ended.stderr
