"""What the attacks on all dialects share: real requests, captured or signed by us, and a whole guard for them."""

import base64
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from dialects.captured import VECTORS, Capture, _load, captures, material_of, row_of
from support import FORM, MS, NOW, SECOND, StillClock, make_request

from tradeguard.backends.memory import Memory, MemoryJournal, MemoryKeys
from tradeguard.checks.freshness import Freshness
from tradeguard.checks.network import Network
from tradeguard.checks.replay import Replay
from tradeguard.checks.scope import Scope
from tradeguard.checks.signature import Signature
from tradeguard.checks.source import Source
from tradeguard.core.decision import Decision, Grant
from tradeguard.core.drive import drive
from tradeguard.core.guard import Guard
from tradeguard.core.key import KeyRecord, Material
from tradeguard.core.policy import Operations
from tradeguard.core.ports import Journal, Keys, State
from tradeguard.core.request import Request
from tradeguard.signing.coinbase_advanced import COINBASE_ADVANCED
from tradeguard.signing.dialect import Dialect
from tradeguard.signing.material import EcdsaP256, Ed25519, Hmac
from tradeguard.signing.row import Field, Parameter, Payload, Row
from tradeguard.signing.rows import ROWS
from tradeguard.signing.signer import Outgoing, Signer

SECRET = b"a secret of thirty-two characters"
PHRASE = "a passphrase"
HOST = "api.example"
DIALECTS: tuple[Dialect, ...] = (*ROWS.values(), COINBASE_ADVANCED)
NAMES = [dialect.name for dialect in DIALECTS]
CURVE = ec.derive_private_key(1_795_000_000, ec.SECP256R1())
EDWARD = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
_QUERY_ONLY = ("mexc",)  # all of an order is in its query
_READ_IN_BODY = ("kraken", "gemini", "bitfinex", "cryptocom")  # reads are POST too


class Sample(NamedTuple):
    """One real request and what verifies it. `at` is when it arrived, ns UTC."""

    dialect: Dialect
    name: str
    key_id: str
    material: Material
    passphrase: str
    at: int
    method: str
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    scheme: str = "http"

    def __repr__(self) -> str:
        return f"<{self.name}: {self.method} {self.target!r} {dict(self.headers)} {self.body!r}>"

    def field(self, name: bytes) -> bytes:
        """A header, empty where there is none."""
        return dict(self.headers).get(name, b"")

    def having(self, name: bytes, value: bytes | None) -> "Sample":
        """The same with another header; None leaves it out."""
        rest = tuple(pair for pair in self.headers if pair[0] != name)
        return self._replace(headers=rest if value is None else (*rest, (name, value)))

    def request(self, **other: Any) -> Request:
        """As an adapter hands it to a guard."""
        headers = [pair for pair in self.headers if pair[0] != b"content-length"]
        headers += [(b"content-length", b"%d" % len(self.body))] if self.body else []
        made: dict[str, Any] = {"arrived": self.at, "scheme": self.scheme, **other}
        return make_request(self.method, self.target, body=self.body, headers=headers, **made)


def outgoing(dialect: Dialect, kind: str, mark: str = "1") -> Outgoing:
    """What a client of a dialect sends: a read, or an order; `mark` tells it from others."""
    name = dialect.name
    root = {
        "kraken": b"/0/private/", "kraken-futures": b"/derivatives/api/v3/",
        "kraken-futures-bare": b"/derivatives/api/v3/", "cryptocom": b"/exchange/v1/private/",
    }.get(name, b"/v1/")  # fmt: skip
    if kind == "read" and name not in _READ_IN_BODY:
        return Outgoing("GET", HOST, root + b"orders?symbol=BTC&limit=" + mark.encode())
    target = root + (b"get-open-orders" if kind == "read" else b"create-order")
    if name == "kraken" or (isinstance(dialect, Row) and (dialect.body == "form" or "form" in dialect.parts)):
        return Outgoing("POST", HOST, target, FORM, b"pair=BTC&volume=" + mark.encode())
    if name in _QUERY_ONLY:
        return Outgoing("POST", HOST, target + b"?symbol=BTC&quantity=" + mark.encode())
    body = b'{"side":"BUY","quantity":"' + mark.encode() + b'"}'
    return Outgoing("POST", HOST, target, b"application/json", body)


