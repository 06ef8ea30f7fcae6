"""A file of keys, line by line: read strictly, whatever stands in it, and never a secret in what is told."""

import base64
import io
import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support import NOW, PRIVATE

from tradeguard.core.errors import ConfigError
from tradeguard.core.key import KeyRecord
from tradeguard.core.principal import Restrictions
from tradeguard.keys.life import DAY
from tradeguard.keys.lines import COLUMNS, Format, Line, Reading, read_lines
from tradeguard.keys.possession import possession_text
from tradeguard.signing.material import PAIRS, Ed25519, Hmac
from tradeguard.signing.private import find_public, make_private_key, sign

PUBLIC = PRIVATE.public_key().public_bytes_raw()
KEY64 = base64.b64encode(PUBLIC).decode()
PLAIN = "Vry$ecret-0123456789"
FORMS: tuple[Format, ...] = ("csv", "jsonl")


def read(text: str, form: Format, **reading: Any) -> list[Line]:
    return list(read_lines(io.StringIO(text, newline=""), form, Reading(**{"at": NOW, **reading})))


def csv_of(*rows: Mapping[str, str]) -> str:
    """A CSV file of rows that name the same columns."""
    quote = '"{}"'.format
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    return "".join(",".join(quote(cell.replace('"', '""')) for cell in line) + "\r\n" for line in lines)


