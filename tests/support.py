"""What the tests share: a clock that stands still, keys, a guard, requests signed and not."""

from collections.abc import Coroutine, Iterable, Mapping
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tradeguard.backends.memory import Memory, MemoryJournal, MemoryKeys
from tradeguard.checks.freshness import Freshness
from tradeguard.checks.network import Network
from tradeguard.checks.replay import Replay
from tradeguard.checks.scope import Scope
from tradeguard.checks.signature import Signature
from tradeguard.checks.source import Source
from tradeguard.core.address import parse_address
from tradeguard.core.decision import CATALOGUE, Entry
from tradeguard.core.drive import drive
from tradeguard.core.guard import Guard
from tradeguard.core.key import KeyRecord
from tradeguard.core.policy import Operations, Policy
from tradeguard.core.ports import Colour, Ticket
from tradeguard.core.request import Headers, Peer, Request
from tradeguard.signing.material import Ed25519, Hmac
from tradeguard.signing.rows import BINANCE, TG1
from tradeguard.signing.signer import Outgoing, Signer

T = TypeVar("T")
NOW = 1_795_000_000_000_000_000  # ns UTC
MS, SECOND = 1_000_000, 1_000_000_000
SECRET = b"0123456789abcdef0123456789abcdef"
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
FORM = b"application/x-www-form-urlencoded"

TRADER = Signer(TG1, "trader", SECRET)  # holds orders:read, orders:write, orders:cancel
READER = Signer(TG1, "reader", b"reader" * 5)  # holds orders:read
EDWARD = Signer(TG1, "edward", PRIVATE)  # Ed25519, holds orders:*
HOME = Signer(TG1, "home", b"home-only" * 3)  # orders:write from 203.0.113.0/24 and 2001:db8::/48 only
BINA = Signer(BINANCE, "bina", b"binance-secret" * 3)  # holds orders:*

OPERATIONS: Mapping[str, Any] = {
    "GET /v1/time": {"lane": "public"},
    "POST /v1/echo": {"lane": "public"},
    "GET /v1/orders": "orders:read",
    "GET /v1/orders/{id}": "orders:read",
    "POST /v1/orders": "orders:write",
    "DELETE /v1/orders/{id}": {"scopes": "orders:cancel", "lane": "cancel"},
    "POST /v1/withdraw": {"scopes": "funds:withdraw", "lane": "funds"},
}


class StillClock:
    """A runtime for every colour, whose clock moves when a test says so; nothing in it waits."""

    colours: frozenset[Colour] = frozenset({"instant", "brief", "blocking", "async"})

    def __init__(self, at: int = NOW) -> None:
        self.at = at

    def now(self) -> int:
        return self.at

    async def wait(self, ticket: Ticket) -> None:
        ticket.wait()

    def later(self, work: Coroutine[Any, Any, object]) -> None:
        drive(work)

    async def within(self, _seconds: float, work: Coroutine[Any, Any, T]) -> T:
        return await work


def make_keys() -> MemoryKeys:
    """The keys of the signers above."""
    return MemoryKeys(
        [
            KeyRecord(id="trader", dialect="tg1", material=Hmac(SECRET), account="acme",
                      scopes={"orders:read", "orders:write", "orders:cancel"}),
            KeyRecord(id="reader", dialect="tg1", material=Hmac(b"reader" * 5), scopes={"orders:read"}),
            KeyRecord(id="edward", dialect="tg1", material=Ed25519(PRIVATE.public_key().public_bytes_raw()),
                      scopes={"orders:*"}),
            KeyRecord(id="home", dialect="tg1", material=Hmac(b"home-only" * 3), scopes={"orders:write"},
                      networks=["203.0.113.0/24", "2001:db8::/48"]),
            KeyRecord(id="bina", dialect="binance", material=Hmac(b"binance-secret" * 3), scopes={"orders:*"}),
        ]
    )  # fmt: skip


def catalogue() -> dict[str, Entry]:
    """The denials of the library, without those that other tests have registered."""
    return {code: entry for code, entry in CATALOGUE.items() if not code.startswith("test")}


def make_checks(keys: MemoryKeys | None = None) -> list[object]:
    """The full list, in its usual order."""
    signature = Signature(make_keys() if keys is None else keys, dialects=(TG1, BINANCE), accept=("binance",))
    return [Source(), signature, Freshness(), Network(), Scope(), Replay()]


def make_guard(checks: Iterable[object] | None = None, **other: Any) -> Guard:
    """A guard with everything in it on a clock that stands still; `since=1`: no barrier. Override any part by name."""
    parts: dict[str, Any] = {
        "operations": Operations(OPERATIONS),
        "state": Memory(since=1),
        "journal": MemoryJournal(),
        "policy": Policy(),
        "runtime": StillClock(),
    }
    return Guard(make_checks() if checks is None else checks, **{**parts, **other})


class Bytes:
    """A body that is there already, but goes the way of one that is read; it counts how often."""

    def __init__(self, value: bytes) -> None:
        self.value, self.reads, self.released = value, 0, 0

    async def read(self, _declared: int | None) -> bytes:
        self.reads += 1
        return self.value

    def release(self) -> None:
        self.released += 1


_count = iter(range(10**9))


def make_request(
    method: str = "GET",
    target: bytes = b"/v1/time",
    *,
    body: bytes = b"",
    headers: Iterable[tuple[bytes, bytes]] = (),
    address: str | None = "127.0.0.1",
    arrived: int = NOW,
    path: str | None = None,
    **other: Any,
) -> Request:
    """A request as an adapter would hand it to the guard. `headers` replace those of the same name made here."""
    given = list(headers)
    names = {name for name, _ in given}
    usual = [(b"host", b"api.example")] + ([(b"content-length", b"%d" % len(body))] if body else [])
    return Request(
        id=f"{next(_count):032x}",
        method=method,
        target=target,
        path=target.partition(b"?")[0].decode("latin-1") if path is None else path,
        headers=Headers([field for field in usual if field[0] not in names] + given),
        peer=Peer(parse_address(address) if address else None),
        arrived=arrived,
        body=Bytes(body),
        **other,
    )


def sign(
    signer: Signer = TRADER,
    method: str = "GET",
    target: bytes = b"/v1/orders",
    *,
    body: bytes = b"",
    content_type: bytes = b"",
    at: int = NOW,
    nonce: bytes | None = None,
    **other: Any,
) -> Request:
    """A signed request."""
    out = signer.sign(Outgoing(method, "api.example", target, content_type, body), at, nonce)
    kind = [(b"content-type", content_type)] if content_type else []
    return make_request(method, out.target, body=out.body, headers=[*kind, *out.headers], **other)
