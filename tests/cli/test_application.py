"""What `init` and `operations check` make of applications: guarded, broken, not there, made by functions."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest
from cli.venue import Shell, Venue

STARLETTE = """
from starlette.applications import Starlette
from starlette.routing import Route

async def view(request): ...

app = Starlette(routes=[Route("/v1/orders", view, methods=["GET"])])
"""
FLASK = """
from flask import Flask

app = Flask(__name__, static_folder=None)

@app.get("/v1/orders")
def view(): ...
"""
GUARDED = {
    "protect, ASGI": STARLETTE + "from tradeguard import protect\napp = protect(app)\n",
    "protect, ASGI, by name": STARLETTE + 'from tradeguard import protect\napp = protect(app, "tradeguard.toml")\n',
    "protect, WSGI": FLASK + "from tradeguard import protect\napp = protect(app)\n",
    "ASGI": STARLETTE + 'from tradeguard import ASGI\napp = ASGI(app, config="tradeguard.toml")\n',
    "WSGI": FLASK + "from tradeguard import WSGI\napp = WSGI(app, config=True)\n",
    "a guard from the file": STARLETTE
    + """
from tradeguard import ASGI
from tradeguard.config import build_guard, reload_on_sighup

guard = build_guard("tradeguard.toml")
reload_on_sighup(guard)
assert guard.policy_mark
app.add_middleware(ASGI, guard=guard)
""",
    "Starlette": STARLETTE
    + """
from tradeguard.adapters.starlette import Tradeguard
Tradeguard(config="tradeguard.toml").init_app(app)
""",
    "FastAPI": """
from fastapi import FastAPI
from tradeguard.adapters.fastapi import CurrentPrincipal, Tradeguard

app = FastAPI(openapi_url=None)

@app.get("/v1/orders")
async def view(principal: CurrentPrincipal): ...

Tradeguard(config="tradeguard.toml").init_app(app)
""",
    "Flask": FLASK
    + """
from tradeguard.adapters.flask import Tradeguard
Tradeguard(app, config="tradeguard.toml")
""",
    "Django": """
import sys, types
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path
from django.views.decorators.http import require_http_methods

settings.configure(ROOT_URLCONF=__name__, SECRET_KEY="x", TRADEGUARD={"config": "tradeguard.toml"},
                   MIDDLEWARE=["tradeguard.adapters.django.guard"], INSTALLED_APPS=["tradeguard.adapters.django"])
view = require_http_methods(["GET"])(lambda request: HttpResponse())
urlpatterns = [path("v1/orders", view)]
app = get_wsgi_application()
""",
    "aiohttp": """
from aiohttp import web
from tradeguard import aiohttp_middleware

async def view(request): ...

app = web.Application(middlewares=[aiohttp_middleware("tradeguard.toml")])
app.router.add_get("/v1/orders", view)
""",
    "Litestar": """
from litestar import Litestar, get
from tradeguard.adapters.litestar import Tradeguard

@get("/v1/orders")
async def view() -> None: ...

app = Litestar([view], plugins=[Tradeguard(config="tradeguard.toml")], openapi_config=None)
""",
    "Quart": """
from quart import Quart
from tradeguard.adapters.quart import Tradeguard

app = Quart(__name__, static_folder=None)

@app.get("/v1/orders")
async def view(): ...

