"""Kraken Futures: HMAC-SHA512 over a hash of parameters, nonce and path; and without a nonce, as ccxt sends it."""

from dataclasses import replace

from tradeguard.core.credential import Window
from tradeguard.signing.algorithm import HMAC_SHA512
from tradeguard.signing.refusal import Refusal, Said
from tradeguard.signing.row import Header, Row

_SECOND = 1_000_000_000


def _futures(error: str, status: int = 200) -> Said:
    return Said({"result": "error", "error": error}, status)


_BELOW = _futures("nonceBelowThreshold")
_USED = _futures("invalidArgument: nonce")  # a nonce below the threshold is one that clients sign and send anew
_REFUSAL = Refusal(
    # Kraken Futures API, "REST error codes": what it has understood it answers with 200, and its SDKs read errors there
    media_type="application/json",
    codes={
        "unauthorized": _futures("authenticationError"),
        "freshness.stale": _BELOW,
        "freshness.early": _BELOW,
        "replay.late": _BELOW,
        "replay.behind": _USED,
        "replay.seen": _USED,
    },
    unknown=Said({"result": "error", "errors": []}, 504),  # no error of its own leaves open what has happened
    statuses={
        403: _futures("authenticationError"),  # it has none for keys that may do less
        404: _futures("notFound"),
        408: Said({"result": "error", "errors": []}),
        418: _futures("apiLimitExceeded"),
        429: _futures("apiLimitExceeded"),
        501: _futures("notFound"),
    },
    rejected=_futures("invalidArgument", 0),
    down=_futures("Unavailable", 0),
)
_REFUSAL_BARE = replace(
    _REFUSAL,
    codes={
        **_REFUSAL.codes,
        # signed again it would be the same message: nobody may wait for that to be accepted
        "replay.seen": _futures(
            "invalidArgument: this very message was received before; look the order up, or send a cliOrdId of its own"
        ),
    },
)
_CLOCK = {"result": "success", "serverTime": "{iso-ms}"}

KRAKEN_FUTURES = Row(
    name="kraken-futures",
    title="Kraken Futures",
    docs="Kraken Futures API: REST, Generate Authent",
    algorithms={HMAC_SHA512: "base64"},
    message="{sha256(text nonce '/api/v3' path)}",
    secret="base64",
    key=Header(b"apikey"),
    signature=Header(b"authent"),
    nonce=Header(b"nonce"),
    form="clock",
    window=Window(past=60 * _SECOND, future=5 * _SECOND),
    mount="/derivatives/api/v3",
    body="form",
    refuse=_REFUSAL,
    clock=_CLOCK,
)

KRAKEN_FUTURES_BARE = Row(
    name="kraken-futures-bare",
    title="Kraken Futures without a nonce",
    docs="ccxt, krakenfutures: sign",
    algorithms={HMAC_SHA512: "base64"},
    message="{sha256(text '/api/v3' path)}",
    secret="base64",
    key=Header(b"apikey"),
    signature=Header(b"authent"),
    window=Window(past=86_400 * _SECOND, future=0),
    mount="/derivatives/api/v3",
    body="form",
    refuse=_REFUSAL_BARE,
    clock=_CLOCK,
)
