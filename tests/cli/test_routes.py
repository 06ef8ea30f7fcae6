"""`tradeguard init app:app` and `operations check`: the map and the application that it guards."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from cli.venue import Shell, Venue

from tradeguard.config import load_settings

APP = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute

async def view(request):
    "An endpoint."
    return PlainTextResponse("")

def make():
    return Starlette(routes=[
        Route("/v1/time", view),
        Route("/v1/orders", view, methods=["GET", "POST"]),
        Route("/v1/orders/{id}", view, methods=["GET", "DELETE"]),
    ])

app = make()
print("printed while it is imported")
"""


def write(shell: Shell, text: str = APP, name: str = "app") -> str:
    """Write an application under a name that no other test imports; return what it is called."""
    module = f"{name}_{abs(hash(str(shell.folder))):x}"
    (shell.folder / f"{module}.py").write_text(text)
    return module


def rows(shell: Shell) -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((shell.folder / "tradeguard.toml").read_text())["operations"]
    return table


def ask(shell: Shell, *words: str) -> tuple[int, Any, str]:
    """Run a command in a process of its own, which imports the application anew."""
    code, out, errors = shell.call(*words, "--json")
    return code, json.loads(out) if out else None, errors


@pytest.mark.parametrize("name", ["app", "make()"])
def test_init_suggests_the_map_of_an_application(shell: Shell, name: str) -> None:
    code, made, errors = ask(shell, "init", f"{write(shell)}:{name}")
    assert code == 0, errors
    assert set(made) == {"config", "data", "master_key"}
    assert rows(shell) == {
        "GET /v1/orders": "orders:read",
        "POST /v1/orders": "orders:write",
        "GET /v1/orders/{id}": "orders:read",
        "DELETE /v1/orders/{id}": {"scopes": "orders:cancel", "lane": "cancel"},
    }
    text = (shell.folder / "tradeguard.toml").read_text()
    assert '# "GET /v1/time" = { lane = "public" }  # review: An endpoint.' in text
    assert load_settings(shell.folder / "tradeguard.toml", {})
    assert shell.run("config", "check").exit_code == 0
    assert "its 4 rows are guesses. 1 more" in errors
    assert "printed while it is imported" in errors


def test_what_it_suggests_is_checked_but_for_what_waits_for_a_decision(shell: Shell) -> None:
    app = f"{write(shell)}:app"
    assert ask(shell, "init", app)[0] == 0
    code, found, _ = ask(shell, "operations", "check", app)
    assert (code, [entry["what"] for entry in found["findings"]]) == (1, ["GET /v1/time"])
    config = shell.folder / "tradeguard.toml"
    config.write_text(config.read_text().replace('# "GET /v1/time"', '"GET /v1/time"'))
    code, found, errors = ask(shell, "operations", "check", app)
    assert (code, found["findings"], found["routes"], found["rows"]) == (0, [], 5, 5), errors
    assert "nothing found" in shell.call("operations", "check", app)[1]


def test_init_without_an_application_is_as_it_was(shell: Shell) -> None:
    shell.ask("init")
    assert set(rows(shell)) == {
        "GET /v1/time", "GET /v1/orders", "GET /v1/orders/{id}", "POST /v1/orders", "DELETE /v1/orders/{id}",
    }  # fmt: skip


def test_an_openapi_file_does_as_well(shell: Shell) -> None:
    (shell.folder / "api.json").write_text(json.dumps({"paths": {"/v1/orders": {"get": {}}}}))
    shell.ask("init", "--openapi", "api.json")
    assert rows(shell) == {"GET /v1/orders": "orders:read"}
    assert shell.ask("operations", "check", "--openapi", "api.json")["findings"] == []


BROKEN = {
    "no such module": ("nothing_here:app", "ModuleNotFoundError"),
    "no such name": ("{}:nothing", "AttributeError"),
    "not an application": ("{}:view", "cannot be listed"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_not_there_is_said_and_nothing_is_written(shell: Shell, case: str) -> None:
    named, says = BROKEN[case]
    before = set(shell.folder.iterdir())
    named = named.format(write(shell))
    before = set(shell.folder.iterdir())
    code, out, errors = shell.call("init", named)
    assert (code, out) == (2, "")
    assert says in errors
    assert "Traceback" not in errors
    assert {path for path in shell.folder.iterdir() if path.name != "__pycache__"} == before
    assert not shell.home.exists()


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("import os\n\nimport nothing_here\n", 3, "nothing_here"),
        ("app = 1\nraise RuntimeError('no database')\n", 2, "no database"),
        ("def f(:\n", 1, "SyntaxError"),
        ("import sys\nsys.exit('bye')\n", 2, "bye"),
        ("import json\n\njson.loads('{')\n", 3, "JSONDecodeError"),
        ("raise ValueError('\\x1b[31m red')\n", 1, "\\x1b[31m red"),
    ],
)
def test_an_application_that_cannot_be_imported_is_told_with_its_line(
    venue: Venue, text: str, line: int, says: str
) -> None:
    module = write(venue, text)
    code, _, errors = venue.call("operations", "check", f"{module}:app")
    assert code == 2
    assert f"{module}.py, line {line}: " in errors
    assert says in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("app", ["app", ":app", "app:", "app:a b", "app:make(1)", "app:()"])
