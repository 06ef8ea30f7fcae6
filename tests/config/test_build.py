"""Building: one file becomes a guard over SQLite or memory, in every host; what fails leaves nothing open."""

import asyncio
import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from config.home import AHEAD, Home, Venue
from fastapi import FastAPI, Request
from support import TRADER

from tradeguard import ASGI, TG1, WSGI, ConfigError, Outgoing, Signer, aiohttp_middleware
from tradeguard.adapters.aiohttp import GRANT
from tradeguard.backends.memory import Memory
from tradeguard.backends.sqlite import SQLiteState
from tradeguard.config import SAMPLE, build_guard, check, load_settings, open_journal, open_keys, open_state
from tradeguard.core.errors import BackendDown
from tradeguard.secrets.master import make_master_key

MAP = """
    [roles]
    trader = ["orders:read", "orders:write"]
    [operations]
    "GET /v1/time" = {lane = "public"}
    "POST /v1/orders" = "orders:write"
    "DELETE /v1/orders/{id}" = {scopes = "orders:cancel", lane = "cancel"}
    """
BODY = b'{"qty":"1"}'
JSON = b"application/json"


@pytest.fixture
def venue(tmp_path: Path) -> Venue:
    tmp_path.chmod(0o700)
    return Venue(tmp_path, MAP)


def open_files() -> set[str]:
    """What this process has open, by name."""
    links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    return {os.readlink(link) for link in links if os.path.lexists(link)}


def order(authority: str, signer: Signer = TRADER) -> Outgoing:
    return signer.sign(Outgoing("POST", authority, b"/v1/orders", JSON, BODY), time.time_ns() + AHEAD)


def test_a_guard_is_built_with_every_check(venue: Venue) -> None:
    guard = build_guard(venue.path, {})
    names = [type(check).__name__ for check in guard.checks]
    assert names == ["Source", "Signature", "Freshness", "Network", "Scope", "Halt", "Replay"]
    assert isinstance(guard.state, SQLiteState)
    assert guard.operations.match("POST", "/v1/orders") is not None
    assert guard.policy.roles["trader"] == {"orders:read", "orders:write"}
    assert {"keys.db", "state.db", "audit.jsonl"} <= {path.name for path in venue.data.iterdir()}
    assert all(path.stat().st_mode & 0o077 == 0 for path in venue.data.iterdir())
    guard.close()


def test_the_settings_reach_the_parts(home: Home) -> None:
    home.write("""
        [state]
        backend = "memory"
        capacity = 30
        per_key = 20
        [keys]
        cache_size = 7
        poll_seconds = 0.5
        stale_seconds = 2
        [journal]
        sync = true
        [signature]
        dialects = ["binance"]
        accept = ["binance"]
        [policy]
        body_bytes = 77
        """)
    guard = build_guard(home.path, {})
    assert isinstance(guard.state, Memory)
    assert (guard.policy.body_bytes, guard.challenge) == (77, 'Binance realm="api"')
    keys: Any = open_keys(load_settings(home.path, {}), {})
    assert (keys._size, keys._poll_every, keys._stale_after) == (7, 500_000_000, 2_000_000_000)
    assert (guard.state._room.capacity, guard.state._room.per_key) == (30, 20)
    journal: Any = guard.journal
    assert journal._syncer is not None
    guard.close()
    keys.close()


def test_the_sample_is_built_once_data_directory_and_master_key_are_there(home: Home) -> None:
    home.write_all(SAMPLE)
    environ = {"TRADEGUARD_MASTER_KEY__SOURCE": f"file:{home.master_key}"}  # else of root alone
    assert check(load_settings(home.path, environ), environ) == []
    guard = build_guard(home.path, environ)
    assert len(guard.operations.all) == 5
    guard.close()


def test_memory_is_for_one_process(home: Home) -> None:
    home.write('[state]\nbackend = "memory"\n')
    loaded = load_settings(home.path, {})
    state = open_state(loaded)
    code = f"from tradeguard.config import *; open_state(load_settings({str(home.path)!r}, {{}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert str(os.getpid()) in done.stderr
    assert "memory.lock" in {path.name for path in home.data.iterdir()}
    del state


@pytest.mark.parametrize("part", [open_keys, open_state, build_guard])
def test_without_a_data_directory_nothing_is_built(home: Home, part: Callable[..., Any]) -> None:
    home.write('[journal]\npath = "audit.jsonl"\n')
    home.data.rmdir()
    with pytest.raises(ConfigError, match=r"data\.directory: .* is no directory; make it with `tradeguard init`"):
        part(home.path if part is build_guard else load_settings(home.path, {}))


def test_a_journal_in_a_folder_that_is_not_there_is_told(home: Home) -> None:
    home.write('[journal]\npath = "logs/audit.jsonl"\n')
    with pytest.raises(ConfigError, match="name a file in a folder that exists"):
        open_journal(load_settings(home.path, {}))


