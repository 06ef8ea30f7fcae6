"""Kraken Spot: HMAC-SHA512 over the path and a hash of nonce and body; the nonce in the body is the only time."""

from tradeguard.core.credential import Window
from tradeguard.signing.algorithm import HMAC_SHA512
from tradeguard.signing.refusal import Refusal, Said
from tradeguard.signing.row import Field, Header, Row

_SECOND = 1_000_000_000


def _kraken(error: str, status: int = 200) -> Said:
    return Said({"error": [error]}, status)


_NONCE = _kraken("EAPI:Invalid nonce")
_USED = _kraken("EGeneral:Invalid arguments:nonce")  # an invalid nonce is one that clients sign and send anew
_REFUSAL = Refusal(
    # Kraken REST API, "Errors": what it has understood it answers with 200, and its SDKs read errors nowhere else
    media_type="application/json",
    codes={
        "unauthorized": _kraken("EAPI:Invalid key"),
        "freshness.stale": _NONCE,
        "freshness.early": _NONCE,
        "replay.late": _NONCE,
        "replay.behind": _USED,
        "replay.seen": _USED,
    },
    unknown=_kraken("EGeneral:Internal error", 0),
    statuses={
        403: _kraken("EGeneral:Permission denied"),
        404: _kraken("EGeneral:Unknown method"),
        408: _kraken("EService:Busy", 0),
        418: _kraken("EGeneral:Temporary lockout"),
        429: _kraken("EAPI:Rate limit exceeded"),
        501: _kraken("EGeneral:Unknown method"),
    },
    rejected=_kraken("EGeneral:Invalid arguments", 0),
    down=_kraken("EService:Unavailable", 0),
)

KRAKEN = Row(
    name="kraken",
    title="Kraken Spot",
    docs="Kraken Spot REST API: Authentication",
    algorithms={HMAC_SHA512: "base64"},
    message="{path}{sha256(nonce body)}",
    secret="base64",
    key=Header(b"api-key"),
    signature=Header(b"api-sign"),
    nonce=Field(b"nonce"),
    form="clock",
    window=Window(past=60 * _SECOND, future=5 * _SECOND),
    refuse=_REFUSAL,
    clock={"error": [], "result": {"unixtime": "$s", "rfc1123": "{rfc1123}"}},
)