def test_what_is_no_name_of_an_application_is_a_usage_error(venue: Venue, app: str) -> None:
    assert "module:name" in venue.refuse("operations", "check", app, code=2)


def test_one_of_application_and_file_is_given(venue: Venue) -> None:
    assert "--openapi" in venue.refuse("operations", "check", code=2)
    assert "--openapi" in venue.refuse("operations", "check", "app:app", "--openapi", "x.json", code=2)
    (venue.folder / "tradeguard.toml").unlink()
    assert "no configuration" in venue.refuse("operations", "check", "app:app", code=2)


def check(venue: Venue, rows: str, *routes: str) -> list[tuple[str, str]]:
    """Check a map against an OpenAPI file; return kind and subject of what is found."""
    text = venue.config.read_text()
    venue.config.write_text(text[: text.index('"GET /v1/time"')] + rows)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        method, _, path = route.partition(" ")
        paths.setdefault(path, {})[method.lower()] = {}
    (venue.folder / "api.json").write_text(json.dumps({"paths": paths or {"/x": {}}}))
    result = venue.run("operations", "check", "--openapi", "api.json", "--json")
    found = [(entry["kind"], entry["what"]) for entry in json.loads(result.stdout)["findings"]]
    assert result.exit_code == (1 if found else 0)
    return found


@pytest.mark.parametrize(
    ("rows", "routes", "found"),
    [
        ('"GET /a" = "orders:read"', ["GET /a"], []),
        ('"GET /a" = "orders:read"', ["GET /a", "POST /a"], [("no row", "POST /a")]),
        ('"GET /a" = "orders:read"\n"GET /b" = "orders:read"', ["GET /a"], [("no route", "GET /b")]),
        ('"GET /a/{x}" = "orders:read"', ["GET /a/{y}"], []),
        ('"GET /a/*" = "orders:read"', ["GET /a/{y}", "GET /a/b"], []),
        ('"GET /a/**" = "orders:read"', ["GET /a/{y}", "GET /a/{y}/{z}"], []),
        ('"GET /a/{x}" = "orders:read"', ["GET /a/{y}", "GET /a/b"], [("no row", "GET /a/b")]),
        ('"GET /a/b" = "orders:read"', ["GET /a/{y}"], [("no row", "GET /a/{y}"), ("no route", "GET /a/b")]),
        (
            '"GET /a/{x}" = "orders:read"\n"GET /a/*" = "account:read"',
            ["GET /a/{y}"],
            [("shadowed", "GET /a/*")],
        ),
        (
            '"GET /a/{x}" = "orders:read"\n"GET /a/{y}" = "orders:read"',
            ["GET /a/{y}"],
            [("shadowed", "GET /a/{y}")],
        ),
        ('"GET /a/{x}" = "orders:read"\n"GET /a/**" = "account:read"', ["GET /a/{y}", "GET /a/{y}/z"], []),
        ('"HEAD /a" = "orders:read"\n"GET /a" = "orders:read"', ["GET /a"], []),
        ('"GET /a" = "orders:read"', ["HEAD /a"], [("no route", "GET /a")]),
        ('"GET /t" = {lane = "public", answer = "time"}', [], []),
    ],
)
def test_what_differs_is_found(venue: Venue, rows: str, routes: list[str], found: list[tuple[str, str]]) -> None:
    assert check(venue, rows + "\n", *routes) == found


def test_what_cannot_be_looked_into_is_said_and_a_row_for_it_is_left_alone(venue: Venue) -> None:
    venue.config.write_text(
        venue.config.read_text() + '"GET /raw/thing" = "orders:read"\n"GET /other/thing" = "orders:read"\n'
    )
    raw = APP.replace("\n    ])", '\nMount("/raw", lambda s, r, t: None), WebSocketRoute("/ws", view)])')
    code, found, errors = ask(venue, "operations", "check", f"{write(venue, raw)}:app")
    assert code == 1
    assert [(entry["kind"], entry["what"]) for entry in found["findings"]] == [
        ("no row", "WS /ws"),
        ("no route", "GET /other/thing"),
    ]
    assert [entry["where"] for entry in found["unmapped"]] == ["/raw/**"]
    assert "/raw/**" in errors


