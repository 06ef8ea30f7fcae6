"""The codec: what a record becomes and comes back as, and that nothing else is taken for one."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import NOW, PRIVATE, SECRET

from tradeguard.core.errors import ConfigError, Tampered
from tradeguard.core.key import KeyRecord, KeyState, Storable
from tradeguard.core.policy import Policy
from tradeguard.core.principal import SCOPES, UNRESTRICTED, Restrictions
from tradeguard.keys.codec import decode_record, describe, encode_fields, make_restrictions
from tradeguard.signing.material import Ed25519, Hmac

POLICY = Policy(roles={"desk": ["orders:read", "orders:write"], "view": ["market:read"]})
PUBLIC = PRIVATE.public_key().public_bytes_raw()

WORDS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), max_size=12)
TIMES = st.none() | st.integers(0, 2**63 - 1)
NAMES = st.frozensets(st.text(min_size=1, max_size=5), max_size=3)
MONEY = st.none() | st.decimals("0.00000001", "1e12", allow_nan=False, places=8)
RESTRICTIONS = st.builds(
    Restrictions,
    accounts=NAMES,
    symbols=NAMES,
    sides=st.frozensets(st.sampled_from(["buy", "sell"])),
    order_notional=MONEY,
    day_notional=MONEY,
)
TEXTS = ("owner", "account", "parent", "on_behalf_of", "label", "tier", "waiver", "reason", "actor")


@st.composite
def records(draw: st.DrawFn) -> KeyRecord:
    states: list[KeyState] = ["pending", "active", "retiring", "suspended", "revoked", "compromised"]
    return KeyRecord(
        id=draw(st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True)),
        dialect=draw(st.sampled_from(["tg1", "binance"])),
        material=draw(st.just(Hmac(SECRET)) | st.just(Ed25519(PUBLIC))),
        scopes=draw(st.frozensets(st.sampled_from(sorted(SCOPES)), max_size=3)),
        roles=(roles := draw(st.frozensets(st.sampled_from(["desk", "view"])))),
        granted=POLICY.scopes_of(roles),
        networks=draw(st.lists(st.sampled_from(["203.0.113.0/24", "2001:db8::/48", "192.0.2.1"]), max_size=3)),
        restrictions=draw(RESTRICTIONS),
        binding=draw(st.sampled_from(["", "spiffe://a", "spki-sha256:" + "0" * 64])),
        state=draw(st.sampled_from(states)),
        created=draw(TIMES), not_before=draw(TIMES), expires=draw(TIMES),
        predecessor=draw(WORDS), successor=draw(WORDS), version=draw(st.integers(1, 9)),
        **{name: draw(WORDS) for name in TEXTS},
    )  # fmt: skip


def revealed(record: KeyRecord) -> bytes:
    assert isinstance(record.material, Storable)
    return record.material.reveal()


@settings(max_examples=150)
@given(record=records())
def test_a_record_comes_back_as_it_was(record: KeyRecord) -> None:
    fields = encode_fields(record)
    back = decode_record(fields, revealed(record), POLICY)
    assert describe(back) == describe(record)
    assert back.principal.scopes == record.principal.scopes
    assert set(back.principal.networks.cidrs) == set(record.principal.networks.cidrs)
    assert back.principal._replace(networks=record.principal.networks) == record.principal
    assert back.restrictions == record.restrictions
    assert revealed(back) == revealed(record)
    assert encode_fields(back) == fields


def test_every_field_of_a_record_is_described_but_its_material_and_what_follows_from_others() -> None:
    record = KeyRecord(id="k", dialect="tg1", material=Hmac(SECRET), scopes=())
    left_out = {"material", "passphrase", "granted", "principal"}
    assert set(describe(record)) == (set(KeyRecord.__dataclass_fields__) - left_out) | {"algorithm"}


def test_the_secret_is_in_none_of_the_fields() -> None:
    record = KeyRecord(id="k", dialect="tg1", material=Hmac(SECRET), scopes={"orders:read"}, owner="ann")
    text = encode_fields(record) + repr(describe(record)).encode()
    assert SECRET not in text
    assert SECRET.hex().encode() not in text


def test_the_encoding_is_one_text_whatever_the_order() -> None:
    one = KeyRecord(id="k", dialect="tg1", material=Hmac(SECRET), scopes=["orders:write", "orders:read"], version=1)
    two = KeyRecord(id="k", dialect="tg1", material=Hmac(SECRET), scopes=["orders:read", "orders:write"], version=1)
    assert encode_fields(one) == encode_fields(two)
    assert encode_fields(one) == (
        b'{"algorithm":"hmac-sha256","dialect":"tg1","id":"k","scopes":["orders:read","orders:write"],'
        b'"state":"active","version":1}'
    )


def test_zero_is_a_time_and_is_kept() -> None:
    record = KeyRecord(id="k", dialect="tg1", material=Hmac(SECRET), scopes=(), expires=0)
    assert decode_record(encode_fields(record), SECRET, POLICY).expires == 0


def test_what_a_role_gives_is_what_the_policy_says_now() -> None:
    record = KeyRecord(id="k", dialect="tg1", material=Hmac(SECRET), scopes={"audit:read"}, roles={"desk"})
    fields = encode_fields(record)
    assert decode_record(fields, SECRET, POLICY).principal.scopes == {"audit:read", "orders:read", "orders:write"}
    assert decode_record(fields, SECRET, Policy()).principal.scopes == {"audit:read"}


def test_fields_cannot_bring_scopes_that_the_roles_do_not_give() -> None:
    fields = json.dumps({**GOOD, "granted": ["keys:admin"], "material": "x"}).encode()
    record = decode_record(fields, SECRET, POLICY)
    assert record.principal.scopes == frozenset()
    assert revealed(record) == SECRET


GOOD = {"algorithm": "hmac-sha256", "id": "k", "dialect": "tg1"}


@pytest.mark.parametrize(
    "fields",
    [
        b"", b"x", b"\xff", b"null", b"[]", b"1", b"{}", b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5_000,
        *(json.dumps({**GOOD, **more}).encode() for more in list[dict[str, Any]]([
            {"algorithm": "md5"}, {"algorithm": []}, {"id": 5}, {"id": "a b"}, {"id": None}, {"colour": "red"},
            {"state": "gone"}, {"scopes": 5}, {"scopes": "orders:read"}, {"roles": 5}, {"roles": [[]]},
            {"networks": [5]},
            {"restrictions": 5}, {"restrictions": [1]}, {"restrictions": {"x": 1}},
            {"restrictions": {"order_notional": []}}, {"restrictions": {"order_notional": "much"}},
            {"restrictions": {"accounts": "acme"}}, {"owner": 5}, {"principal": {}},
        ])),
    ],
)  # fmt: skip
def test_what_is_no_record_is_tampered_with(fields: bytes) -> None:
    with pytest.raises(Tampered):
        decode_record(fields, SECRET, POLICY)


@pytest.mark.parametrize(
    ("algorithm", "value"), [("hmac-sha256", b"short"), ("hmac-sha256", bytes(32)), ("ed25519", b"x")]
)
def test_material_that_is_none_is_tampered_with_and_not_shown(algorithm: str, value: bytes) -> None:
    with pytest.raises(Tampered) as error:
        decode_record(json.dumps({**GOOD, "algorithm": algorithm}).encode(), value, POLICY)
    assert "short" not in str(error.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.dictionaries(st.sampled_from(sorted(KeyRecord.__dataclass_fields__)), JSON, max_size=4)


@settings(max_examples=200)
@given(data=st.binary(max_size=40) | FIELDS.map(lambda more: json.dumps({**GOOD, **more}).encode()))
def test_any_bytes_are_a_record_or_tampered_with(data: bytes) -> None:
    try:
        record = decode_record(data, SECRET, POLICY)
    except Tampered as error:
        assert SECRET.decode() not in str(error)
    else:
        assert record.usable(NOW) in (True, False)
        assert encode_fields(record)


# restrictions


def test_restrictions_are_made_of_lists_and_money_in_text() -> None:
    made = make_restrictions({"accounts": ["a"], "sides": ["buy"], "order_notional": "0.10", "day_notional": "5e3"})
    assert made == Restrictions(
        accounts={"a"}, sides={"buy"}, order_notional=Decimal("0.10"), day_notional=Decimal(5000)
    )
    assert make_restrictions({}) == UNRESTRICTED


@pytest.mark.parametrize(
    "fields",
    [
        {"order_notional": 0.1}, {"order_notional": True}, {"order_notional": None}, {"order_notional": []},
        {"order_notional": [0, [1], 0]}, {"order_notional": "NaN"}, {"order_notional": "sNaN"},
        {"day_notional": "Infinity"},
        {"day_notional": "0"}, {"day_notional": "-1"}, {"day_notional": ""}, {"accounts": 5}, {"accounts": "acme"},
        {"accounts": [""]}, {"accounts": [5]}, {"sides": ["both"]}, {"colour": ["red"]}, {"accounts": None},
        {"x y": []},
    ],
)  # fmt: skip
def test_restrictions_that_are_none_are_an_error(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        make_restrictions(fields)
