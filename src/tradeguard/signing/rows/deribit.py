"""Deribit: HMAC over time, nonce, method, target and body, each on its line; all fields stand in Authorization."""

from tradeguard.core.credential import Window
from tradeguard.signing.algorithm import HMAC_SHA256
from tradeguard.signing.refusal import Refusal, Said
from tradeguard.signing.row import AuthParam, Row

_SECOND = 1_000_000_000


def _deribit(status: int, code: int, message: str, **data: str) -> Said:
    error = {"message": message, "data": data, "code": code} if data else {"message": message, "code": code}
    return Said({"jsonrpc": "2.0", "error": error, "testnet": False}, status)


_STALE = _deribit(400, -32602, "Invalid params", reason="too far from the time of the server", param="timestamp")
_LIMITED = _deribit(0, 10028, "too_many_requests")
_REFUSAL = Refusal(
    # Deribit API, "RPC Error Codes"
    media_type="application/json",
    codes={
        "unauthorized": _deribit(401, 13009, "unauthorized"),
        "freshness.stale": _STALE,
        "freshness.early": _STALE,
        "replay.late": _STALE,
        "replay.seen": _deribit(400, -32602, "Invalid params", reason="used before: look it up", param="nonce"),
    },
    unknown=_deribit(0, 13888, "timed_out", reason="execution status unknown: look it up"),
    statuses={
        403: _deribit(0, 13021, "forbidden"),
        404: _deribit(0, -32601, "Method not found"),
        408: _deribit(0, 10040, "retry"),
        418: _LIMITED,
        429: _LIMITED,
        501: _deribit(0, -32601, "Method not found"),
    },
    rejected=_deribit(0, -32600, "request entity invalid"),
    down=_deribit(0, 11051, "system_maintenance"),
)

DERIBIT = Row(
    name="deribit",
    title="Deribit",
    docs="Deribit API: Authentication, Deribit signature credentials",
    algorithms={HMAC_SHA256: "hex"},
    message="{time}\n{nonce}\n{method}\n{target}\n{body}\n",
    key=AuthParam(b"id"),
    signature=AuthParam(b"sig"),
    time=AuthParam(b"ts"),
    nonce=AuthParam(b"nonce"),
    scheme=b"deri-hmac-sha256",
    form="free",
    unit="ms",
    window=Window(past=30 * _SECOND, future=5 * _SECOND),
    refuse=_REFUSAL,
    clock={"jsonrpc": "2.0", "result": "$ms", "usIn": "$us", "usOut": "$us", "usDiff": 0, "testnet": False},
)
