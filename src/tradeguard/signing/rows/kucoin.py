"""KuCoin: HMAC over time, method, path with the decoded query, and body; a passphrase, hashed from key version 2 on."""

from tradeguard.core.credential import Window
from tradeguard.signing.algorithm import HMAC_SHA256
from tradeguard.signing.refusal import Refusal, Said
from tradeguard.signing.row import Header, Passphrase, Row

_SECOND = 1_000_000_000


def _kucoin(code: str, msg: str, status: int = 0) -> Said:
    return Said({"code": code, "msg": msg}, status)


_STALE = _kucoin("400002", "KC-API-TIMESTAMP Invalid")
_MANY = _kucoin("429000", "Too many requests")
_NO_SUCH = _kucoin("404000", "Url Not Found")
_REFUSAL = Refusal(
    # KuCoin API, "Error Codes"; docs/dialects/headers.md says why each was chosen
    media_type="application/json",
    codes={
        "unauthorized": _kucoin("400005", "Invalid KC-API-SIGN"),
        "freshness.stale": _STALE,
        "freshness.early": _STALE,
        "replay.late": _STALE,
        "replay.seen": _kucoin("126044", "Duplicate clientOid"),
        "network.outside": _kucoin("400006", "The requested ip address is not in the api whitelist"),
    },
    unknown=_kucoin("500000", "Internal Server Error. It is not known whether this was carried out."),
    statuses={
        403: _kucoin("400007", "Access denied, require more permission"),
        404: _NO_SUCH,
        408: _kucoin("503", "Timeout waiting for the request"),
        418: _MANY,
        429: _MANY,
        501: _NO_SUCH,
    },
    rejected=_kucoin("400100", "Parameter Error"),
    down=_kucoin("503", "Service Unavailable"),
)

KUCOIN = Row(
    name="kucoin",
    title="KuCoin",
    docs="KuCoin API: Authentication, Signing a Message",
    algorithms={HMAC_SHA256: "base64"},
    message=("{time}{method}{path}{?query:decoded}{body}", "{time}{method}{target}{body}"),
    key=Header(b"kc-api-key"),
    signature=Header(b"kc-api-sign"),
    time=Header(b"kc-api-timestamp"),
    passphrase=Passphrase(place=Header(b"kc-api-passphrase"), version=Header(b"kc-api-key-version")),
    unit="ms",
    window=Window(past=5 * _SECOND, future=5 * _SECOND),
    body="json",
    refuse=_REFUSAL,
    clock={"code": "200000", "msg": "success", "data": "$ms"},
)
