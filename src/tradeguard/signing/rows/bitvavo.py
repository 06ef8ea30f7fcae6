"""Bitvavo: HMAC over time, method, target and body. The window that clients ask for is not signed: it has no effect."""

from tradeguard.core.credential import Window
from tradeguard.signing.algorithm import HMAC_SHA256
from tradeguard.signing.refusal import Refusal, Said
from tradeguard.signing.row import Header, Row

_SECOND = 1_000_000_000


def _bitvavo(code: int, error: str, status: int = 0) -> Said:
    return Said({"errorCode": code, "error": error}, status)


_STALE = _bitvavo(304, "Request was not received within acceptable window of Bitvavo server time.")
_MANY = _bitvavo(103, "You have been rate limited.")
_NO_SUCH = _bitvavo(110, "Invalid endpoint. Please check url and HTTP method.")
_REFUSAL = Refusal(
    # Bitvavo API, "Errors"; docs/dialects/headers.md says why each was chosen
    media_type="application/json",
    codes={
        "unauthorized": _bitvavo(309, "The signature is invalid."),
        "freshness.stale": _STALE,
        "freshness.early": _STALE,
        "replay.late": _STALE,
        "replay.seen": _bitvavo(101, "Unknown error. Operation may or may not have succeeded."),
        "network.outside": _bitvavo(307, "This key does not allow access from this IP."),
    },
    unknown=_bitvavo(109, "The matching engine did not respond in time. Operation may or may not have succeeded."),
    statuses={
        403: _bitvavo(310, "This key does not allow this action."),
        404: _NO_SUCH,
        408: _bitvavo(108, "The request did not arrive in time."),
        418: _MANY,
        429: _MANY,
        501: _NO_SUCH,
    },
    rejected=_bitvavo(204, "A parameter is not supported."),
    down=_bitvavo(404, "Could not complete this operation, because our node cannot be reached."),
)

BITVAVO = Row(
    name="bitvavo",
    title="Bitvavo",
    docs="Bitvavo API v2: Authentication",
    algorithms={HMAC_SHA256: "hex"},
    message="{time}{method}{target}{body}",
    key=Header(b"bitvavo-access-key"),
    signature=Header(b"bitvavo-access-signature"),
    time=Header(b"bitvavo-access-timestamp"),
    unit="ms",
    window=Window(past=10 * _SECOND, future=1 * _SECOND),
    body="json",
    logins=frozenset({"/v2/websocket"}),
    refuse=_REFUSAL,
    clock={"time": "$ms", "timeNs": "$ns"},
)
