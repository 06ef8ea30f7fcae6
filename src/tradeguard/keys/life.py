"""Life: what may become of a key. Pure: a record in, the next version of it out.

The rules:

1.  pending -> active -> retiring -> revoked; suspended and back; compromised from anywhere; revoked and compromised are
    the end of a key.
2.  A rotation makes a new key with the scopes, roles, networks and restrictions of the old one, never more. A key has
    at most one successor.
3.  In the overlap both verify; it ends with the old key's `expires`. A compromised key has no overlap.
4.  `funds:withdraw` takes an allow list and an end within 90 days. An imported key may have a waiver instead; then it
    ends when the waiver does.
5.  `funds:withdraw` and `keys:admin` are never on one key.
6.  The end of a key may be brought forward, never put off: for a longer time it is rotated.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final, Literal

from tradeguard.core.errors import ConfigError, KeyConflict
from tradeguard.core.key import KeyRecord, KeyState, Material
from tradeguard.core.policy import Policy
from tradeguard.core.principal import check_scopes, covers
from tradeguard.keys.text import show_time

Verb = Literal["activate", "suspend", "resume", "retire", "revoke", "compromise", "expire"]
HOUR: Final = 3_600_000_000_000
DAY: Final = 24 * HOUR
LONGEST_OVERLAP: Final = 7 * DAY
LONGEST_WITHDRAWAL: Final = 90 * DAY
_WIDEST: Final = {4: 8, 6: 16}  # the shortest prefix of a network in an allow list for withdrawals, by IP version
ENDED: Final[frozenset[KeyState]] = frozenset({"revoked", "compromised"})

_ANY: Final[Mapping[KeyState, KeyState]] = {
    "pending": "revoked", "active": "revoked", "retiring": "revoked", "suspended": "revoked",
}  # fmt: skip
TRANSITIONS: Final[Mapping[Verb, Mapping[KeyState, KeyState]]] = {
    "activate": {"pending": "active"},
    "suspend": {"active": "suspended", "retiring": "suspended"},
    "resume": {"suspended": "active"},
    "retire": {"active": "retiring"},
    "revoke": _ANY,
    "expire": _ANY,
    "compromise": {**dict.fromkeys(_ANY, "compromised"), "revoked": "compromised"},
}
"""Rule 1, by verb: from which state to which."""


_DONE: Final[Mapping[Verb, str]] = {
    "activate": "activated", "suspend": "suspended", "resume": "resumed", "retire": "rotated", "revoke": "revoked",
    "compromise": "marked as compromised", "expire": "expired",
}  # fmt: skip


def step(record: KeyRecord, verb: Verb, *, at: int, actor: str, reason: str = "") -> KeyRecord:
    """Return the next version of a record.

    Args:
        record: as it is stored.
        verb: what is done to it.
        at: when, ns UTC.
        actor: by whom.
        reason: why.

    Raises:
        ConfigError: nobody is named as the actor.
        KeyConflict: the key is in no state for that.
    """
    if not actor:
        raise ConfigError(f"key {record.id}: say who does this (actor)")
    state = TRANSITIONS[verb].get(record.state)
    if state is None:
        raise KeyConflict(f"key {record.id} is {record.state}; it cannot be {_DONE[verb]}{_cure(record, verb)}")
    if verb in ("resume", "activate", "retire") and record.expires is not None and record.expires <= at:
        raise KeyConflict(f"key {record.id} has expired; issue a new one")
    if verb == "resume" and record.successor:
        state = "retiring"
    return replace(record, state=state, actor=actor, reason=reason, version=record.version + 1)


def shorten(record: KeyRecord, until: int, *, at: int, actor: str, reason: str = "") -> KeyRecord:
    """Return the next version of a record, with an end or an earlier one (rule 6).

    Args:
        record: as it is stored.
        until: its end, ns UTC.
        at: now, ns UTC.
        actor: who does it.
        reason: why.

    Raises:
        ConfigError: nobody is named as the actor, or the end is no later than now or than its beginning.
        KeyConflict: the key has ended, or ends no later as it is.
    """
    if not actor:
        raise ConfigError(f"key {record.id}: say who does this (actor)")
    if record.state in ENDED:
        raise KeyConflict(f"key {record.id} is {record.state}, which is its end already")
    if record.expires is not None and record.expires <= until:
        raise KeyConflict(
            f"key {record.id} ends {show_time(record.expires)}; that is brought forward, never put off: rotate it"
        )
    if until <= at:
        raise ConfigError(f"key {record.id}: its end lies ahead; to end it now, revoke it")
    if record.not_before is not None and until <= record.not_before:
        raise ConfigError(f"key {record.id}: it would end before it begins")
    return replace(record, expires=until, actor=actor, reason=reason, version=record.version + 1)


def rotate(
    old: KeyRecord,
    id: str,
    material: Material,
    *,
    at: int,
    actor: str,
    overlap: int = DAY,
    reason: str = "",
    compromised: bool = False,
    passphrase: str = "",
) -> tuple[KeyRecord, KeyRecord]:
    """Return the next version of a key, and its successor.

    Args:
        old: the key as it is stored.
        id: of the successor.
        material: of the successor.
        at: when, ns UTC.
        actor: by whom.
        overlap: how long both verify, in ns; at most 7 days.
        reason: why.
        compromised: the old key ends at once; there is no overlap.
        passphrase: of the successor, blinded; that of the old key goes with its secret.

    Raises:
        ConfigError: no actor, or an overlap that is too long.
        KeyConflict: the key is in no state for that.
    """
    if not 0 <= overlap <= LONGEST_OVERLAP:
        raise ConfigError(f"an overlap is 0 to {LONGEST_OVERLAP // DAY} days")
    retired = step(old, "retire", at=at, actor=actor, reason=reason)
    if compromised:
        retired = replace(retired, state="compromised", successor=id)
    else:
        until = at + overlap if old.expires is None else min(old.expires, at + overlap)
        retired = replace(retired, expires=until, successor=id)
    successor = _succeed(old, id, material, at, actor, reason)
    return retired, replace(successor, passphrase=passphrase)


def _succeed(old: KeyRecord, id: str, material: Material, at: int, actor: str, reason: str) -> KeyRecord:
    """Return the successor of a key: it may do what the old one may, for as long a time as that was made for."""
    begun = old.created if old.not_before is None else old.not_before
    lifetime = old.expires - begun if old.expires is not None and begun is not None else None
    early = old.not_before is not None and old.not_before > at
    return replace(
        old,
        id=id,
        material=material,
        state="active",
        created=at,
        not_before=old.not_before if early else None,
        expires=old.expires if lifetime is None or early else at + lifetime,
        predecessor=old.id,
        successor="",
        waiver="",
        reason=reason,
        actor=actor,
        version=1,
    )


def check_new(record: KeyRecord, policy: Policy, at: int) -> None:
    """Hold a new key against the policy and the rules 4 and 5.

    Raises:
        ConfigError: naming the rule and the cure.
    """
    where, scopes = f"key {record.id}", record.principal.scopes
    check_scopes(scopes, policy.vocabulary, where)
    for role in sorted(frozenset(record.roles) - frozenset(policy.roles)):
        raise ConfigError(f"{where}: the policy has no role {role!r}; it has {_list(policy.roles)}")
    if record.tier and record.tier not in frozenset(policy.tiers):
        raise ConfigError(
            f"{where}: the policy has no tier {record.tier!r}; name it in tiers, where it has {_list(policy.tiers)}"
        )
    if not scopes:
        raise ConfigError(
            f"{where}: it has no scope and no role, so it could do nothing; the roles are {_list(policy.roles)}"
        )
    if record.expires is not None and record.expires <= max(at, record.not_before or 0):
        raise ConfigError(f"{where}: it would end before it begins")
    if covers(scopes, "keys:admin") and covers(scopes, "funds:withdraw"):
        raise ConfigError(f"{where}: funds:withdraw and keys:admin are never on one key; issue two")
    if covers(scopes, "funds:withdraw"):
        _check_withdrawal(record, at)


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _check_withdrawal(record: KeyRecord, at: int) -> None:
    """Rule 4."""
    if record.expires is None:
        raise ConfigError(f"key {record.id}: funds:withdraw takes an end (expires), at most 90 days away")
    if record.waiver:
        return
    if not tuple(record.networks):
        raise ConfigError(f"key {record.id}: funds:withdraw takes an allow list (networks)")
    for network in map(ip_network, record.networks):
        if _is_wide(network):
            raise ConfigError(f"key {record.id}: {network} is no allow list for funds:withdraw; name smaller networks")
    if record.expires > max(at, record.not_before or 0) + LONGEST_WITHDRAWAL:
        raise ConfigError(f"key {record.id}: funds:withdraw takes an end (expires) at most 90 days away")


def _is_wide(network: IPv4Network | IPv6Network) -> bool:
    """Tell whether a network is too large to limit anything; v4-mapped ones are counted as IPv4."""
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None and network.prefixlen >= 96:
        return network.prefixlen - 96 < _WIDEST[4]
    return network.prefixlen < _WIDEST[network.version]


def _cure(record: KeyRecord, verb: Verb) -> str:
    if verb == "retire" and record.successor:
        return f"; rotate its successor {record.successor}"
    return "; issue a new one" if record.state in ENDED else ""