def jsonl_of(*rows: Mapping[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def render(form: Format, *rows: Mapping[str, str]) -> str:
    return csv_of(*rows) if form == "csv" else jsonl_of(*rows)


def one(form: Format, reading: Mapping[str, Any] | None = None, /, **columns: str) -> KeyRecord:
    """The record of a file of one line."""
    row = {"id": "k", "secret": PLAIN, **columns}
    [line] = read(render(form, {name: value for name, value in row.items() if value}), form, **(reading or {}))
    assert line.record is not None, line.reason
    return line.record


def reason(form: Format, reading: Mapping[str, Any] | None = None, /, **columns: str) -> str:
    """Why there is no record."""
    row = {"id": "k", "secret": PLAIN, **columns}
    [line] = read(render(form, {name: value for name, value in row.items() if value}), form, **(reading or {}))
    assert line.record is None
    return line.reason


def is_secret(record: KeyRecord, secret: bytes) -> bool:
    return record.material.fingerprint(b"s") == Hmac(secret).fingerprint(b"s")


both = pytest.mark.parametrize("form", FORMS)


# what may stand in a line


@both
def test_a_line_says_all_there_is_to_say(form: Format) -> None:
    record = one(
        form, id="K-1", dialect="binance", algorithm="hmac-sha256", encoding="text", owner="ann", account="acme",
        parent="group", on_behalf_of="bob", label="My bot, \"the\" one", tier="gold", binding="spiffe://a",
        waiver="as agreed", reason="moved", scopes="orders:read, orders:write;market:read", roles="desk view",
        state="active", networks="203.0.113.0/24,2001:db8::/48", created="2020-01-31",
        not_before="2026-01-31T12:00:00Z", expires="90d",
        restrictions='{"accounts": ["a"], "order_notional": "10.5"}',
    )  # fmt: skip
    assert is_secret(record, PLAIN.encode())
    assert (record.id, record.dialect, record.owner, record.account) == ("K-1", "binance", "ann", "acme")
    assert (record.parent, record.on_behalf_of, record.label) == ("group", "bob", 'My bot, "the" one')
    assert (record.tier, record.binding, record.waiver, record.reason) == ("gold", "spiffe://a", "as agreed", "moved")
    assert record.scopes == {"orders:read", "orders:write", "market:read"}
    assert (record.roles, record.networks) == ({"desk", "view"}, ("203.0.113.0/24", "2001:db8::/48"))
    assert (record.created, record.not_before, record.expires) == (
        1_580_428_800_000_000_000, 1_769_860_800_000_000_000, NOW + 90 * DAY,
    )  # fmt: skip
    assert record.restrictions == Restrictions(accounts={"a"}, order_notional=Decimal("10.5"))
    assert (record.state, record.version, record.predecessor, record.successor) == ("active", 1, "", "")


@both
def test_what_is_not_said_has_its_usual_value(form: Format) -> None:
    record = one(form)
    assert (record.dialect, record.algorithm, record.state, record.owner) == ("tg1", "hmac-sha256", "active", "")
    assert (record.scopes, record.networks, record.expires, record.created) == (frozenset(), (), None, None)


def test_json_says_lists_and_numbers_as_such() -> None:
    row = {"id": "k", "secret": PLAIN, "scopes": ["orders:read"], "networks": [], "expires": NOW + 5,
           "restrictions": {"sides": ["buy"]}, "label": None}  # fmt: skip
    [line] = read(jsonl_of(row), "jsonl")
    assert line.record is not None
    assert (line.record.scopes, line.record.expires) == ({"orders:read"}, NOW + 5)
    assert line.record.restrictions == Restrictions(sides={"buy"})


def test_every_column_is_read() -> None:
    """A column that is known and then forgotten would be a limit that nobody keeps."""
    noticed = {
        "restrictions": "[]", "permissions": "x", "proof": "x", "public_key": KEY64, "encoding": "x", "algorithm": "x",
        "state": "x", "binding": "x", "networks": "x", "created": "x", "not_before": "x", "expires": "x", "id": "?",
        "dialect": "\x01", "secret": "short", "secret_sha256": "x",
        "passphrase": "x", "passphrase_hmac": "ab" * 32,
    }  # fmt: skip
    for name, value in noticed.items():
        assert reason("csv", **{name: value}), name
    for name in COLUMNS - set(noticed):
        assert "x" in (getattr(one("csv", **{name: "x"}), name)), name


@both
@pytest.mark.parametrize(
    ("secret", "encoding"),
    [
        (PLAIN, ""), (PLAIN, "text"), (PLAIN.encode().hex(), "hex"), (PLAIN.encode().hex().upper(), "hex"),
        (base64.b64encode(PLAIN.encode()).decode(), "base64"),
        (base64.urlsafe_b64encode(b"?>" * 10).decode(), "base64"),
        (base64.b64encode(PLAIN.encode()).decode().rstrip("="), "base64"),
    ],
)  # fmt: skip
def test_a_secret_is_text_hex_or_base64(form: Format, secret: str, encoding: str) -> None:
    expected = b"?>" * 10 if "Pz4" in secret else PLAIN.encode()
    assert is_secret(one(form, secret=secret, encoding=encoding), expected)


@both
def test_defaults_stand_in_for_what_is_empty_and_only_for_that(form: Format) -> None:
    reading = {"defaults": {"dialect": "binance", "owner": "house", "expires": "1d"}}
    assert one(form, reading).dialect == "binance"
    record = one(form, reading, dialect="tg1")
    assert (record.dialect, record.owner, record.expires) == ("tg1", "house", NOW + DAY)


def test_a_default_for_a_column_that_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigError, match="there is no column 'ownr'; did you mean owner"):
        Reading(at=NOW, defaults={"ownr": "house"})


@both
def test_permissions_become_scopes(form: Format) -> None:
    reading = {"permissions": {"TRADE": ["orders:write", "orders:cancel"], "READ": ["orders:read"], "NONE": []}}
    assert one(form, reading, permissions="READ,TRADE NONE", scopes="market:read").scopes == {
        "orders:read", "orders:write", "orders:cancel", "market:read",
    }  # fmt: skip
    assert reason(form, reading, permissions="READ,WITHDRAW") == (
        "permission 'WITHDRAW' stands for nothing; name its scopes in the mapping"
    )


# public keys


@both
def test_a_public_key_without_proof_waits_for_one(form: Format) -> None:
    record = one(form, secret="", public_key=KEY64)
    assert (record.state, record.algorithm) == ("pending", "ed25519")
    assert record.material.fingerprint(b"s") == Ed25519(PUBLIC).fingerprint(b"s")
    assert reason(form, secret="", public_key=KEY64, state="active") == (
        "a public key without proof of possession is imported as pending"
    )
    assert one(form, {"proven": True}, secret="", public_key=PUBLIC.hex(), encoding="hex").state == "active"


@both
def test_a_public_key_with_proof_is_active(form: Format) -> None:
    proof = base64.b64encode(PRIVATE.sign(possession_text("ann", PUBLIC))).decode()
    assert one(form, secret="", public_key=KEY64, owner="ann", proof=proof).state == "active"
    for owner, wrong in (("bob", proof), ("ann", base64.b64encode(bytes(64)).decode())):
        assert "proof of possession does not hold" in reason(
            form, secret="", public_key=KEY64, owner=owner, proof=wrong, state="pending"
        )
    assert "is not in its encoding" in reason(form, secret="", public_key=KEY64, owner="ann", proof="!")
    assert "only a public key takes a proof" in reason(form, owner="ann", proof=proof)


# dialects with other secrets, passphrases and pairs


TEXT64 = base64.b64encode(PLAIN.encode()).decode()


@both
@pytest.mark.parametrize(
    ("columns", "secret", "algorithm"),
    [
        ({"dialect": "kraken", "secret": TEXT64}, PLAIN.encode(), "hmac-sha512"),
        ({"dialect": "kraken", "secret": TEXT64, "encoding": "base64"}, PLAIN.encode(), "hmac-sha512"),
        ({"dialect": "kraken", "encoding": "hex", "secret": PLAIN.encode().hex()}, PLAIN.encode(), "hmac-sha512"),
        ({"dialect": "kraken", "encoding": "text", "secret": TEXT64}, TEXT64.encode(), "hmac-sha512"),
        ({"dialect": "gate", "secret": TEXT64}, TEXT64.encode(), "hmac-sha512"),
        ({"dialect": "gemini", "secret": TEXT64}, TEXT64.encode(), "hmac-sha384"),
    ],
)
def test_a_secret_is_read_as_the_clients_of_its_dialect_hold_it(
    form: Format, columns: dict[str, str], secret: bytes, algorithm: str
) -> None:
    material = one(form, **columns).material
    assert material.algorithm == algorithm
    assert material.fingerprint(b"s") == Hmac(secret, algorithm).fingerprint(b"s")


@both
def test_what_decrypt_returns_is_the_secret_as_the_client_has_it(form: Format) -> None:
    def turn(value: bytes, _row: Mapping[str, str]) -> bytes:
        return value[::-1]

    kept = one(form, {"decrypt": turn}, dialect="kraken", secret=TEXT64[::-1])
    assert kept.material.fingerprint(b"s") == Hmac(PLAIN.encode(), "hmac-sha512").fingerprint(b"s")
    assert "is written in base64" in reason(form, {"decrypt": turn}, dialect="kraken", secret="!" * 24)


@both
def test_a_passphrase_is_blinded_at_once_and_a_blinded_one_stays_as_it_is(form: Format) -> None:
    blinded = Hmac(PLAIN).blind(b" open sesame ").hex()
    plain = one(form, dialect="okx", passphrase=" open sesame ")
    assert plain.passphrase == blinded
    assert one(form, dialect="okx", passphrase_hmac=blinded).passphrase == blinded
    assert one(form, dialect="okx", passphrase_hmac=blinded.upper()).passphrase == blinded
    other = one(form, dialect="coinbase-exchange", secret=TEXT64, passphrase="open sesame")
    assert other.passphrase == Hmac(PLAIN).blind(b"open sesame").hex()


@both
@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"dialect": "okx"}, "a key of dialect okx has a passphrase, which its clients send along; give it"),
        ({"passphrase": "hush-hush"}, "the keys of dialect tg1 with hmac-sha256 have no passphrase"),
        ({"passphrase_hmac": "ab" * 32}, "the keys of dialect tg1 with hmac-sha256 have no passphrase"),
        ({"dialect": "okx", "passphrase": "hush-hush", "passphrase_hmac": "ab" * 32}, "one of the two"),
        ({"dialect": "okx", "passphrase_hmac": "hush-hush"}, "passphrase is the 64 hex digits of Hmac.blind"),
        (
            {"dialect": "bearer", "passphrase": "hush-hush", "secret": "Xk2vQ9mW4tR7yU1oP5aS8dF3gH6jL0zC"},
            "only keys with",
        ),
        ({"dialect": "okex", "passphrase": "hush-hush"}, "no dialect is called 'okex'; did you mean"),
        ({"dialect": "kraken", "secret": "!" * 20}, "not in its encoding, base64"),
    ],
)
def test_a_passphrase_or_dialect_that_does_not_fit_is_told_without_its_secret(
    form: Format, columns: dict[str, str], why: str
) -> None:
    said = reason(form, **columns)
    assert why in said
    assert "hush" not in said


