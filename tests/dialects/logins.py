"""What clients sign to log in to a venue's WebSocket: the texts of 15 venues, composed for one key and one moment."""

import hmac
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from typing import NamedTuple

from support import MS, SECOND


class Login(NamedTuple):
    """One text that a client of a venue signs, and with which hash."""

    venue: str
    text: bytes
    hash: str

    def sign(self, secret: bytes) -> bytes:
        """The MAC."""
        return hmac.digest(secret, self.text, self.hash)


def logins(key: str, host: str, at: int) -> Iterator[Login]:
    """The texts, at a time in ns UTC."""
    s, ms = str(at // SECOND), str(at // MS)
    moment = datetime.fromtimestamp(at // SECOND, UTC).replace(tzinfo=None)
    iso = moment.isoformat()
    milli = moment.isoformat(timespec="milliseconds") + "Z"
    newer = f"accessKey={key}&signatureMethod=HmacSHA256&signatureVersion=2.1"
    older = f"AccessKeyId={key}&SignatureMethod=HmacSHA256&SignatureVersion=2"
    texts: list[tuple[str, str | bytes, str]] = [
        ("binance", f"apiKey={key}&timestamp={ms}", "sha256"),
        ("binance", f"apiKey={key}&recvWindow=5000&symbol=BTCUSDT&timestamp={ms}", "sha256"),
        *((venue, f"{when}GET/users/self/verify", "sha256")
          for venue in ("coinbase-exchange", "okx") for when in (s, f"{s}.123", ms, milli)),
        *(("bitget", f"{when}GET/user/verify", "sha256") for when in (s, ms)),
        *(("bybit", f"GET/realtime{when}", "sha256") for when in (ms, s)),
        *(("bitmex", f"GET/realtime{when}", "sha256") for when in (s, ms, str(at // SECOND + 60))),
        *(("bitfinex", f"AUTH{when}", "sha384") for when in (ms, str(at // 1_000))),
        ("gate", f"api\nspot.login\n{json.dumps({'api_key': key})}\n{s}", "sha512"),
        *(("gate", f"channel={channel}&event=subscribe&time={s}", "sha512")
          for channel in ("spot.orders", "futures.orders")),
        ("htx", _htx("/ws/v2", newer, "timestamp", host, iso), "sha256"),
        *(("htx", _htx(path, older, "Timestamp", host, iso), "sha256")
          for path in ("/notification", "/swap-notification", "/linear-swap-notification")),
        *(("deribit", f"{ms}\n{nonce}\n{data}", "sha256") for nonce in ("abcdefgh", ms) for data in ("", "data")),
        ("kraken-futures", sha256(b"226aee50-88fc-4618-a42a-34f7709570b2").digest(), "sha512"),
        ("kucoin", "226aee50-88fc-4618-a42a-34f7709570b2", "sha256"),
        ("mexc-contract", f"{key}{ms}", "sha256"),
        ("cryptocom", f"public/auth1{key}{ms}", "sha256"),
        ("cryptocom", f"public/auth{ms}{key}{ms}", "sha256"),
        *(("phemex", f"{key}{when}", "sha256") for when in (s, str(at // SECOND + 60))),
        ("bitvavo", f"{ms}GET/v2/websocket", "sha256"),
    ]  # fmt: skip
    for venue, text, hashed in texts:
        yield Login(venue, text.encode() if isinstance(text, str) else text, hashed)


def _htx(path: str, fields: str, name: str, host: str, iso: str) -> str:
    return f"GET\n{host}\n{path}\n{fields}&{name}={iso.replace(':', '%3A')}"
