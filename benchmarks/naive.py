"""The yardstick: what one assembles from PyPI for the same duties, one straightforward call per concern.

API key, allow list, HMAC-SHA256 over time, nonce, method, target and body hash, a nonce set, a scope, two limits of the
`limits` library with their header fields, and a masked JSON line through `logging`. Another yardstick with the same
names (BODY, bare_app, NaiveGuard, MemoryState, RECORD, signed_headers, http_scope, log_to) is taken with NAIVE=file.py.
"""

import hashlib
import hmac
import ipaddress
import itertools
import json
import logging
import time
from typing import Any

from limits import RateLimitItemPerDay, RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

SKEW_MS = 5_000
SECRET_FIELDS = {"otp", "secret", "password", "account"}
SCOPES = {("POST", "/orders"): "orders:write"}
RECORD: dict[str, Any] = {
    "secret": "s3cr3t-" * 6,
    "allow": ["10.0.0.0/8", "127.0.0.0/8"],
    "scopes": ["orders:write", "orders:read"],
}
ORDER = {"symbol": "BTC-USD", "side": "buy", "qty": "0.5", "price": "64250.10", "type": "limit", "otp": "123456"}
BODY = json.dumps({**ORDER, "client_order_id": "c-000001", "account": "ACC-99871"}).encode()
audit = logging.getLogger("benchmark.audit")
_numbers = itertools.count(time.time_ns())


def log_to(path: str) -> None:
    """Send the audit lines to a file."""
    audit.handlers[:], audit.propagate = [logging.FileHandler(path)], False
    audit.setLevel(logging.INFO)


def sign(secret: str, stamp: str, nonce: str, method: str, target: str, body: bytes) -> str:
    """Return the hex MAC of a request."""
    text = "\n".join((stamp, nonce, method, target, hashlib.sha256(body).hexdigest()))
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def signed_headers() -> list[tuple[bytes, bytes]]:
    """Return the header of a new signed order."""
    stamp, nonce = str(time.time_ns() // 1_000_000), f"{next(_numbers):016x}"
    mac = sign(RECORD["secret"], stamp, nonce, "POST", "/orders", BODY)
    own = {"x-api-key": "k1", "x-timestamp": stamp, "x-nonce": nonce, "x-signature": mac}
    return usual_headers() + [(name.encode(), value.encode()) for name, value in own.items()]


def usual_headers() -> list[tuple[bytes, bytes]]:
    """Return what any client sends."""
    fields = {"host": "api.example", "user-agent": "bench/1", "accept": "*/*", "content-type": "application/json"}
    return [(k.encode(), v.encode()) for k, v in fields.items()] + [(b"content-length", b"%d" % len(BODY))]


def http_scope(headers: list[tuple[bytes, bytes]], method: str = "POST", path: str = "/orders") -> dict[str, Any]:
    """Return the ASGI scope of a request."""
    fixed = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "root_path": ""}
    ends = {"client": ("127.0.0.1", 50_000), "server": ("127.0.0.1", 8000), "query_string": b""}
    return {**fixed, **ends, "method": method, "path": path, "raw_path": path.encode(), "headers": headers}


async def bare_app(_scope: Any, receive: Any, send: Any) -> None:
    """Answer, and nothing else."""
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": b'{"ok":true}'})


class MemoryState:
    """Keys, nonces and limits in memory."""

    def __init__(self, keys: dict[str, dict[str, Any]]) -> None:
        self.keys, self.nonces, self.storage = keys, dict[tuple[str, str], float](), MemoryStorage()

    async def fresh(self, key: str, nonce: str) -> bool:
        """Remember a nonce; False if it is known."""
        now = time.time()
        if len(self.nonces) > 100_000:
            self.nonces = {entry: until for entry, until in self.nonces.items() if until > now}
        if self.nonces.get((key, nonce), 0) > now:
            return False
        self.nonces[key, nonce] = now + 2 * SKEW_MS / 1000
        return True


class NaiveGuard:
    """The middleware."""  # deliberately straightforward: windows are not atomic, networks are parsed each time

    def __init__(self, app: Any, state: MemoryState) -> None:
        self.app, self.state = app, state
        self.limiter = SlidingWindowCounterRateLimiter(state.storage)
        self.windows = (RateLimitItemPerSecond(1_000_000), RateLimitItemPerDay(1_000_000_000))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request."""
        started = time.perf_counter()
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        status, fields = await self.decide(scope, headers, body)
        if status == 200:

            async def replay() -> Any:
                return {"type": "http.request", "body": body, "more_body": False}

            async def respond(message: Any) -> None:
                if message["type"] == "http.response.start":
                    message = {**message, "headers": [*message["headers"], *fields]}
                await send(message)

            await self.app(scope, replay, respond)
        else:
            await send({"type": "http.response.start", "status": status, "headers": fields})
            await send({"type": "http.response.body", "body": json.dumps({"status": status}).encode()})
        payload = {name: "***" if name in SECRET_FIELDS else value for name, value in json.loads(body).items()}
        line = {"ts": time.time(), "key": headers.get("x-api-key"), "ip": scope["client"][0], "path": scope["path"]}
        audit.info(json.dumps({**line, "status": status, "body": payload, "s": time.perf_counter() - started}))

    async def decide(self, scope: Any, headers: dict[str, str], body: bytes) -> tuple[int, list[tuple[bytes, bytes]]]:
        """Return the status, 200 to pass, and the limit's header fields."""
        key = headers.get("x-api-key", "")
        record = self.state.keys.get(key)
        address = ipaddress.ip_address(scope["client"][0])
        stamp, nonce = headers.get("x-timestamp", ""), headers.get("x-nonce", "")
        if record is None or not stamp.isdigit() or abs(time.time() * 1000 - int(stamp)) > SKEW_MS:
            return 401, []
        if not any(address in ipaddress.ip_network(network) for network in record["allow"]):
            return 403, []
        mac = sign(record["secret"], stamp, nonce, scope["method"], scope["path"], body)
        if not hmac.compare_digest(mac, headers.get("x-signature", "")) or not await self.state.fresh(key, nonce):
            return 401, []
        if SCOPES.get((scope["method"], scope["path"])) not in record["scopes"]:
            return 403, []
        for window in self.windows:
            if not await self.limiter.hit(window, key):
                return 429, []
        reset, left = await self.limiter.get_window_stats(self.windows[0], key)
        return 200, [(b"x-ratelimit-remaining", b"%d" % left), (b"x-ratelimit-reset", b"%d" % reset)]
