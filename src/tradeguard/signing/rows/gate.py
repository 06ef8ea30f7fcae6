"""Gate v4: HMAC-SHA512 over method, path, decoded query, a hash of the body and the time, each on its line."""

from tradeguard.core.credential import Window
from tradeguard.signing.algorithm import HMAC_SHA512
from tradeguard.signing.refusal import Refusal, Said
from tradeguard.signing.row import Header, Row

_SECOND = 1_000_000_000


def _gate(status: int, label: str, message: str) -> Said:
    return Said({"label": label, "message": message}, status)


_STALE = _gate(401, "REQUEST_EXPIRED", "The gap between Timestamp and the current time exceeds 60 seconds")
_LIMITED = _gate(0, "TOO_MANY_REQUESTS", "Request rate limit exceeded")
_REFUSAL = Refusal(
    # Gate API v4, "Error Handling": labels
    media_type="application/json",
    codes={
        "unauthorized": _gate(401, "INVALID_SIGNATURE", "Signature mismatch"),
        "freshness.stale": _STALE,
        "freshness.early": _STALE,
        "replay.late": _STALE,
        "replay.seen": _gate(400, "REPEATED_CREATION", "This request was received before"),
    },
    unknown=Said({"message": "Timeout: execution status unknown"}, 504),  # it has no label for it: the status tells
    statuses={
        403: _gate(0, "FORBIDDEN", "Forbidden: the key lacks the permission, or is used from elsewhere"),
        408: Said({"message": "The request did not arrive in time"}),
        418: _LIMITED,
        429: _LIMITED,
        501: _gate(0, "METHOD_NOT_ALLOWED", "Method not allowed"),
    },
    rejected=_gate(0, "BAD_REQUEST", "Invalid request"),
    down=_gate(0, "SERVER_ERROR", "Service unavailable"),
)

GATE = Row(
    name="gate",
    title="Gate v4",
    docs="Gate API v4: Authentication, APIv4 Signed Request",
    algorithms={HMAC_SHA512: "hex"},
    message=(
        "{method}\n{path}\n{query:decoded}\n{sha512hex(body)}\n{time}",
        "{method}\n{path}\n{query}\n{sha512hex(body)}\n{time}",
    ),
    key=Header(b"key"),
    signature=Header(b"sign"),
    time=Header(b"timestamp"),
    unit="s.",
    window=Window(past=60 * _SECOND, future=5 * _SECOND),
    refuse=_REFUSAL,
    clock={"server_time": "$ms"},
)
