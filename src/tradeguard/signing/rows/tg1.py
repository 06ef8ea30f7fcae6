"""tg1: our own dialect, for venues and clients that are free to choose (docs/signing.md). It covers everything."""

from tradeguard.core.credential import Window
from tradeguard.signing.algorithm import ED25519, HMAC_SHA256
from tradeguard.signing.row import Header, Row

TG1 = Row(
    name="tg1",
    title="tradeguard 1",
    docs="docs/signing.md",
    challenge='TG1 realm="api"',
    algorithms={HMAC_SHA256: "base64url", ED25519: "base64url"},
    message="TG1-{algorithm}\n{key}\n{time}\n{nonce}\n{method}\n{authority}\n{target}\n{content_type}\n{sha256hex(body)}",
    key=Header(b"tg-key"),
    signature=Header(b"tg-signature"),
    time=Header(b"tg-time"),
    nonce=Header(b"tg-nonce"),
    unit="ms",
    window=Window(past=5_000_000_000, future=1_000_000_000),
)