BY_NAME: Mapping[str, Dialect] = {dialect.name: dialect for dialect in DIALECTS}


def signers(dialect: Dialect, algorithm: str = "") -> tuple[Any, Material]:
    """A signer of a dialect and what verifies it; by default for the first of its algorithms."""
    return _signers(dialect.name, algorithm)


@cache
def _signers(name: str, algorithm: str) -> tuple[Any, Material]:
    dialect = BY_NAME[name]
    key_id = f"key-of-{dialect.name}"
    if not isinstance(dialect, Row):
        key: Any = EDWARD if algorithm == "ed25519" else CURVE
        return COINBASE_ADVANCED.make_signer(key_id, key), _public(key)
    algorithm = algorithm or next(iter(dialect.algorithms))
    if algorithm == "ed25519":
        return Signer(dialect, key_id, EDWARD), _public(EDWARD)
    secret = base64.b64encode(SECRET) if dialect.secret == "base64" else SECRET
    phrase = PHRASE if dialect.passphrase is not None else None
    return Signer(dialect, key_id, secret, phrase), Hmac(SECRET, algorithm)


def _public(key: Any) -> Material:
    if isinstance(key, Ed25519PrivateKey):
        return Ed25519(key.public_key().public_bytes_raw())
    return EcdsaP256(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def signed(
    dialect: Dialect, kind: str = "order", *, at: int = NOW, mark: str = "1", nonce: bytes | None = None,
    sent: Outgoing | None = None, algorithm: str = "",
) -> Sample:  # fmt: skip
    """A request that our own signer made."""
    signer, material = signers(dialect, algorithm)
    made = sent or outgoing(dialect, kind, mark)
    out = signer.sign(made, at, nonce)
    headers = [(b"host", made.authority.encode())]
    headers += [(b"content-type", out.content_type)] if out.content_type else []
    name = f"{dialect.name} {algorithm} {kind} of our signer".replace("  ", " ")
    return Sample(
        dialect, name, signer.key_id, material, PHRASE, at, out.method, out.target,
        (*headers, *out.headers), out.body,
    )  # fmt: skip


def of_capture(capture: Capture) -> Sample:
    """A captured request."""
    dialect: Dialect = COINBASE_ADVANCED if capture["venue"] == "coinbase-advanced" else row_of(capture)
    material = _coinbase(capture) if dialect is COINBASE_ADVANCED else material_of(capture)
    headers = tuple((name.lower().encode(), value.encode()) for name, value in capture["headers"])
    name = f"{dialect.name} {capture['algorithm']} {capture['client']} {capture['call']}".replace(" ", "-")
    return Sample(
        dialect, name, capture["key_id"], material, str(capture.get("passphrase") or ""), capture["at"],
        capture["method"], capture["target"].encode(), headers, base64.b64decode(capture["body"]),
    )  # fmt: skip


def _coinbase(capture: Capture) -> Material:
    if capture["algorithm"] == "ed25519":
        return _public(Ed25519PrivateKey.from_private_bytes(base64.b64decode(capture["secret"])[:32]))
    return _public(load_pem_private_key(capture["secret"].encode(), None))


@cache
def captured() -> tuple[Sample, ...]:
    """All captured requests, those of Coinbase Advanced too."""
    return tuple(map(of_capture, (*captures(), *_load(VECTORS / "coinbase-advanced.json"))))


@cache
def samples() -> tuple[Sample, ...]:
    """All captured requests, and of each dialect a read and an order that we sign, with each kind of key."""
    made = [signed(dialect, kind) for dialect in DIALECTS for kind in ("read", "order")]
    made += [signed(dialect, algorithm="ed25519") for dialect in DIALECTS if "ed25519" in dialect.algorithms]
    return (*captured(), *made)


def one_of(dialect: Dialect, kind: str = "order") -> tuple[Sample, ...]:
    """A captured request of a dialect, if there is one, and one of ours."""
    method = ("POST", "PUT", "PATCH", "DELETE") if kind == "order" else ("GET",)
    found = [sample for sample in captured() if sample.dialect is dialect and sample.method in method]
    return (*found[:1], signed(dialect, kind))


def record_of(sample: Sample, **other: Any) -> KeyRecord:
    """The key of a request."""
    phrase = ""
    if isinstance(sample.dialect, Row) and sample.dialect.passphrase is not None:
        assert isinstance(sample.material, Hmac)
        phrase = sample.material.blind(sample.passphrase.encode()).hex()
    made: dict[str, Any] = {
        "id": sample.key_id, "dialect": sample.dialect.name, "material": sample.material, "scopes": {"orders:*"},
        "networks": ["127.0.0.0/8"], "passphrase": phrase, **other,
    }  # fmt: skip
    return KeyRecord(**made)


def operations_of(samples: Iterable[Sample]) -> Operations:
    """A map in which every path of the requests has a row of its own, and everything else one too."""
    rows: dict[str, Any] = {}
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        lane = "read" if method == "GET" else "order"
        rows[f"{method} /**"] = {"scopes": "orders:write", "lane": lane}
        for sample in samples:
            path = sample.target.partition(b"?")[0].decode()
            if "%" not in path:
                rows[f"{method} {path}"] = {"scopes": "orders:write", "lane": lane}
    return Operations(rows)


def guard_of(
    *samples: Sample, dialects: Iterable[Dialect] = DIALECTS, keys: Keys | None = None, at: int | None = None,
    state: State | None = None, journal: Journal | None = None, records: Mapping[str, Any] | None = None,
) -> Guard:  # fmt: skip
    """A guard with everything in it, for the keys of these requests, on a clock that stands still when they arrived."""
    rows = tuple(dialects)
    unique = {sample.key_id: sample for sample in samples}
    store = (
        keys if keys is not None else MemoryKeys([record_of(sample, **(records or {})) for sample in unique.values()])
    )
    accept = [row.name for row in rows if not row.coverage >= {"method", "path", "query", "body", "time"}]
    signature = Signature(store, dialects=rows, accept=accept)
    clock = StillClock(samples[0].at if at is None else at)
    return Guard(
        [Source(), signature, Freshness(), Network(), Scope(), Replay()],
        operations=operations_of(samples),
        state=Memory(since=1) if state is None else state,
        journal=MemoryJournal() if journal is None else journal,
        runtime=clock,
    )


def code_of(decision: Decision) -> str:
    """The code of a refusal, empty for a grant."""
    return "" if isinstance(decision, Grant) else decision.code


def ask(guard: Guard, request: Request) -> str:
    """Put a request to a guard; the code of its refusal, empty where it is granted."""
    return code_of(drive(guard.admit(request)))


def carrier(dialect: Dialect, what: str) -> str:
    """Where a field of a row stands: header, query, body, auth, payload; empty where it has none."""
    place = getattr(dialect, what, None)
    if not isinstance(dialect, Row):
        return "token" if what in ("key", "signature", "time", "nonce") else ""
    kinds = {Parameter: "query", Field: "body", Payload: "payload"}
    return "" if place is None else kinds.get(type(place), "header")


__all__ = [
    "DIALECTS", "HOST", "MS", "NAMES", "NOW", "PHRASE", "SECOND", "SECRET", "Sample", "ask", "captured", "carrier",
    "code_of", "guard_of", "of_capture", "one_of", "operations_of", "outgoing", "record_of", "samples", "signed",
    "signers",
]  # fmt: skip
