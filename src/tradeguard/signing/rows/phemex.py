"""Phemex: HMAC over path, query without its question mark, the time until which it is good, and body; no method."""

from tradeguard.core.credential import Window
from tradeguard.signing.algorithm import HMAC_SHA256
from tradeguard.signing.refusal import Refusal, Said
from tradeguard.signing.row import Header, Row

_SECOND = 1_000_000_000


def _phemex(status: int, code: int, message: str) -> Said:
    return Said({"code": code, "msg": message, "data": None}, status)


def _by_status(status: int, code: int, message: str) -> Said:
    # Phemex has no code for these; ccxt asks "error" first and, finding no code in it, goes by the status
    return Said({"code": code, "msg": message, "data": None, "error": {"message": message}}, status)


_STALE = _phemex(401, 401, "Request expired")
_LIMITED = _phemex(0, 39995, "Too many requests.")
_REFUSAL = Refusal(
    # Phemex API, "Error Codes"
    media_type="application/json; charset=UTF-8",
    codes={
        "unauthorized": _phemex(401, 401, "API Signature verification failed"),
        "freshness.stale": _STALE,
        "freshness.early": _STALE,
        "replay.late": _STALE,
        "replay.seen": _phemex(0, 10001, "OM_DUPLICATE_ORDERID"),
    },
    unknown=_by_status(504, 504, "Timeout: execution status unknown"),
    statuses={
        403: _phemex(0, 39996, "Access denied."),
        408: _by_status(0, 408, "The request did not arrive in time"),
        418: _LIMITED,
        429: _LIMITED,
        501: _phemex(0, 19999, "Invalid request"),
    },
    rejected=_phemex(0, 19999, "Invalid request"),
    down=_by_status(0, 503, "Service unavailable"),
)

PHEMEX = Row(
    name="phemex",
    title="Phemex",
    docs="Phemex API: REST Authentication, Signature",
    algorithms={HMAC_SHA256: "hex"},
    message="{path}{query}{time}{body}",
    key=Header(b"x-phemex-access-token"),
    signature=Header(b"x-phemex-request-signature"),
    time=Header(b"x-phemex-request-expiry"),
    unit="s",
    window=Window(past=60 * _SECOND, future=5 * _SECOND),
    lifetime=60 * _SECOND,
    body="json",
    refuse=_REFUSAL,
    clock={"code": 0, "msg": "", "data": {"serverTime": "$ms"}},
)
