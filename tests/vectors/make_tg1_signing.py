"""Write the vectors that writers of clients start from: a URL and a body, and what becomes of them.

They are made from the description of the dialect alone, with the keys of `make_tg1.py`; nothing of tradeguard is
imported here. `python tests/vectors/make_tg1_signing.py > tests/vectors/tg1_signing.json`
"""

import base64
import hashlib
import hmac
import json
import sys
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

sys.path.insert(0, str(Path(__file__).parents[1]))  # when run as a script

from vectors.make_tg1 import KEYS, PRIVATE, SECRET

ORDER = b'{"symbol":"BTC-USD","side":"buy","price":"60000.10"}'

# name, method, URL, content type, body; then what is signed of the URL: authority, target
REQUESTS = [
    ("no path", "GET", "https://api.example", "", b"", "api.example", "/"),
    ("a path", "GET", "https://api.example/v1/orders", "", b"", "api.example", "/v1/orders"),
    ("a query", "GET", "https://api.example/v1/orders?symbol=BTC-USD&limit=10", "", b"",
     "api.example", "/v1/orders?symbol=BTC-USD&limit=10"),
    ("a repeated and an empty value", "GET", "https://api.example/v1/orders?a=1&a=2&b=&c", "", b"",
     "api.example", "/v1/orders?a=1&a=2&b=&c"),
    ("plus and space", "GET", "https://api.example/v1/orders?note=a%20b+c%2Bd", "", b"",
     "api.example", "/v1/orders?note=a%20b+c%2Bd"),
    ("lower-case escapes stay", "GET", "https://api.example/v1/orders?note=%e2%82%ac", "", b"",
     "api.example", "/v1/orders?note=%e2%82%ac"),
    ("text that is no ASCII is sent encoded", "GET", "https://api.example/v1/items/caf\u00e9?note=\u20ac", "", b"",
     "api.example", "/v1/items/caf%C3%A9?note=%E2%82%AC"),
    ("a fragment is not sent", "GET", "https://api.example/v1/orders?a=1#top", "", b"",
     "api.example", "/v1/orders?a=1"),
    ("a host in capitals", "GET", "https://API.Example/v1/orders", "", b"", "api.example", "/v1/orders"),
    ("the default port", "GET", "https://api.example:443/v1/orders", "", b"", "api.example", "/v1/orders"),
    ("the default port of http", "GET", "http://api.example:80/v1/orders", "", b"", "api.example", "/v1/orders"),
    ("another port", "GET", "https://api.example:8443/v1/orders", "", b"", "api.example:8443", "/v1/orders"),
    ("an IPv6 address", "GET", "http://[2001:DB8::1]:8443/v1/orders", "", b"",
     "[2001:db8::1]:8443", "/v1/orders"),
    ("delete", "DELETE", "https://api.example/v1/orders/1234", "", b"", "api.example", "/v1/orders/1234"),
    ("json", "POST", "https://api.example/v1/orders", "application/json", ORDER, "api.example", "/v1/orders"),
    ("json with a charset and a query", "POST", "https://api.example/v1/orders?test=1",
     "application/json; charset=utf-8", ORDER, "api.example", "/v1/orders?test=1"),
    ("a form", "POST", "https://api.example/v1/orders", "application/x-www-form-urlencoded",
     b"symbol=BTC-USD&note=a+b", "api.example", "/v1/orders"),
    ("no body and no content type", "POST", "https://api.example/v1/orders", "", b"", "api.example", "/v1/orders"),
    ("bytes that are no text", "PUT", "https://api.example/v1/file", "application/octet-stream", bytes(range(256)),
     "api.example", "/v1/file"),
]  # fmt: skip


def _sign(key: str, text: bytes) -> bytes:
    if KEYS[key]["algorithm"] == "ed25519":
        return Ed25519PrivateKey.from_private_bytes(PRIVATE).sign(text)
    return hmac.digest(SECRET, text, "sha256")


def make_vectors() -> dict[str, Any]:
    """Return the whole file: every request under every key."""
    tests: list[dict[str, str | int]] = []
    for key, label in (("vector-hmac", "TG1-HMAC-SHA256"), ("vector_ed25519", "TG1-ED25519")):
        for number, (name, method, url, content_type, body, authority, target) in enumerate(REQUESTS):
            time_ms, nonce = 1_795_000_000_000 + number, f"nonce-of-{key}-{number:02}"
            digest = hashlib.sha256(body).hexdigest()
            text = "\n".join([label, key, str(time_ms), nonce, method, authority, target, content_type, digest])
            signature = base64.urlsafe_b64encode(_sign(key, text.encode())).decode().rstrip("=")
            tests.append({
                "name": f"{label}, {name}", "key": key, "time_ms": time_ms, "nonce": nonce, "method": method,
                "url": url, "content_type": content_type, "body": body.hex(),
                "string_to_sign": text, "signature": signature,
            })  # fmt: skip
    return {"dialect": "tg1", "keys": KEYS, "tests": tests}


if __name__ == "__main__":
    print(json.dumps(make_vectors(), indent=1))
