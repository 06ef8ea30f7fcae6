"""Binance Spot: HMAC, RSA and Ed25519 keys; the parameters are signed, not where they go."""

from tradeguard.core.credential import Window
from tradeguard.signing.algorithm import ED25519, HMAC_SHA256, RSA_SHA256
from tradeguard.signing.refusal import Refusal, Said
from tradeguard.signing.row import Header, Parameter, Row


def _binance(status: int, code: int, msg: str) -> Said:
    return Said({"code": code, "msg": msg}, status)


_STALE = _binance(400, -1021, "Timestamp for this request is outside of the recvWindow.")
_REFUSAL = Refusal(
    # Binance Spot API, "Error codes"; docs/refusals.md says why each was chosen
    media_type="application/json;charset=UTF-8",
    codes={
        "unauthorized": _binance(401, -1022, "Signature for this request is not valid."),
        "freshness.stale": _STALE,
        "freshness.early": _binance(400, -1021, "Timestamp for this request was 1000ms ahead of the server's time."),
        "replay.late": _STALE,
        "replay.seen": _binance(400, -2010, "Duplicate order sent."),
    },
    unknown=_binance(
        0, -1007, "Timeout waiting for response from backend server. Send status unknown; execution status unknown."
    ),
    statuses={
        403: _binance(0, -1002, "You are not authorized to execute this request."),
        404: _binance(0, -1020, "This operation is not supported."),
        408: _binance(0, 0, "Timeout waiting for the request."),  # without a code, clients go by the status
        418: _binance(0, -1003, "Too many requests queued."),
        429: _binance(0, -1003, "Too many requests queued."),
        501: _binance(0, -1020, "This operation is not supported."),
    },
    rejected=_binance(0, -1130, "Invalid data sent for a parameter."),
    down=_binance(0, 0, "Service Unavailable."),
)

BINANCE = Row(
    name="binance",
    title="Binance Spot",
    docs="Binance Spot API, Request Security: SIGNED Endpoint Examples; Timing security",
    challenge='Binance realm="api"',
    algorithms={HMAC_SHA256: "hex", RSA_SHA256: "base64", ED25519: "base64"},
    message="{query}{form}",
    key=Header(b"x-mbx-apikey"),
    signature=Parameter(b"signature"),
    time=Parameter(b"timestamp"),
    unit="ms",
    window=Window(past=5_000_000_000, future=1_000_000_000),
    width=Parameter(b"recvWindow"),
    widest=60_000_000_000,
    bodyless=frozenset({"GET", "HEAD"}),
    foreign=frozenset({b"apiKey"}),  # session.logon signs it
    refuse=_REFUSAL,
    clock={"serverTime": "$ms"},
)
