"""Django on its own server, gunicorn and uvicorn: the middleware, system checks, the management command."""

import contextlib
import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from adapters.wire import Host, Reply, send, signed
from freeport import free_port
from support import READER, TRADER

from tradeguard.adapters.django.template import read_route
from tradeguard.adapters.template import agree
from tradeguard.signing.signer import Outgoing

TESTS = Path(__file__).parents[1]
APP = "adapters.django_app"
MANAGE = f"""
import sys
from {APP} import set_up
set_up()
from django.core.management import execute_from_command_line
execute_from_command_line(["manage.py", *sys.argv[1:]])
"""
SERVERS: dict[str, list[str]] = {
    "runserver": ["-c", MANAGE, "runserver", "--noreload", "127.0.0.1:{port}"],
    "gunicorn": ["-m", "gunicorn", f"{APP}:application", "--bind", "127.0.0.1:{port}", "--log-level", "error"],
    "uvicorn": ["-m", "uvicorn", f"{APP}:asgi", "--port", "{port}", "--lifespan", "off", "--no-proxy-headers"],
    "uvicorn-sync": ["-m", "uvicorn", f"{APP}:asgi", "--port", "{port}", "--lifespan", "off", "--no-proxy-headers"],
}
SYNC = {"MIDDLEWARE": ["tradeguard.adapters.django.guard", f"{APP}.SyncOnly"]}
JSON = b"application/json"


def environ(**setting: Any) -> dict[str, str]:
    path = os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(TESTS)])
    return {**os.environ, "PYTHONPATH": path, "DJANGO_SET": json.dumps(setting)}


def run(*command: str, folder: Path | None = None, **setting: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, timeout=60, check=False,
        env=environ(**setting), cwd=folder,
    )  # fmt: skip


@pytest.fixture(scope="module", params=list(SERVERS))
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    port = free_port()
    command = [sys.executable, *(word.replace("{port}", str(port)) for word in SERVERS[request.param])]
    setting = SYNC if request.param == "uvicorn-sync" else {}
    process = subprocess.Popen(command, env=environ(**setting), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    host = Host(request.param, port, Path())
    try:
        _wait(host, process)
        yield host
    finally:
        process.terminate()
        process.communicate(timeout=20)


def _wait(host: Host, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(200):
        assert process.poll() is None, process.communicate()
        with contextlib.suppress(OSError, http.client.HTTPException):
            if send(host, Outgoing("GET", "", b"/v1/time")).status == 200:
                return
        time.sleep(0.05)
    raise AssertionError(f"{host.name} does not answer")


def ask(host: Host, method: str, target: str, body: bytes = b"", kind: bytes = b"", signer: Any = TRADER) -> Reply:
    return send(host, signed(host, signer, method, target.encode(), body, kind))


def test_a_signed_request_reaches_the_view(host: Host) -> None:
    reply = ask(host, "GET", "/v1/orders?symbol=BTC%20USD")
    assert (reply.status, reply.json["key"]) == (200, "trader"), reply
    assert len(reply.all("x-request-id")) == 1
    assert reply.all("x-request-id") != ["made-by-the-view"]
    assert ask(host, "GET", "/v1/orders/17").json["id"] == 17
    assert ask(host, "GET", "/v1/trades/abc").json["id"] == "abc"
    assert ask(host, "GET", "/v1/old/7").json["id"] == "7"
    assert ask(host, "GET", "/v1/odd/a").status == 200
    assert ask(host, "GET", "/v1/files/a/b").json["name"] == "a/b"


@pytest.mark.parametrize("name", ["%C3%A9", "a%20b", "a:b@c", "BTC-USD,ETH", "%E2%82%AC"])
def test_a_canonical_path_is_signed_as_it_is_sent(host: Host, name: str) -> None:
    reply = ask(host, "GET", f"/v1/names/{name}")
    assert reply.status == 200, reply


def test_the_body_is_still_readable_in_the_view(host: Host) -> None:
    body = b'{"symbol":"BTC-USD"}' * 10_000
    assert ask(host, "POST", "/v1/orders", body, JSON).json["body"] == body.decode()
    form = ask(host, "POST", "/v1/orders", b"a=1&b=2", b"application/x-www-form-urlencoded")
    assert form.json["form"] == {"a": "1", "b": "2"}


def test_a_chunked_body_is_verified_or_refused(host: Host) -> None:
    reply = send(host, signed(host, TRADER, "POST", b"/v1/orders", b"{}", JSON), chunked=True)
    if host.name == "runserver":  # wsgiref hands chunked bodies on undecoded
        assert (reply.status, reply.json["code"]) == (400, "frame.length")
    else:
        assert (reply.status, reply.json["body"]) == (200, "{}")


def test_what_is_signed_cannot_be_changed_nor_sent_twice(host: Host) -> None:
    request = signed(host, TRADER, "POST", b"/v1/orders", b"{}", JSON)
    assert send(host, request._replace(body=b"[]")).json["code"] == "unauthorized"
    assert send(host, request._replace(target=b"/v1/orders?x")).json["code"] == "unauthorized"
    assert send(host, request).status == 200
    assert (send(host, request).status, send(host, request).json["code"]) == (409, "replay.seen")


def test_strangers_and_keys_without_the_scope_are_refused(host: Host) -> None:
    reply = send(host, Outgoing("GET", "", b"/v1/orders"))
    assert (reply.status, reply.json["code"]) == (401, "unauthorized")
    assert reply.all("content-type") == ["application/problem+json"]
    assert reply.all("www-authenticate") != []
    assert ask(host, "POST", "/v1/orders", b"{}", JSON, READER).json["code"] == "scope.missing"


@pytest.mark.parametrize("target", ["/v1/trades/all", "/v1/odder/a"])
def test_a_request_that_is_routed_elsewhere_than_the_map_says_is_refused(host: Host, target: str) -> None:
    reply = ask(host, "GET", target)
    assert (reply.status, reply.json["code"], reply.json["executed"]) == (503, "template.mismatch", False)
    assert reply.all("x-request-id") == [reply.json["request_id"]]


def test_streams_failures_and_unknown_paths_are_djangos_answers_with_our_id(host: Host) -> None:
    assert ask(host, "GET", "/v1/stream").body == b"one\ntwo\n"
    for target, status in (("/v1/gone", 404), ("/v1/fail", 500)):
        reply = ask(host, "GET", target)
        assert (reply.status, len(reply.all("x-request-id"))) == (status, 1)


@pytest.mark.parametrize("target", ["//v1/orders", "/v1/%6Frders", "/v1/./orders", "/v1/a%2Fb"])
def test_a_path_in_another_spelling_never_reaches_a_view(host: Host, target: str) -> None:
    assert ask(host, "GET", target).status in (400, 401)


@pytest.mark.parametrize("server", ["runserver", "gunicorn", "uvicorn"])
@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({}, "say TRADEGUARD ="),
        ({"confg": "x"}, "TRADEGUARD has no key 'confg'"),
        ({"guard": "nowhere.guard"}, "names 'nowhere.guard', which cannot be imported"),
        ({"config": "missing.toml"}, "no configuration at"),
    ],
)
def test_a_wrong_configuration_stops_the_server_with_a_sentence(
    server: str, setting: dict[str, str], sentence: str, tmp_path: Path
) -> None:
    command = [word.replace("{port}", str(free_port())) for word in SERVERS[server]]
    ended = run(*command, folder=tmp_path, TRADEGUARD=setting)
    assert ended.returncode != 0
    assert sentence in ended.stderr


