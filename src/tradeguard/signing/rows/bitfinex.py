"""Bitfinex v2: HMAC-SHA384 over the path, a rising nonce and the body."""

from tradeguard.core.credential import Window
from tradeguard.signing.algorithm import HMAC_SHA384
from tradeguard.signing.refusal import Refusal, Said
from tradeguard.signing.row import Header, Row

_SECOND = 1_000_000_000


def _bitfinex(number: int, text: str, status: int = 500) -> Said:
    return Said(["error", number, text], status)


_NONCE = _bitfinex(10114, "nonce: small")
_USED = _bitfinex(10020, "nonce: used")  # a small nonce (10114) is one that clients sign and send anew
_REFUSAL = Refusal(
    # Bitfinex API v2, "Abbreviations & glossary: Error codes": it answers errors with 500, and clients read their
    # number at no other status
    media_type="application/json",
    codes={
        "unauthorized": _bitfinex(10100, "apikey: invalid"),
        "freshness.stale": _NONCE,
        "freshness.early": _bitfinex(10114, "nonce: too far ahead"),
        "replay.late": _NONCE,
        "replay.behind": _USED,
        "replay.seen": _USED,
    },
    unknown=_bitfinex(20060, "maintenance: what became of the request is not known"),
    statuses={
        403: _bitfinex(10001, "permission: invalid"),
        404: _bitfinex(10020, "endpoint: invalid"),
        408: _bitfinex(20060, "maintenance: the request did not arrive in time"),
        418: _bitfinex(11010, "ratelimit: error", 429),
        429: _bitfinex(11010, "ratelimit: error", 429),
        501: _bitfinex(10020, "method: invalid"),
    },
    rejected=_bitfinex(10020, "request: invalid"),
    down=_bitfinex(20060, "maintenance"),
)

BITFINEX = Row(
    name="bitfinex",
    title="Bitfinex v2",
    docs="Bitfinex API v2: Authenticated Endpoints",
    algorithms={HMAC_SHA384: "hex"},
    message="/api{path}{nonce}{body}",
    key=Header(b"bfx-apikey"),
    signature=Header(b"bfx-signature"),
    nonce=Header(b"bfx-nonce"),
    form="clock",
    window=Window(past=60 * _SECOND, future=5 * _SECOND),
    body="json",
    refuse=_REFUSAL,
)