Tradeguard(config="tradeguard.toml").init_app(app)
""",
}


def write(shell: Shell, text: str, name: str = "venue_app") -> str:
    """Write a module; return what it is called."""
    path = shell.folder / f"{name}.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path.stem


def rows(shell: Shell) -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((shell.folder / "tradeguard.toml").read_text())["operations"]
    return table


def files(shell: Shell) -> set[str]:
    """What lies in the folder and in its data directory."""
    return {str(path.relative_to(shell.folder)) for path in shell.folder.rglob("*") if "__pycache__" not in path.parts}


def be_refused(shell: Shell, app: str, code: int = 2) -> str:
    """Run `init` with an application that it refuses; return what it says in one sentence, having written nothing."""
    before = files(shell)
    got, out, errors = shell.call("init", app, "--json")
    assert (got, out) == (code, ""), errors
    assert files(shell) == before
    assert "Traceback" not in errors
    error: str = json.loads(errors.splitlines()[-1])["error"]
    return error


@pytest.mark.parametrize("host", GUARDED)
def test_init_reads_an_application_that_is_guarded_already_by_what_init_will_write(shell: Shell, host: str) -> None:
    code, _, errors = shell.call("init", f"{write(shell, GUARDED[host])}:app")
    assert code == 0, errors
    assert rows(shell) == {"GET /v1/orders": "orders:read"}
    assert files(shell) == {"venue_app.py", "tradeguard.toml", "tradeguard.schema.json", "data"}


@pytest.mark.parametrize("host", GUARDED)
def test_the_map_is_checked_where_no_key_and_no_data_are(shell: Shell, host: str) -> None:
    """As on a machine that runs the checks of a repository."""
    app = f"{write(shell, GUARDED[host])}:app"
    assert shell.call("init", app)[0] == 0
    rmtree(shell.home)
    rmtree(shell.folder / "data")
    before = files(shell)
    code, out, errors = shell.call("operations", "check", app, "--json")
    assert (code, json.loads(out)["findings"]) == (0, []), errors
    assert files(shell) == before


def test_no_development_mode_is_begun_by_looking(shell: Shell) -> None:
    app = f"{write(shell, GUARDED['protect, ASGI'])}:app"
    code, _, errors = shell.call("init", app, env={**shell.environ, "TRADEGUARD_DEVELOPMENT": "1"})
    assert code == 0
    assert "secret" not in errors
    assert "DEVELOPMENT" not in errors


def test_a_server_that_holds_the_files_does_not_mind_who_looks(venue: Venue) -> None:
    venue.configure("[state]\n", '[state]\nbackend = "memory"\n')
    app = write(venue, GUARDED["protect, WSGI"])
    serve = f"import sys, {app}\nprint('up', flush=True)\nsys.stdin.read()"
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": venue.folder}
    server = subprocess.Popen([sys.executable, "-c", serve], env=venue.environ, **pipes)
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == "up\n"
        assert venue.call("operations", "check", f"{app}:app")[0] == 1  # the map is that of the example
    finally:
        server.communicate(timeout=60)
    assert server.returncode == 0


def test_a_wrong_configuration_is_told_before_the_application_is_imported(venue: Venue) -> None:
    app = write(venue, GUARDED["protect, WSGI"] + "open('imported', 'w').close()\n")
    venue.configure("[operations]", "[operatons]")
    assert "operatons" in venue.refuse("operations", "check", f"{app}:app", code=2)
    assert not (venue.folder / "imported").exists()


def test_an_application_that_reads_the_configuration_itself_is_told_how_to_begin(shell: Shell) -> None:
    app = write(shell, "from tradeguard.config import load_settings\n\napp = load_settings()\n")
    error = be_refused(shell, f"{app}:app")
    assert "venue_app.py, line 3: ConfigError: no configuration at" in error
    assert error.endswith("`tradeguard init` without APP writes one to begin with")


def test_a_thread_that_never_ends_holds_nobody_up(shell: Shell) -> None:
    text = STARLETTE + "import threading\nthreading.Thread(target=threading.Event().wait).start()\n"
    assert shell.call("init", f"{write(shell, text)}:app")[0] == 0
    code, out, _ = shell.call("operations", "check", "venue_app:app")
    assert (code, "nothing found" in out) == (0, True)
    broken = write(shell, text + "raise RuntimeError('too late')\n", "broken")
    assert shell.call("operations", "check", f"{broken}:app")[0] == 2


def test_a_guard_that_a_thread_builds_is_none_either(shell: Shell) -> None:
    text = (
        FLASK
        + """
from threading import Thread
from tradeguard.config import build_guard

built = []
thread = Thread(target=lambda: built.append(build_guard()))
thread.start()
thread.join()
assert built
"""
    )
    assert shell.call("init", f"{write(shell, text)}:app")[0] == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import sys\nsys.exit()\n", "venue_app.py, line 2: SystemExit: "),
        ("import asyncio\nraise asyncio.CancelledError('gone')\n", "venue_app.py, line 2: CancelledError: gone"),
        ("class Odd(BaseException): ...\nraise Odd('what')\n", "venue_app.py, line 2: Odd: what"),
        ("def f(): return f()\nf()\n", "venue_app.py, line 1: RecursionError"),
        ("import argparse\nargparse.ArgumentParser().parse_args(['--none'])\n", "line 2: SystemExit: 2"),
        ("import os\nos.chdir('/')\nraise OSError('moved')\n", "venue_app.py, line 3: OSError: moved"),
        ("from venue_app import app\n", "venue_app.py, line 1: ImportError: cannot import name 'app'"),
    ],
)
def test_whatever_ends_the_import_is_told_with_its_line(shell: Shell, text: str, says: str) -> None:
    assert says in be_refused(shell, f"{write(shell, text)}:app")


def test_an_interrupted_import_is_stopped_and_no_fault_of_the_application(shell: Shell) -> None:
    assert be_refused(shell, f"{write(shell, 'raise KeyboardInterrupt')}:app", code=1) == "stopped"


def test_routes_that_cannot_be_read_are_told_as_well(shell: Shell) -> None:
    text = GUARDED["Django"].replace("ROOT_URLCONF=__name__", 'ROOT_URLCONF="venue_urls"')
    write(shell, "\nurlpatterns = [nothing]\n", "venue_urls")
    assert "venue_urls.py, line 2: NameError: name 'nothing'" in be_refused(shell, f"{write(shell, text)}:app")


FACTORIES = (
    STARLETTE
    + """
