"""The table of dialects. Each row stands beside the documentation of what it describes."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from tradeguard.core.credential import Window
from tradeguard.signing.material import ED25519, HMAC_SHA256
from tradeguard.signing.row import Header, Parameter, Row

_MS = 1_000_000
_SECOND = 1_000_000_000

TG1 = Row(
    # docs/signing.md
    name="tg1",
    challenge='TG1 realm="api"',
    algorithms={HMAC_SHA256: b"TG1-HMAC-SHA256", ED25519: b"TG1-ED25519"},
    key=Header(b"tg-key"),
    time=Header(b"tg-time"),
    nonce=Header(b"tg-nonce"),
    signature=Header(b"tg-signature"),
    encoding="base64url",
    unit=_MS,
    message=("label", "key", "time", "nonce", "method", "authority", "target", "content_type", "body_sha256"),
    separator=b"\n",
    window=Window(past=5 * _SECOND, future=1 * _SECOND),
    bodyless=frozenset({"GET", "HEAD", "DELETE"}),
)

BINANCE = Row(
    # Binance Spot API, "SIGNED endpoint security" and "Timing security"
    name="binance",
    challenge='Binance realm="api"',
    algorithms={HMAC_SHA256: b""},
    key=Header(b"x-mbx-apikey"),
    time=Parameter(b"timestamp"),
    signature=Parameter(b"signature"),
    encoding="hex",
    unit=_MS,
    message=("query", "form"),
    separator=b"",
    window=Window(past=5 * _SECOND, future=1 * _SECOND),
    width=Parameter(b"recvWindow"),
    widest=60 * _SECOND,
    bodyless=frozenset({"GET", "HEAD", "DELETE"}),
)

ROWS: Final[Mapping[str, Row]] = MappingProxyType({row.name: row for row in (TG1, BINANCE)})
"""Every dialect by name."""
