"""KeyRecord: its fields, when it verifies, and the principal it stands for."""

from typing import Any

import pytest
from support import NOW, SECOND, SECRET

from tradeguard.core.errors import ConfigError
from tradeguard.core.key import KeyRecord
from tradeguard.signing.material import Hmac


def make_record(**fields: Any) -> KeyRecord:
    """A record that needs nothing more; override any field by name."""
    given: dict[str, Any] = {"id": "k", "dialect": "tg1", "material": Hmac(SECRET), "scopes": {"orders:read"}}
    return KeyRecord(**{**given, **fields})


@pytest.mark.parametrize("id", ["k", "A-z_09", "k" * 128])
def test_a_key_id_is_a_plain_name(id: str) -> None:
    assert make_record(id=id).id == id


@pytest.mark.parametrize("id", ["", "k" * 129, "a b", "a/b", "a.b", "a:b", "é", "k\n", "٣"])
def test_any_other_key_id_is_an_error_that_names_it(id: str) -> None:
    with pytest.raises(ConfigError) as error:
        make_record(id=id)
    assert f"key id {id!r}: use 1 to 128 of A-Z a-z 0-9 _ -" in str(error.value)


@pytest.mark.parametrize("fields", [{"scopes": "orders:read"}, {"networks": "203.0.113.0/24"}])
def test_scopes_and_networks_are_collections(fields: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="key k: scopes and networks are collections, not a text"):
        make_record(**fields)


def test_a_network_that_is_none_is_an_error() -> None:
    with pytest.raises(ConfigError, match="'office' is no network"):
        make_record(networks=["office"])


@pytest.mark.parametrize(
    ("state", "usable"),
    [
        ("active", True),
        ("retiring", True),
        ("pending", False),
        ("suspended", False),
        ("revoked", False),
        ("compromised", False),
    ],
)
def test_only_active_and_retiring_keys_verify(state: str, usable: bool) -> None:
    assert make_record(state=state).usable(NOW) is usable


@pytest.mark.parametrize(
    ("not_before", "expires", "usable"),
    [
        (None, None, True),
        (NOW, None, True),
        (NOW + 1, None, False),
        (None, NOW, False),
        (None, NOW + 1, True),
        (NOW - SECOND, NOW + SECOND, True),
        (NOW + 1, NOW + 2, False),
    ],
)
def test_a_key_verifies_from_not_before_until_it_expires(
    not_before: int | None, expires: int | None, usable: bool
) -> None:
    assert make_record(not_before=not_before, expires=expires).usable(NOW) is usable


def test_the_algorithm_is_that_of_the_material() -> None:
    assert make_record().algorithm == "hmac-sha256"


@pytest.mark.parametrize(
    ("fields", "id", "account"),
    [({}, "k", "k"), ({"owner": "ann"}, "ann", "ann"), ({"owner": "ann", "account": "acme"}, "ann", "acme")],
)
def test_the_principal_is_the_owner_who_acts_on_the_account(fields: dict[str, str], id: str, account: str) -> None:
    principal = make_record(**fields).principal
    assert (principal.id, principal.key_id, principal.account) == (id, "k", account)


def test_the_principal_has_what_the_record_says() -> None:
    record = make_record(scopes=["orders:*"], networks=["203.0.113.0/24"], tier="gold", expires=NOW, version=7)
    principal = record.principal
    assert principal.scopes == {"orders:*"}
    assert principal.networks.cidrs == ("203.0.113.0/24",)
    assert (principal.tier, principal.expires, principal.version, principal.assurance) == ("gold", NOW, 7, 1)


def test_the_text_of_a_record_shows_nothing_secret() -> None:
    assert repr(make_record()) == "KeyRecord(id='k', dialect='tg1', algorithm='hmac-sha256', state='active')"


def test_a_record_is_never_changed() -> None:
    record = make_record()
    with pytest.raises(AttributeError):
        record.state = "revoked"  # type: ignore[misc]


def test_an_unknown_state_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown state 'Active'; use one of pending, active"):
        make_record(state="Active")
