"""A guarded server on 127.0.0.1 for any dialect, in a thread of this process: one at a time, with one key."""

import base64
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import uvicorn
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tradeguard import ASGI, Guard, Operations
from tradeguard.backends.memory import Memory, MemoryJournal, MemoryKeys
from tradeguard.checks.freshness import Freshness
from tradeguard.checks.network import Network
from tradeguard.checks.replay import Replay
from tradeguard.checks.scope import Scope
from tradeguard.checks.signature import Signature
from tradeguard.core.key import KeyRecord, Material
from tradeguard.signing.coinbase_advanced import COINBASE_ADVANCED
from tradeguard.signing.example import EXAMPLE_KEY, EXAMPLE_PHRASE, EXAMPLE_SECRET, example_rsa, make_example_signer
from tradeguard.signing.material import HMACS, Hmac, read_public
from tradeguard.signing.private import read_private_key
from tradeguard.signing.row import REQUIRED_COVERAGE, Row
from tradeguard.signing.rows import ROWS

EC = generate_ec(SECP256R1())
ED = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
CASES: list[tuple[Any, str]] = [(row, algorithm) for row in ROWS.values() for algorithm in row.algorithms]
CASES += [(COINBASE_ADVANCED, algorithm) for algorithm in COINBASE_ADVANCED.algorithms]
PATHS: Mapping[str, str] = {
    "cryptocom": "/exchange/v1/private/order",
    "kraken-futures": "/derivatives/api/v3/order",
    "kraken-futures-bare": "/derivatives/api/v3/order",
}


class Speaking(NamedTuple):
    """Where the server is, and what signs for it."""

    url: str
    signer: Any


def path_of(row: Any) -> str:
    """A path that the dialect can sign."""
    return PATHS.get(row.name, "/v1/order")


def make_signer(row: Any, algorithm: str) -> Any:
    """What a customer of the dialect signs with."""
    if isinstance(row, Row):
        return make_example_signer(row, algorithm)
    return row.make_signer(EXAMPLE_KEY, ED if algorithm == "ed25519" else EC)


def _material(row: Any, algorithm: str) -> Material:
    if algorithm in HMACS:
        return Hmac(EXAMPLE_SECRET, algorithm)
    private: Any = EC if algorithm.startswith("ecdsa") else ED
    private = read_private_key(example_rsa().encode()) if algorithm.startswith("rsa") else private
    return read_public(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def make_guard(row: Any, algorithm: str, **other: Any) -> Guard:
    """A guard of this one dialect. `other` are parts of `Guard`."""
    material = _material(row, algorithm)
    phrase = isinstance(row, Row) and row.passphrase is not None and isinstance(material, Hmac)
    record = KeyRecord(
        id=EXAMPLE_KEY,
        dialect=row.name,
        material=material,
        passphrase=material.blind(EXAMPLE_PHRASE.encode()).hex() if phrase and isinstance(material, Hmac) else "",
        scopes=["orders:*"],
        networks=["127.0.0.0/8"] if row.bound else [],
    )
    accept = (row.name,) if REQUIRED_COVERAGE - row.coverage else ()
    signature = Signature(MemoryKeys([record]), dialects=(row,), accept=accept)
    methods = ("GET", "POST", "PUT", "DELETE")
    rows = {f"{method} {path_of(row)}{end}": "orders:write" for method in methods for end in ("", "/busy", "/{id}")}
    return Guard(
        [signature, Freshness(), Network(), Scope(), Replay()],
        operations=Operations(rows),
        state=Memory(since=1),
        journal=MemoryJournal(),
        **other,
    )


class _Echo:
    """The application: it says what reached it, and fails the first time at `/busy`."""

    def __init__(self) -> None:
        self.failed = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        status = 503 if scope["path"].endswith("/busy") and not self.failed else 200
        self.failed = True
        seen = {
            "key": scope["tradeguard"].principal.key_id,
            "method": scope["method"],
            "query": scope["query_string"].decode(),
            "body": base64.b64encode(body).decode(),
            "payload": dict(scope["headers"]).get(b"x-gemini-payload", b"").decode(),
        }
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(seen).encode()})


class Box:
    """One server, and the application that it runs just now."""

    def __init__(self) -> None:
        self.app: Any = None
        sock = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        options: dict[str, Any] = {"interface": "asgi3", "lifespan": "off", "ws": "none", "proxy_headers": False}
        self._server = uvicorn.Server(uvicorn.Config(self._serve, log_level="error", **options))
        self._thread = threading.Thread(target=lambda: self._server.run([sock]))
        self._thread.start()
        for _ in range(2_000):
            if self._server.started:
                return
            time.sleep(0.005)
        raise AssertionError("the server does not start")

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)

    def close(self) -> None:
        """Stop it."""
        self._server.should_exit = True
        self._thread.join(20)

    @contextmanager
    def speaking(self, row: Any, algorithm: str) -> Iterator[Speaking]:
        """Serve a dialect until the end of the block."""
        self.app = ASGI(_Echo(), guard=make_guard(row, algorithm))
        yield Speaking(self.url, make_signer(row, algorithm))
