"""The application that the suite of hosts talks to: it reports what reached it. ASGI and WSGI; and the guard for both.

Its keys are random, made by the suite, and handed to the server in the folder: none is known to anybody else.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any, Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tradeguard.audit.journal import Journal
from tradeguard.backends.memory import Memory, MemoryKeys
from tradeguard.checks.freshness import Freshness
from tradeguard.checks.network import Network
from tradeguard.checks.quota import Quotas
from tradeguard.checks.replay import Replay
from tradeguard.checks.scope import Scope
from tradeguard.checks.signature import Signature
from tradeguard.checks.source import Source
from tradeguard.core.guard import Guard
from tradeguard.core.key import KeyRecord
from tradeguard.core.policy import Operations, Policy
from tradeguard.core.ports import Keys
from tradeguard.core.rate import Rate
from tradeguard.signing.material import Ed25519, Hmac
from tradeguard.signing.rows import BINANCE, TG1
from tradeguard.signing.signer import Signer
from tradeguard.testing.loopback import only_here

only_here()

ROWS: Final[Mapping[str, Any]] = {
    "GET /": {"lane": "public"},
    "GET /v1/time": {"lane": "public"},
    "GET /v1/orders": "orders:read",
    "GET /v1/orders/{id}": "orders:read",
    "POST /v1/orders": "orders:write",
    "OPTIONS /v1/orders": "orders:read",
    "DELETE /v1/orders/{id}": {"scopes": "orders:cancel", "lane": "cancel"},
    "GET /v1/market/{symbol}": "orders:read",
    "GET /v1/stream": "orders:read",
    "GET /v1/limited": {"scopes": "orders:read", "costs": {"limited": 1}},
    "GET /v1/fail": "orders:read",
}
"""The operations of the application."""
_SECRETS: Final = "site.json"
_PIECES: Final = 3
_PAUSE: Final = 0.3  # seconds between the pieces of a stream
_KINDS: Final = {"content-type": "application/json", "x-request-id": "made-by-the-handler"}


class Signers(NamedTuple):
    """Who talks to the application: `trader` may do everything, `reader` read, `home` order from elsewhere only.

    `edward` has an Ed25519 key and may do what trader may.
    """

    trader: Signer
    reader: Signer
    home: Signer
    edward: Signer


def make_signers(folder: Path) -> Signers:
    """Make four keys and write them down for the server, readable by this user only."""
    texts = {name: secrets.token_hex(32) for name in Signers._fields}
    with os.fdopen(os.open(folder / _SECRETS, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(texts, file)
    return Signers(*(Signer(TG1, name, _key(name, text)) for name, text in texts.items()))


def make_guard(folder: Path, keys: Keys | None = None) -> Guard:
    """Return the guard that the server puts before the application; its journal is `audit.jsonl` in the folder.

    Args:
        folder: as the suite gives it to `serve`.
        keys: other ones than those in the folder.
    """
    found = _read_keys(folder) if keys is None else keys
    proof = Signature(found, dialects=(TG1, BINANCE), accept=("binance",))
    gate = Source(pair=10_000, address=10_000)  # a gate for attacks
    quotas = Quotas({"limited": Rate("2/hour", cost=0)})
    return Guard(
        [gate, proof, Freshness(), Network(), Scope(), Replay(), quotas],
        operations=Operations(ROWS),
        state=Memory(since=1),
        journal=Journal(folder / "audit.jsonl"),
        policy=Policy(body_seconds=1.0, body_bytes=300_000),
    )


def _read_keys(folder: Path) -> MemoryKeys:
    texts: dict[str, str] = json.loads((folder / _SECRETS).read_text())
    make = partial(KeyRecord, dialect=TG1.name, account="acme")
    return MemoryKeys(
        [
            make(id="trader", material=Hmac(texts["trader"]), scopes=["orders:*"]),
            make(id="reader", material=Hmac(texts["reader"]), scopes=["orders:read"]),
            make(id="home", material=Hmac(texts["home"]), scopes=["orders:*"], networks=["203.0.113.0/24"]),
            make(id="edward", material=Ed25519(_public("edward", texts)), scopes=["orders:*"]),
        ]
    )


def _key(name: str, text: str) -> bytes | Ed25519PrivateKey:
    private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(text)) if name == "edward" else None
    return private or text.encode()


def _public(name: str, texts: Mapping[str, str]) -> bytes:
    private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(texts[name]))
    return private.public_key().public_bytes_raw()


def report(method: str, path: str, query: str, body: bytes, principal: object, length: str | None = None) -> bytes:
    """Return what the application answers: what it saw, as JSON.

    Args:
        method: as it was received.
        path: decoded, as the application routes it.
        query: raw.
        body: whole.
        principal: that of the grant.
        length: Content-Length, where the host has that as a setting of its own.
    """
    key = getattr(principal, "key_id", None)
    seen = {"method": method, "path": path, "query": query, "body": hashlib.sha256(body).hexdigest(), "key": key}
    return json.dumps({**seen, "length": length}).encode()


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    """The application for ASGI hosts."""
    import asyncio

    if scope["type"] == "lifespan":
        await _live(receive, send)
        return
    if scope["path"].endswith("/v1/fail"):
        raise RuntimeError("the handler failed")
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    fields = [(name.encode(), value.encode()) for name, value in _KINDS.items()]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    if scope["path"].endswith("/v1/stream"):
        for number in range(_PIECES):
            await send({"type": "http.response.body", "body": b"%d\n" % number, "more_body": True})
            await asyncio.sleep(_PAUSE)
    principal, query = scope["tradeguard"].principal, scope["query_string"].decode()
    await send({"type": "http.response.body", "body": report(scope["method"], scope["path"], query, body, principal)})


async def _live(receive: Any, send: Any) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


def wsgi_app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The application for WSGI hosts."""
    if environ["PATH_INFO"] == "/v1/fail":
        raise RuntimeError("the handler failed")
    length, body = environ.get("CONTENT_LENGTH"), environ["wsgi.input"].read()
    start_response("200 OK", list(_KINDS.items()))
    path, principal = environ["PATH_INFO"].encode("latin-1").decode(), environ["tradeguard"].principal
    text = report(environ["REQUEST_METHOD"], path, environ["QUERY_STRING"], body, principal, length)
    return _pieces(text) if environ["PATH_INFO"] == "/v1/stream" else [text]


def _pieces(text: bytes) -> Iterator[bytes]:
    for number in range(_PIECES):
        yield b"%d\n" % number
        Event().wait(_PAUSE)
    yield text
