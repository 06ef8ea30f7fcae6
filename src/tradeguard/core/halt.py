"""Halt: what stops trading, and who may say so. Pure: modes, scopes, the truth table, the signed record.

The rules:

1.  NO_NEW refuses the lanes `order` and `funds`; BLOCKED refuses `read` and `cancel` too, and of `admin` all but the
    operations that take the scope `halt:set`. Public operations always pass. REDUCE_ONLY keeps its number for a check
    that can tell which orders reduce; until there is one it refuses what NO_NEW refuses.
2.  A halt stands for the venue, a tier, an account, a key or an operation. Of all that stand for a request the
    strictest decides.
3.  A record says what stands from now on for one scope, and is signed by one or two operator keys: those that hold
    `halt:set` and verify when they are asked. Its number is above that of the record before; an older one is refused.
4.  One signature is enough to arm: whatever leaves no less standing, at any time, than what stands. BLOCKED by one
    signature ends within `LONGEST_BLOCK`.
5.  Everything else (lifting, weakening, shortening, BLOCKED for longer) takes the signatures of two keys of two owners.
6.  Numbers are times, in ns UTC, so that whoever has lost count still finds the next. What was signed for a time or
    with a number that has not come is refused, but for `SKEW` between two clocks: nobody uses up the numbers.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, NamedTuple, cast

from tradeguard.core.errors import ConfigError
from tradeguard.core.key import KEY_ID
from tradeguard.core.policy import Lane, Operation
from tradeguard.core.principal import Principal

SET: Final = "halt:set"
"""The scope of operator keys, and of the operations that change halts."""
PREFIX: Final = "halt:"
"""What the names of the numbers of halts begin with (see `Below`)."""
KINDS: Final = ("venue", "tier", "account", "key", "operation")
LONGEST_BLOCK: Final = 3_600_000_000_000
"""How long BLOCKED may stand that one operator has signed alone, in ns: an hour."""
SKEW: Final = 60_000_000_000
"""How far the clocks of an operator and of a node may differ, in ns."""
_LONGEST: Final = 256  # characters of a name or a reason
_LARGEST: Final = 4_096  # bytes of a record
_LATEST: Final = 2**63 - 1
_WEEK: Final = 604_800  # seconds


class Mode(IntEnum):
    """How much is stopped; the number is that of `Below`."""

    ACTIVE = 0
    REDUCE_ONLY = 1
    NO_NEW = 2
    BLOCKED = 3


_FIRST: Final[Mapping[Lane, Mode | None]] = {
    "public": None,
    "read": Mode.BLOCKED,
    "order": Mode.REDUCE_ONLY,
    "cancel": Mode.BLOCKED,
    "funds": Mode.REDUCE_ONLY,
    "admin": Mode.BLOCKED,
}


def limit(operation: Operation) -> Mode | None:
    """Return the weakest mode that refuses an operation (rule 1); None for one that always passes."""
    return None if operation.lane == "admin" and SET in operation.scopes else _FIRST[operation.lane]


def scopes_of(principal: Principal, operation: Operation) -> tuple[str, ...]:
    """Return the scopes of halts that a request is in."""
    names = (principal.tier, principal.account, principal.key_id, operation.id)
    return ("venue", *(f"{kind}:{name}" for kind, name in zip(KINDS[1:], names, strict=True) if name))


def check_scope(scope: str) -> str:
    """Return the text of a scope: "venue", or a kind and a name such as "account:acme".

    Raises:
        ConfigError: it is none.
    """
    kind, colon, name = scope.partition(":")
    named = bool(colon and name) and len(name) <= _LONGEST and name.isprintable()
    if kind not in KINDS or (scope != "venue" if kind == "venue" else not named):
        raise ConfigError(
            f"{scope!r} is no scope of a halt; write venue, tier:NAME, account:NAME, key:ID or 'operation:POST /path'"
        )
    return scope


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """What is to stand for a scope from now on: what operators sign.

    Args:
        scope: "venue", "tier:<name>", "account:<name>", "key:<id>" or "operation:<METHOD /path>".
        mode: ACTIVE lifts; NO_NEW or BLOCKED.
        number: above that of the record before.
        at: when it was proposed, ns UTC.
        until: when it ends, ns UTC; None for good.
        retry_after: seconds after which clients may ask again, for a halt that has no end; 0 for nothing said.
        reason: for everybody to read.

    Raises:
        ConfigError: naming the field and the cure.
    """

    scope: str
    mode: Mode
    number: int
    at: int
    until: int | None = None
    retry_after: int = 0
    reason: str = ""

    def __post_init__(self) -> None:
        check_scope(self.scope)
        for name, least, most in (("number", 1, _LATEST), ("at", 0, _LATEST), ("retry_after", 0, _WEEK)):
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= most:
                raise ConfigError(f"halt: {name} is a whole number from {least} to {most}")
        if type(self.mode) is not Mode or self.mode == Mode.REDUCE_ONLY:
            raise ConfigError("halt: mode is ACTIVE, NO_NEW or BLOCKED")
        if self.until is not None and not (type(self.until) is int and self.at < self.until <= _LATEST):
            raise ConfigError("halt: it would end before it begins")
        if self.mode == Mode.ACTIVE and (self.until is not None or self.retry_after):
            raise ConfigError("halt: what is lifted is lifted for good, and nobody has to wait (until, retry_after)")
        if len(self.reason) > _LONGEST or not self.reason.isprintable():
            raise ConfigError(f"halt: reason takes at most {_LONGEST} printable characters")

    def stands(self, at: int) -> bool:
        """Tell whether it stops anything at a time, ns UTC."""
        return self.mode != Mode.ACTIVE and (self.until is None or at < self.until)

    def covers(self, other: "Proposal") -> bool:
        """Tell whether it leaves no less standing than another, at any time to come."""
        as_long = self.until is None or (other.until is not None and self.until >= other.until)
        return self.mode >= other.mode and as_long

    @property
    def text(self) -> bytes:
        """What operators sign: a name of its own, so that it is nothing else that a key signs, and canonical JSON."""
        return b"tradeguard halt 1\n" + _encode(self.fields())

    def fields(self) -> dict[str, Any]:
        """Return it as JSON shows it."""
        return {name: getattr(self, name) for name in _FIELDS} | {"mode": self.mode.name}


_FIELDS: Final = ("scope", "mode", "number", "at", "until", "retry_after", "reason")


class Record(NamedTuple):
    """A proposal with the signatures of operator keys, (id, signature) sorted by id: one or two."""

    proposal: Proposal
    signatures: tuple[tuple[str, bytes], ...]

    def sign(self, key_id: str, signature: bytes) -> "Record":
        """Return it with one more signature.

        Raises:
            ConfigError: the key has signed it already, or two others have.
        """
        if key_id in dict(self.signatures):
            raise ConfigError(f"key {key_id} has signed this already; the second signature is another operator's")
        if len(self.signatures) > 1:
            raise ConfigError("two operators have signed this already")
        return self._replace(signatures=tuple(sorted([*self.signatures, (key_id, signature)])))

    def encode(self) -> bytes:
        """Return it as the one text that stands for it."""
        signatures = {key_id: signature.hex() for key_id, signature in self.signatures}
        return _encode({"proposal": self.proposal.fields(), "signatures": signatures})


def parse_record(text: bytes) -> Record:
    """Read a record.

    Raises:
        ConfigError: it is none, or not in its canonical text.
    """
    try:
        content: Any = json.loads(text) if len(text) <= _LARGEST else None
        fields: dict[str, Any] = dict(content["proposal"])
        fields["mode"] = Mode[fields["mode"]]
        signatures = tuple((str(key_id), bytes.fromhex(value)) for key_id, value in content["signatures"].items())
        record = Record(Proposal(**fields), signatures)
    except (ConfigError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ConfigError("that is no record of a halt") from error
    named = all(KEY_ID.fullmatch(key_id) for key_id, _ in signatures)
    if record.encode() != text or not 1 <= len(signatures) <= 2 or not named:
        raise ConfigError("that is no record of a halt as it was signed: one or two signatures, canonical JSON")
    return record


def needed(proposal: Proposal, held: Proposal | None, now: int) -> int:
    """Return how many owners must have signed (rules 4 and 5).

    Args:
        proposal: what is to stand.
        held: the latest that was accepted for this scope.
        now: ns UTC.
    """
    if proposal.mode == Mode.ACTIVE or (held is not None and held.stands(now) and not proposal.covers(held)):
        return 2
    endless = proposal.until is None or proposal.until - proposal.at > LONGEST_BLOCK
    return 2 if proposal.mode == Mode.BLOCKED and endless else 1


def objection(proposal: Proposal, held: Proposal | None, owners: Iterable[str], now: int) -> str:
    """Return why a record is refused, or nothing (rules 3 to 6).

    Args:
        proposal: what its signatures are over.
        held: the latest that was accepted for this scope.
        owners: those of the keys whose signatures hold. One without a name is nobody in particular, so no second.
        now: ns UTC.
    """
    if held is not None and proposal.number <= held.number:
        return f"its number {proposal.number} is not above {held.number}: it is older than what was accepted"
    if max(proposal.at, proposal.number) > now + SKEW:
        return "it was signed for a time that has not come; compare the clocks"
    names = [owner.strip().casefold() for owner in owners]
    signed = max(len({name for name in names if name}), min(len(names), 1))
    if signed < needed(proposal, held, now):
        return "it takes the signatures of two operator keys, of two owners"
    return ""


class Standing(NamedTuple):
    """What stops something now: until when (ns UTC), and what is told about it. `number` 0: nobody has signed it."""

    mode: Mode
    until: int | None
    scope: str
    number: int = 0
    retry_after: int = 0
    reason: str = ""


Standings = Mapping[str, tuple[Standing, ...]]


def strictest(standings: Standings, scopes: Iterable[str], at: int) -> Standing | None:
    """Return the strictest of what stands for some scopes at a time (ns UTC), or None (rule 2)."""
    found: Standing | None = None
    for scope in scopes:
        for standing in standings.get(scope, ()):
            living = standing.until is None or at < standing.until
            if living and (found is None or standing.mode > found.mode):
                found = standing
    return found


def _encode(content: Mapping[str, Any]) -> bytes:
    return json.dumps(cast("Any", content), sort_keys=True, separators=(",", ":")).encode()