@both
@pytest.mark.parametrize("algorithm", PAIRS)
@pytest.mark.parametrize("spell", ["pem", "der", "hex"])
def test_a_public_key_of_any_algorithm_and_spelling_is_read(form: Format, algorithm: str, spell: str) -> None:
    key = make_private_key(algorithm)
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    text = {"pem": pem, "der": base64.b64encode(der).decode(), "hex": der.hex()}[spell]
    dialect = "coinbase-advanced" if algorithm == "ecdsa-p256-sha256" else "binance"
    row = {"dialect": dialect, "secret": "", "public_key": text, "owner": "ann"}
    row |= {"encoding": "hex"} if spell == "hex" else {}
    pending = one(form, **row)
    assert (pending.state, pending.algorithm) == ("pending", algorithm)
    assert pending.material.fingerprint(b"s") == find_public(key).fingerprint(b"s")
    proof = sign(key, possession_text("ann", find_public(key).reveal()))
    assert one(form, **row, proof=base64.b64encode(proof).decode()).state == "active"
    wrong = sign(key, possession_text("bob", find_public(key).reveal()))
    assert "does not hold" in reason(form, **row, proof=base64.b64encode(wrong).decode())
    assert "dialect okx has no" in reason(form, **row | {"dialect": "okx"})
    other = "rsa-pkcs1-sha256" if algorithm == "ed25519" else "ed25519"
    assert "another algorithm" in reason(form, **row | {"dialect": "binance", "algorithm": other})