def test_an_application_behind_its_guard_is_checked_too(venue: Venue) -> None:
    guarded = APP + "\nfrom tradeguard.adapters.asgi import ASGI\napp = ASGI(app, config=True)\n"
    code, found, errors = ask(venue, "operations", "check", f"{write(venue, guarded)}:app")
    assert (code, found["findings"]) == (0, []), errors


def test_the_usual_command_of_operations_may_be_left_out(venue: Venue) -> None:
    for words in ((), ("GET", "/v1/orders/17")):
        assert venue.run("operations", *words).stdout == venue.run("operations", "show", *words).stdout
    assert "check" in venue.run("operations", "--help").stdout


def test_the_working_directory_is_searched_first(venue: Venue, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    module = write(venue)
    (tmp_path / "elsewhere" / f"{module}.py").write_text("app = None\n")
    paths = f"{tmp_path / 'elsewhere'}:{venue.environ.get('PYTHONPATH', '')}"
    code, _, errors = venue.call("operations", "check", f"{module}:app", env={**venue.environ, "PYTHONPATH": paths})
    assert code == 0, errors


SOCKETS = APP.replace(
    "\n    ])", '\n        WebSocketRoute("/v1/{name:str}/ws", view), WebSocketRoute("/v1/trade", view),\n    ])'
)


def test_a_websocket_is_suggested_in_a_comment_and_found_until_it_has_a_row(shell: Shell) -> None:
    app = f"{write(shell, SOCKETS)}:app"
    code, _, errors = ask(shell, "init", app)
    assert code == 0, errors
    assert "its 4 rows are guesses. 3 more" in errors
    config = shell.folder / "tradeguard.toml"
    text = config.read_text()
    assert '# "WS /v1/trade" = { scopes = "orders:read", lane = "read" }  # review' in text
    assert '# "WS /v1/{name}/ws" = { scopes = "to-be:named", lane = "read" }  # review' in text
    assert "websockets are not served" not in text
    assert not any(row.startswith("WS ") for row in rows(shell))
    _, found, _ = ask(shell, "operations", "check", app)
    missing = ["GET /v1/time", "WS /v1/{name}/ws", "WS /v1/trade"]
    assert [(entry["kind"], entry["what"]) for entry in found["findings"]] == [("no row", row) for row in missing]
    more = '"WS /v1/{name}/ws" = "orders:read"\n"WS /v1/trade" = "orders:write"\n"WS /v1/gone" = "orders:write"\n'
    config.write_text(text + '"GET /v1/time" = { lane = "public" }\n' + more)
    _, found, errors = ask(shell, "operations", "check", app)
    assert [(entry["kind"], entry["what"]) for entry in found["findings"]] == [("no route", "WS /v1/gone")], errors
    assert found["websockets"] == ["/v1/{name:str}/ws", "/v1/trade"]


def test_a_row_for_handshakes_is_none_for_the_get_of_the_same_path(venue: Venue) -> None:
    text = venue.config.read_text()
    venue.config.write_text(text[: text.index('"GET /v1/time"')] + '"WS /both" = "orders:read"\n')
    both = APP[: APP.index("def make")] + (
        'app = Starlette(routes=[Route("/both", view), WebSocketRoute("/both", view)])\n'
    )
    code, found, _ = ask(venue, "operations", "check", f"{write(venue, both)}:app")
    assert (code, [entry["what"] for entry in found["findings"]]) == (1, ["GET /both"])


AIOHTTP = """
from aiohttp import web

async def view(request):
    return web.WebSocketResponse()

app = web.Application()
app.router.add_get("/v1/stream", view)
"""


def test_aiohttp_takes_handshakes_by_routes_for_get(venue: Venue) -> None:
    text = venue.config.read_text()
    venue.config.write_text(text[: text.index('"GET /v1/time"')] + '"WS /v1/stream" = "orders:read"\n')
    code, found, errors = ask(venue, "operations", "check", f"{write(venue, AIOHTTP)}:app")
    assert (code, found["findings"]) == (0, []), errors
    venue.config.write_text(venue.config.read_text() + '"WS /v1/gone" = "orders:read"\n')
    code, found, _ = ask(venue, "operations", "check", f"{write(venue, AIOHTTP)}:app")
    assert (code, [entry["what"] for entry in found["findings"]]) == (1, ["WS /v1/gone"])


def test_an_openapi_file_says_nothing_of_websockets(venue: Venue) -> None:
    text = venue.config.read_text()
    rows = '"GET /a" = "orders:read"\n"WS /v1/stream" = "orders:read"\n'
    venue.config.write_text(text[: text.index('"GET /v1/time"')] + rows)
    (venue.folder / "api.json").write_text(json.dumps({"paths": {"/a": {"get": {}}}}))
    code, found, errors = ask(venue, "operations", "check", "--openapi", "api.json")
    assert (code, found["findings"]) == (0, [])
    assert "not checked: the rows for websockets" in errors
