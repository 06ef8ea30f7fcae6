"""Scopes: exact names, one wildcard family, and what a wildcard never covers."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradeguard.core.errors import ConfigError
from tradeguard.core.principal import SCOPES, check_scopes, missing_scopes


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
    with pytest.raises(ConfigError, match=r"key k: unknown scope 'b:x'; declare it in the policy or use one of SCOPES"):
        check_scopes(["orders:read", "c:x", "b:x"], SCOPES, "key k")


def test_a_text_is_no_collection_of_scopes() -> None:
    with pytest.raises(ConfigError, match=r"key k: scopes is a collection of names, not the text 'orders:read'"):
        check_scopes("orders:read", SCOPES, "key k")
