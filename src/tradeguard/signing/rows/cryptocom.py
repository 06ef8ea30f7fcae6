"""Crypto.com Exchange v1: HMAC over method, id, key, all parameters in one text and nonce; all of it in a JSON body."""

from tradeguard.core.credential import Window
from tradeguard.signing.algorithm import HMAC_SHA256
from tradeguard.signing.refusal import Refusal, Said
from tradeguard.signing.row import Field, Row

_SECOND = 1_000_000_000


def _cryptocom(code: int, message: str, status: int = 0) -> Said:
    return Said({"id": -1, "code": code, "message": message}, status)


_NONCE = _cryptocom(40102, "INVALID_NONCE", 400)
_DUPLICATE = _cryptocom(40006, "DUPLICATE_REQUEST", 400)
_LIMIT = _cryptocom(42901, "TOO_MANY_REQUESTS", 429)
_REFUSAL = Refusal(
    # Crypto.com Exchange API v1, "Response and Reason Codes"
    media_type="application/json",
    codes={
        "unauthorized": _cryptocom(40101, "UNAUTHORIZED", 401),
        "freshness.stale": _NONCE,
        "freshness.early": _NONCE,
        "replay.late": _NONCE,
        "replay.behind": _DUPLICATE,
        "replay.seen": _DUPLICATE,
    },
    unknown=_cryptocom(40801, "REQUEST_TIMEOUT", 408),
    statuses={
        403: _cryptocom(10005, "USER_TIER_INVALID"),  # older than v1, but the one that ccxt takes for a permission
        404: _cryptocom(40002, "METHOD_NOT_FOUND"),
        408: _cryptocom(40801, "REQUEST_TIMEOUT"),
        418: _LIMIT,
        429: _LIMIT,
        501: _cryptocom(40002, "METHOD_NOT_FOUND"),
    },
    rejected=_cryptocom(40001, "BAD_REQUEST"),
    down=_cryptocom(9010001, "SYSTEM_MAINTENANCE"),
)

CRYPTOCOM = Row(
    name="cryptocom",
    title="Crypto.com Exchange v1",
    docs="Crypto.com Exchange API v1: Digital Signature",
    algorithms={HMAC_SHA256: "hex"},
    message="{field(method)}{number(id)}{key}{flat(params)}{nonce}",
    key=Field(b"api_key"),
    signature=Field(b"sig"),
    nonce=Field(b"nonce"),
    form="clock",
    binds=((Field(b"method"), "tail"),),
    constants=((Field(b"id"), b"1"),),
    window=Window(past=60 * _SECOND, future=5 * _SECOND),
    mount="/exchange/v1",
    logins=frozenset({"/exchange/v1/public/auth"}),
    body="json",
    refuse=_REFUSAL,
    clock={"id": -1, "method": "public/get-time", "code": 0, "result": {"t": "$ms"}},
)
