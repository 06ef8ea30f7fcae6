"""The operations map against Flask's router: whatever handler it reaches, the map asks for its row."""

from urllib.parse import quote

import pytest
from flask import Blueprint, Flask, Response
from flask.sansio.scaffold import Scaffold
from routing import BRACES, LITERALS, SINGLE, STICKS, Rows, compare, mounted, run_wsgi, split


def rule(segments: list[str]) -> str:
    """A row's path as werkzeug writes it."""
    names = {"**": "<path:rest>", "*": "<star%d>"}
    written = [names.get(segment, segment.replace("{", "<").replace("}", ">")) for segment in segments]
    return "/" + "/".join(name % place if "%d" in name else name for place, name in enumerate(written))


def add(part: Scaffold, row: str, *, below: int, whole: bool) -> None:
    method, segments = split(row)

    def endpoint(**_: str) -> Response:
        return Response(headers={"row": quote(row)})

    name, place = quote(row, safe="").replace(".", "%2E"), rule(segments[below:])
    part.add_url_rule(place, name, endpoint, methods=[method])
    if whole and segments[-1] == "**":  # `path` matches no empty rest, and the map may
        part.add_url_rule(place.removesuffix("<path:rest>"), name, endpoint, methods=[method])


def make_app(rows: Rows, mount: str | None, *, whole: bool) -> Flask:
    """`whole`: the handler of a row that ends in ** is also there for the empty rest."""
    app = Flask(__name__, static_folder=None)
    below, above = mounted(rows, mount) if mount else ([], list(rows))
    blueprint = Blueprint("below", __name__, url_prefix=f"/{mount}")
    for row in below:
        add(blueprint, row, below=1, whole=whole)
    app.register_blueprint(blueprint)
    for row in above:
        add(app, row, below=0, whole=whole)
    return app


SETTINGS = [
    (None, True, "", True),
    (None, False, "", False),
    ("m", True, "", False),
    ("v1", True, "/outer", True),
    ("m", False, "/v1", False),
]
each_setting = pytest.mark.parametrize(("mount", "raw", "outer", "whole"), SETTINGS)


def check(mount: str | None, raw: bool, outer: str, whole: bool, tables: int) -> None:
    compare(
        lambda rows, targets: run_wsgi(make_app(rows, mount, whole=whole), rows, targets, raw=raw, outer=outer),
        f"flask {mount} {raw} {outer} {whole}",
        literals=[*LITERALS, "é", "\u2028x"],
        methods=["GET", "GET", "POST", "HEAD"],
        sticks=STICKS + BRACES,
        tables=tables,
    )


@each_setting
def test_the_map_and_the_router_of_flask_agree(mount: str | None, raw: bool, outer: str, whole: bool) -> None:
    check(mount, raw, outer, whole, 2)


@pytest.mark.soak
@each_setting
def test_the_map_and_the_router_of_flask_agree_on_many_targets(
    mount: str | None, raw: bool, outer: str, whole: bool
) -> None:
    check(mount, raw, outer, whole, 20)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("name", SINGLE)
def test_flask_agrees_on_a_single_target(name: str, whole: bool) -> None:
    rows, method, target = SINGLE[name]
    tally = run_wsgi(make_app(rows, None, whole=whole), rows, [(method, target, False)], raw=True)
    assert tally.counts["reached"] == 1
    assert not tally.wrong
