"""Bitstamp v2: HMAC over everything: key, method, host, path, query, content type, nonce, time and body."""

from tradeguard.core.credential import Window
from tradeguard.signing.algorithm import HMAC_SHA256
from tradeguard.signing.refusal import Refusal, Said
from tradeguard.signing.row import Header, Row

_SECOND = 1_000_000_000


def _bitstamp(status: int, reason: str, code: str = "") -> Said:
    return Said({"status": "error", "reason": reason, **({"code": code} if code else {})}, status)


def _by_status(status: int, code: str, explanation: str) -> Said:
    return Said({"response_code": code, "response_explanation": explanation}, status)


_NONCE = _bitstamp(403, "Invalid nonce", "API0004")
_LIMITED = _by_status(429, "400.002", "Request rejected due to exceeded rate limit.")
_REFUSAL = Refusal(
    # Bitstamp API, "Error Codes" and "Response Codes"; for the latter, ccxt goes by the status
    media_type="application/json",
    codes={
        "unauthorized": _bitstamp(403, "Invalid signature", "API0005"),
        "freshness.stale": _NONCE,
        "freshness.early": _NONCE,
        "replay.late": _NONCE,
        # (an invalid nonce is one that clients sign and send anew)
        "replay.seen": _bitstamp(403, "Nonce was used before: look the operation up"),
        "network.outside": _bitstamp(403, "IP address not allowed"),
    },
    unknown=_by_status(504, "504.000", "Timeout: execution status unknown."),
    statuses={
        403: _bitstamp(0, "No permission found"),
        408: _by_status(0, "408.000", "The request did not arrive in time."),
        418: _LIMITED,
        429: _LIMITED,
        501: _bitstamp(0, "Method is not supported"),
    },
    rejected=_bitstamp(0, "Request is malformed"),
    down=_bitstamp(0, "Bitstamp.net is under scheduled maintenance. We'll be back soon."),
)

BITSTAMP = Row(
    name="bitstamp",
    title="Bitstamp v2",
    docs="Bitstamp API: API Authentication",
    algorithms={HMAC_SHA256: "hex"},
    message="{key}{method}{authority}{path}{?query}{content_type}{nonce}{time}v2{body}",
    key=Header(b"x-auth"),
    prefix="BITSTAMP ",
    signature=Header(b"x-auth-signature"),
    nonce=Header(b"x-auth-nonce"),
    time=Header(b"x-auth-timestamp"),
    form="uuid",
    unit="ms",
    window=Window(past=150 * _SECOND, future=5 * _SECOND),
    body="form",
    constants=((Header(b"x-auth-version"), b"v2"),),
    refuse=_REFUSAL,
)
