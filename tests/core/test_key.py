"""KeyRecord: its fields, when it verifies, and the principal it stands for."""

from typing import Any

import pytest
from support import NOW, SECOND, SECRET

from tradeguard.core.errors import ConfigError, KeyConflict
from tradeguard.core.key import KeyRecord, check_next, is_key_id, key_number
from tradeguard.core.principal import UNRESTRICTED, Restrictions
from tradeguard.signing.material import Hmac


def make_record(**fields: Any) -> KeyRecord:
    """A record that needs nothing more; override any field by name."""
    given: dict[str, Any] = {"id": "k", "dialect": "tg1", "material": Hmac(SECRET), "scopes": {"orders:read"}}
    return KeyRecord(**{**given, **fields})


@pytest.mark.parametrize("id", ["k", "A-z_09", "k" * 128])
def test_a_key_id_is_a_plain_name(id: str) -> None:
    assert make_record(id=id).id == id
    assert is_key_id(id.encode())


@pytest.mark.parametrize("id", ["", "k" * 129, "a b", "a/b", "a.b", "a:b", "é", "k\n", "٣"])
def test_any_other_key_id_is_an_error_that_names_it(id: str) -> None:
    with pytest.raises(ConfigError) as error:
        make_record(id=id)
    assert f"key id {id!r}: use 1 to 128 of A-Z a-z 0-9 _ -" in str(error.value)
    assert not is_key_id(id.encode())


@pytest.mark.parametrize("fields", [{"scopes": "orders:read"}, {"networks": "203.0.113.0/24"}])
def test_scopes_and_networks_are_collections(fields: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"key k: (scopes|networks) is a collection, not a text"):
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


# further fields


TEXTS = (
    "owner", "account", "parent", "on_behalf_of", "label", "tier", "predecessor", "successor", "waiver", "reason",
    "actor", "dialect",
)  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_is_printable_and_not_too_long(name: str) -> None:
    assert getattr(make_record(**{name: "ü" * 256}), name) == "ü" * 256
    for value in ("x" * 257, "a\nb", "a\0", "\x1b[31m", "\u202e", "\ud800", 5, None, b"x"):
        with pytest.raises(ConfigError, match=f"key k: {name} takes at most 256 printable characters"):
            make_record(**{name: value})


@pytest.mark.parametrize("name", ["created", "not_before", "expires"])
def test_a_time_is_a_whole_number_or_none(name: str) -> None:
    assert getattr(make_record(**{name: None}), name) is None
    assert getattr(make_record(**{name: 0}), name) == 0
    for value in (1.5, "1", True, [1]):
        with pytest.raises(ConfigError, match=f"key k: {name} is a whole number"):
            make_record(**{name: value})


@pytest.mark.parametrize("version", [None, 1.0, "1", True])
def test_a_version_is_a_whole_number(version: Any) -> None:
    with pytest.raises(ConfigError, match="key k: version is a whole number"):
        make_record(version=version)


@pytest.mark.parametrize("name", ["scopes", "roles", "granted", "networks"])
def test_collections_are_of_texts_and_may_be_read_once_only(name: str) -> None:
    one = ["203.0.113.0/24"] if name == "networks" else ["orders:read"]
    assert list(getattr(make_record(**{name: iter(one)}), name)) == one
    for value in ("orders:read", 5, None, [5], [None]):
        with pytest.raises(ConfigError, match=f"key k: {name} is a collection"):
            make_record(**{name: value})


@pytest.mark.parametrize("binding", ["", "spki-sha256:" + "0af" * 21 + "1", "spiffe://venue.example/desk/7"])
def test_a_binding_names_a_certificate(binding: str) -> None:
    assert make_record(binding=binding).binding == binding


@pytest.mark.parametrize(
    "binding",
    [
        "x",
        "spki-sha256:",
        "spki-sha256:" + "0" * 63,
        "spki-sha256:" + "A" * 64,
        "spiffe://",
        "spiffe:// a",
        "SPIFFE://a",
    ],
)
def test_any_other_binding_is_refused(binding: str) -> None:
    with pytest.raises(ConfigError, match="key k: binding is spki-sha256:<64 hex digits> or spiffe://<id>"):
        make_record(binding=binding)


def test_roles_give_their_scopes_to_the_principal() -> None:
    record = make_record(scopes={"orders:read"}, roles=["desk"], granted=["orders:write"])
    assert record.principal.scopes == {"orders:read", "orders:write"}
    assert record.principal.roles == {"desk"}
    assert record.scopes == {"orders:read"}


def test_the_principal_carries_restrictions_and_for_whom_it_acts() -> None:
    limits = Restrictions(accounts={"a"})
    principal = make_record(on_behalf_of="bob", restrictions=limits).principal
    assert (principal.on_behalf_of, principal.restrictions) == ("bob", limits)
    assert make_record().principal.restrictions == UNRESTRICTED


def test_the_number_of_a_key_is_named_by_its_id() -> None:
    assert key_number("k") == "key:k"


# what may follow what


@pytest.mark.parametrize(
    ("version", "stored", "owner", "why"),
    [
        (1, None, "other", "key k has the secret of key other"),
        (2, 1, "other", "key k has the secret of key other"),
        (2, None, None, "key k is not known, so there is no version 1 to follow"),
        (1, 1, "k", "key k exists; give the new one an id of its own"),
        (1, 1, None, "key k exists"),
        (2, 1, None, "key k keeps the secret that it was made with; rotate it instead"),
        (2, 2, "k", "key k was changed meanwhile: version 2 is stored; look again"),
        (3, 1, "k", "key k was changed meanwhile: version 1 is stored; look again"),
        (1, None, None, ""),
        (2, 1, "k", ""),
    ],
)
def test_a_record_follows_the_stored_one(version: int, stored: int | None, owner: str | None, why: str) -> None:
    before = None if stored is None else make_record(version=stored)
    if not why:
        check_next(make_record(version=version), before, owner)
        return
    with pytest.raises(KeyConflict, match=why):
        check_next(make_record(version=version), before, owner)
