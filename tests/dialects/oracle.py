"""A second, short implementation of every venue's recipe: does a captured request carry the signature of its key?

It shares nothing with the engine under test: it is written from the venues' documentation, one function a venue, and it
checks signatures only (no freshness, no ambiguity, no coverage).
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

import jwt
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

Told = tuple[bytes, str]  # what was signed, and the signature as it was sent


class Contradiction(Exception):
    """A request says two things: its signed part another than its unsigned one."""


class Seen:
    """A captured request, taken apart without decoding anything."""

    def __init__(self, capture: Mapping[str, Any]) -> None:
        self.capture, self.method = capture, str(capture["method"])
        self.target = str(capture["target"])
        self.path, mark, self.query = self.target.partition("?")
        self.mark_query = mark + self.query
        self.fields = {name.lower(): value for name, value in capture["headers"]}
        self.body = base64.b64decode(capture["body"])
        self.text = self.body.decode()
        self.key, self.secret = str(capture["key_id"]), str(capture["secret"])

    def without(self, name: str, text: str) -> str:
        """A query or form without one of its parameters."""
        return "&".join(part for part in text.split("&") if not part.startswith(f"{name}="))

    def given(self, name: str, text: str) -> str:
        """A parameter of a query or form, decoded."""
        return next(value for key, value in parse_qsl(text, keep_blank_values=True) if key == name)


def in_query(seen: Seen) -> Told:
    """Binance: query and form body as they are, without the signature."""
    signed = seen.without("signature", seen.query) + seen.without("signature", seen.text)
    return signed.encode(), seen.given("signature", seen.query or seen.text)


def mexc(seen: Seen) -> Told:
    """The query without its signature; pymexc signs %20 where it sends +, which is the same in a form."""
    return seen.without("signature", seen.query).replace("+", "%20").encode(), seen.given("signature", seen.query)


def dotted(prefix: str, signature: str, time: str) -> Callable[[Seen], Told]:
    """Coinbase Exchange, OKX, Bitvavo: time, method, target and body in one string."""

    def recipe(seen: Seen) -> Told:
        text = seen.fields[prefix + time] + seen.method + seen.target
        return text.encode() + seen.body, seen.fields[prefix + signature]

    return recipe


def kraken(seen: Seen) -> Told:
    """Path, then the raw SHA-256 of nonce and body (or query, where there is no body)."""
    form = seen.text or seen.query
    nonce = str(json.loads(form)["nonce"]) if form.startswith("{") else seen.given("nonce", form)
    data = seen.body or seen.mark_query.encode()
    return seen.path.encode() + hashlib.sha256(nonce.encode() + data).digest(), seen.fields["api-sign"]


def kraken_futures(seen: Seen) -> Told:
    """The raw SHA-256 of query and body, the nonce if there is one, and the path without /derivatives."""
    data = seen.query + seen.text + seen.fields.get("nonce", "") + seen.path.removeprefix("/derivatives")
    return hashlib.sha256(data.encode()).digest(), seen.fields["authent"]


def bybit(seen: Seen) -> Told:
    """Time, key, window; then the decoded query of a GET, the body of a POST."""
    head = seen.fields["x-bapi-timestamp"] + seen.key + seen.fields["x-bapi-recv-window"]
    return (head + (unquote_plus(seen.query) if seen.method == "GET" else seen.text)).encode(), seen.fields[
        "x-bapi-sign"
    ]


def kucoin(seen: Seen) -> Told:
    """Time, method, path with decoded query, body; the passphrase is sent in the clear with version 1 only."""
    passphrase = str(seen.capture["passphrase"])
    if seen.fields["kc-api-key-version"] != "1":
        passphrase = base64.b64encode(hmac.digest(seen.secret.encode(), passphrase.encode(), "sha256")).decode()
    if seen.fields["kc-api-passphrase"] != passphrase:
        raise Contradiction("another passphrase")
    text = seen.fields["kc-api-timestamp"] + seen.method + unquote_plus(seen.target) + seen.text
    return text.encode(), seen.fields["kc-api-sign"]


def bitfinex(seen: Seen) -> Told:
    """/api, path, nonce, body."""
    return f"/api{seen.path}{seen.fields['bfx-nonce']}{seen.text}".encode(), seen.fields["bfx-signature"]


def bitstamp(seen: Seen) -> Told:
    """X-Auth, method, host, target, Content-Type, nonce, time, version, body."""
    names = ("x-auth-nonce", "x-auth-timestamp", "x-auth-version")
    head = seen.fields["x-auth"] + seen.method + seen.fields["host"] + seen.target + seen.fields.get("content-type", "")
    return (head + "".join(map(seen.fields.__getitem__, names)) + seen.text).encode(), seen.fields["x-auth-signature"]


def gate(seen: Seen) -> Told:
    """Method, path, decoded query, hex SHA-512 of the body, time; in lines."""
    parts = [
        seen.method,
        seen.path,
        unquote_plus(seen.query),
        hashlib.sha512(seen.body).hexdigest(),
        seen.fields["timestamp"],
    ]
    return "\n".join(parts).encode(), seen.fields["sign"]


def htx(seen: Seen) -> Told:
    """Method, host, path, sorted query without the signature; in lines."""
    query = "&".join(sorted(seen.without("Signature", seen.query).split("&")))
    lines = [seen.method, seen.fields["host"], seen.path, query]
    return "\n".join(lines).encode(), seen.given("Signature", seen.query)


def deribit(seen: Seen) -> Told:
    """Time, nonce, method, target, body; each with a line end."""
    parts = dict(
        part.split("=", 1) for part in seen.fields["authorization"].removeprefix("deri-hmac-sha256 ").split(",")
    )
    return "".join(
        f"{x}\n" for x in (parts["ts"], parts["nonce"], seen.method, seen.target, seen.text)
    ).encode(), parts["sig"]


def bitmex(seen: Seen) -> Told:
    """Method, target, expiry, body."""
    return f"{seen.method}{seen.target}{seen.fields['api-expires']}{seen.text}".encode(), seen.fields["api-signature"]


def gemini(seen: Seen) -> Told:
    """The payload header; the path it names must be the path asked for."""
    payload = seen.fields["x-gemini-payload"]
    if json.loads(base64.b64decode(payload))["request"] != seen.path:
        raise Contradiction("signed for another path")
    return payload.encode(), seen.fields["x-gemini-signature"]


def bitget(seen: Seen) -> Told:
    """Time, method, path, decoded query, body."""
    head = seen.fields["access-timestamp"] + seen.method + unquote_plus(seen.target)
    return head.encode() + seen.body, seen.fields["access-sign"]


def mexc_contract(seen: Seen) -> Told:
    """Key, time, query or body."""
    return f"{seen.key}{seen.fields['request-time']}{seen.query}{seen.text}".encode(), seen.fields["signature"]


def cryptocom(seen: Seen) -> Told:
    """Method, id, key, the parameters flattened in the order of their names, nonce."""

    def flat(value: Any) -> str:
        if isinstance(value, dict):
            return "".join(f"{name}{flat(value[name])}" for name in sorted(value))
        return "".join(map(flat, value)) if isinstance(value, list) else str(value)

    body = json.loads(seen.text)
    text = f"{body['method']}{body['id']}{body['api_key']}{flat(body['params'])}{body['nonce']}"
    return text.encode(), body["sig"]


def phemex(seen: Seen) -> Told:
    """Path, query without its mark, expiry, body."""
    text = seen.path + seen.query + seen.fields["x-phemex-request-expiry"] + seen.text
    return text.encode(), seen.fields["x-phemex-request-signature"]


RECIPES: Mapping[str, Callable[[Seen], Told]] = {
    "binance": in_query, "mexc": mexc, "kraken": kraken, "kraken-futures": kraken_futures, "bybit": bybit,
    "coinbase-exchange": dotted("cb-access-", "sign", "timestamp"), "okx": dotted("ok-access-", "sign", "timestamp"),
    "bitvavo": dotted("bitvavo-access-", "signature", "timestamp"), "kucoin": kucoin, "bitfinex": bitfinex,
    "bitstamp": bitstamp, "gate": gate, "htx": htx, "deribit": deribit, "bitmex": bitmex, "gemini": gemini,
    "bitget": bitget, "mexc-contract": mexc_contract, "cryptocom": cryptocom, "phemex": phemex,
}  # fmt: skip
DECODED = {"coinbase-exchange", "kraken", "kraken-futures"}  # their secrets are sent as base64
BASE64 = {*DECODED, "okx", "kucoin", "htx", "bitget"}  # their HMACs are written in base64, the others' in hex


def verify(capture: Mapping[str, Any]) -> bool:
    """Whether a captured request is signed with its own key, by the recipe of its venue."""
    seen, venue, algorithm = Seen(capture), str(capture["venue"]), str(capture["algorithm"])
    if venue == "coinbase-advanced":
        return verify_jwt(seen, algorithm)
    try:
        message, signature = RECIPES[venue](seen)
    except Contradiction:
        return False
    if not algorithm.startswith("hmac-"):
        return verify_asymmetric(seen.secret, message, base64.b64decode(signature, validate=True))
    secret = base64.b64decode(seen.secret) if venue in DECODED else seen.secret.encode()
    mac = hmac.digest(secret, message, algorithm.removeprefix("hmac-"))
    return signature == (base64.b64encode(mac).decode() if venue in BASE64 else mac.hex())


def verify_asymmetric(pem: str, message: bytes, signature: bytes) -> bool:
    """RSA PKCS#1 v1.5 with SHA-256, or Ed25519."""
    private = load_pem_private_key(pem.encode(), None)
    try:
        if isinstance(private, rsa.RSAPrivateKey):
            private.public_key().verify(signature, message, padding.PKCS1v15(), SHA256())
        elif isinstance(private, ed25519.Ed25519PrivateKey):
            private.public_key().verify(signature, message)
        else:
            return False
    except InvalidSignature:
        return False
    return True


def verify_jwt(seen: Seen, algorithm: str) -> bool:
    """A bearer token, and that it names this method, host and path."""
    token = seen.fields["authorization"].removeprefix("Bearer ")
    if algorithm == "ed25519":
        public: Any = ed25519.Ed25519PrivateKey.from_private_bytes(base64.b64decode(seen.secret)[:32]).public_key()
    else:
        public = load_pem_private_key(seen.secret.encode(), None).public_key()
    kind = "EdDSA" if algorithm == "ed25519" else "ES256"
    claims = jwt.decode(token, public, [kind], options={"verify_exp": False, "verify_nbf": False, "verify_aud": False})
    named = claims.get("uris", [claims.get("uri")])
    return bool(named == [f"{seen.method} {seen.fields['host']}{seen.path}"] and claims["sub"] == seen.key)
