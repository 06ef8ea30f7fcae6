"""What ccxt must raise at venues whose credential stands in headers alone; their clocks. And at Binance."""

_ALL = {
    "bad-key": "AuthenticationError", "bad-signature": "AuthenticationError", "stale": "InvalidNonce",
    "early": "InvalidNonce", "replay": "InvalidOrder", "permission": "PermissionDenied", "network": "PermissionDenied",
    "rate": "RateLimitExceeded", "maintenance": "OnMaintenance", "outage": "ExchangeNotAvailable",
    "unsure": "RequestTimeout", "unmapped": "BadRequest",
}  # fmt: skip
_PHRASE = {**_ALL, "passphrase": "AuthenticationError"}
_STOPS = {"stale": "AuthenticationError", "early": "AuthenticationError"}

EXPECTED: dict[str, dict[str, str]] = {
    "binance": {
        **_ALL, "permission": "AuthenticationError", "network": "AuthenticationError", "rate": "DDoSProtection",
        "maintenance": "ExchangeNotAvailable",
    },
    "okx": _PHRASE,
    "coinbase-exchange": {
        **_PHRASE, **_STOPS, "replay": "ExchangeError", "permission": "AuthenticationError",
        "network": "AuthenticationError", "maintenance": "ExchangeNotAvailable", "unmapped": "ExchangeError",
    },
    "coinbase-advanced": {
        **_ALL, "replay": "BadRequest", "maintenance": "ExchangeNotAvailable", "unmapped": "ExchangeError",
    },
    "kucoin": {
        **_PHRASE, "permission": "AuthenticationError", "network": "AuthenticationError",
        "maintenance": "ExchangeNotAvailable", "unsure": "ExchangeNotAvailable", "unmapped": "NotSupported",
    },
    "bitget": _PHRASE,
    "bitvavo": {
        **_ALL, **_STOPS, "replay": "ExchangeError", "outage": "OnMaintenance", "unsure": "ExchangeNotAvailable",
    },
}  # fmt: skip
CLOCKS: dict[str, str] = {
    "binance": "/api/v3/time",
    "coinbase-advanced": "/v2/time",
    "okx": "/api/v5/public/time",
    "coinbase-exchange": "/time",
    "kucoin": "/api/v1/timestamp",
    "bitget": "/api/v2/public/time",
    "bitvavo": "/v2/time",
}
ADJUSTED = frozenset({"binance", "okx", "kucoin", "bitget"})
