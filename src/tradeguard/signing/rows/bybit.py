"""Bybit v5: HMAC or RSA over time, key, window and the query or the body; neither method nor path is signed."""

from tradeguard.core.credential import Window
from tradeguard.signing.algorithm import HMAC_SHA256, RSA_SHA256
from tradeguard.signing.refusal import Refusal, Said
from tradeguard.signing.row import Header, Row

_SECOND = 1_000_000_000


def _bybit(status: int, code: int, message: str, **more: str) -> Said:
    return Said({"retCode": code, "retMsg": message, "result": {}, "retExtInfo": {}, **more}, status)


_STALE = _bybit(200, 10002, "invalid request, please check your server timestamp or recv_window param")
_BY_STATUS = {"ret_code": "0"}  # ccxt reads this older name first; told nothing by it, it goes by the status
_REFUSAL = Refusal(
    # Bybit API v5, "Error Codes": what it has understood it answers with 200, and pybit reads codes nowhere else
    media_type="application/json; charset=utf-8",
    codes={
        "unauthorized": _bybit(401, 10004, "error sign! please check your signature generation algorithm."),
        "freshness.stale": _STALE,
        "freshness.early": _STALE,
        "replay.late": _STALE,
        "replay.seen": _bybit(200, 10014, "Invalid duplicate request."),
        "network.outside": _bybit(200, 10010, "Unmatched IP, please check your API key's bound IP addresses."),
    },
    unknown=_bybit(
        0, 170007, "Timeout waiting for response from backend server. Send status unknown; execution status unknown."
    ),
    statuses={
        403: _bybit(200, 10005, "Permission denied, please check your API key permissions."),
        408: _bybit(0, 10000, "Server Timeout", **_BY_STATUS),
        418: _bybit(0, 10018, "Exceeded the IP Rate Limit."),
        429: _bybit(0, 10006, "Too many visits. Exceeded the API Rate Limit."),
        501: _bybit(0, 10001, "Request parameter error."),
    },
    rejected=_bybit(0, 10001, "Request parameter error."),
    down=_bybit(0, 10016, "Server error. Service is restarting or under maintenance.", **_BY_STATUS),
)

BYBIT = Row(
    name="bybit",
    title="Bybit v5",
    docs="Bybit API v5: Integration Guidance, Create A Request",
    algorithms={HMAC_SHA256: "hex", RSA_SHA256: "base64"},
    message=("{time}{key}{width}{text}", "{time}{key}{width}{text:decoded}"),
    key=Header(b"x-bapi-api-key"),
    signature=Header(b"x-bapi-sign"),
    time=Header(b"x-bapi-timestamp"),
    width=Header(b"x-bapi-recv-window"),
    unit="ms",
    window=Window(past=5 * _SECOND, future=1 * _SECOND),
    widest=60 * _SECOND,
    body="json",
    constants=((Header(b"x-bapi-sign-type"), b"2"),),
    refuse=_REFUSAL,
    clock={
        "retCode": 0,
        "retMsg": "OK",
        "result": {"timeSecond": "{s}", "timeNano": "{ns}"},
        "retExtInfo": {},
        "time": "$ms",
    },
)
