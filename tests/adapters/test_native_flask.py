"""Flask: the extension, application factories, blueprints and static files, rules held against rows."""

from pathlib import Path
from typing import Any

import pytest
from adapters.native import BROKEN, fields_of, make_guard, run_server, sign
from flask import Blueprint, Flask, g, request
from flask.typing import ResponseReturnValue
from support import READER

from tradeguard import ConfigError, Guard, MemoryJournal
from tradeguard.adapters.flask import Tradeguard
from tradeguard.signing.signer import Outgoing


def make_app(folder: Path, extension: Tradeguard | None = None, **config: Any) -> Flask:
    """A factory: an application with a blueprint and static files."""
    (folder / "static").mkdir(exist_ok=True)
    (folder / "static" / "app.css").write_text("css")
    (folder / "static" / "secret.txt").write_text("secret")
    app, blueprint = Flask("shop", root_path=str(folder)), Blueprint("v1", "v1", url_prefix="/v1")
    app.config.from_mapping(config)

    @blueprint.before_request
    def know() -> None:
        assert g.grant is request.environ["tradeguard"]  # ours is first

    @blueprint.route("/orders", methods=["GET", "POST"])
    def orders() -> dict[str, str]:
        return {"key": g.principal.key_id, "body": request.get_data(as_text=True)}

    @blueprint.get("/orders/<int:id>")
    def order(id: int) -> dict[str, int]:
        return {"id": id}

    @blueprint.get("/trades/all")
    def trades() -> str:
        return "everybody's trades"

    @blueprint.get("/trades/<id>")
    def trade(id: str) -> str:
        return id

    @blueprint.get("/<lost>")
    def lost(lost: str) -> str:
        return lost

    @blueprint.get("/files/<path:name>")
    def file(name: str) -> str:
        return name

    app.register_blueprint(blueprint)
    (extension or Tradeguard(guard=make_guard)).init_app(app)
    return app


def send(app: Flask, out: Outgoing) -> Any:
    return app.test_client().open(
        out.target.decode(), method=out.method, headers=fields_of(out), data=out.body or None,
        base_url="http://api.example", buffered=True,
    )  # fmt: skip


def test_a_signed_request_reaches_the_view_and_the_principal_is_in_g(tmp_path: Path) -> None:
    app = make_app(tmp_path)
    assert send(app, sign("GET", "/v1/orders")).json == {"key": "trader", "body": ""}
    reply = send(app, sign("POST", "/v1/orders", b'{"qty":"1"}', "application/json"))
    assert reply.json == {"key": "trader", "body": '{"qty":"1"}'}
    assert send(app, sign("GET", "/v1/orders/17")).json == {"id": 17}
    assert send(app, sign("GET", "/v1/files/a/b")).text == "a/b"


def test_blueprints_and_static_files_are_inside(tmp_path: Path) -> None:
    app = make_app(tmp_path)
    assert send(app, Outgoing("GET", "api.example", b"/v1/orders")).status_code == 401
    assert send(app, Outgoing("GET", "api.example", b"/static/secret.txt")).status_code == 401
    assert send(app, Outgoing("GET", "api.example", b"/static/app.css")).text == "css"
    assert send(app, sign("POST", "/v1/orders", b"{}", signer=READER)).json["code"] == "scope.missing"


@pytest.mark.parametrize("target", ["/v1/trades/all", "/v1/lost"])
def test_a_request_that_is_routed_elsewhere_than_the_map_says_is_refused(target: str, tmp_path: Path) -> None:
    journal = MemoryJournal()
    app = make_app(tmp_path, Tradeguard(guard=lambda: make_guard(journal=journal)))
    reply = send(app, sign("GET", target))
    assert (reply.status_code, reply.json["code"], reply.json["executed"]) == (503, "template.mismatch", False)
    assert reply.headers["X-Request-Id"] == reply.json["request_id"] == journal.events[-1].request_id
    assert (journal.events[-1].kind, journal.events[-1].status) == ("outcome", 503)


def test_a_factory_guards_every_application_that_it_makes(tmp_path: Path) -> None:
    extension = Tradeguard()
    one = make_app(tmp_path, extension, TRADEGUARD_GUARD=make_guard)
    two = make_app(tmp_path, extension, TRADEGUARD_GUARD=make_guard)
    assert isinstance(one.extensions["tradeguard"], Guard)
    assert one.extensions["tradeguard"] is not two.extensions["tradeguard"]
    assert [send(app, sign("GET", "/v1/orders")).status_code for app in (one, two)] == [200, 200]


def test_an_application_is_guarded_once(tmp_path: Path) -> None:
    app = make_app(tmp_path)
    with pytest.raises(ConfigError, match="guarded already"):
        Tradeguard(app, guard=make_guard)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({}, "give either guard="),
        ({"TRADEGUARD_CONFG": "tradeguard.toml"}, "TRADEGUARD_CONFG: no such key"),
        ({"TRADEGUARD_CONFIG": "missing.toml"}, "no configuration at"),
        ({"TRADEGUARD_CONFIG": "x.toml", "TRADEGUARD_GUARD": make_guard}, "give either guard="),
    ],
)
def test_a_configuration_that_is_no_configuration_is_refused(
    config: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        make_app(tmp_path, Tradeguard(), **config)


def test_a_way_around_the_guard_answers_nothing(tmp_path: Path) -> None:
    app = make_app(tmp_path)

    def respond() -> ResponseReturnValue:
        with app.test_request_context("/v1/orders"):
            return app.full_dispatch_request()

    answer: Any = respond()
    assert (answer.status_code, answer.json["code"]) == (503, "answer.unconfigured")


@pytest.mark.parametrize(
    "command", [["flask", "--app", "app", "run", "--port", "0"], ["gunicorn", "app:app", "-b", "127.0.0.1:0"]]
)
def test_a_wrong_configuration_stops_the_server_with_a_sentence(command: list[str], tmp_path: Path) -> None:
    module = f"{BROKEN}\nfrom flask import Flask\nfrom tradeguard.adapters.flask import Tradeguard\n"
    ended = run_server(tmp_path, module + "app = Flask('app')\nTradeguard(app, guard=broken)\n", command)
    assert ended.returncode != 0
    assert "the map is wrong; mend it" in ended.stderr
