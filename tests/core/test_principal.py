"""Scopes: exact names, one wildcard family, and what a wildcard never covers."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradeguard.core.errors import ConfigError
from tradeguard.core.policy import Policy
from tradeguard.core.principal import SCOPES, UNRESTRICTED, Restrictions, check_scopes, covers, missing_scopes


@pytest.mark.parametrize(
    ("held", "needed", "missing"),
    [
        ({"orders:read"}, {"orders:read"}, []),
        ({"orders:read"}, {"orders:write"}, ["orders:write"]),
        ({"orders:write"}, {"orders:write:margin"}, ["orders:write:margin"]),
        ({"orders:write:margin"}, {"orders:write"}, ["orders:write"]),
        ({"orders:*"}, {"orders:read", "orders:write:margin", "orders:cancel"}, []),
        ({"orders:*"}, {"orders:*"}, []),
        ({"orders:read", "orders:write", "orders:cancel"}, {"orders:*"}, ["orders:*"]),
        ({"orders:*"}, {"ordersx:read"}, ["ordersx:read"]),
        ({"orders:*"}, {"balances:read", "account:read"}, ["account:read", "balances:read"]),
        ({"funds:*"}, {"funds:withdraw"}, ["funds:withdraw"]),
        ({"funds:*"}, {"funds:transfer"}, []),
        ({"funds:withdraw"}, {"funds:withdraw"}, []),
        ({"*"}, {"orders:read"}, ["orders:read"]),
        (set(), {"orders:read"}, ["orders:read"]),
        (set(), set(), []),
    ],
)
def test_a_scope_covers_itself_and_a_wildcard_its_family(held: set[str], needed: set[str], missing: list[str]) -> None:
    assert missing_scopes(frozenset(held), frozenset(needed)) == missing


NAMES = st.frozensets(st.sampled_from([*sorted(SCOPES), "funds:*", "keys:*", "orders:write:*"]), max_size=6)


@settings(max_examples=200, deadline=None)
@given(held=NAMES, needed=NAMES)
def test_what_is_missing_is_what_no_held_scope_covers(held: frozenset[str], needed: frozenset[str]) -> None:
    def covered(scope: str) -> bool:
        wild = any(name.endswith(":*") and scope.startswith(name.removesuffix("*")) for name in held)
        return scope in held or (wild and scope != "funds:withdraw")

    assert missing_scopes(held, needed) == sorted(scope for scope in needed if not covered(scope))


def test_known_scopes_are_returned_as_a_set() -> None:
    assert check_scopes(["orders:read", "orders:read"], SCOPES, "key k") == {"orders:read"}


def test_the_first_unknown_scope_is_named_with_the_cure() -> None:
    with pytest.raises(ConfigError, match=r"k: unknown scope 'b:x'; there are .*orders:read.*declare in policy.scopes"):
        check_scopes(["orders:read", "c:x", "b:x"], SCOPES, "key k")


def test_a_text_is_no_collection_of_scopes() -> None:
    with pytest.raises(ConfigError, match=r"key k: scopes is a collection of names, not the text 'orders:read'"):
        check_scopes("orders:read", SCOPES, "key k")


@pytest.mark.parametrize("scopes", [5, None, [5], ["orders:read", None], b"orders:read"])
def test_what_is_no_collection_of_names_is_no_collection_of_scopes(scopes: Any) -> None:
    with pytest.raises(ConfigError, match=r"key k: scopes is a collection of names, not "):
        check_scopes(scopes, SCOPES, "key k")
    with pytest.raises(ConfigError, match=r"policy: scopes is a collection of names, not "):
        Policy(scopes=scopes)
    with pytest.raises(ConfigError, match=r"policy: tiers is a collection of names, not "):
        Policy(tiers=scopes)


@pytest.mark.parametrize(
    ("held", "family", "covered"),
    [
        ({"keys:admin"}, "keys:admin", True),
        ({"keys:*"}, "keys:admin", True),
        ({"keys:admin:own"}, "keys:admin", True),
        ({"keys:read"}, "keys:admin", False),
        ({"keys:administrate"}, "keys:admin", False),
        ({"funds:withdraw"}, "funds:withdraw", True),
        ({"funds:withdraw:fast"}, "funds:withdraw", True),
        ({"funds:*"}, "funds:withdraw", False),
        (set(), "keys:admin", False),
    ],
)
def test_a_family_is_covered_by_its_name_a_finer_one_or_a_wildcard(held: set[str], family: str, covered: bool) -> None:
    assert covers(frozenset(held), family) is covered


@settings(max_examples=200, deadline=None)
@given(held=NAMES, family=st.sampled_from(["funds:withdraw", "keys:admin"]))
def test_what_would_pass_the_scope_check_is_covered(held: frozenset[str], family: str) -> None:
    """Else a rule about a scope could be gone around by a wildcard."""
    assert covers(held, family) >= (not missing_scopes(held, frozenset({family})))


# restrictions


LISTS = ("accounts", "symbols", "sides")


@pytest.mark.parametrize("name", LISTS)
def test_a_restriction_that_can_be_read_once_only_is_no_freedom(name: str) -> None:
    def names() -> Iterator[str]:
        yield "buy"

    assert getattr(Restrictions(**{name: names()}), name) == {"buy"}  # type: ignore[arg-type]


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("value", ["buy", b"bytes", 5, None, [5], [""], ["buy", None]])
def test_a_restriction_is_a_collection_of_names(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"restrictions: {name} is a collection of names"):
        Restrictions(**{name: value})


def test_sides_are_buy_and_sell() -> None:
    assert Restrictions(sides=["buy", "sell"]).sides == {"buy", "sell"}
    with pytest.raises(ConfigError, match="restrictions: sides are buy and sell"):
        Restrictions(sides=["Buy"])


@pytest.mark.parametrize("name", ["order_notional", "day_notional"])
def test_money_is_a_decimal_above_zero(name: str) -> None:
    assert getattr(Restrictions(**{name: Decimal("0.01")}), name) == Decimal("0.01")  # type: ignore[arg-type]
    for value in (Decimal(0), Decimal(-1), Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), 1, 0.1, "1", True):
        with pytest.raises(ConfigError, match=f"restrictions: {name} is a Decimal above 0"):
            Restrictions(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("fields", [{name: ["buy"]} for name in LISTS] + [{"day_notional": Decimal(1)}])
def test_restrictions_are_true_where_there_are_any(fields: dict[str, Any]) -> None:
    assert Restrictions(**fields)
    assert not Restrictions()
    assert not UNRESTRICTED
    assert Restrictions(accounts=[]) == UNRESTRICTED
