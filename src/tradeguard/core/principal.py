"""Principal: who was proved to be asking; and the vocabulary of scopes that says what they may do."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from tradeguard.core.address import Networks
from tradeguard.core.errors import ConfigError

Scope = str

SCOPES: Final[frozenset[Scope]] = frozenset({
    "market:read", "account:read", "balances:read", "orders:read", "positions:read",
    "orders:write", "orders:cancel", "orders:write:margin", "orders:write:futures", "orders:write:options", "orders:*",
    "stream:private", "fix:read", "fix:trade",
    "funds:deposit", "funds:transfer", "funds:withdraw", "funds:address:write", "earn:write", "history:export",
    "keys:read", "keys:admin", "mfa:admin", "users:admin", "risk:admin",
    "killswitch:trip", "killswitch:reset", "audit:read",
})  # fmt: skip
"""The scopes every venue shares. A scope covers itself and nothing else; only `orders:*` covers all that begins with
`orders:`. A policy may declare more names; a declared wildcard never covers `funds:withdraw`."""


def check_scopes(scopes: Iterable[Scope], vocabulary: frozenset[Scope], where: str) -> frozenset[Scope]:
    """Return the scopes as a set, or raise `ConfigError` naming the first one that the vocabulary does not know."""
    if isinstance(scopes, str):
        raise ConfigError(f"{where}: scopes is a collection of names, not the text {scopes!r}")
    names = frozenset(scopes)
    unknown = sorted(names - vocabulary)
    if unknown:
        raise ConfigError(f"{where}: unknown scope {unknown[0]!r}; declare it in the policy or use one of SCOPES")
    return names


def missing_scopes(held: frozenset[Scope], needed: frozenset[Scope]) -> list[Scope]:
    """Return the needed scopes that are not held, sorted; empty when all are covered."""
    if needed <= held:
        return []
    families = tuple(scope[:-1] for scope in held if scope.endswith(":*"))
    return sorted(s for s in needed - held if s.startswith("funds:withdraw") or not s.startswith(families))


class Principal(NamedTuple):
    """Who is asking, as the proof established it; built once per key record and shared by its requests.

    `assurance` is how much was proved: 1 for a signature, more with further factors. `expires` is in ns UTC or None.
    """

    id: str
    key_id: str
    account: str
    scopes: frozenset[Scope]
    networks: Networks
    kind: str = "key"
    tier: str = ""
    assurance: int = 1
    expires: int | None = None
    version: int = 1
