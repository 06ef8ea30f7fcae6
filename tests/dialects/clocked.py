"""Guarded venues whose nonce is a clock's reading, on a clock of the test's own: what becomes of each message."""

import base64
import hmac
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from support import FORM, NOW, StillClock, make_request

from tradeguard.backends.memory import Memory, MemoryJournal, MemoryKeys
from tradeguard.checks.freshness import Freshness
from tradeguard.checks.network import Network
from tradeguard.checks.replay import Replay
from tradeguard.checks.scope import Scope
from tradeguard.checks.signature import Signature
from tradeguard.core.decision import Decision, Denial
from tradeguard.core.drive import drive
from tradeguard.core.guard import Guard
from tradeguard.core.key import KeyRecord
from tradeguard.core.policy import Operations, Policy
from tradeguard.core.ports import State
from tradeguard.core.request import Request
from tradeguard.signing.material import Hmac
from tradeguard.signing.row import REQUIRED_COVERAGE
from tradeguard.signing.rows import ROWS
from tradeguard.signing.signer import Outgoing, Signer

JSON: Final = b"application/json"
RAW: Final = bytes(range(32))
KEY_ID: Final = "key-of-a-customer"


class Asked(NamedTuple):
    """What a venue's client asks for, before it is signed."""

    target: bytes
    content_type: bytes = b""
    body: bytes = b""


ORDERS: Final[Mapping[str, Asked]] = {
    "kraken": Asked(b"/0/private/AddOrder", FORM, b"pair=XBTUSD&type=buy"),
    "kraken-futures": Asked(b"/derivatives/api/v3/sendorder?symbol=PF_XBTUSD&side=buy"),
    "bitfinex": Asked(b"/v2/auth/w/order/submit", JSON, b'{"symbol":"tBTCUSD"}'),
    "gemini": Asked(b"/v1/order/new", JSON, b'{"symbol":"btcusd"}'),
    "cryptocom": Asked(b"/exchange/v1/private/create-order", JSON, b'{"instrument_name":"BTC_USDT","price":"5"}'),
}
"""An order at each venue whose nonce rises."""
READS: Final[Mapping[str, Asked]] = {
    "kraken": Asked(b"/0/private/Balance", FORM),
    "kraken-futures": Asked(b"/derivatives/api/v3/accounts"),
    "bitfinex": Asked(b"/v2/auth/r/wallets", JSON, b"{}"),
    "gemini": Asked(b"/v1/balances"),
    "cryptocom": Asked(b"/exchange/v1/private/user-balance", JSON, b"{}"),
}
RISING: Final = tuple(ORDERS)


def path_of(asked: Asked) -> str:
    """Its path, without its query."""
    return asked.target.partition(b"?")[0].decode()


class Venue:
    """A guarded venue with one key, which may read and place orders.

    Args:
        names: the dialects; the key is of the first.
        state: what was used; fresh memory without a barrier by default.
        at: what its clock says, ns UTC; `clock.at` may be changed.
        networks: of the key.
        operations: instead of an order and a read of the first dialect.
    """

    def __init__(
        self,
        *names: str,
        state: State | None = None,
        at: int = NOW,
        networks: tuple[str, ...] = (),
        operations: Mapping[str, Any] | None = None,
    ) -> None:
        rows = [ROWS[name] for name in names]
        self.row, self.clock, self.journal = rows[0], StillClock(at), MemoryJournal()
        algorithm = next(iter(self.row.algorithms))
        record = KeyRecord(
            id=KEY_ID, dialect=names[0], material=Hmac(RAW, algorithm), scopes={"orders:*"}, networks=list(networks)
        )
        accept = [row.name for row in rows if REQUIRED_COVERAGE - row.coverage]
        checks = [Signature(MemoryKeys([record]), rows, accept), Freshness(), Network(), Scope(), Replay()]
        asked = operations or {
            f"POST {path_of(ORDERS[names[0]])}": "orders:write",
            f"POST {path_of(READS[names[0]])}": {"scopes": "orders:read", "lane": "read"},
        }
        self.guard = Guard(
            checks,
            operations=Operations(asked),
            state=Memory(since=1) if state is None else state,
            journal=self.journal,
            policy=Policy(),
            runtime=self.clock,
        )
        self.signer = Signer(self.row, KEY_ID, base64.b64encode(RAW) if self.row.secret == "base64" else RAW)

    def signed(self, asked: Asked, at: int | None = None, nonce: bytes | None = None, method: str = "POST") -> Outgoing:
        """A signed message; made by the clock unless `at` says otherwise."""
        out = Outgoing(method, "api.example", asked.target, asked.content_type, asked.body)
        return self.signer.sign(out, self.clock.at if at is None else at, nonce)

    def send(self, out: Outgoing, **changes: Any) -> str:
        """Let a message arrive, with parts of it changed by `changes`; "granted", or the code of its refusal."""
        decision = self.decide(self.request(out, **changes))
        return decision.code if isinstance(decision, Denial) else "granted"

    def request(self, out: Outgoing, **changes: Any) -> Request:
        """A message as an adapter hands it to the guard."""
        out = replace_out(out, changes)
        kind = [(b"content-type", out.content_type)] if out.content_type else []
        return make_request(
            out.method, out.target, body=out.body, headers=[*kind, *out.headers], arrived=self.clock.at, **changes
        )

    def decide(self, request: Request) -> Decision:
        """What the guard decides."""
        decision: Decision = drive(self.guard.admit(request))
        return decision

    def order(self, nonce: bytes | None = None, at: int | None = None) -> str:
        """Place an order, signed at a time or with a nonce."""
        return self.send(self.signed(ORDERS[self.row.name], at, nonce))

    def look(self, nonce: bytes | None = None) -> str:
        """Read something."""
        return self.send(self.signed(READS[self.row.name], nonce=nonce))


def replace_out(out: Outgoing, changes: dict[str, Any]) -> Outgoing:
    """A message with those of the changes that it has fields for; they are taken out of `changes`."""
    mine = {name: changes.pop(name) for name in Outgoing._fields if name in changes}
    return out._replace(**mine)


def by_hand(headers: Mapping[bytes, bytes], asked: Asked, method: str = "POST") -> Outgoing:
    """A message as somebody else signed it."""
    return Outgoing(method, "api.example", asked.target, asked.content_type, asked.body, tuple(headers.items()))


def mac(text: bytes, algorithm: str) -> bytes:
    """The MAC of a text under the key of a venue's customer."""
    return hmac.digest(RAW, text, algorithm)


__all__ = ["JSON", "KEY_ID", "ORDERS", "RAW", "READS", "RISING", "Asked", "Venue", "by_hand", "mac", "path_of"]
