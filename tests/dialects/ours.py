"""A venue of ours without a server: a guard for some rows, a key of each, and what clients of them send."""

from collections.abc import Iterable, Mapping
from typing import Any

from support import NOW, StillClock, make_request

from tradeguard.backends.memory import Memory, MemoryJournal, MemoryKeys
from tradeguard.checks.freshness import Freshness
from tradeguard.checks.network import Network
from tradeguard.checks.replay import Replay
from tradeguard.checks.scope import Scope
from tradeguard.checks.signature import Signature
from tradeguard.core.decision import Decision, Denial
from tradeguard.core.drive import drive
from tradeguard.core.guard import Guard
from tradeguard.core.key import KeyRecord, Material
from tradeguard.core.policy import Operations
from tradeguard.core.request import Request
from tradeguard.signing.material import Hmac
from tradeguard.signing.row import REQUIRED_COVERAGE, Row
from tradeguard.signing.signer import Outgoing, Signer

SECRET = b"a secret of thirty-two characters"
HOST = "api.example"
EVERYTHING = {
    f"{method} /**": {"scopes": "orders:write", "lane": "read" if method == "GET" else "order"}
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
}
Fields = Iterable[tuple[bytes, bytes]]


def key_of(row: Row) -> str:
    """The id of its client's key."""
    return f"client-of-{row.name}"


def secret_material(row: Row) -> Hmac:
    """Its client's secret."""
    return Hmac(SECRET, next(name for name in row.algorithms if name.startswith("hmac")))


def guard_of(
    *rows: Row,
    operations: Mapping[str, Any] = EVERYTHING,
    materials: Mapping[str, Material] = {},
    networks: Iterable[str] = ("127.0.0.0/8",),
) -> Guard:
    """A guard that understands these rows; `materials` by the row's name, and a secret otherwise."""
    keys = [
        KeyRecord(
            id=key_of(row),
            dialect=row.name,
            material=materials.get(row.name) or secret_material(row),
            scopes=["orders:*"],
            networks=networks if row.bound else [],
        )
        for row in rows
    ]
    accept = [row.name for row in rows if REQUIRED_COVERAGE - row.coverage]
    return Guard(
        [Signature(MemoryKeys(keys), rows, accept), Freshness(), Network(), Scope(), Replay()],
        operations=Operations(operations),
        state=Memory(since=1),
        journal=MemoryJournal(),
        runtime=StillClock(),
    )


def signer_of(row: Row) -> Signer:
    """Its client."""
    return Signer(row, key_of(row), SECRET)


def signed(row: Row, method: str, target: bytes, body: bytes = b"", kind: bytes = b"", at: int = NOW) -> Outgoing:
    """A request as its client signs it."""
    return signer_of(row).sign(Outgoing(method, HOST, target, kind, body), at)


def sent(out: Outgoing, extra: Fields = (), **other: Any) -> Request:
    """A request as it arrives; `extra` replaces header fields, `other` anything else."""
    kind = [(b"content-type", out.content_type)] if out.content_type else []
    changed = dict(extra)
    fields = [(name, value) for name, value in [*kind, *out.headers] if name not in changed]
    return make_request(out.method, out.target, body=out.body, headers=[*fields, *changed.items()], **other)


def decide(guard: Guard, out: Outgoing, extra: Fields = (), **other: Any) -> str:
    """What a guard says to a request: the code of its refusal, or "granted"."""
    return code_of(drive(guard.admit(sent(out, extra, **other))))


def code_of(decision: Decision) -> str:
    """The code of a refusal, or "granted"."""
    return decision.code if isinstance(decision, Denial) else "granted"
