"""What ccxt must raise at venues that sign everything, line by line or one after the other; where they tell the time.

A replay is an ExchangeError of one kind or another, which nobody tries again: what is tried again is signed anew.
"""

from typing import Final

_STRANGERS: Final = {"bad-key": "AuthenticationError", "bad-signature": "AuthenticationError"}

EXPECTED: Final[dict[str, dict[str, str]]] = {
    "gate": {
        **_STRANGERS,
        "stale": "AuthenticationError",
        "early": "AuthenticationError",
        "replay": "InvalidOrder",
        "permission": "PermissionDenied",
        "network": "PermissionDenied",
        "rate": "RateLimitExceeded",
        "maintenance": "ExchangeNotAvailable",
        "outage": "ExchangeNotAvailable",
        "unsure": "RequestTimeout",
        "unmapped": "BadRequest",
    },
    "deribit": {
        **_STRANGERS,
        "stale": "BadRequest",
        "early": "BadRequest",
        "replay": "BadRequest",
        "permission": "PermissionDenied",
        "network": "PermissionDenied",
        "rate": "DDoSProtection",
        "maintenance": "OnMaintenance",
        "outage": "OnMaintenance",
        "unsure": "ExchangeError",
        "unmapped": "BadRequest",
    },
    "bitmex": {
        **_STRANGERS,
        "stale": "BadRequest",
        "early": "BadRequest",
        "replay": "InvalidOrder",
        "permission": "PermissionDenied",
        "network": "PermissionDenied",
        "rate": "DDoSProtection",
        "maintenance": "ExchangeNotAvailable",
        "outage": "ExchangeNotAvailable",
        "unsure": "ExchangeError",
        "unmapped": "ExchangeError",
    },
    "bitstamp": {
        **_STRANGERS,
        "stale": "InvalidNonce",
        "early": "InvalidNonce",
        "replay": "ExchangeError",
        "permission": "PermissionDenied",
        "network": "PermissionDenied",
        "rate": "RateLimitExceeded",
        "maintenance": "OnMaintenance",
        "outage": "OnMaintenance",
        "unsure": "RequestTimeout",
        "unmapped": "ExchangeError",
    },
}
"""Venue, situation (see `served.SITUATIONS`), class. For a wrong time, Gate has no word that ccxt tells from a wrong
key, and Deribit and BitMEX none that it tells from a malformed request."""

CLOCKS: Final[dict[str, str]] = {"gate": "/api/v4/spot/time", "deribit": "/api/v2/public/get_time"}
"""Venue, path. ccxt has no such call for BitMEX and Bitstamp."""

ADJUSTED: Final[frozenset[str]] = frozenset({"gate"})
"""Venues at which ccxt signs by their clock, once it was told to; at Deribit its time and nonce are its own."""
