"""Operators of a venue with their keys, a view that looks when it is told to, and what a writer to the store can do."""

from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from support import NOW, OPERATIONS, SECOND, StillClock, make_checks, make_guard, make_keys

from tradeguard.backends.memory import Memory, MemoryJournal, MemoryKeys
from tradeguard.checks.halt import Halt
from tradeguard.core.drive import drive
from tradeguard.core.guard import Guard
from tradeguard.core.halt import PREFIX, SET, Mode, Proposal, Record
from tradeguard.core.key import KeyRecord
from tradeguard.core.policy import Operations
from tradeguard.core.ports import State
from tradeguard.core.secret import Secret
from tradeguard.halts.signing import sign
from tradeguard.halts.switch import Switch
from tradeguard.halts.view import Halts
from tradeguard.signing.bearer import BearerDigest
from tradeguard.signing.material import Ed25519, Hmac

OLGA, OTTO = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2))
SECRETS: dict[str, Secret | Ed25519PrivateKey] = {
    "olga": OLGA,
    "otto": OTTO,
    "omar": Secret(b"omar" * 8),
    "olga-2": Secret(b"olga-2" * 6),  # of the same owner as olga, in other letters
    "sue": Secret(b"sue" * 10),  # suspended
    "late": Secret(b"late" * 8),  # not yet valid
    "trader": Secret(b"0123456789abcdef0123456789abcdef"),  # no operator
    "ghost": Secret(b"ghost" * 8),  # unknown
    "anon": Secret(b"anon" * 8),  # of nobody
    "anon-2": Secret(b"anon-2" * 8),
    "reader": Secret(b"token" * 8),  # a key that is sent along, and signs nothing
}
BEARER = b"b" * 32


def operators() -> MemoryKeys:
    """The keys of traders and operators."""
    keys = make_keys()
    more: list[tuple[str, str, dict[str, Any]]] = [
        ("omar", "Omar", {}),
        ("olga-2", " OLGA", {}),
        ("sue", "Sue", {"state": "suspended"}),
        ("late", "Lasse", {"not_before": NOW + 86_400 * SECOND}),
        ("anon", "", {}),
        ("anon-2", "", {}),
    ]
    for id, private in (("olga", OLGA), ("otto", OTTO)):
        material = Ed25519(private.public_key().public_bytes_raw())
        keys.put_now(KeyRecord(id=id, owner=id, dialect="tg1", material=material, scopes={SET}))
    for id, owner, fields in more:
        secret = SECRETS[id]
        assert isinstance(secret, Secret)
        keys.put_now(KeyRecord(id=id, owner=owner, dialect="tg1", material=Hmac(secret), scopes={SET}, **fields))
    keys.put_now(
        KeyRecord(
            id="token", owner="Tom", dialect="bearer", material=BearerDigest(sha256(BEARER).digest()), scopes={SET}
        )
    )
    return keys


def propose(scope: str = "venue", mode: Mode = Mode.NO_NEW, *, number: int = NOW, **fields: Any) -> Proposal:
    """A proposal of now."""
    return Proposal(scope=scope, mode=mode, number=number, **{"at": NOW, **fields})


def signed(proposal: Proposal, *signers: str) -> Record:
    """A proposal with signatures."""
    record = Record(proposal, ())
    for signer in signers:
        record = sign(record, signer, SECRETS[signer])
    return record


def put(state: State, record: Record, /, **other: Any) -> None:
    """Write a record into the store as any writer to it can, nothing verified; `other` replaces parts of it."""
    proposal = record.proposal
    fields = {"value": int(proposal.mode), "until": proposal.until, "record": record.encode(), **other}
    key = PREFIX + fields.pop("scope", proposal.scope)
    drive(state.set(key, **fields))


class Venue:
    """One node over a store in memory, on a clock that stands still."""

    def __init__(self, **view: Any) -> None:
        self.clock, self.state, self.keys, self.journal = StillClock(), Memory(since=1), operators(), MemoryJournal()
        self.switch = Switch(self.state, self.keys, self.journal, now=self.clock.now)
        self.halts = self.node(journal=self.journal, **view)

    def node(self, **view: Any) -> Halts:
        """One more node over the same store."""
        still = {"clock": self.clock.now, "now": self.clock.now, "follow": False}
        return Halts(view.pop("state", self.state), self.keys, **{**still, **view})

    def guard(self, halts: Halts | None = None, **other: Any) -> Guard:
        """A guard with every check, this one too."""
        rows = {**OPERATIONS, "POST /v1/admin": {"scopes": "keys:admin", "lane": "admin"},
                "POST /v1/halt": {"scopes": SET, "lane": "admin"}}  # fmt: skip
        checks = [*make_checks(self.keys), Halt(self.halts if halts is None else halts)]
        parts = {"state": self.state, "journal": self.journal, "runtime": self.clock, "operations": Operations(rows)}
        return make_guard(checks, **{**parts, **other})

    def look(self) -> bool:
        """Let the node look at the store."""
        return drive(self.halts.refresh())

    def mode(self, *scopes: str, halts: Halts | None = None) -> Mode:
        """What stands for some scopes by the node's own view; the venue's where none is named."""
        found = (halts or self.halts).find(("venue", *scopes), self.clock.now())
        return Mode.ACTIVE if found is None else found.mode

    def codes(self) -> list[str]:
        """What is recorded about halts."""
        return [event.code for event in self.journal.events if event.kind == "halt"]