# what may not


@both
@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"secret": ""}, "a secret or a public_key, one of the two"),
        ({"public_key": KEY64}, "a secret or a public_key, one of the two"),
        ({"secret": "short"}, "at least 16 bytes"),
        ({"secret": "00" * 32, "encoding": "hex"}, "not all zero"),
        ({"secret": "zz", "encoding": "hex"}, "not in its encoding, hex"),
        ({"secret": "abc", "encoding": "hex"}, "not in its encoding, hex"),
        ({"secret": "é" * 20, "encoding": "hex"}, "not in its encoding, hex"),
        ({"secret": "!" * 20, "encoding": "base64"}, "not in its encoding, base64"),
        ({"secret": "é" * 20, "encoding": "base64"}, "not in its encoding, base64"),
        ({"secret": "A" * 21, "encoding": "base64"}, "not in its encoding, base64"),
        ({"encoding": "rot13"}, "encoding is text, hex or base64"),
        ({"secret": "", "public_key": "AAAA"}, "32 bytes"),
        ({"secret": "", "public_key": base64.b64encode(bytes(32)).decode()}, "small order"),
        ({"algorithm": "md5"}, "dialect tg1 has no md5"),
        ({"algorithm": "ed25519"}, "one of ed25519, rsa-pkcs1-sha256, ecdsa-p256-sha256 a public_key"),
        (
            {"algorithm": "ed25519", "secret": KEY64, "encoding": "base64"},
            "a key of hmac-sha256, hmac-sha384, hmac-sha512 has a secret",
        ),
        ({"algorithm": "hmac-sha256", "secret": "", "public_key": KEY64}, "hmac-sha256 has a secret"),
        ({"id": "a b"}, "key id 'a b'"),
        ({"state": "gone"}, "unknown state 'gone'"),
        ({"state": "pending"}, "only a public key waits"),
        ({"networks": "office"}, "'office' is no network"),
        ({"expires": "soon"}, "'soon' is no time"),
        ({"expires": "2027-01-31T12:00:00"}, "is no time"),
        ({"expires": "999999999w"}, ""),
        ({"binding": "me"}, "binding is spki"),
        ({"owner": "a\tb"}, "printable"),
        ({"owner": "a" * 257}, "at most 256"),
        ({"restrictions": "{"}, "restrictions is a JSON object"),
        ({"restrictions": "[1]"}, "restrictions is a JSON object"),
        ({"restrictions": '{"colour": 1}'}, "restrictions"),
        ({"restrictions": '{"order_notional": 0.1}'}, "order_notional"),
        ({"restrictions": '{"accounts": ["a"], "accounts": []}'}, "restrictions"),
        ({"restrictions": '{"accounts":' + "[" * 20_000}, "restrictions"),
    ],
)
def test_a_line_that_is_wrong_is_told_with_its_reason(form: Format, columns: dict[str, str], why: str) -> None:
    told = reason(form, **columns)
    assert why in told
    assert told
    assert PLAIN not in told


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"owner": 5}, "owner is a text"), ({"owner": False}, "owner is a text"),
        ({"secret": ["x"]}, "secret is a text"),
        ({"algorithm": {}}, "algorithm is a text"), ({"scopes": {"a": 1}}, "scopes is a list of texts"),
        ({"scopes": [5]}, "scopes is a list of texts"), ({"scopes": [["a"]]}, "scopes is a list of texts"),
        ({"scopes": 5}, "scopes is a list of texts"), ({"expires": 1.5}, "expires is a text"),
        ({"expires": True}, "expires is a text"), ({"expires": 10**30}, ""), ({"expires": -(10**30)}, ""),
        ({"restrictions": [1]}, "restrictions is a JSON object"),
        ({"restrictions": {"order_notional": []}}, "order_notional"),
        ({"restrictions": {"order_notional": 1}}, "order_notional"), ({"owner": "\ud800"}, "half a character"),
        ({"secret": "\ud800" * 20}, "half a character"), ({"colour": "red"}, "a column is none of account"),
        ({"scope": "x"}, "there is no column 'scope'; did you mean scopes"),
    ],
)  # fmt: skip
def test_a_json_value_of_the_wrong_kind_is_told(more: dict[str, Any], why: str) -> None:
    [line] = read(jsonl_of({"id": "k", "secret": PLAIN, **more}), "jsonl")
    assert line.record is None
    assert line.reason
    assert why in line.reason


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "no JSON: "), ("[]", "no JSON object"), ("5", "no JSON object"), ("null", "no JSON object"),
        ('{"id": "k", "id": "j"}', "no JSON: a name stands twice"),
        ('{"restrictions": {"sides": [], "sides": []}}', "twice"),
        ("[" * 60_000, "no JSON"), ('{"a":' * 10_000, "no JSON"), ("9" * 5_000, "no JSON"), ("{} {}", "no JSON"),
        (f'{{"secret": "{PLAIN}" x', "no JSON"), (f'{{"secret": "{PLAIN}\\q"}}', "no JSON"),
    ],
)  # fmt: skip
def test_what_is_no_json_is_told_and_the_next_line_read(text: str, why: str) -> None:
    bad, good = read(text + "\n" + jsonl_of({"id": "k", "secret": PLAIN}), "jsonl")
    assert bad.record is None
    assert why in bad.reason
    assert PLAIN not in bad.reason
    assert (bad.number, good.number) == (1, 2)
    assert good.record is not None


