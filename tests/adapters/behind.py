"""Guarded applications behind a proxy, and nginx to be it: each server started as its own command line starts it.

`BEHIND` says how: a JSON table with the journal, the trusted proxies, their header and a folder for the state.
"""

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # support.py, when a server loads this file

import pytest
from adapters.hosts import ROWS, asgi_app, wsgi_app
from adapters.wire import Host, Reply, head, read_reply
from freeport import free_port
from support import SECRET

from tradeguard import (
    ASGI,
    TG1,
    WSGI,
    Freshness,
    Guard,
    Hmac,
    Journal,
    KeyRecord,
    Memory,
    MemoryKeys,
    Network,
    Operations,
    Outgoing,
    Policy,
    Replay,
    Scope,
    Signature,
    Signer,
    Source,
    SQLiteState,
)
from tradeguard.core.proxy import Proxies

NEAR, FAR = "127.0.0.2", "127.0.0.3"
"""Where clients come from; the proxy is 127.0.0.1. The key `inside` is held to the first."""
INSIDE = Signer(TG1, "inside", SECRET)


def make_guard() -> Guard:
    """The guard that `BEHIND` describes."""
    told = json.loads(os.environ["BEHIND"])
    proxies = Proxies(header=told["header"], trusted=told["trusted"]) if told["trusted"] else None
    record = KeyRecord(id="inside", dialect="tg1", material=Hmac(SECRET), scopes={"orders:*"}, networks=[f"{NEAR}/32"])
    return Guard(
        [
            Source(address=10_000, pair=10_000),
            Signature(MemoryKeys([record])),
            Freshness(),
            Network(),
            Scope(),
            Replay(),
        ],
        operations=Operations(ROWS),
        state=SQLiteState(Path(told["folder"]) / "state.db", busy=2) if told["shared"] else Memory(since=1),
        journal=Journal(told["journal"]),
        policy=Policy(body_bytes=300_000, proxies=proxies),
    )


def asgi() -> ASGI:
    """For ASGI servers."""
    return ASGI(asgi_app, guard=make_guard)


def wsgi() -> WSGI:
    """For WSGI servers."""
    return WSGI(wsgi_app, guard=make_guard)


def mounted() -> Any:
    """The same below /api of another application."""
    from starlette.applications import Starlette
    from starlette.routing import Mount

    return Starlette(routes=[Mount("/api", app=asgi())])


def aio(_arguments: list[str]) -> Any:
    """For aiohttp."""
    from adapters.aiohttp_app import make_app

    return make_app(make_guard())


SERVERS: dict[str, list[str]] = {
    "uvicorn": ["uvicorn", "behind:asgi", "--factory", "--no-proxy-headers", "--log-level", "warning"],
    "hypercorn": ["hypercorn", "behind:asgi()"],
    "gunicorn": ["gunicorn", "behind:wsgi()", "--threads", "4", "--log-level", "error", "--no-control-socket"],
    "waitress": ["waitress", "--call", "--no-clear-untrusted-proxy-headers", "behind:wsgi"],
    "aiohttp": ["aiohttp.web", "behind:aio"],
}
LISTEN: dict[str, tuple[str, ...]] = {
    "uvicorn": ("--port={port}", "--uds={path}"),
    "hypercorn": ("--bind=127.0.0.1:{port}", "--bind=unix:{path}"),
    "gunicorn": ("--bind=127.0.0.1:{port}", "--bind=unix:{path}"),
    "waitress": ("--listen=127.0.0.1:{port}", "--unix-socket={path}"),
    "aiohttp": ("--port={port}", "--path={path}"),
}


