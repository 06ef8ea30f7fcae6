"""The table of dialects. Each row stands beside the documentation of what it describes."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from tradeguard.core.credential import Window
from tradeguard.signing.material import ED25519, HMAC_SHA256
from tradeguard.signing.refusal import Refusal, Said
from tradeguard.signing.row import Header, Parameter, Row

_MS = 1_000_000
_SECOND = 1_000_000_000

TG1 = Row(
    # docs/signing.md
    name="tg1",
    challenge='TG1 realm="api"',
    algorithms={HMAC_SHA256: b"TG1-HMAC-SHA256", ED25519: b"TG1-ED25519"},
    key=Header(b"tg-key"),
    time=Header(b"tg-time"),
    nonce=Header(b"tg-nonce"),
    signature=Header(b"tg-signature"),
    encoding="base64url",
    unit=_MS,
    message=("label", "key", "time", "nonce", "method", "authority", "target", "content_type", "body_sha256"),
    separator=b"\n",
    window=Window(past=5 * _SECOND, future=1 * _SECOND),
    bodyless=frozenset({"GET", "HEAD", "DELETE"}),
)


def _binance(status: int, code: int, msg: str) -> Said:
    return Said({"code": code, "msg": msg}, status)


_STALE = _binance(400, -1021, "Timestamp for this request is outside of the recvWindow.")
_BINANCE_REFUSAL = Refusal(
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
    # Binance Spot API, "SIGNED endpoint security" and "Timing security"
    name="binance",
    challenge='Binance realm="api"',
    algorithms={HMAC_SHA256: b""},
    key=Header(b"x-mbx-apikey"),
    time=Parameter(b"timestamp"),
    signature=Parameter(b"signature"),
    encoding="hex",
    unit=_MS,
    message=("query", "form"),
    separator=b"",
    window=Window(past=5 * _SECOND, future=1 * _SECOND),
    width=Parameter(b"recvWindow"),
    widest=60 * _SECOND,
    bodyless=frozenset({"GET", "HEAD", "DELETE"}),
    refuse=_BINANCE_REFUSAL,
    clock="serverTime",
)

ROWS: Final[Mapping[str, Row]] = MappingProxyType({row.name: row for row in (TG1, BINANCE)})
"""Every dialect by name."""
