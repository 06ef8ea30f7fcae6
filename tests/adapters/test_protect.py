"""`protect`: any application behind the configured guard; development mode for this machine alone, loud and helpful."""

import asyncio
import json
import logging
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import flask
import pytest
from adapters.asks import Got, ask_asgi, ask_wsgi
from aiohttp import web
from config.home import Home
from fastapi import FastAPI
from starlette.applications import Starlette

from tradeguard import ASGI, TG1, WSGI, ConfigError, Outgoing, Signer, protect
from tradeguard.config import find_config

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without a configuration, and no word of one."""
    tmp_path.chmod(0o700)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRADEGUARD_CONFIG", raising=False)
    monkeypatch.delenv("TRADEGUARD_DEVELOPMENT", raising=False)
    return tmp_path


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["tradeguard"].principal.key_id.encode()})


def wsgi_app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [])
    return [environ["tradeguard"].principal.key_id.encode()]


class Dev:
    """An application in development mode, asked in this process, and its key."""

    def __init__(self, app: Any, ask: Callable[..., Got], shown: str) -> None:
        found = re.fullmatch(r"tradeguard development key \(tg1, HMAC-SHA256\): id development, secret (\S+)\n", shown)
        assert found is not None, shown
        self.app, self._ask, self.secret = app, ask, found[1]
        self.signer = Signer(TG1, "development", self.secret.encode())

    def ask(self, method: str = "GET", path: str = "/any", fields: Any = (), **more: Any) -> Got:
        return self._ask(self.app, method, path, fields, **more)

    def sign(
        self, method: str = "GET", path: str = "/any", *, host: str = "localhost", body: bytes = b"", key: Any = None
    ) -> list[tuple[str, str]]:
        out = (key or self.signer).sign(Outgoing(method, host, path.encode(), b"", body), time.time_ns())
        return [(name.decode(), value.decode()) for name, value in out.headers]


@pytest.fixture(params=["asgi", "wsgi"])
def dev(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Dev:
    monkeypatch.setenv("TRADEGUARD_DEVELOPMENT", "1")
    app, ask = (protect(asgi_app), ask_asgi) if request.param == "asgi" else (protect(wsgi_app), ask_wsgi)
    return Dev(app, ask, capsys.readouterr().err)


def test_without_configuration_and_without_the_variable_nothing_is_guarded() -> None:
    with pytest.raises(ConfigError, match=r"`tradeguard init`, or set TRADEGUARD_DEVELOPMENT=1"):
        protect(asgi_app)


@pytest.mark.parametrize("value", ["", "0", "true", "yes", "11"])
def test_only_the_exact_word_asks_for_development_mode(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("TRADEGUARD_DEVELOPMENT", value)
    with pytest.raises(ConfigError, match="there is no configuration"):
        protect(wsgi_app)


def test_development_mode_is_loud(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRADEGUARD_DEVELOPMENT", "1")
    protect(wsgi_app)
    [record] = caplog.records
    secret = capsys.readouterr().err.rstrip().rpartition(" ")[2]
    assert (record.levelno, len(secret)) == (logging.WARNING, 43)
    assert "DEVELOPMENT MODE" in record.message
    assert secret not in caplog.text


def test_each_start_has_a_key_of_its_own(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TRADEGUARD_DEVELOPMENT", "1")
    protect(wsgi_app)
    protect(wsgi_app)
    one, two = capsys.readouterr().err.splitlines()
    assert one != two


@pytest.mark.parametrize(("method", "path"), [("GET", "/any"), ("POST", "/v1/orders"), ("DELETE", "/x?y=1")])
def test_the_key_may_do_everything_and_every_answer_says_the_mode(dev: Dev, method: str, path: str) -> None:
    got = dev.ask(method, path, dev.sign(method, path))
    assert (got.status, got.body, got.all("tradeguard-development")) == (200, b"development", ["1"])
    assert dev.ask(method, path).all("tradeguard-development") == ["1"]


def test_nothing_passes_without_the_key(dev: Dev) -> None:
    assert dev.ask().status == 401
    assert dev.ask(fields=dev.sign(key=Signer(TG1, "development", b"x" * 32))).status == 401
    assert dev.ask(fields=dev.sign(key=Signer(TG1, "somebody", b"x" * 32))).status == 401
    fields = dev.sign()
    assert [dev.ask(fields=fields).status for _ in range(2)] == [200, 409]


def test_a_refusal_tells_the_reason_and_what_to_sign_and_never_the_secret(dev: Dev) -> None:
    got = dev.ask("POST", "/v1/orders?a=1", dev.sign("POST", "/v1/orders", body=b"{}"), body=b"{}")
    problem = json.loads(got.body)
    assert (got.status, problem["code"], problem["reason"]) == (401, "unauthorized", "signature.wrong")
    assert problem["hint"].startswith("The signature does not verify")
    lines = problem["string_to_sign"].split("\n")
    assert {"development", "POST", "localhost", "/v1/orders?a=1"} <= set(lines)
    assert dev.secret not in got.body.decode()
    wrong = Signer(TG1, "development", b"x" * 32)
    out = wrong.sign(Outgoing("GET", "localhost", b"/any"), time.time_ns())
    told = json.loads(dev.ask(fields=[(n.decode(), v.decode()) for n, v in out.headers]).body)["string_to_sign"]
    stamps = dict(out.headers)
    assert stamps[b"tg-time"].decode() in told
    assert stamps[b"tg-nonce"].decode() in told


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ([], "proof.unclaimed"),
        ([("TG-Key", "development")], "signature.missing"),
        ([("TG-Key", "a b")], "place.field"),
        ([("X-HTTP-Method-Override", "DELETE")], "frame.override"),
    ],
)
def test_what_is_no_signature_is_explained_too(dev: Dev, fields: Any, reason: str) -> None:
    problem = json.loads(dev.ask(fields=fields).body)
    assert problem["reason"] == reason
    assert "string_to_sign" not in problem


REMOTES: list[Any] = [
    ("10.0.0.5", 5),
    ("203.0.113.9", 5),
    ("::ffff:10.0.0.5", 5),
    ("2001:db8::1", 5),
    ("fe80::1%lo", 5),
    ("0.0.0.0", 5),
    ("127.0.0.1.evil.example", 5),
    ("localhost", 5),
    ("", 5),
    None,
]


@pytest.mark.parametrize("client", REMOTES, ids=str)
def test_who_is_not_on_this_machine_is_refused_and_told_nothing(dev: Dev, client: Any) -> None:
    got = dev.ask(fields=dev.sign(), client=client)
    assert (got.status, json.loads(got.body)["code"]) == (403, "protect.remote")
    assert json.loads(got.body).keys().isdisjoint({"reason", "hint", "string_to_sign"})


def test_a_client_that_the_server_rewrote_is_not_on_this_machine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRADEGUARD_DEVELOPMENT", "1")
    dev = Dev(protect(asgi_app), ask_asgi, capsys.readouterr().err)
    assert dev.ask(fields=dev.sign(), client=("127.0.0.1", 0)).status == 403


@pytest.mark.parametrize("client", [("127.0.0.1", 5), ("127.9.9.9", 5), ("::1", 5), ("::ffff:127.0.0.1", 5)])
def test_this_machine_has_several_addresses(dev: Dev, client: Any) -> None:
    assert dev.ask(fields=dev.sign(), client=client).status == 200


@pytest.mark.parametrize(
    "name",
    ["X-Forwarded-For", "Forwarded", "Via", "X-Real-IP", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Original-URL",
     "True-Client-IP", "CF-Connecting-IP", "X-Envoy-External-Address"],
)  # fmt: skip
def test_any_header_of_a_proxy_is_refused(dev: Dev, name: str) -> None:
    got = dev.ask(fields=[*dev.sign(), (name, "127.0.0.1")])
    assert (got.status, json.loads(got.body)["code"]) == (403, "protect.forwarded")


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "LOCALHOST", "127.0.0.1:8000", "[::1]:80"])
def test_a_local_host_is_served(dev: Dev, host: str) -> None:
    authority = host.lower().removesuffix(":80")
    assert dev.ask(fields=[("Host", host), *dev.sign(host=authority)]).status == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "evil.localhost", "127.0.0.1.nip.io", "127.0.0.2", "10.0.0.1",
     "localhost@evil.example", "[::ffff:127.0.0.1]", "0.0.0.0", "localhost:x", "localhost."],
)  # fmt: skip
def test_a_page_that_rebinds_its_name_is_refused(dev: Dev, host: str) -> None:
    got = dev.ask(fields=[("Host", host), *dev.sign(host=host)])
    assert (got.status, json.loads(got.body)["code"]) == (403, "protect.host")


def test_two_hosts_are_none(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TRADEGUARD_DEVELOPMENT", "1")
    dev = Dev(protect(asgi_app), ask_asgi, capsys.readouterr().err)
    got = dev.ask(fields=[("Host", "localhost"), ("Host", "localhost"), *dev.sign()])
    assert json.loads(got.body)["code"] == "protect.host"


def test_with_a_configuration_there_is_no_development_mode(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRADEGUARD_DEVELOPMENT", "1")
    Home(nowhere, '[operations]\n"GET /any" = "orders:read"\n')
    app = protect(wsgi_app)
    assert type(app) is WSGI
    got = ask_wsgi(app, "GET", "/any")
    assert (got.status, got.all("tradeguard-development")) == (401, [])
    assert b"reason" not in got.body
    assert "TRADEGUARD_DEVELOPMENT is ignored" in caplog.text
    assert "secret" not in capsys.readouterr().err
    app.guard.close()


def test_a_named_configuration_that_is_missing_stops_the_server(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADEGUARD_DEVELOPMENT", "1")
    for given in (str(nowhere / "none.toml"), True):
        with pytest.raises(ConfigError, match="no configuration at"):
            protect(wsgi_app, given)
    monkeypatch.setenv("TRADEGUARD_CONFIG", str(nowhere / "none.toml"))
    with pytest.raises(ConfigError, match="no configuration at"):
        protect(asgi_app)


def test_a_wrong_configuration_stops_the_server(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADEGUARD_DEVELOPMENT", "1")
    Home(nowhere, "[polcy]\n")
    with pytest.raises(ConfigError, match="did you mean policy"):
        protect(wsgi_app)
    sent: list[Any] = []

    async def start() -> None:
        async def receive() -> dict[str, str]:
            return {"type": "lifespan.startup"}

        async def send(message: Any) -> None:
            sent.append(message)

        await protect(asgi_app)({"type": "lifespan"}, receive, send)

    asyncio.run(start())
    assert sent[0]["type"] == "lifespan.startup.failed"


def test_what_protect_finds_is_what_the_one_rule_finds(nowhere: Path) -> None:
    home = Home(nowhere)
    assert find_config() == home.path
    app = protect(wsgi_app, "tradeguard.toml")
    assert app.guard.loaded.path == home.path  # type: ignore[attr-defined]
    app.guard.close()


class Callable2:
    def __call__(self, environ: Any, start_response: Any) -> Any: ...


class Callable3:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


def returns_a_coroutine(scope: Any, receive: Any, send: Any) -> Any:
    return asgi_app(scope, receive, send)


def generates(environ: Any, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [])
    yield b""


async def more(extra: Any, scope: Any, receive: Any, send: Any) -> None: ...


def named(value: Any) -> str:
    """What it is called, without the address: each process of a run must give a test the same name."""
    return re.sub(r"( at)? 0x[0-9a-f]+", "", str(value))


@pytest.mark.parametrize(
    ("app", "kind"),
    [
        (asgi_app, ASGI),
        (Callable3(), ASGI),
        (Callable3().__call__, ASGI),
        (returns_a_coroutine, ASGI),
        (partial(more, 1), ASGI),
        (FastAPI(), ASGI),
        (Starlette(), ASGI),
        (wsgi_app, WSGI),
        (Callable2(), WSGI),
        (generates, WSGI),
        (lambda environ, start_response: [], WSGI),
        (flask.Flask("shop"), WSGI),
        (flask.Flask("shop").wsgi_app, WSGI),
    ],
    ids=named,
)
def test_the_kind_of_an_application_is_seen_without_calling_it(
    monkeypatch: pytest.MonkeyPatch, app: Any, kind: type
) -> None:
    monkeypatch.setenv("TRADEGUARD_DEVELOPMENT", "1")
    assert isinstance(protect(app), kind)


async def two(environ: Any, start_response: Any) -> None: ...


def anything(*args: Any) -> None: ...


def old(scope: Any) -> Any: ...


def three(a: Any, b: Any, c: Any) -> None: ...


@pytest.mark.parametrize(
    "app",
    [
        two,
        anything,
        old,
        three,
        Callable2,
        Callable3,
        FastAPI,
        None,
        "app",
        web.Application(),
        lambda: None,
        partial(two),
    ],
    ids=named,
)
def test_in_doubt_an_application_is_refused_with_the_cure(monkeypatch: pytest.MonkeyPatch, app: Any) -> None:
    monkeypatch.setenv("TRADEGUARD_DEVELOPMENT", "1")
    with pytest.raises(ConfigError, match=r"say which: tradeguard\.ASGI"):
        protect(app)


def test_nothing_is_protected_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADEGUARD_DEVELOPMENT", "1")
    for app in (protect(asgi_app), protect(wsgi_app)):
        with pytest.raises(ConfigError, match="guarded already"):
            protect(app)


SERVER = """
import socket, sys, threading
sys.path[:0] = {paths!r}
import uvicorn
from adapters.test_protect import asgi_app
from tradeguard import protect
sock = {listen}
print(sock.getsockname()[1] if sock.family == socket.AF_INET else 0, flush=True)
uvicorn.Server(uvicorn.Config(protect(asgi_app), log_level="error", lifespan="off")).run(sockets=[sock])
"""


def run_server(listen: str) -> subprocess.Popen[str]:
    code = SERVER.format(paths=[str(HERE.parent)], listen=listen)
    environ = {**os.environ, "TRADEGUARD_DEVELOPMENT": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ,
        cwd=HERE.parents[1],
    )


def exchange(sock: socket.socket, fields: list[tuple[str, str]]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
    sock.sendall(f"GET /any HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{lines}\r\n".encode())
    answer = b""
    while piece := sock.recv(65_536):
        answer += piece
    return answer


@pytest.mark.parametrize("kind", ["loopback", "unix"])
def test_on_a_real_server_loopback_is_served_and_a_unix_socket_is_not(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "sock"
    listen = 'socket.create_server(("127.0.0.1", 0))'
    if kind == "unix":
        listen = f"(lambda s: (s.bind({str(path)!r}), s.listen(), s)[2])(socket.socket(socket.AF_UNIX))"
    server = run_server(listen)
    try:
        assert server.stdout is not None
        assert server.stderr is not None
        port, shown = int(server.stdout.readline()), ""
        while "secret" not in shown:
            shown = server.stderr.readline()
            assert shown, "the server ended"
        dev = Dev(None, ask_asgi, shown)
        for forwarded in ([], [("X-Forwarded-For", "127.0.0.1")], [("X-Forwarded-For", "127.0.0.1:4711")]):
            sock = socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET)
            with sock:
                sock.settimeout(10)
                sock.connect(str(path) if kind == "unix" else ("127.0.0.1", port))
                answer = exchange(sock, [*dev.sign(), *forwarded])
            assert b" 200 " in answer.split(b"\r\n")[0] if kind == "loopback" and not forwarded else b" 403 " in answer
            assert b"tradeguard-development: 1" in answer
    finally:
        server.terminate()
        server.communicate(timeout=10)
