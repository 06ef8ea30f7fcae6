"""What unmodified ccxt must raise at the venues whose nonce is a clock's reading: the rows are in `signing/rows`.

A replay is an ExchangeError of one kind or another, which nobody tries again: what is tried again is signed anew, and
an order would be carried out twice. What has not been carried out, and may be when it is signed again, is a
NetworkError.
"""

from typing import Final

EXPECTED: Final[dict[str, dict[str, str]]] = {
    "kraken": {
        "bad-key": "AuthenticationError",
        "bad-signature": "AuthenticationError",
        "stale": "InvalidNonce",
        "early": "InvalidNonce",
        "replay": "ExchangeError",
        "permission": "PermissionDenied",
        "network": "PermissionDenied",
        "rate": "DDoSProtection",
        "maintenance": "ExchangeNotAvailable",
        "outage": "ExchangeNotAvailable",
        "unsure": "ExchangeNotAvailable",
        "unmapped": "ExchangeError",
    },
    "kraken-futures": {
        "bad-key": "AuthenticationError",
        "bad-signature": "AuthenticationError",
        "replay": "BadRequest",
        "permission": "AuthenticationError",
        "network": "AuthenticationError",
        "rate": "RateLimitExceeded",
        "maintenance": "ExchangeNotAvailable",
        "outage": "ExchangeNotAvailable",
        "unsure": "RequestTimeout",
        "unmapped": "BadRequest",
    },
    "bitfinex": {
        "bad-key": "AuthenticationError",
        "bad-signature": "AuthenticationError",
        "stale": "InvalidNonce",
        "early": "InvalidNonce",
        "replay": "BadRequest",
        "permission": "PermissionDenied",
        "network": "PermissionDenied",
        "rate": "RateLimitExceeded",
        "maintenance": "OnMaintenance",
        "outage": "OnMaintenance",
        "unsure": "OnMaintenance",
        "unmapped": "BadRequest",
    },
    "gemini": {
        "bad-key": "AuthenticationError",
        "bad-signature": "AuthenticationError",
        "stale": "InvalidNonce",
        "early": "InvalidNonce",
        "replay": "ExchangeError",
        "permission": "AuthenticationError",
        "network": "AuthenticationError",
        "rate": "RateLimitExceeded",
        "maintenance": "OnMaintenance",
        "outage": "OnMaintenance",
        "unsure": "ExchangeNotAvailable",
        "unmapped": "BadRequest",
    },
    "cryptocom": {
        "bad-key": "AuthenticationError",
        "bad-signature": "AuthenticationError",
        "stale": "InvalidNonce",
        "early": "InvalidNonce",
        "replay": "BadRequest",
        "permission": "PermissionDenied",
        "network": "PermissionDenied",
        "rate": "RateLimitExceeded",
        "maintenance": "OnMaintenance",
        "outage": "OnMaintenance",
        "unsure": "RequestTimeout",
        "unmapped": "BadRequest",
    },
}
"""By venue and situation. ccxt sends Kraken Futures no time, so nothing is stale or early there."""
CLOCKS: Final[dict[str, str]] = {"kraken": "/0/public/Time"}
"""Where ccxt asks for the time; of the other venues it never does."""
ADJUSTED: Final = frozenset({"kraken"})
"""Where ccxt then signs by that time."""
