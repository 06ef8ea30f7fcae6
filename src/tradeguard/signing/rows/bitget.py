"""Bitget v2: HMAC over time, method, path with the sorted and decoded query, and body; and a passphrase beside it."""

from tradeguard.core.credential import Window
from tradeguard.signing.algorithm import HMAC_SHA256
from tradeguard.signing.refusal import Refusal, Said
from tradeguard.signing.row import Header, Passphrase, Row

_SECOND = 1_000_000_000


def _bitget(code: str, msg: str, status: int = 0) -> Said:
    return Said({"code": code, "msg": msg, "data": None}, status)


_STALE = _bitget("40008", "Request timestamp expired")
_MANY = _bitget("429", "Request Frequency Is Too High")
_NO_SUCH = _bitget("40404", "Request URL NOT FOUND")
_HALTED = _bitget("40200", "Server upgrade, please try again later")
_REFUSAL = Refusal(
    # Bitget API, "RestAPI Error Codes"; docs/dialects/headers.md says why each was chosen
    media_type="application/json",
    codes={
        "unauthorized": _bitget("40009", "sign signature error"),
        "freshness.stale": _STALE,
        "freshness.early": _STALE,
        "replay.late": _STALE,
        "replay.seen": _bitget("40500", "Client_oid check error: duplicate"),
        "network.outside": _bitget("40018", "Invalid IP"),
        "halt.no_new": _HALTED,
        "halt.blocked": _HALTED,
    },
    unknown=_bitget("50008", "network timeout"),
    statuses={
        403: _bitget("40014", "Incorrect permissions"),
        404: _NO_SUCH,
        408: _bitget("50008", "network timeout"),
        418: _MANY,
        429: _MANY,
        501: _NO_SUCH,
    },
    rejected=_bitget("40017", "Parameter verification failed"),
    down=_bitget("40604", "Server is busy, please try again later"),
)

BITGET = Row(
    name="bitget",
    title="Bitget v2",
    docs="Bitget API v2: Signature",
    algorithms={HMAC_SHA256: "base64"},
    message="{time}{method}{path}{?query:sorted,decoded}{body}",
    key=Header(b"access-key"),
    signature=Header(b"access-sign"),
    time=Header(b"access-timestamp"),
    passphrase=Passphrase(place=Header(b"access-passphrase")),
    unit="ms",
    window=Window(past=30 * _SECOND, future=5 * _SECOND),
    body="json",
    logins=frozenset({"/user/verify"}),
    refuse=_REFUSAL,
    clock={"code": "00000", "msg": "success", "requestTime": "$ms", "data": {"serverTime": "{ms}"}},
)
