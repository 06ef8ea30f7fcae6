"""Principal: who was proved to be asking; and the vocabulary of scopes that says what they may do."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, Final, NamedTuple

from tradeguard.core.address import Networks
from tradeguard.core.errors import ConfigError

Scope = str

SCOPES: Final[frozenset[Scope]] = frozenset({
    "market:read", "account:read", "balances:read", "orders:read", "positions:read",
    "orders:write", "orders:cancel", "orders:write:margin", "orders:write:futures", "orders:write:options", "orders:*",
    "stream:private", "fix:read", "fix:trade",
    "funds:deposit", "funds:transfer", "funds:withdraw", "funds:address:write", "earn:write", "history:export",
    "keys:read", "keys:admin", "mfa:admin", "users:admin", "risk:admin",
    "halt:set", "audit:read",
})  # fmt: skip
"""The scopes every venue shares. A scope covers itself and nothing else; only `orders:*` covers all that begins with
`orders:`. A policy may declare more names; a declared wildcard never covers `funds:withdraw`."""


def read_names(value: object) -> tuple[str, ...] | None:
    """Return a collection of texts in its order; None for a single text, for no collection, and for other contents."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        return None
    names: tuple[Any, ...] = tuple(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return names if all(isinstance(name, str) for name in names) else None


def parse_names(where: str, value: object) -> frozenset[str]:
    """Return a collection of names as a set.

    Raises:
        ConfigError: it is a single text, no collection, or holds something else than texts.
    """
    names = read_names(value)
    if names is None:
        found = f"the text {value!r}" if isinstance(value, str) else repr(value)
        raise ConfigError(f"{where} is a collection of names, not {found}")
    return frozenset(names)


def check_scopes(scopes: Iterable[Scope], vocabulary: frozenset[Scope], where: str) -> frozenset[Scope]:
    """Return the scopes as a set, or raise `ConfigError` naming the first one that the vocabulary does not know."""
    names = parse_names(f"{where}: scopes", scopes)
    unknown = sorted(names - vocabulary)
    if unknown:
        near = get_close_matches(unknown[0], sorted(vocabulary), 1)
        hint = f"did you mean {near[0]}, or" if near else f"there are {', '.join(sorted(vocabulary))};"
        raise ConfigError(f"{where}: unknown scope {unknown[0]!r}; {hint} is it one to declare in policy.scopes?")
    return names


def missing_scopes(held: frozenset[Scope], needed: frozenset[Scope]) -> list[Scope]:
    """Return the needed scopes that are not held, sorted; empty when all are covered."""
    if needed <= held:
        return []
    families = tuple(scope[:-1] for scope in held if scope.endswith(":*"))
    return sorted(s for s in needed - held if s.startswith("funds:withdraw") or not s.startswith(families))


@dataclass(frozen=True, kw_only=True, slots=True)
class Restrictions:
    """What a key is held to beyond its scopes; empty and None mean: not restricted.

    Carried by the key and shown to the host; no check of this version enforces them.

    Args:
        accounts: sub-accounts it may act on.
        symbols: instruments it may trade.
        sides: "buy", "sell" or both.
        order_notional: most money in one order, in the account's currency.
        day_notional: most money in a UTC day.

    Raises:
        ConfigError: naming the field.
    """

    accounts: Iterable[str] = ()
    symbols: Iterable[str] = ()
    sides: Iterable[str] = ()
    order_notional: Decimal | None = None
    day_notional: Decimal | None = None

    def __post_init__(self) -> None:
        for name in ("accounts", "symbols", "sides"):
            names = parse_names(f"restrictions: {name}", getattr(self, name))
            if "" in names:
                raise ConfigError(f"restrictions: {name} is a collection of names, and one of them is empty")
            object.__setattr__(self, name, names)
        if not frozenset(self.sides) <= {"buy", "sell"}:
            raise ConfigError("restrictions: sides are buy and sell")
        for name in ("order_notional", "day_notional"):
            money: Any = getattr(self, name)
            if money is not None and not (isinstance(money, Decimal) and money.is_finite() and money > 0):
                raise ConfigError(f"restrictions: {name} is a Decimal above 0, not {money!r}")

    def __bool__(self) -> bool:
        return self != UNRESTRICTED


UNRESTRICTED: Final = Restrictions()


def covers(held: frozenset[Scope], family: Scope) -> bool:
    """Tell whether scopes allow something of a family: the scope itself, a finer one, or a wildcard over it."""
    finer = any(scope.startswith(family + ":") for scope in held)
    return finer or any(family == scope or _widens(scope, family) for scope in held)


def _widens(scope: Scope, family: Scope) -> bool:
    return scope.endswith(":*") and family.startswith(scope[:-1]) and not family.startswith("funds:withdraw")


class Principal(NamedTuple):
    """Who is asking, as the proof established it; built once per key record and shared by its requests.

    `on_behalf_of` is for whom, where that is not the owner. `assurance` is how much was proved: 1 for a signature, more
    with further factors. `expires` is in ns UTC or None. `version` is that of the key record.
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
    on_behalf_of: str = ""
    roles: frozenset[str] = frozenset()
    restrictions: Restrictions = UNRESTRICTED