def make():
    return app

async def make_later():
    return app

def make_for(stage):
    return app

def make_badly():
    raise RuntimeError("no stage")

class Site: ...
site = Site()
site.app = app
number = 5
"""
)


@pytest.mark.parametrize("name", ["make()", "make_later()", "site.app"])
def test_a_factory_and_a_dotted_name_lead_to_the_application(shell: Shell, name: str) -> None:
    assert shell.call("init", f"{write(shell, FACTORIES)}:{name}")[0] == 0
    assert rows(shell) == {"GET /v1/orders": "orders:read"}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("make", "If it is a function that makes the application, say venue_app:make()"),
        ("make_later", "say venue_app:make_later()"),
        ("make_for()", "missing a required argument: 'stage'; leave () out where it is the application itself"),
        ("app()", "missing a required argument: 'scope'; leave () out"),
        ("number()", "5 is not a callable object; leave () out"),
        ("make_badly()", "venue_app.py, line 19: RuntimeError: no stage"),
        ("aap", "has no attribute 'aap'; did you mean app?"),
        ("site.ap", "has no attribute 'ap'; did you mean app?"),
        ("site.zzz", "has no attribute 'zzz'"),
        ("number", "the routes of builtins.int cannot be listed"),
    ],
)
def test_a_wrong_name_is_told_with_the_cure(shell: Shell, name: str, says: str) -> None:
    assert says in be_refused(shell, f"{write(shell, FACTORIES)}:{name}")


@pytest.mark.parametrize("place", ["src/venue_app", "src/venue_app/__init__"])
def test_a_module_below_src_is_found(shell: Shell, place: str) -> None:
    (shell.folder / "src").mkdir()
    write(shell, STARLETTE, place)
    assert shell.call("init", "venue_app:app")[0] == 0
    assert rows(shell) == {"GET /v1/orders": "orders:read"}


def test_a_module_beside_src_goes_before_one_below_it(shell: Shell) -> None:
    (shell.folder / "src").mkdir()
    write(shell, "raise RuntimeError('the wrong one')", "src/venue_app")
    assert shell.call("init", f"{write(shell, STARLETTE)}:app")[0] == 0


@pytest.mark.parametrize(
    ("app", "says"),
    [
        ("nothing_here:app", "No module named 'nothing_here'; start this where the server is started"),
        ("venue_app.routes:app", "'venue_app' is not a package; start this where"),
        ("venue_app.py:app", "venue_app.py is a file; say venue_app:app"),
        ("./src/venue/app.py:make()", "say venue.app:make()"),
        (".venue_app:app", "cannot be imported"),
    ],
)
def test_a_wrong_module_is_told_with_the_cure(shell: Shell, app: str, says: str) -> None:
    write(shell, STARLETTE)
    code, out, errors = shell.call("init", app)
    assert (code, out) == (2, "")
    assert says in " ".join(errors.split())
    assert "Traceback" not in errors


def test_what_the_application_itself_lacks_is_not_taken_for_a_wrong_name(shell: Shell) -> None:
    error = be_refused(shell, f"{write(shell, 'import nothing_here')}:app")
    assert error.endswith("venue_app.py, line 1: ModuleNotFoundError: No module named 'nothing_here'")


def test_an_openapi_file_needs_no_application(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "api.json").write_text(json.dumps({"paths": {"/v1/orders": {"get": {}}}}))
    assert shell.run("init", "--openapi", str(tmp_path / "api.json")).exit_code == 0
    assert rows(shell) == {"GET /v1/orders": "orders:read"}