def test_a_line_of_another_width_is_told_and_the_next_line_read() -> None:
    lines = read(f"id,secret\nk\nk,{PLAIN},more\nk,{PLAIN}\n", "csv")
    assert [(line.number, line.record is None) for line in lines] == [(2, True), (3, True), (4, False)]
    assert lines[0].reason == lines[1].reason == "it has not 2 columns as the head line"


def test_a_quote_in_the_wrong_place_is_told_and_the_next_line_read() -> None:
    lines = read(f'id,secret\n"k"x,{PLAIN}\nk,{PLAIN}\n', "csv")
    assert [(line.number, line.record is None) for line in lines] == [(2, True), (3, False)]
    assert "no CSV" in lines[0].reason
    assert PLAIN not in lines[0].reason


def test_a_quoted_field_may_hold_commas_quotes_and_line_breaks() -> None:
    secret = 'a,b"c\nd\r\ne0123456789'
    lines = read(csv_of({"id": "k", "secret": secret}, {"id": "j", "secret": PLAIN}), "csv")
    assert [line.number for line in lines] == [4, 5]
    assert lines[0].record is not None
    assert is_secret(lines[0].record, secret.encode())


def test_a_quote_that_is_never_closed_is_told() -> None:
    lines = read(f'id,secret\nk,"{PLAIN}\nj,{PLAIN}\n', "csv")
    assert [line.record for line in lines] == [None]
    assert "no CSV" in lines[0].reason


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_any_line_ends_and_empty_lines_are_read(form: Format, end: str) -> None:
    rows = [{"id": "a", "secret": PLAIN}, {"id": "b", "secret": PLAIN}]
    text = render(form, *rows).replace("\r\n", "\n").replace("\n", end * 2).removesuffix(end)
    lines = read(text, form)
    assert [line.record and line.record.id for line in lines] == ["a", "b"]


