"""Parts for tests in production: not loaded where others are served; where they are loaded, nobody else is served."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import tradeguard.testing
from tradeguard.core.address import parse_address
from tradeguard.core.premises import CLOSED, meet
from tradeguard.core.request import Peer
from tradeguard.testing.loopback import admitted, only_here, open_listeners

FILES = sorted(path.stem for path in Path(tradeguard.testing.__file__).parent.glob("*.py"))
OUTSIDE = Peer(parse_address("203.0.113.9"))

ASK = """
import asyncio
from wsgiref.util import setup_testing_defaults
from tradeguard import ASGI, WSGI, Guard, Memory, MemoryJournal, MemoryKeys, Operations
from tradeguard import Freshness, Replay, Scope, Signature, Source

def make_guard():
    checks = [Source(), Signature(MemoryKeys()), Freshness(), Scope(), Replay()]
    operations = Operations({"GET /time": {"lane": "public"}})
    return Guard(checks, operations=operations, state=Memory(), journal=MemoryJournal())

async def asgi_app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})

def wsgi_app(environ, start_response):
    start_response("200 OK", [])
    return [b""]

def ask(address, app=ASGI(asgi_app, guard=make_guard)):
    sent = []
    async def receive():
        return {"type": "http.request"}
    async def send(message):
        sent.append(message)
    scope = {"type": "http", "method": "GET", "path": "/time", "raw_path": b"/time", "query_string": b"",
             "headers": [(b"host", b"api.example")], "client": (address, 5000) if address else None}
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], sent[1]["body"]

def ask_wsgi(address, app=WSGI(wsgi_app, guard=make_guard())):
    environ, started = {"PATH_INFO": "/time", "REMOTE_ADDR": address}, []
    setup_testing_defaults(environ)
    body = b"".join(app(environ, lambda *start: started.append(start)))
    return int(started[0][0][:3]), body
"""


def run(code: str, *, under_pytest: bool = False) -> list[str]:
    """Run code in a process of its own, as production would; return the lines that it printed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    if under_pytest:
        environment["PYTEST_CURRENT_TEST"] = "test_something (call)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@contextmanager
def listening(family: socket.AddressFamily, address: str) -> Iterator[socket.socket]:
    with socket.socket(family) as sock:
        sock.bind((address, 0))
        sock.listen()
        yield sock


@pytest.mark.parametrize(
    ("family", "address"),
    [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::"), (socket.AF_INET6, "::ffff:0.0.0.0")],
)
def test_a_process_that_serves_others_does_not_load_it(family: socket.AddressFamily, address: str) -> None:
    code = f"""
import socket
from tradeguard import ConfigError
sock = socket.socket({int(family)})
sock.bind(({address!r}, 0))
sock.listen()
for _ in range(2):
    try:
        from tradeguard.testing import StillClock
    except ConfigError as error:
        print(error)
"""
    said = run(code)
    assert len(said) == 2
    assert all("tradeguard.testing is for tests, and this process serves" in line for line in said)


def test_a_listening_socket_is_found_whoever_opened_it() -> None:
    before = open_listeners()
    with listening(socket.AF_INET, "0.0.0.0") as sock:
        port = sock.getsockname()[1]
        fd = os.dup(sock.fileno())
    assert open_listeners() == [*before, f"0.0.0.0:{port}"]  # a descriptor is left, as a server in Rust would hold one
    os.close(fd)
    assert open_listeners() == before


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_loopback_listeners_and_connected_sockets_are_no_service_to_others(family: socket.AddressFamily) -> None:
    address = "127.0.0.1" if family == socket.AF_INET else "::1"
    with listening(family, address) as sock, socket.create_connection((address, sock.getsockname()[1])):
        assert open_listeners() == []


def test_a_guard_in_a_process_with_test_parts_serves_its_own_machine_only() -> None:
    code = (
        ASK
        + """
print(ask("203.0.113.9")[0], ask("127.0.0.1")[0])
from tradeguard.testing import StillClock
for address in ("203.0.113.9", "2001:db8::1", "::ffff:203.0.113.9", "10.0.0.1", None, "testclient"):
    status, body = ask(address)
    print(status, b'"premises.closed"' in body and b"for tests only" in body)
for address in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"):
    print(ask(address)[0])
print(ask_wsgi("203.0.113.9")[0], ask_wsgi("")[0], ask_wsgi("127.0.0.1")[0])
"""
    )
    assert run(code) == ["200 200", *["503 True"] * 6, *["200"] * 4, "503 503 200"]


def test_inside_a_pytest_test_a_client_may_claim_any_address_while_nothing_listens_elsewhere() -> None:
    code = (
        ASK
        + """
import socket
from tradeguard.testing import StillClock
print(ask("203.0.113.9")[0], ask(None)[0])
with socket.create_server(("127.0.0.1", 0)):
    print(ask("203.0.113.9")[0])
with socket.create_server(("0.0.0.0", 0)):
    print(ask("203.0.113.9")[0], ask("127.0.0.1")[0])
"""
    )
    assert run(code, under_pytest=True) == ["200 200", "200", "503 200"]


def test_the_operator_is_told_when_it_is_loaded_and_why_a_peer_is_refused() -> None:
    code = (
        ASK
        + """
import logging
logging.basicConfig(format="%(message)s", stream=__import__("sys").stdout)
guard = make_guard()
from tradeguard.testing import StillClock
ask("203.0.113.9", ASGI(asgi_app, guard=guard))
print(dict(guard.journal.counts))
"""
    )
    said = run(code)
    assert said == [
        "tradeguard.testing is loaded, so this process serves its own machine only",
        "{'premises.closed': 1}",
    ]


def test_a_still_clock_cannot_be_put_into_a_host_as_it_is() -> None:
    code = (
        ASK
        + """
from tradeguard import ConfigError
from tradeguard.testing import StillClock
guard = make_guard()
guard.bind(StillClock())
try:
    WSGI(wsgi_app, guard=guard)
except ConfigError as error:
    print(error)
"""
    )
    assert run(code) == ["a guard serves one kind of host; build a second guard over the same state and keys"]


def test_every_file_but_the_plugin_closes_the_process_when_it_is_loaded() -> None:
    code = f"""
import os
from tradeguard.core.premises import _admitted
for name in {FILES!r}:
    if not os.fork():
        __import__("tradeguard.testing" + ("" if name == "__init__" else "." + name))
        print(name, bool(_admitted), flush=True)
        os._exit(0)
    os.wait()
"""
    closed = dict(line.split() for line in run(code))
    assert set(closed) == set(FILES)
    assert {name for name, is_closed in closed.items() if is_closed == "False"} == {"__init__", "loopback", "plugin"}


def test_the_plugin_loads_no_framework_and_nothing_heavy() -> None:
    code = """
import sys, pytest
had = set(sys.modules)
import tradeguard.testing.plugin
print(*sorted(set(sys.modules) - had))
"""
    assert run(code) == ["tradeguard tradeguard.testing tradeguard.testing.plugin"]


@pytest.mark.parametrize(
    ("peer", "is_own"),
    [
        (Peer(parse_address("127.0.0.1")), True),
        (Peer(parse_address("::1")), True),
        (OUTSIDE, False),
        (Peer(), False),
        (Peer(rewritten="127.0.0.1"), False),
    ],
)
def test_who_is_admitted_outside_a_test(peer: Peer, is_own: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    only_here()
    assert admitted(peer) is is_own
    denial = meet(peer)
    assert (denial is None) is is_own
    assert denial is None or denial.code == CLOSED == "premises.closed"