def break_key(home: Home) -> None:
    home.master_key.chmod(0o644)


def lose_key(home: Home) -> None:
    home.master_key.unlink()


def change_key(home: Home) -> None:
    home.master_key.unlink()
    make_master_key(home.master_key)


def spoil_keys(home: Home) -> None:
    (home.data / "keys.db").write_bytes(b"no database" * 1000)


def spoil_state(home: Home) -> None:
    (home.data / "state.db").write_bytes(b"no database" * 1000)


def ask_too_much(home: Home) -> None:
    home.write('[operations]\n"POST /x" = {scopes = "orders:write", assurance = 2}\n')


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (break_key, "master key file"),
        (lose_key, "master key file"),
        (change_key, r"master key [0-9a-f]{8}"),
        (spoil_keys, "keys.db"),
        (spoil_state, "state.db"),
        (ask_too_much, "assurance"),
    ],
)
def test_what_cannot_be_built_says_why_and_leaves_nothing_open(
    venue: Venue, harm: Callable[[Home], None], says: str
) -> None:
    before = open_files()
    harm(venue)
    with pytest.raises((ConfigError, BackendDown), match=says):
        build_guard(venue.path, {})
    assert {name for name in open_files() - before if str(venue.folder) in name} == set()


async def call(app: Any, scope: dict[str, Any], *messages: dict[str, Any]) -> list[dict[str, Any]]:
    """Let an ASGI application serve one scope; the messages it sent."""
    sent: list[dict[str, Any]] = []
    waiting = list(messages)

    async def receive() -> dict[str, Any]:
        if not waiting:
            await asyncio.Event().wait()
        return waiting.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)
        if message["type"] == "lifespan.startup.complete":
            waiting.append({"type": "lifespan.shutdown"})

    await app(scope, receive, send)
    return sent


def http_scope(out: Outgoing) -> dict[str, Any]:
    headers = [(b"host", b"api.example"), (b"content-type", JSON), (b"content-length", b"%d" % len(BODY)), *out.headers]
    return {
        "type": "http",
        "method": "POST",
        "path": "/v1/orders",
        "raw_path": b"/v1/orders",
        "query_string": b"",
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in headers],
        "scheme": "http",
        "http_version": "1.1",
        "client": ("127.0.0.1", 5000),
        "server": ("127.0.0.1", 80),
    }


def make_fastapi(**given: Any) -> FastAPI:
    app = FastAPI()

    @app.post("/v1/orders")
    async def place(request: Request) -> dict[str, str]:
        return {"account": request.scope["tradeguard"].principal.account, "body": (await request.body()).decode()}

    app.add_middleware(ASGI, **given)
    return app


