"""What ccxt must raise at venues whose signatures leave method, path or body out, and where they tell the time.

A replay is an ExchangeError of one kind or another, which nobody tries again: what is tried again is signed anew.
"""

from typing import Final

_STRANGERS: Final = {"bad-key": "AuthenticationError", "bad-signature": "AuthenticationError"}

EXPECTED: Final[dict[str, dict[str, str]]] = {
    "binance": {
        **_STRANGERS,
        "stale": "InvalidNonce",
        "early": "InvalidNonce",
        "replay": "InvalidOrder",
        "permission": "AuthenticationError",
        "network": "AuthenticationError",
        "rate": "DDoSProtection",
        "maintenance": "ExchangeNotAvailable",
        "outage": "ExchangeNotAvailable",
        "unsure": "RequestTimeout",
        "unmapped": "BadRequest",
    },
    "bybit": {
        **_STRANGERS,
        "stale": "InvalidNonce",
        "early": "InvalidNonce",
        "replay": "BadRequest",
        "permission": "PermissionDenied",
        "network": "PermissionDenied",
        "rate": "RateLimitExceeded",
        "maintenance": "ExchangeNotAvailable",
        "outage": "ExchangeNotAvailable",
        "unsure": "RequestTimeout",
        "unmapped": "BadRequest",
    },
    "mexc": {
        **_STRANGERS,
        "stale": "InvalidNonce",
        "early": "InvalidNonce",
        "replay": "BadRequest",
        "permission": "PermissionDenied",
        "network": "PermissionDenied",
        "rate": "RateLimitExceeded",
        "maintenance": "ExchangeNotAvailable",
        "outage": "ExchangeNotAvailable",
        "unsure": "RequestTimeout",
        "unmapped": "BadRequest",
    },
    "mexc-contract": {
        **_STRANGERS,
        "stale": "BadRequest",
        "early": "BadRequest",
        "replay": "BadRequest",
        "permission": "PermissionDenied",
        "network": "PermissionDenied",
        "rate": "RateLimitExceeded",
        "maintenance": "ExchangeNotAvailable",
        "outage": "ExchangeNotAvailable",
        "unsure": "RequestTimeout",
        "unmapped": "BadRequest",
    },
    "htx": {
        **_STRANGERS,
        "stale": "AuthenticationError",
        "early": "AuthenticationError",
        "replay": "BadRequest",
        "permission": "PermissionDenied",
        "network": "PermissionDenied",
        "rate": "RateLimitExceeded",
        "maintenance": "OnMaintenance",
        "outage": "OnMaintenance",
        "unsure": "RequestTimeout",
        "unmapped": "BadRequest",
    },
    "phemex": {
        **_STRANGERS,
        "stale": "AuthenticationError",
        "early": "AuthenticationError",
        "replay": "DuplicateOrderId",
        "permission": "PermissionDenied",
        "network": "PermissionDenied",
        "rate": "RateLimitExceeded",
        "maintenance": "ExchangeNotAvailable",
        "outage": "ExchangeNotAvailable",
        "unsure": "RequestTimeout",
        "unmapped": "BadRequest",
    },
}
"""Venue, situation (see `served.SITUATIONS`), class. HTX and Phemex have no other word for a wrong time; what
Binance says of what a key may not do is an AuthenticationError to ccxt for Python (docs/refusals.md)."""

CLOCKS: Final[dict[str, str]] = {
    "binance": "/api/v3/time",
    "bybit": "/v5/market/time",
    "mexc": "/api/v3/time",
    "htx": "/v1/common/timestamp",
}
"""Venue, path. ccxt asks MEXC Contract only when its default type is swap, and has no such call for Phemex."""

ADJUSTED: Final[frozenset[str]] = frozenset({"binance", "bybit"})
"""Venues at which ccxt signs by their clock, once it was told to."""