@both
def test_a_byte_order_mark_is_no_part_of_the_file(form: Format, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("\ufeff" + render(form, {"id": "k", "secret": PLAIN}), encoding="utf-8", newline="")
    with file.open(encoding="utf-8", newline="") as opened:
        [line] = read_lines(opened, form, Reading(at=NOW))
    assert line.record is not None


def test_a_mark_further_down_is_a_part_of_its_line() -> None:
    first, second = read(
        jsonl_of({"id": "k", "secret": PLAIN}) + "\ufeff" + jsonl_of({"id": "j", "secret": PLAIN}), "jsonl"
    )
    assert first.record is not None
    assert second.record is None


def test_a_line_may_have_65536_characters() -> None:
    text = jsonl_of({"id": "k", "secret": PLAIN}).rstrip()
    [line] = read(text + " " * (65_535 - len(text)) + "\n", "jsonl")
    assert line.record is not None
    with pytest.raises(ConfigError, match="longer than 65536"):
        read(text + " " * (65_536 - len(text)) + "\n", "jsonl")


# files that are none


@pytest.mark.parametrize(
    ("head", "why"),
    [
        ("secret,owner\n", "the head line names no column id; write for example: id,secret,owner,scopes"),
        ("id,secrt\n", "there is no column 'secrt'; did you mean secret"),
        ("id,Secret\n", "there is no column 'Secret'; did you mean secret"),
        ("id,secret,secret\n", "the head line names a column twice"),
        ("id,id\n", "the head line names a column twice"),
        ('"id"x,secret\n', "the head line is no CSV"),
        ('"id\n', "the head line is no CSV"),
        ("id,colour\n", "a column is none of account"),
    ],
)
def test_a_head_line_that_is_none_ends_it(head: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        read(f"{head}k,{PLAIN}\n", "csv")


@pytest.mark.parametrize("text", ["", "\n", "\ufeff"])
def test_an_empty_file_has_no_head_line_and_no_keys(text: str) -> None:
    with pytest.raises(ConfigError, match="the head line names no column id"):
        read(text, "csv")
    assert read(text, "jsonl") == []


def test_a_line_without_an_id_is_told() -> None:
    for form in FORMS:
        [line] = read(render(form, {"id": "", "secret": PLAIN}), form)
        assert "key id ''" in line.reason


def test_a_file_without_a_head_line_shows_no_secret() -> None:
    for first in (f"{PLAIN},k", f"k,{PLAIN}", PLAIN):
        with pytest.raises(ConfigError) as error:
            read(first + "\n", "csv")
        assert PLAIN not in str(error.value)


@both
def test_a_file_that_is_no_text_is_refused(form: Format, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    for content, why in (
        (b"id,secret\n\xff\xfe\n", "no UTF-8"),
        (b"id,secret\nk,\0\n", "binary"),
        (b"id,secret\n" + b"x" * 65_537, "longer than 65536"),
    ):
        file.write_bytes(content)
        with file.open(encoding="utf-8", newline="") as opened, pytest.raises(ConfigError, match=why):
            list(read_lines(opened, form, Reading(at=NOW)))


def test_lines_are_read_one_at_a_time() -> None:
    """A file of any length costs the memory of a line."""
    given = 0

    class Endless(io.StringIO):
        def readline(self, size: int | None = -1, /) -> str:  # type: ignore[override]
            nonlocal given
            given += 1
            return jsonl_of({"id": f"k{given}", "secret": PLAIN})

    lines = read_lines(Endless(), "jsonl", Reading(at=NOW))
    assert [next(lines).number for _ in range(3)] == [1, 2, 3]
    assert given == 3


# the hook that decrypts


@both
def test_the_hook_gets_the_bytes_of_the_secret_and_the_line(form: Format) -> None:
    seen: list[tuple[bytes, Mapping[str, str]]] = []

    def decrypt(value: bytes, row: Mapping[str, str]) -> bytes:
        seen.append((value, row))
        return value[::-1]

    record = one(form, {"decrypt": decrypt}, secret=PLAIN.encode().hex(), encoding="hex", owner="ann")
    assert is_secret(record, PLAIN.encode()[::-1])
    assert seen == [(PLAIN.encode(), {"id": "k", "secret": PLAIN.encode().hex(), "encoding": "hex", "owner": "ann"})]


def test_the_hook_is_not_asked_for_public_keys() -> None:
    def decrypt(_value: bytes, _row: Mapping[str, str]) -> bytes:
        raise AssertionError

    assert one("csv", {"decrypt": decrypt}, secret="", public_key=KEY64).state == "pending"


@pytest.mark.parametrize("result", [None, 5, "text of some length", bytearray(32), [1]])
def test_a_hook_that_returns_no_bytes_fails_the_line(result: Any) -> None:
    assert reason("csv", {"decrypt": lambda *_: result}) == "the secret cannot be decrypted: TypeError"


@pytest.mark.parametrize("error", [ValueError, KeyError, RuntimeError, ConfigError, ZeroDivisionError, UnicodeError])
def test_a_hook_that_raises_with_the_secret_in_its_words_is_told_without(error: type[Exception]) -> None:
    def decrypt(value: bytes, _row: Mapping[str, str]) -> bytes:
        raise error(f"cannot decrypt {value.decode()}")

    assert reason("jsonl", {"decrypt": decrypt}) == f"the secret cannot be decrypted: {error.__name__}"


# any file at all


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12) | st.sampled_from(
    [PLAIN, KEY64, "90d", "2027-01-31", "{}", "active", "pending", "hex", "base64", "203.0.113.0/24", "orders:read"]
)
ROWS = st.dictionaries(st.sampled_from(sorted(COLUMNS)), CELLS, max_size=8).map(lambda row: {"id": "k", **row})
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | CELLS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(CELLS, inner, max_size=3),
    max_leaves=5,
)
OBJECTS = st.dictionaries(st.sampled_from(sorted(COLUMNS)) | CELLS, VALUES, max_size=8)
FILES = (
    st.tuples(st.just("csv"), ROWS.map(csv_of))
    | st.tuples(st.just("jsonl"), st.lists(OBJECTS, max_size=3).map(lambda rows: jsonl_of(*rows)))
    | st.tuples(st.sampled_from(FORMS), st.text(max_size=60))
    | st.tuples(st.just("csv"), st.text('id,secret"\n\r ', max_size=60).map("id,secret\n".__add__))
)


@settings(max_examples=200)
@given(file=FILES, proven=st.booleans())
@example(file=("jsonl", "[" * 65_000), proven=True)
def test_any_text_is_lines_or_a_configuration_error(file: tuple[Format, str], proven: bool) -> None:
    form, text = file
    try:
        lines = read(text, form, proven=proven, defaults={"owner": "ann"})
    except ConfigError:
        return
    numbers = [line.number for line in lines]
    assert numbers == sorted(set(numbers))
    for line in lines:
        assert (line.record is None) == bool(line.reason)
        if line.record is not None:
            assert line.record.version == 1
            assert line.record.state != "active" or proven or line.record.algorithm == "hmac-sha256"


@settings(max_examples=200)
@given(data=st.binary(max_size=80), form=st.sampled_from(FORMS))
def test_any_bytes_are_lines_or_a_configuration_error(data: bytes, form: Format) -> None:
    file = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", newline="")
    try:
        list(read_lines(file, form, Reading(at=NOW)))
    except ConfigError as error:
        assert str(error)


SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=6, max_size=24).filter(
    lambda text: len(set(text)) > 4
)


@settings(max_examples=200)
@given(secret=SECRETS, row=ROWS, form=st.sampled_from(FORMS), encoding=st.sampled_from(["text", "hex", "base64", "x"]))
def test_no_reason_holds_the_secret_of_its_line(secret: str, row: dict[str, str], form: Format, encoding: str) -> None:
    secret = "§" + secret  # in no other column, and in no words of ours
    row = {name: value for name, value in row.items() if value and value not in secret and secret not in value}
    for line in read(render(form, {"id": "k", **row, "secret": secret, "encoding": encoding}), form):
        assert secret not in line.reason
        assert secret[1:] not in line.reason.replace("hmac-sha256", "").replace("ed25519", "")