STARTUP, LIFESPAN = {"type": "lifespan.startup"}, {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
REQUEST = {"type": "http.request", "body": BODY, "more_body": False}


def test_fastapi_is_guarded_by_a_file(venue: Venue) -> None:
    async def main() -> None:
        app = make_fastapi(config=str(venue.path))
        out = order("api.example")
        [start, *chunks] = await call(app, http_scope(out), REQUEST)
        assert start["status"] == 200, chunks
        assert json.loads(chunks[0]["body"]) == {"account": "trader", "body": BODY.decode()}
        [again, refusal] = await call(app, http_scope(out), REQUEST)
        assert (again["status"], json.loads(refusal["body"])["code"]) == (409, "replay.seen")
        stranger = order("api.example", Signer(TG1, "nobody", b"x" * 32))
        assert (await call(app, http_scope(stranger), REQUEST))[0]["status"] == 401
        assert [message["type"] for message in await call(app, LIFESPAN, STARTUP)][-1] == "lifespan.shutdown.complete"

    asyncio.run(main())
    assert not {name for name in open_files() if str(venue.data) in name and ".db" in name}
    lines = [json.loads(line) for line in (venue.data / "audit.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["intent", "outcome", "refused", "refused"]


def test_a_replay_is_known_after_a_restart(venue: Venue) -> None:
    out = order("api.example")

    async def once() -> int:
        app = make_fastapi(config=venue.path)
        status: int = (await call(app, http_scope(out), REQUEST))[0]["status"]
        await call(app, LIFESPAN, STARTUP)
        return status

    assert [asyncio.run(once()), asyncio.run(once())] == [200, 409]


@pytest.mark.parametrize("config", [True, ""])
def test_the_file_is_found_by_the_one_rule(venue: Venue, config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADEGUARD_CONFIG", str(venue.path))
    app = ASGI(make_fastapi(config=config), config=config)
    assert asyncio.run(call(app, http_scope(order("api.example")), REQUEST))[0]["status"] in (200, 409)


@pytest.mark.parametrize("harm", [lose_key, spoil_state, ask_too_much])
def test_a_wrong_file_fails_the_start_of_fastapi(venue: Venue, harm: Callable[[Home], None]) -> None:
    harm(venue)
    app = make_fastapi(config=venue.path)
    [failed] = asyncio.run(call(app, LIFESPAN, STARTUP))
    assert failed["type"] == "lifespan.startup.failed"
    assert failed["message"].startswith("tradeguard: ")
    assert asyncio.run(call(app, http_scope(order("api.example")), REQUEST))[0]["status"] == 503


def test_all_faults_of_the_file_are_told_at_the_start(venue: Venue) -> None:
    venue.write("[keys]\npol_seconds = 1\n[journal]\nsync = 1\n")
    [failed] = asyncio.run(call(make_fastapi(config=venue.path), LIFESPAN, STARTUP))
    assert "keys.pol_seconds: no such key; did you mean keys.poll_seconds?" in failed["message"]
    assert "journal.sync: must be true or false" in failed["message"]


def test_uvicorn_does_not_start_with_a_wrong_file(venue: Venue) -> None:
    venue.write("[keys]\npol_seconds = 1\n")
    code = f"from tradeguard import ASGI\nasync def app(*_): ...\napp = ASGI(app, config={str(venue.path)!r})\n"
    (venue.folder / "wrong.py").write_text(code)
    command = [sys.executable, "-m", "uvicorn", "--port", "0", "--app-dir", str(venue.folder), "wrong:app"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "did you mean keys.poll_seconds?" in done.stderr


@pytest.mark.parametrize("given", [{}, {"guard": lambda: None, "config": "tradeguard.toml"}])
def test_a_guard_or_a_file_and_not_both(given: dict[str, Any]) -> None:
    [failed] = asyncio.run(call(make_fastapi(**given), LIFESPAN, STARTUP))
    assert "give either guard=" in failed["message"]
    with pytest.raises(ConfigError, match="give either guard="):
        WSGI(wsgi_app, **given)


def wsgi_app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"account": environ["tradeguard"].principal.account}).encode()]


class Silent(WSGIRequestHandler):
    """wsgiref, but for the line it prints per request."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_wsgi_is_guarded_by_a_file(venue: Venue) -> None:
    app = WSGI(wsgi_app, config=venue.path)
    with make_server("127.0.0.1", 0, app, handler_class=Silent) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        try:
            authority = f"127.0.0.1:{server.server_port}"
            out, stranger = order(authority), order(authority, Signer(TG1, "nobody", b"x" * 32))
            statuses = [post(authority, request) for request in (out, out, stranger)]
        finally:
            server.shutdown()
            serving.join()
    app.guard.close()
    assert statuses == [200, 409, 401]


def post(authority: str, out: Outgoing) -> int:
    connection = http.client.HTTPConnection(authority, timeout=30)
    headers = {"Content-Type": JSON.decode(), **{name.decode(): value.decode() for name, value in out.headers}}
    connection.request("POST", "/v1/orders", BODY, headers)
    status = connection.getresponse().status
    connection.close()
    return status


def test_a_wrong_file_stops_wsgi(venue: Venue) -> None:
    venue.write("[keys]\npol_seconds = 1\n")
    with pytest.raises(ConfigError, match=r"did you mean keys\.poll_seconds"):
        WSGI(wsgi_app, config=str(venue.path))


async def place(request: web.Request) -> web.Response:
    principal = request[GRANT].principal
    return web.json_response({"account": principal.account if principal else None})


def test_aiohttp_is_guarded_by_a_file(venue: Venue) -> None:
    async def main() -> list[int]:
        app = web.Application(middlewares=[aiohttp_middleware(str(venue.path))])
        app.router.add_post("/v1/orders", place)
        async with TestClient(TestServer(app)) as client:
            authority = f"{client.host}:{client.port}"
            out, statuses = order(authority), list[int]()
            headers = {"Content-Type": JSON.decode(), **{name.decode(): value.decode() for name, value in out.headers}}
            for _ in range(2):
                async with client.post("/v1/orders", data=BODY, headers=headers) as reply:
                    statuses.append(reply.status)
            return statuses

    assert asyncio.run(main()) == [200, 409]


def test_a_wrong_file_stops_aiohttp(venue: Venue, monkeypatch: pytest.MonkeyPatch) -> None:
    venue.write("[keys]\npol_seconds = 1\n")
    monkeypatch.setenv("TRADEGUARD_CONFIG", str(venue.path))
    for given in (venue.path, Path(venue.path), True):
        with pytest.raises(ConfigError, match=r"did you mean keys\.poll_seconds"):
            aiohttp_middleware(given)


def test_a_guard_in_code_needs_no_pydantic() -> None:
    code = "import sys; sys.modules['pydantic'] = None; from tradeguard import ASGI, WSGI; ASGI(None, guard=int); "
    code += "from tradeguard.adapters.given import open_guard; open_guard(config='x')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert 'pip install "tradeguard[config]"' in done.stderr.splitlines()[-1]
