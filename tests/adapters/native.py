"""What the tests of the native adapters share: a guard, requests as servers hand them on, servers that must stop."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from support import TRADER, make_checks

from tradeguard import Guard, Memory, MemoryJournal, Operations, Policy
from tradeguard.core.ports import Journal
from tradeguard.signing.signer import Outgoing, Signer

ROWS: Mapping[str, Any] = {
    "GET /v1/time": {"lane": "public"},
    "GET /v1/orders": "orders:read",
    "POST /v1/orders": "orders:write",
    "GET /v1/orders/{id}": "orders:read",
    "GET /v1/trades/{id}": "orders:read",  # the router has /v1/trades/all before it
    "GET /v1/lost": "orders:read",  # no route, or one with a parameter in its place
    "GET /v1/files/**": "orders:read",
    "GET /static/app.css": {"lane": "public"},
    "GET /sub/items/{id}": "orders:read",
    "GET /sub/items/all": "orders:read",
}
BROKEN = 'import tradeguard as tg\n\ndef broken():\n    raise tg.ConfigError("the map is wrong; mend it")\n'


def make_guard(rows: Mapping[str, Any] = ROWS, journal: Journal | None = None, policy: Policy | None = None) -> Guard:
    """A guard on the real clock, without a barrier."""
    return Guard(
        make_checks(),
        operations=Operations(rows),
        state=Memory(since=1),
        journal=MemoryJournal() if journal is None else journal,
        policy=policy,
    )


def sign(method: str, target: str, body: bytes = b"", kind: str = "", signer: Signer = TRADER) -> Outgoing:
    """A request that is signed now."""
    return signer.sign(Outgoing(method, "api.example", target.encode(), kind.encode(), body), time.time_ns())


def fields_of(request: Outgoing) -> dict[str, str]:
    """The header fields of a request."""
    fields = {"Host": "api.example"} | {name.decode(): value.decode() for name, value in request.headers}
    if request.content_type:
        fields["Content-Type"] = request.content_type.decode()
    if request.body:
        fields["Content-Length"] = str(len(request.body))
    return fields


class Reply(NamedTuple):
    """An answer; its fields in lower case, by name, and all as they came."""

    status: int
    fields: Mapping[str, str]
    body: bytes
    raw: Sequence[tuple[str, str]] = ()

    def all(self, name: str) -> list[str]:
        return [value for field, value in self.raw if field == name]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return str(self.json["code"])


def call(app: Any, request: Outgoing, *, live: bool = True, root_path: str = "", scheme: str = "http") -> Reply:
    """Send one request to an ASGI application, within a lifespan if it is to live."""
    return asyncio.run(_call(app, request, live=live, root_path=root_path, scheme=scheme))


async def _call(app: Any, request: Outgoing, *, live: bool, root_path: str, scheme: str) -> Reply:
    started, stop, sent = asyncio.Event(), asyncio.Event(), list[Any]()
    running = asyncio.create_task(_live(app, started, stop)) if live else None
    if running is not None:
        waiting = asyncio.create_task(started.wait())
        await asyncio.wait([running, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if running.done():
            await running
    path, _, query = request.target.partition(b"?")
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": request.method, "scheme": scheme,
        "path": path.decode(), "raw_path": path, "query_string": query, "root_path": root_path,
        "headers": [(name.lower().encode(), value.encode()) for name, value in fields_of(request).items()],
        "client": ("127.0.0.1", 50_000), "server": ("127.0.0.1", 80), "state": {}, "extensions": {},
    }  # fmt: skip
    given, gone = iter([request.body]), asyncio.Event()

    async def receive() -> Any:
        for body in given:
            return {"type": "http.request", "body": body, "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    stop.set()
    if running is not None:
        await running
    raw = [(name.decode().lower(), value.decode()) for name, value in sent[0]["headers"]]
    return Reply(sent[0]["status"], dict(raw), b"".join(message.get("body", b"") for message in sent[1:]), raw)


async def _live(app: Any, started: asyncio.Event, stop: asyncio.Event) -> None:
    messages = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> Any:
        message = next(messages)
        if message.endswith("shutdown"):
            await stop.wait()
        return {"type": message}

    async def send(message: Any) -> None:
        assert not message["type"].endswith("failed"), message
        started.set()

    await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)


def run_server(folder: Path, module: str, command: list[str], **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a server that is expected to stop by itself."""
    (folder / "app.py").write_text(module)
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder, env={**os.environ, "PYTHONPATH": path, **environ},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
