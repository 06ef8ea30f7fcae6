"""Fuzz the door for JWTs, and Coinbase's dialect behind it: any bytes are read or refused, one way only.

An input is the kind, method, target and body, then the token (kind "raw"), or its header and claims as JSON, which are
signed here with the right key (kind "made"): so that what is inside is reached.
"""

import json
from typing import Any

import jwt as pyjwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from harness import join, main, split

from tradeguard.core.credential import Claim
from tradeguard.core.decision import UNAUTHORIZED, Refused
from tradeguard.core.drive import drive
from tradeguard.core.frame import check_frame
from tradeguard.core.key import Material
from tradeguard.core.policy import Policy
from tradeguard.core.request import Headers, Peer, Request
from tradeguard.signing.coinbase_advanced import COINBASE_ADVANCED
from tradeguard.signing.encoding import encode_base64url
from tradeguard.signing.material import EcdsaP256, Ed25519
from tradeguard.signing.signer import Outgoing
from tradeguard.signing.verifier import Signed

NOW = 1_795_000_000_000_000_000  # ns UTC
EDWARD = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
CURVE = ec.derive_private_key(1_795_000_000, ec.SECP256R1())
POINT = CURVE.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
MATERIAL: dict[str, Material] = {
    "ed25519": Ed25519(EDWARD.public_key().public_bytes_raw()),
    "ecdsa-p256-sha256": EcdsaP256(POINT),
}
VERIFIER = COINBASE_ADVANCED.reader()
REQUESTS = [(b"GET", b"/api/v3/orders?limit=7", b"{}"), (b"POST", b"/api/v3/orders", b'{"side":"BUY"}')]


def sign(method: bytes, target: bytes, key: Any) -> bytes:
    """Return the token of a request."""
    out = Outgoing(method.decode(), "api.example", target)
    headers = COINBASE_ADVANCED.make_signer("ann", key).sign(out, NOW, b"0123456789abcdef").headers
    return headers[0][1].removeprefix(b"Bearer ")


CORPUS = [join(b"raw", *request, sign(request[0], request[1], key)) for key in (EDWARD, CURVE) for request in REQUESTS]
SIGNED = {split(entry, 5)[4].rpartition(b".")[0] for entry in CORPUS}
HEADER = b'{"alg":"EdDSA","kid":"ann","nonce":"0123456789abcdef","typ":"JWT"}'
CLAIMS = (
    b'{"sub":"ann","iss":"cdp","nbf":1795000000,"exp":1795000120,"aud":["cdp_service"],'
    b'"uris":["POST api.example/api/v3/orders"]}'
)
CORPUS += [
    join(b"made", *REQUESTS[1], HEADER, CLAIMS),
    join(b"made", *REQUESTS[1], HEADER, CLAIMS.replace(b'"uris":[', b'"uri":').replace(b"]}", b"}")),
]
TOKENS = [
    b'"alg":"none"', b'"alg":"HS256"', b'"alg":"ES256"', b'"crit":["exp"]', b'"b64":false', b'"jwk":{}',
    b'"kid":"ann",', b'"kid":"bob",', b'"nbf":1795000000,', b'"exp":1e9', b"1795000000.0", b"-1", b"NaN", b"null",
    b"true", b"[[[[[[[", b'{"a":', b"\\u0061", b"\\ud800", b'"uri":"POST api.example/api/v3/orders",', b"http://",
    b"9" * 40, b"eyJ", b"=",
]  # fmt: skip


def make_token(kind: bytes, records: list[bytes]) -> bytes:
    """Make the token of an input."""
    if kind != b"made":
        return records[0]
    signed = encode_base64url(records[0]) + b"." + encode_base64url(records[1])
    return signed + b"." + encode_base64url(EDWARD.sign(signed))


def read(data: bytes) -> tuple[Request, Claim, Signed] | str:
    """Read an input; a word where it is refused, or none of the dialect's."""
    kind, method, target, body, *records = split(data, 6)
    fields = [(b"host", b"api.example"), (b"authorization", b"Bearer " + make_token(kind, records))]
    request = Request(
        id="fuzz",
        method=method.decode("latin-1"),
        target=target,
        path=target.partition(b"?")[0].decode("latin-1"),
        scheme="https",
        headers=Headers(fields),
        peer=Peer(),
        arrived=NOW,
        body=body,
    )
    try:
        check_frame(request, Policy())
        claim = VERIFIER.claim(request)
        return (request, claim, VERIFIER.read(request, claim, body)) if claim is not None else "unclaimed"
    except Refused as refused:
        denial = refused.denial
    assert denial.code.startswith("frame.") or denial.public == UNAUTHORIZED, denial
    return denial.code


def fuzz_jwt(data: bytes) -> str:
    """Return `verified`, `wrong`, `unclaimed` or the code of the refusal."""
    found = read(data)
    if isinstance(found, str):
        return found
    request, claim, signed = found
    kind, method, target, _, *records = split(data, 6)
    token = make_token(kind, records)
    assert signed.message + b"." + encode_base64url(signed.signature) == token, "a token of two spellings"
    other = pyjwt.decode_complete(token.decode(), options={"verify_signature": False})
    assert other["header"]["kid"] == other["payload"]["sub"] == claim.key_id, "another reader takes it for another's"
    assert 0 < signed.window.past <= 121_000_000_000
    assert 0 <= signed.signed_at < 2**63
    uri = other["payload"].get("uri") or other["payload"]["uris"][0]
    place = request.authority + target.partition(b"?")[0]
    assert uri == f"{method.decode()} {place.decode('latin-1')}", "another request's token"
    json.dumps(other["payload"]).encode()
    if not drive(MATERIAL[signed.algorithm].verify(signed.message, signed.signature)):
        return "wrong"
    assert kind == b"made" or signed.message in SIGNED, "a forged signature"
    return "verified"


if __name__ == "__main__":
    main(fuzz_jwt, CORPUS, TOKENS)
