"""OKX v5: HMAC over time, method, target and body, and a passphrase beside it."""

from tradeguard.core.credential import Window
from tradeguard.signing.algorithm import HMAC_SHA256
from tradeguard.signing.refusal import Refusal, Said
from tradeguard.signing.row import Header, Passphrase, Row

_SECOND = 1_000_000_000


def _okx(code: str, msg: str, status: int = 0) -> Said:
    return Said({"code": code, "msg": msg, "data": []}, status)


_STALE = _okx("50102", "Timestamp request expired")
_MANY = _okx("50011", "Too Many Requests")
_NO_SUCH = _okx("50115", "Invalid request method or path")
_HALTED = _okx("50001", "Service temporarily unavailable. Please try again later")
_REFUSAL = Refusal(
    # OKX API v5, "Error Code"; docs/dialects/headers.md says why each was chosen
    media_type="application/json",
    codes={
        "unauthorized": _okx("50114", "Invalid Authorization"),
        "freshness.stale": _STALE,
        "freshness.early": _STALE,
        "replay.late": _STALE,
        "replay.seen": _okx("51016", "Duplicated client order ID"),
        "network.outside": _okx("50110", "Your IP is not included in your API key's linked IP address whitelist"),
        "halt.no_new": _HALTED,
        "halt.blocked": _HALTED,
    },
    unknown=_okx("50004", "Endpoint request timeout. Check the result of the request"),
    statuses={
        403: _okx("50027", "The account is restricted from this operation"),
        404: _NO_SUCH,
        408: _okx("50004", "Endpoint request timeout"),
        418: _MANY,
        429: _MANY,
        501: _NO_SUCH,
    },
    rejected=_okx("50000", "The request is invalid"),
    down=_okx("50013", "Systems are busy. Please try again later"),
)

OKX = Row(
    name="okx",
    title="OKX v5",
    docs="OKX API v5: Overview, REST Authentication, Making Requests",
    algorithms={HMAC_SHA256: "base64"},
    message="{time}{method}{target}{body}",
    key=Header(b"ok-access-key"),
    signature=Header(b"ok-access-sign"),
    time=Header(b"ok-access-timestamp"),
    passphrase=Passphrase(place=Header(b"ok-access-passphrase")),
    unit="iso-ms",
    window=Window(past=30 * _SECOND, future=5 * _SECOND),
    body="json",
    logins=frozenset({"/users/self/verify"}),
    refuse=_REFUSAL,
    clock={"code": "0", "msg": "", "data": [{"ts": "{ms}"}]},
)