@pytest.mark.parametrize(
    ("setting", "ids"),
    [
        ({}, set()),
        ({"MIDDLEWARE": []}, {"tradeguard.E001"}),
        ({"MIDDLEWARE": [f"{APP}.SyncOnly", SYNC["MIDDLEWARE"][0]]}, {"tradeguard.W001"}),
        ({"MIDDLEWARE": [SYNC["MIDDLEWARE"][0]] * 2}, {"tradeguard.E002"}),
        ({"TRADEGUARD": {"config": "missing.toml"}}, {"tradeguard.E003"}),
        ({"MIDDLEWARE": [], "SILENCED_SYSTEM_CHECKS": ["tradeguard.E001"]}, set()),
    ],
)
def test_system_checks_say_what_is_wrong_and_can_be_silenced(setting: dict[str, Any], ids: set[str]) -> None:
    checked = run("-c", MANAGE, "check", **setting)
    assert {
        word.strip("(:)?") for word in checked.stderr.split() if "tradeguard.E" in word or "tradeguard.W" in word
    } >= ids
    assert ("HINT" in checked.stderr) == bool(ids), checked.stderr
    assert (checked.returncode != 0) == any(".E" in id for id in ids), checked.stderr


@pytest.mark.parametrize(
    ("setting", "id"),
    [
        ({"SECURE_PROXY_SSL_HEADER": ["HTTP_X_FORWARDED_PROTO", "https"]}, "W002"),
        ({"USE_X_FORWARDED_HOST": True}, "W002"),
        ({"SECURE_HSTS_SECONDS": 60}, "W003"),
        ({"MIDDLEWARE": [SYNC["MIDDLEWARE"][0], "django.middleware.csrf.CsrfViewMiddleware"]}, "W004"),
    ],
)
def test_what_matters_in_production_is_said_by_check_deploy_alone(setting: dict[str, Any], id: str) -> None:
    assert f"tradeguard.{id}" in run("-c", MANAGE, "check", "--deploy", **setting).stderr
    assert f"tradeguard.{id}" not in run("-c", MANAGE, "check", **setting).stderr


def test_the_management_command_is_the_command_line_with_the_projects_configuration(tmp_path: Path) -> None:
    made = run("-m", "tradeguard", "init", "--directory", str(tmp_path / "venue"), "--master-key", str(tmp_path / "k"))
    assert made.returncode == 0, made.stderr
    setting: dict[str, Any] = {"TRADEGUARD": {"config": str(tmp_path / "venue" / "tradeguard.toml")}}
    shown = run("-c", MANAGE, "tradeguard", "operations", "POST", "/v1/orders", **setting)
    assert (shown.returncode, "orders:write" in shown.stdout) == (0, True), shown.stderr
    assert run("-c", MANAGE, "tradeguard", "nonsense", **setting).returncode == 2


@pytest.mark.parametrize(
    ("route", "row", "agrees"),
    [
        ("v1/orders/<int:id>", "/v1/orders/{id}", True),
        ("^v1/orders/(?P<id>[0-9]{1,9})$", "/v1/orders/{id}", True),
        ("^v1/orders/(?P<id>.*)$", "/v1/orders/{id}", False),
        ("^v1/orders/(?P<id>.*)$", "/v1/orders/*", True),
        ("^v1/orders/(?P<id>[^/]+)/?$", "/v1/orders/{id}", False),
        (r"^v1\.0/x$", "/v1.0/x", True),
        ("v1/^orders/(?P<id>[-\\w]+)/fills", "/v1/orders/{id}/fills", True),
        ("v1/files/<path:name>", "/v1/files/a/{b}", True),
    ],
)
def test_a_route_is_read_as_django_writes_it(route: str, row: str, agrees: bool) -> None:
    assert agree(row, read_route(route)) is agrees
