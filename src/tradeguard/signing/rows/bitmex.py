"""BitMEX: HMAC over method, target, the time until which it is good, and body."""

from tradeguard.core.credential import Window
from tradeguard.signing.algorithm import HMAC_SHA256
from tradeguard.signing.refusal import Refusal, Said
from tradeguard.signing.row import Header, Row

_SECOND = 1_000_000_000


def _bitmex(status: int, message: str, name: str = "HTTPError") -> Said:
    return Said({"error": {"message": message, "name": name}}, status)


_STALE = _bitmex(400, "This request has expired - `expires` is in the past.")
_LIMITED = _bitmex(429, "Rate limit exceeded, retry after the seconds of Retry-After.", "RateLimitError")
_REFUSAL = Refusal(
    # BitMEX API, "Error Handling"; clients go by the text
    media_type="application/json; charset=utf-8",
    codes={
        "unauthorized": _bitmex(401, "Signature not valid."),
        "freshness.stale": _STALE,
        "freshness.early": _bitmex(400, "This request is not valid: `expires` is too far in the future."),
        "replay.late": _STALE,
        "replay.seen": _bitmex(400, "Duplicate clOrdID", "ValidationError"),
    },
    unknown=_bitmex(0, "Server Error: execution status unknown. Look the order up."),
    statuses={
        403: _bitmex(0, "Access Denied"),
        404: _bitmex(0, "Not Found"),
        408: _bitmex(0, "The system is currently overloaded: the request did not arrive in time."),
        418: _LIMITED,
        429: _LIMITED,
        501: _bitmex(0, "Not Implemented"),
    },
    rejected=_bitmex(400, "Invalid request", "ValidationError"),
    down=_bitmex(0, "The system is currently overloaded or under maintenance. Please try again later."),
)

BITMEX = Row(
    name="bitmex",
    title="BitMEX",
    docs="BitMEX API: API Key Usage, Authenticating with an API Key",
    algorithms={HMAC_SHA256: "hex"},
    message="{method}{target}{time}{body}",
    key=Header(b"api-key"),
    signature=Header(b"api-signature"),
    time=Header(b"api-expires"),
    unit="s",
    window=Window(past=60 * _SECOND, future=5 * _SECOND),
    lifetime=60 * _SECOND,
    body="both",
    bodyless=frozenset({"GET", "HEAD"}),
    logins=frozenset({"/realtime"}),
    refuse=_REFUSAL,
    clock={"name": "BitMEX API", "timestamp": "$ms"},
)
