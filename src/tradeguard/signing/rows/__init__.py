"""The table of dialects, one file per venue. Each row stands beside the documentation of what it describes."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from tradeguard.signing.row import Row
from tradeguard.signing.rows.binance import BINANCE
from tradeguard.signing.rows.bitfinex import BITFINEX
from tradeguard.signing.rows.bitget import BITGET
from tradeguard.signing.rows.bitmex import BITMEX
from tradeguard.signing.rows.bitstamp import BITSTAMP
from tradeguard.signing.rows.bitvavo import BITVAVO
from tradeguard.signing.rows.bybit import BYBIT
from tradeguard.signing.rows.coinbase_exchange import COINBASE_EXCHANGE
from tradeguard.signing.rows.cryptocom import CRYPTOCOM
from tradeguard.signing.rows.deribit import DERIBIT
from tradeguard.signing.rows.gate import GATE
from tradeguard.signing.rows.gemini import GEMINI
from tradeguard.signing.rows.htx import HTX
from tradeguard.signing.rows.kraken import KRAKEN
from tradeguard.signing.rows.kraken_futures import KRAKEN_FUTURES, KRAKEN_FUTURES_BARE
from tradeguard.signing.rows.kucoin import KUCOIN
from tradeguard.signing.rows.mexc import MEXC, MEXC_CONTRACT
from tradeguard.signing.rows.okx import OKX
from tradeguard.signing.rows.phemex import PHEMEX
from tradeguard.signing.rows.tg1 import TG1

__all__ = [
    "BINANCE",
    "BITFINEX",
    "BITGET",
    "BITMEX",
    "BITSTAMP",
    "BITVAVO",
    "BYBIT",
    "COINBASE_EXCHANGE",
    "CRYPTOCOM",
    "DERIBIT",
    "GATE",
    "GEMINI",
    "HTX",
    "KRAKEN",
    "KRAKEN_FUTURES",
    "KRAKEN_FUTURES_BARE",
    "KUCOIN",
    "MEXC",
    "MEXC_CONTRACT",
    "OKX",
    "PHEMEX",
    "ROWS",
    "TG1",
]

_ALL: Final = (
    TG1,
    BINANCE,
    BITFINEX,
    BITGET,
    BITMEX,
    BITSTAMP,
    BITVAVO,
    BYBIT,
    COINBASE_EXCHANGE,
    CRYPTOCOM,
    DERIBIT,
    GATE,
    GEMINI,
    HTX,
    KRAKEN,
    KRAKEN_FUTURES,
    KRAKEN_FUTURES_BARE,
    KUCOIN,
    MEXC,
    MEXC_CONTRACT,
    OKX,
    PHEMEX,
)
ROWS: Final[Mapping[str, Row]] = MappingProxyType({row.name: row for row in _ALL})
"""Every dialect by name."""
