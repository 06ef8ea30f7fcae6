"""The captures: what unmodified clients sent, as requests, materials and rows of ours."""

import base64
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from support import make_request

from tradeguard.core.drive import drive
from tradeguard.core.frame import check_frame
from tradeguard.core.key import Material
from tradeguard.core.policy import Policy
from tradeguard.core.request import Request
from tradeguard.signing.algorithm import HMACS, RSA_SHA256
from tradeguard.signing.material import Ed25519, Hmac, Rsa
from tradeguard.signing.row import Row
from tradeguard.signing.rows import ROWS
from tradeguard.signing.verifier import Signed, Verifier

VECTORS = Path(__file__).parents[1] / "vectors" / "dialects"
Capture = dict[str, Any]


@cache
def captures() -> tuple[Capture, ...]:
    """All captured requests of dialects that are rows."""
    return tuple(
        capture for path in sorted(VECTORS.glob("*.json")) for capture in _load(path) if _name(capture) in ROWS
    )


def _load(path: Path) -> Iterator[Capture]:
    yield from json.loads(path.read_text("utf-8")).get("requests", [])


def named(capture: Capture) -> str:
    """What a capture is called in a test."""
    return f"{capture['venue']}-{capture['algorithm']}-{capture['client'].replace(' ', '-')}-{capture['call']}"


def _name(capture: Capture) -> str:
    """The row that a client speaks: ccxt sends Kraken Futures no nonce."""
    sent = {name.lower() for name, _ in capture["headers"]}
    bare = capture["venue"] == "kraken-futures" and "nonce" not in sent
    return "kraken-futures-bare" if bare else str(capture["venue"])


def row_of(capture: Capture) -> Row:
    """The row under which a capture verifies."""
    return ROWS[_name(capture)]


def body_of(capture: Capture) -> bytes:
    """Its body."""
    return base64.b64decode(capture["body"])


def request_of(capture: Capture, **changes: Any) -> Request:
    """A captured request as an adapter hands it to the guard, at the time of its capture. `changes` replace parts."""
    fields = [(name.lower().encode(), value.encode()) for name, value in capture["headers"]]
    made: dict[str, Any] = {
        "method": capture["method"], "target": capture["target"].encode(), "body": body_of(capture),
        "headers": fields, "arrived": capture["at"], "scheme": "http", **changes,
    }  # fmt: skip
    return make_request(made.pop("method"), made.pop("target"), **made)


def material_of(capture: Capture) -> Material:
    """What verifies it: the secret as the row has it, or the public half of its private key."""
    algorithm, secret = capture["algorithm"], capture["secret"]
    if algorithm in HMACS:
        raw = base64.b64decode(secret) if row_of(capture).secret == "base64" else secret.encode()
        return Hmac(raw, algorithm)
    public = load_pem_private_key(secret.encode(), None).public_key()
    if algorithm == RSA_SHA256:
        return Rsa(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    return Ed25519(public.public_bytes(Encoding.Raw, PublicFormat.Raw))


def read(row: Row, request: Request) -> Signed:
    """What a request says was signed under a row; `Refused` where it is refused."""
    check_frame(request, Policy())
    verifier, body = Verifier(row), drive(request.body())
    claim = verifier.claim(request)
    assert claim is not None
    return verifier.read(request, claim, body)


def verifies(material: Material, signed: Signed) -> bool:
    """Whether the signature is over one of the readings of what was signed."""
    return any(drive(material.verify(text, signed.signature)) for text in (signed.message, *signed.others))
