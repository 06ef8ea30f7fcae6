"""Coinbase Exchange: HMAC over time, method, target and body; the secret is base64, and a passphrase goes with it."""

from tradeguard.core.credential import Window
from tradeguard.signing.algorithm import HMAC_SHA256
from tradeguard.signing.refusal import Refusal, Said
from tradeguard.signing.row import Header, Passphrase, Row

_SECOND = 1_000_000_000


def _coinbase(status: int, message: str) -> Said:
    return Said({"message": message}, status)


_STALE = _coinbase(401, "request timestamp expired")
_FORBIDDEN = _coinbase(401, "Forbidden")
_REFUSAL = Refusal(
    # clients go by the status, which is Coinbase's own only where theirs is safe; docs/dialects/headers.md says why
    media_type="application/json",
    codes={
        "unauthorized": _coinbase(401, "invalid signature"),
        "freshness.stale": _STALE,
        "freshness.early": _STALE,
        "replay.late": _STALE,
        "replay.seen": _coinbase(400, "Duplicate request. Look the order up."),
        "network.outside": _coinbase(401, "IP does not match IP whitelist"),
    },
    unknown=_coinbase(504, "Timeout. It is not known whether this was carried out."),
    statuses={
        401: _FORBIDDEN,
        403: _FORBIDDEN,
        404: _coinbase(404, "Route not found"),
        408: _coinbase(408, "Timeout waiting for the request"),
        418: _coinbase(429, "Too many requests"),
        429: _coinbase(429, "Private rate limit exceeded"),
        501: _coinbase(400, "Not supported"),
    },
    rejected=_coinbase(400, "Bad Request"),
    down=_coinbase(503, "Service Unavailable"),
)

COINBASE_EXCHANGE = Row(
    name="coinbase-exchange",
    title="Coinbase Exchange",
    docs="Coinbase Exchange REST API: Authentication, Signing Requests",
    algorithms={HMAC_SHA256: "base64"},
    message="{time}{method}{target}{body}",
    secret="base64",
    key=Header(b"cb-access-key"),
    signature=Header(b"cb-access-sign"),
    time=Header(b"cb-access-timestamp"),
    passphrase=Passphrase(place=Header(b"cb-access-passphrase")),
    unit="s.",
    window=Window(past=30 * _SECOND, future=5 * _SECOND),
    body="json",
    bodyless=frozenset({"GET", "HEAD"}),
    logins=frozenset({"/users/self/verify"}),
    refuse=_REFUSAL,
    clock={"iso": "{iso-ms}", "epoch": "$s"},
)
