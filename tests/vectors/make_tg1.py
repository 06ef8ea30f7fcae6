"""Write the test vectors of the `tg1` dialect, from its description alone: nothing of tradeguard is imported here."""

import base64
import hashlib
import hmac
import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SECRET = hashlib.sha256(b"tg1 vectors: the HMAC secret").digest()
PRIVATE = hashlib.sha256(b"tg1 vectors: the Ed25519 private key").digest()
KEYS = {
    "vector-hmac": {"algorithm": "hmac-sha256", "secret": SECRET.hex()},
    "vector_ed25519": {
        "algorithm": "ed25519",
        "private": PRIVATE.hex(),
        "public": Ed25519PrivateKey.from_private_bytes(PRIVATE).public_key().public_bytes_raw().hex(),
    },
}
JSON_BODY = '{"symbol":"BTC-USD","side":"buy","price":"60000.10","note":"café €"}'.encode()

# name, method, scheme, host, authority, target, content type, body
REQUESTS = [
    ("get", "GET", "https", "api.example", "api.example", "/v1/orders", "", b""),
    ("get with a query", "GET", "https", "api.example", "api.example",
     "/v1/orders?symbol=BTC-USD&limit=10&note=a%20b+c%26d", "", b""),
    ("get with an empty query", "GET", "https", "api.example", "api.example", "/v1/orders?", "", b""),
    ("get with a non-ASCII path", "GET", "https", "api.example", "api.example",
     "/v1/orders/%E2%82%AC%20caf%C3%A9", "", b""),
    ("head", "HEAD", "https", "api.example", "api.example", "/v1/orders", "", b""),
    ("post json", "POST", "https", "api.example", "api.example", "/v1/orders", "application/json", JSON_BODY),
    ("post json with a query", "POST", "https", "api.example", "api.example", "/v1/orders?test=true",
     "application/json; charset=utf-8", JSON_BODY),
    ("post without content type", "POST", "https", "api.example", "api.example", "/v1/orders", "", b"side=sell"),
    ("post without body", "POST", "https", "api.example", "api.example", "/v1/orders", "application/json", b""),
    ("post bytes that are no text", "POST", "https", "api.example", "api.example", "/v1/orders",
     "application/octet-stream", bytes(range(256))),
    ("delete", "DELETE", "https", "api.example", "api.example", "/v1/orders/1234", "", b""),
    ("put with a short body", "PUT", "https", "api.example", "api.example", "/v1/orders/12", "text/plain", b"34"),
    ("host in capitals with its default port", "GET", "https", "API.Example:443", "api.example", "/v1/orders", "", b""),
    ("default port of http", "GET", "http", "api.example:80", "api.example", "/v1/orders", "", b""),
    ("a port that is not the default", "GET", "https", "api.example:8443", "api.example:8443", "/v1/orders", "", b""),
    ("the default port of the other scheme", "GET", "http", "api.example:443", "api.example:443",
     "/v1/orders", "", b""),
    ("an IPv6 host", "GET", "https", "[2001:DB8::1]:8443", "[2001:db8::1]:8443", "/v1/orders", "", b""),
]  # fmt: skip


def _base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().replace("=", "")


def _sign(key: str, text: bytes) -> bytes:
    if KEYS[key]["algorithm"] == "ed25519":
        return Ed25519PrivateKey.from_private_bytes(PRIVATE).sign(text)
    return hmac.new(SECRET, text, hashlib.sha256).digest()


def make_vectors() -> dict[str, Any]:
    """Return the whole file: every request under every key."""
    tests: list[dict[str, str | int]] = []
    for key, described in KEYS.items():
        label = {"hmac-sha256": "TG1-HMAC-SHA256", "ed25519": "TG1-ED25519"}[described["algorithm"]]
        for number, (name, method, scheme, host, authority, target, content_type, body) in enumerate(REQUESTS):
            time_ms = 1_795_000_000_000 + number
            nonce = _base64url(hashlib.sha256(f"{key} {number}".encode()).digest()[: 12 + number])
            digest = hashlib.sha256(body).hexdigest()
            lines = [label, key, str(time_ms), nonce, method, authority, target, content_type, digest]
            text = "\n".join(lines)
            signature = _base64url(_sign(key, text.encode()))
            tests.append({
                "name": f"{described['algorithm']}, {name}",
                "key": key, "time_ms": time_ms, "nonce": nonce, "method": method, "scheme": scheme, "host": host,
                "target": target, "content_type": content_type, "body": body.hex(),
                "authority": authority, "body_sha256": digest, "signed_text": text, "signature": signature,
            })  # fmt: skip
    return {"dialect": "tg1", "keys": KEYS, "tests": tests}


if __name__ == "__main__":
    print(json.dumps(make_vectors(), indent=1))
