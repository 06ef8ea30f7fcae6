"""HTX: HMAC over method, host, path and the sorted query, which carries the credential; bodies are not signed."""

from tradeguard.core.credential import Window
from tradeguard.signing.algorithm import HMAC_SHA256
from tradeguard.signing.refusal import Refusal, Said
from tradeguard.signing.row import Parameter, Row

_SECOND = 1_000_000_000


def _htx(status: int, code: str, message: str) -> Said:
    return Said({"status": "error", "err-code": code, "err-msg": message, "data": None}, status)


_STALE = _htx(0, "api-signature-not-valid", "Signature not valid: Invalid Timestamp")
_LIMITED = _htx(0, "rate-too-many-requests", "Too many requests")
_REFUSAL = Refusal(
    # HTX Spot API, "Error Code"
    media_type="application/json;charset=utf-8",
    codes={
        "unauthorized": _htx(401, "api-signature-not-valid", "Signature not valid: Verification failure"),
        "freshness.stale": _STALE,
        "freshness.early": _STALE,
        "replay.late": _STALE,
        "replay.seen": _htx(0, "bad-request", "Repeated request: this signature was used before"),
        "network.outside": _htx(0, "api-not-support-temp-addr", "The API key cannot be used from this IP address"),
    },
    unknown=_htx(504, "timeout", "Request timed out: execution status unknown"),
    statuses={
        403: _htx(0, "api-key-no-permission", "API key has no permission"),
        408: _htx(0, "timeout", "The request did not arrive in time"),
        418: _LIMITED,
        429: _LIMITED,
        501: _htx(0, "bad-request", "Bad request"),
    },
    rejected=_htx(0, "bad-request", "Bad request"),
    down=_htx(0, "system-maintenance", "System is in maintenance"),
)

HTX = Row(
    name="htx",
    title="HTX",
    docs="HTX Spot API: Authentication",
    algorithms={HMAC_SHA256: "base64"},
    message="{method}\n{authority}\n{path}\n{query:sorted}",
    key=Parameter(b"AccessKeyId"),
    signature=Parameter(b"Signature"),
    time=Parameter(b"Timestamp"),
    unit="iso-s",
    window=Window(past=300 * _SECOND, future=5 * _SECOND),
    logins=frozenset({"/ws/v2", "/notification", "/swap-notification", "/linear-swap-notification"}),
    constants=((Parameter(b"SignatureMethod"), b"HmacSHA256"), (Parameter(b"SignatureVersion"), b"2")),
    refuse=_REFUSAL,
    clock={"status": "ok", "data": "$ms"},
)
