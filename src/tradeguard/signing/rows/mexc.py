"""MEXC: Spot signs the query alone; Contract signs key, time and the sorted query or the body."""

from tradeguard.core.credential import Window
from tradeguard.signing.algorithm import HMAC_SHA256
from tradeguard.signing.refusal import Refusal, Said
from tradeguard.signing.row import Header, Parameter, Row

_SECOND = 1_000_000_000


def _mexc(status: int, code: int, message: str) -> Said:
    return Said({"code": code, "msg": message}, status)


def _contract(status: int, code: int, message: str) -> Said:
    return Said({"success": False, "code": code, "message": message}, status)


_STALE = _mexc(400, 700003, "Timestamp for this request is outside of the recvWindow.")
_LIMITED = _mexc(0, 429, "Too Many Requests")
_REFUSAL = Refusal(
    # MEXC Spot API v3, "Error Code"; the lower codes are those that both of its APIs share
    media_type="application/json",
    codes={
        "unauthorized": _mexc(400, 700002, "Signature for this request is not valid."),
        "freshness.stale": _STALE,
        "freshness.early": _STALE,
        "replay.late": _STALE,
        "replay.seen": _mexc(400, 603, "Repeated request."),
        "network.outside": _mexc(0, 406, "Accessed IP is not in the whitelist."),
    },
    unknown=_mexc(504, 504, "Gateway timeout: execution status unknown."),
    statuses={
        403: _mexc(0, 403, "Forbidden: no permission to access the endpoint."),
        408: _mexc(0, 504, "The request did not arrive in time."),
        418: _LIMITED,
        429: _LIMITED,
        501: _mexc(0, 33333, "Parameter error."),
    },
    rejected=_mexc(0, 33333, "Parameter error."),
    down=_mexc(0, 503, "Service not available, please try again."),
)

_OUTSIDE_TIME = _contract(400, 513, "Invalid request: the time of the request is out of range.")
_EXCESSIVE = _contract(0, 510, "Excessive frequency of requests.")
_CONTRACT_REFUSAL = Refusal(
    # MEXC Contract API v1, "Error Code"
    media_type="application/json",
    codes={
        "unauthorized": _contract(401, 602, "Signature verification failed."),
        "freshness.stale": _OUTSIDE_TIME,
        "freshness.early": _OUTSIDE_TIME,
        "replay.late": _OUTSIDE_TIME,
        "replay.seen": _contract(400, 603, "Repeated requests."),
        "network.outside": _contract(0, 406, "Accessed IP is not in the whitelist."),
    },
    unknown=_contract(504, 504, "Gateway timeout: execution status unknown."),
    statuses={
        403: _contract(0, 511, "Endpoint inaccessible: the API key lacks the permission."),
        408: _contract(0, 504, "The request did not arrive in time."),
        418: _EXCESSIVE,
        429: _EXCESSIVE,
        501: _contract(0, 600, "Parameter error."),
    },
    rejected=_contract(0, 600, "Parameter error."),
    down=_contract(0, 501, "System busy."),
)

MEXC = Row(
    name="mexc",
    title="MEXC Spot v3",
    docs="MEXC Spot API v3: Signed",
    algorithms={HMAC_SHA256: "hex"},
    message=("{query}", "{query:spaced}"),
    key=Header(b"x-mexc-apikey"),
    signature=Parameter(b"signature"),
    time=Parameter(b"timestamp"),
    unit="ms",
    window=Window(past=5 * _SECOND, future=1 * _SECOND),
    width=Parameter(b"recvWindow"),
    widest=60 * _SECOND,
    body="none",
    refuse=_REFUSAL,
    clock={"serverTime": "$ms"},
)

MEXC_CONTRACT = Row(
    name="mexc-contract",
    title="MEXC Contract",
    docs="MEXC Contract API v1: Authentication Method",
    algorithms={HMAC_SHA256: "hex"},
    message="{key}{time}{text:sorted}",
    key=Header(b"apikey"),
    signature=Header(b"signature"),
    time=Header(b"request-time"),
    unit="ms",
    window=Window(past=10 * _SECOND, future=5 * _SECOND),
    body="json",
    refuse=_CONTRACT_REFUSAL,
    clock={"success": True, "code": 0, "data": "$ms"},
)
