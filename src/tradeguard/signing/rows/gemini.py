"""Gemini: HMAC-SHA384 over a JSON object in base64 that a header carries; a body repeats it, or is empty."""

from tradeguard.core.credential import Window
from tradeguard.signing.algorithm import HMAC_SHA384
from tradeguard.signing.refusal import Refusal, Said
from tradeguard.signing.row import Header, Payload, Row

_SECOND = 1_000_000_000


def _gemini(reason: str, message: str, status: int = 0) -> Said:
    return Said({"result": "error", "reason": reason, "message": message}, status)


_NONCE = _gemini("InvalidNonce", "Nonce is not within 60 seconds of the server's time", 400)
_USED = _gemini("NonceUsed", "Nonce is not above those that were used: look the operation up", 400)
# (an InvalidNonce is one that clients sign and send anew)
_LIMIT = _gemini("RateLimit", "Requests were made too frequently", 429)
_REFUSAL = Refusal(
    # Gemini REST API, "Error codes"
    media_type="application/json",
    codes={
        "unauthorized": _gemini("InvalidSignature", "InvalidSignature", 400),
        "freshness.stale": _NONCE,
        "freshness.early": _NONCE,
        "replay.late": _NONCE,
        "replay.behind": _USED,
        "replay.seen": _USED,
    },
    unknown=_gemini(
        "TechnicalIssues", "We are investigating technical issues with the Gemini Exchange. Look the order up.", 502
    ),
    statuses={
        403: _gemini("MissingRole", "The API key does not have the role that this needs, or is used from elsewhere"),
        404: _gemini("EndpointNotFound", "No such endpoint"),
        408: _gemini("TechnicalIssues", "Internal Server Error"),
        418: _LIMIT,
        429: _LIMIT,
        501: _gemini("EndpointNotFound", "No such method"),
    },
    rejected=_gemini("InvalidJson", "The request is malformed"),
    down=_gemini("Maintenance", "The Gemini Exchange is currently undergoing maintenance."),
)

GEMINI = Row(
    name="gemini",
    title="Gemini",
    docs="Gemini REST API: Private API Invocation, Authentication",
    algorithms={HMAC_SHA384: "hex"},
    message="{payload}",
    key=Header(b"x-gemini-apikey"),
    signature=Header(b"x-gemini-signature"),
    nonce=Payload(b"nonce"),
    form="clock",
    payload=Header(b"x-gemini-payload"),
    binds=((Payload(b"request"), "path"),),
    window=Window(past=60 * _SECOND, future=5 * _SECOND),
    body="repeat",
    refuse=_REFUSAL,
    clock={"result": "ok", "timestamp": "$s", "timestampms": "$ms"},
)