@contextlib.contextmanager
def serving(
    name: str, folder: Path, *more: str, unix: bool = False, trusted: tuple[str, ...] = ("127.0.0.1/32",),
    header: str = "x-forwarded-for", app: str = "", shared: bool = False,
) -> Iterator[Host]:  # fmt: skip
    """Run a server until the end of the block; on a unix socket, `folder/sock`, where that is asked for."""
    journal, port, path = folder / "journal.jsonl", 0 if unix else free_port(), folder / "sock"
    told = {"journal": str(journal), "trusted": trusted, "header": header, "folder": str(folder), "shared": shared}
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path[1:]])
    listen = [LISTEN[name][unix].format(port=port, path=path), *more]
    module, *rest = SERVERS[name]
    rest = [app if app and word.startswith("behind:") else word for word in rest]
    arguments = [*listen, *rest] if name == "waitress" else [*rest, *listen]
    if name == "aiohttp":
        arguments = [*listen, *rest, *(["--hostname=127.0.0.1"] if not unix else [])]
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        env={**os.environ, "BEHIND": json.dumps(told), "PYTHONPATH": paths},
        stdout=subprocess.DEVNULL,
    )
    try:
        _wait(lambda: _connect(port, path if unix else None).close(), process)
        yield Host(name, port, journal)
    finally:
        process.terminate()
        process.wait(15)


def _connect(port: int, path: Path | None = None) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
    sock.settimeout(10)
    try:
        sock.connect(str(path) if path else ("127.0.0.1", port))
    except OSError:
        sock.close()
        raise
    return sock


def _wait(attempt: Any, process: subprocess.Popen[bytes]) -> None:
    for _ in range(400):
        with contextlib.suppress(OSError):
            attempt()
            return
        assert process.poll() is None, f"it ended with {process.returncode}"
        time.sleep(0.025)
    raise AssertionError("it does not listen")


def find_nginx() -> str:
    """The nginx of this machine; its absence is a defect where everything is to be tested."""
    found = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if found is None:
        assert not os.environ.get("CI"), "nginx is missing: apt-get install nginx-light"
        pytest.skip("nginx is not installed: apt-get install nginx-light")
    return found


NGINX = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream app {{ server {upstream}; keepalive 8; }}
    server {{
        listen 127.0.0.1:{port};
        merge_slashes off;
        client_max_body_size 400000;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
        {more}
        location / {{ proxy_pass http://app; }}
        location /stripped/ {{ proxy_pass http://app/; }}
    }}
}}
"""


@contextlib.contextmanager
def nginx(folder: Path, upstream: str, more: str = "") -> Iterator[int]:
    """Run nginx in front of an upstream until the end of the block; give its port."""
    program, port, home = find_nginx(), free_port(), folder / "nginx"
    home.mkdir()
    config = home / "nginx.conf"
    config.write_text(NGINX.format(folder=home, port=port, upstream=upstream, more=more))
    process = subprocess.Popen(
        [program, "-p", str(home), "-c", str(config), "-e", str(home / "error.log")], stderr=subprocess.DEVNULL
    )
    try:
        _wait(lambda: _connect(port).close(), process)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def sign(port: int, method: str = "GET", target: bytes = b"/v1/orders", body: bytes = b"") -> Outgoing:
    """A request of the key that is held to one address."""
    kind = b"application/json" if body else b""
    return INSIDE.sign(Outgoing(method, f"127.0.0.1:{port}", target, kind, body), time.time_ns())


def fields_of(port: int, request: Outgoing, extra: tuple[tuple[str, str], ...] = ()) -> bytes:
    """The request as bytes."""
    fields = [("Host", f"127.0.0.1:{port}"), *extra, *((n.decode(), v.decode()) for n, v in request.headers)]
    if request.body:
        fields += [("Content-Type", request.content_type.decode()), ("Content-Length", str(len(request.body)))]
    return head(request.method, request.target, fields) + request.body


def ask(port: int, request: Outgoing, *extra: tuple[str, str], source: str = NEAR, first: bytes = b"") -> Reply:
    """Send a request from an address of this machine; `first` goes out before it."""
    with socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0)) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(first + fields_of(port, request, extra))
        return read_reply(sock)


def refused(call: Any) -> bool:
    """Whether the server hung up without an answer."""
    try:
        reply = call()
    except (OSError, http.client.HTTPException):
        return True
    return bool(reply.status == 403 and not reply.all("x-request-id"))
