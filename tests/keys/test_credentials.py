"""What is made for a new key of each dialect is what its clients sign with, and what the record verifies."""

import base64
import hmac
import json
import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Run
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from support import NOW, StillClock

from tradeguard.backends.memory import MemoryJournal, MemoryKeys
from tradeguard.backends.sqlite import SQLiteKeys
from tradeguard.core.drive import drive
from tradeguard.core.errors import ConfigError, Tampered
from tradeguard.core.key import KeyRecord
from tradeguard.core.policy import Policy
from tradeguard.core.secret import Secret
from tradeguard.keys.codec import decode_record, describe, encode_fields
from tradeguard.keys.credentials import read_secret
from tradeguard.keys.format import check_secret, plausible
from tradeguard.keys.issuer import Issued, Issuer
from tradeguard.keys.kind import SPOKEN, KeyKind, find_kind
from tradeguard.keys.life import ENDED
from tradeguard.keys.possession import possession_text
from tradeguard.keys.sealed import SealedKeys
from tradeguard.secrets.master import MasterKey, MasterKeys
from tradeguard.secrets.sealer import LocalSealer
from tradeguard.signing.bearer import BEARER, BEARER_SHA256
from tradeguard.signing.material import HMACS, PAIRS, Hmac
from tradeguard.signing.private import find_public, make_private_key, read_private_key, sign
from tradeguard.signing.rows import TG1

SECRET, PASSPHRASE = b"0123456789abcdef" * 2, "open sesame"
BLINDED = hmac.digest(SECRET, PASSPHRASE.encode(), "sha256").hex()
ALL = [(name, algorithm) for name in SPOKEN for algorithm in SPOKEN[name].algorithms]
every = pytest.mark.parametrize(("dialect", "algorithm"), ALL)
WITH_PASSPHRASE = [name for name in SPOKEN if find_kind(name).passphrase]
IN_BASE64 = [name for name in SPOKEN if find_kind(name).secret == "base64"]
KINDS = {**dict.fromkeys(HMACS, "hmac"), "ed25519": "ed25519", "rsa-pkcs1-sha256": "rsa", "ecdsa-p256-sha256": "ecdsa"}


def make_issuer(**options: Any) -> Issuer:
    return Issuer(MemoryKeys(), MemoryJournal(), runtime=StillClock(), **options)


def issue(issuer: Issuer, **fields: Any) -> Issued:
    given: dict[str, Any] = {"actor": "ops", "owner": "ann", "scopes": ["orders:read"], **fields}
    return drive(issuer.issue(**given))


def sign_as_client(dialect: str, algorithm: str, secret: bytes, message: bytes) -> bytes:
    """What a client does that follows the dialect's documentation."""
    if algorithm in HMACS:
        key = base64.b64decode(secret, validate=True) if dialect in IN_BASE64 else secret
        return hmac.digest(key, message, algorithm.removeprefix("hmac-"))
    if algorithm == "ed25519" and dialect == "tg1":
        return Ed25519PrivateKey.from_private_bytes(base64.urlsafe_b64decode(secret + b"=")).sign(message)
    if algorithm == "ed25519" and dialect == "coinbase-advanced":
        both = base64.b64decode(secret, validate=True)
        private = Ed25519PrivateKey.from_private_bytes(both[:32])
        assert private.public_key().public_bytes_raw() == both[32:]
        return private.sign(message)
    assert load_pem_private_key(secret, None) is not None
    return sign(read_private_key(secret), message)


# what each dialect says


def test_the_table_says_what_venues_document() -> None:
    """Read beside the venues' documentation, not computed."""
    assert {"okx", "kucoin", "bitget", "coinbase-exchange"} == set(WITH_PASSPHRASE)
    assert {"coinbase-exchange", "kraken", "kraken-futures"} <= set(IN_BASE64)
    assert not {"tg1", "binance", "okx", "kucoin", "bitget", "bybit", "coinbase-advanced"} & set(IN_BASE64)
    assert find_kind("gate").algorithms == ("hmac-sha512",)
    assert find_kind("bitfinex").algorithms == ("hmac-sha384",)
    assert set(find_kind("binance").algorithms) == {"hmac-sha256", "rsa-pkcs1-sha256", "ed25519"}
    assert set(find_kind("coinbase-advanced").algorithms) == {"ecdsa-p256-sha256", "ed25519"}
    assert find_kind(BEARER) == KeyKind(BEARER, (BEARER_SHA256,), "text", False)


@pytest.mark.parametrize("name", SPOKEN)
def test_an_hmac_is_the_usual_algorithm_where_there_is_one(name: str) -> None:
    found = find_kind(name)
    assert set(found.algorithms) == set(SPOKEN[name].algorithms)
    assert (found.algorithms[0] in HMACS) == bool(set(found.algorithms) & set(HMACS))
    assert found.choose() == found.algorithms[0]


def test_the_hmac_comes_first_however_a_row_lists_its_algorithms() -> None:
    ours = replace(TG1, algorithms={"ed25519": "hex", "hmac-sha384": "hex", "rsa-pkcs1-sha256": "hex"})
    found = find_kind("ours", {"ours": ours})
    assert found.algorithms == ("hmac-sha384", "ed25519", "rsa-pkcs1-sha256")


def test_the_algorithm_of_a_public_key_is_its_own() -> None:
    key = find_public(make_private_key("rsa-pkcs1-sha256")).reveal()
    assert find_kind("binance").choose("", key) == "rsa-pkcs1-sha256"
    with pytest.raises(ConfigError, match="dialect tg1 has no rsa-pkcs1-sha256; it has hmac-sha256, ed25519"):
        find_kind("tg1").choose("", key)
    with pytest.raises(ConfigError, match=r"a public key is for .*; hmac-sha256 has a secret"):
        find_kind("binance").choose("hmac-sha256", key)


# issue


@every
def test_a_new_key_verifies_what_its_client_signs(dialect: str, algorithm: str, run: Run) -> None:
    issued = issue(make_issuer(), dialect=dialect, algorithm=algorithm)
    record, secret = issued.record, issued.secret
    assert secret is not None
    assert (record.dialect, record.algorithm) == (dialect, algorithm)
    assert record.id.startswith(f"tg_live_{KINDS[algorithm]}_")
    assert plausible(record.id)
    signature = sign_as_client(dialect, algorithm, secret.reveal(), b"message")
    assert run(record.material.verify(b"message", signature)) is True
    assert run(record.material.verify(b"massage", signature)) is False


@every
def test_the_secret_has_the_form_that_clients_read(dialect: str, algorithm: str) -> None:
    secret = issue(make_issuer(), dialect=dialect, algorithm=algorithm).secret
    assert secret is not None
    text = secret.reveal().decode()
    assert text == text.strip()
    if algorithm in HMACS and dialect in IN_BASE64:
        assert len(base64.b64decode(text, validate=True)) == 64
    elif algorithm in HMACS:
        assert check_secret(text)
    else:
        assert text.startswith("-----BEGIN PRIVATE KEY-----") or (algorithm == "ed25519" and len(text) in (43, 88))


@pytest.mark.parametrize("dialect", SPOKEN)
def test_a_passphrase_is_shown_once_and_only_its_hmac_is_kept(dialect: str) -> None:
    journal = MemoryJournal()
    issuer = Issuer(MemoryKeys(), journal, runtime=StillClock())
    issued = issue(issuer, dialect=dialect)
    record, passphrase = issued.record, issued.passphrase
    if dialect not in WITH_PASSPHRASE:
        assert (passphrase, record.passphrase) == (None, "")
        return
    assert passphrase is not None
    assert isinstance(record.material, Hmac)
    text = passphrase.reveal()
    assert re.fullmatch(rb"[0-9A-Za-z]{24}", text)
    assert record.passphrase == hmac.digest(record.material.reveal(), text, "sha256").hex()
    stored = drive(issuer.keys.find(record.id))
    assert stored is not None
    assert stored.passphrase == record.passphrase
    told = repr(record) + repr(issued) + json.dumps(describe(record)) + repr(journal.events)
    assert text.decode() not in told + encode_fields(record).decode()
    assert record.passphrase not in told


def test_no_two_passphrases_or_secrets_are_alike() -> None:
    made = [issue(make_issuer(), dialect="coinbase-exchange") for _ in range(50)]
    assert len({key.passphrase.reveal() for key in made if key.passphrase is not None}) == 50
    assert len({key.secret.reveal() for key in made if key.secret is not None}) == 50


@pytest.mark.parametrize("dialect", WITH_PASSPHRASE)
def test_a_rotation_makes_another_secret_and_another_passphrase(dialect: str) -> None:
    issuer = make_issuer()
    old = issue(issuer, dialect=dialect)
    new = drive(issuer.rotate(old.record.id, actor="ops"))
    assert new.passphrase is not None
    assert new.record.passphrase not in ("", old.record.passphrase)
    assert isinstance(new.record.material, Hmac)
    assert new.record.passphrase == new.record.material.blind(new.passphrase.reveal()).hex()
    retiring = drive(issuer.keys.find(old.record.id))
    assert retiring is not None
    assert retiring.passphrase == old.record.passphrase


@every
def test_a_rotated_key_keeps_its_algorithm(dialect: str, algorithm: str, run: Run) -> None:
    issuer = make_issuer()
    old = issue(issuer, dialect=dialect, algorithm=algorithm)
    new = drive(issuer.rotate(old.record.id, actor="ops"))
    assert (new.record.dialect, new.record.algorithm) == (dialect, algorithm)
    assert new.secret is not None
    signature = sign_as_client(dialect, algorithm, new.secret.reveal(), b"message")
    assert run(new.record.material.verify(b"message", signature)) is True
    assert run(old.record.material.verify(b"message", signature)) is False


@pytest.mark.parametrize(("dialect", "algorithm"), [(name, algorithm) for name, algorithm in ALL if algorithm in PAIRS])
@pytest.mark.parametrize("form", [Encoding.PEM, Encoding.DER])
def test_the_clients_own_key_takes_its_proof(dialect: str, algorithm: str, form: Encoding, run: Run) -> None:
    private = make_private_key(algorithm)
    public = private.public_key().public_bytes(form, PublicFormat.SubjectPublicKeyInfo)
    kept = find_public(private).reveal()
    issuer = make_issuer()
    for wrong in (
        b"",
        sign(private, possession_text("bob", kept)),
        sign(private, kept),
        sign(make_private_key(algorithm), possession_text("ann", kept)),
    ):
        with pytest.raises(ConfigError, match="the proof of possession does not hold"):
            issue(issuer, dialect=dialect, public_key=public, proof=wrong)
    issued = issue(issuer, dialect=dialect, public_key=public, proof=sign(private, possession_text("ann", kept)))
    assert (issued.secret, issued.passphrase, issued.record.algorithm) == (None, None, algorithm)
    assert run(issued.record.material.verify(b"message", sign(private, b"message"))) is True
    with pytest.raises(ConfigError, match="has the secret of key"):
        issue(issuer, dialect=dialect, public_key=public, proof=sign(private, possession_text("ann", kept)))


def test_a_weak_public_key_is_no_key_whatever_its_proof() -> None:
    private = rsa.generate_private_key(65537, 1024)
    public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(ConfigError, match="2048, 3072 or 4096 bits"):
        issue(make_issuer(), dialect="binance", public_key=public, proof=b"x" * 128)
    other = ec.generate_private_key(ec.SECP384R1()).public_key()
    with pytest.raises(ConfigError, match="curve P-256"):
        issue(
            make_issuer(),
            dialect="coinbase-advanced",
            public_key=other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        )


def test_a_venues_own_dialect_is_issued_where_the_issuer_knows_it() -> None:
    with pytest.raises(ConfigError, match="no dialect is called 'ours'"):
        issue(make_issuer(), dialect="ours")
    issuer = make_issuer(rows={"ours": replace(TG1, name="ours", algorithms={"hmac-sha384": "hex"})})
    issued = issue(issuer, dialect="ours")
    assert issued.record.algorithm == "hmac-sha384"
    assert drive(issuer.rotate(issued.record.id, actor="ops")).record.algorithm == "hmac-sha384"
    with pytest.raises(ConfigError, match="no dialect is called 'tg1'"):
        issue(issuer, dialect="tg1")


# records and stores


def record(**fields: Any) -> KeyRecord:
    given: dict[str, Any] = {"id": "k", "dialect": "okx", "material": Hmac(SECRET), "scopes": {"orders:read"}}
    return KeyRecord(**given | {"owner": "ann", "passphrase": BLINDED} | fields)


@pytest.mark.parametrize(
    "passphrase", ["x", BLINDED[:-1], BLINDED + "0", BLINDED.upper(), BLINDED[:-1] + "g", BLINDED + "\n", None, b"y"]
)
def test_a_passphrase_that_was_not_blinded_is_in_no_record(passphrase: Any) -> None:
    with pytest.raises(ConfigError, match="key k: passphrase") as refused:
        record(passphrase=passphrase)
    assert BLINDED[:20] not in str(refused.value)


def test_a_record_does_not_tell_its_passphrase() -> None:
    assert BLINDED not in repr(record()) + str(record()) + json.dumps(describe(record()))
    assert "passphrase" not in describe(record())


def test_a_store_carries_the_passphrase_and_opens_records_from_before_there_was_one() -> None:
    fields = encode_fields(record())
    assert decode_record(fields, SECRET, Policy()).passphrase == BLINDED
    assert PASSPHRASE.encode() not in fields
    before = (
        b'{"algorithm":"hmac-sha256","dialect":"tg1","id":"k","scopes":["orders:read"],"state":"active","version":1}'
    )
    opened = decode_record(before, SECRET, Policy())
    assert opened.passphrase == ""
    assert encode_fields(opened) == before
    with pytest.raises(Tampered, match="passphrase"):
        decode_record(fields.replace(BLINDED.encode(), b"x" * 64), SECRET, Policy())


def test_in_a_sealed_store_the_passphrase_cannot_be_exchanged(tmp_path: Path) -> None:
    table = SQLiteKeys(tmp_path / "keys.db", busy=5.0)
    keys = SealedKeys(table, LocalSealer(MasterKeys([MasterKey(Secret(b"m" * 32))])))
    drive(keys.put([record()]))
    found = drive(keys.find("k"))
    assert found is not None
    assert found.passphrase == BLINDED
    other = hmac.digest(SECRET, b"another", "sha256").hex()
    with closing(sqlite3.connect(tmp_path / "keys.db")) as file, file:
        [fields] = file.execute("SELECT fields FROM key WHERE id = 'k'").fetchone()
        assert BLINDED.encode() in fields
        file.execute("UPDATE key SET fields = ?", (fields.replace(BLINDED.encode(), other.encode()),))
    assert drive(keys.find("k")) is None
    keys.close()


@pytest.mark.parametrize("state", sorted(ENDED))
def test_what_becomes_of_a_key_leaves_its_passphrase(state: str) -> None:
    issuer = make_issuer()
    id = issue(issuer, dialect="okx").record.id
    kept = drive(issuer.keys.find(id))
    assert kept is not None
    ended = drive(issuer.revoke(id, actor="ops", compromised=state == "compromised"))
    assert (ended.state, ended.passphrase) == (state, kept.passphrase)


# import


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"passphrase": ""}, "a key of dialect okx has a passphrase, which its clients send along; give it"),
        ({"dialect": "tg1"}, "the keys of dialect tg1 with hmac-sha256 have no passphrase"),
        ({"dialect": "gate", "passphrase": ""}, "dialect gate has no hmac-sha256; it has hmac-sha512"),
        ({"dialect": "okex"}, "no dialect is called 'okex'"),
        ({"material": Hmac(SECRET, "hmac-sha512")}, "dialect okx has no hmac-sha512; it has hmac-sha256"),
    ],
)
def test_a_record_that_its_dialect_does_not_fit_is_not_imported(fields: dict[str, Any], says: str) -> None:
    issuer = make_issuer()
    with pytest.raises(ConfigError, match=re.escape(says)):
        drive(issuer.import_keys([record(created=NOW, **fields)], actor="ops"))
    assert drive(issuer.keys.list()) == []


def test_a_record_that_fits_is_imported_with_its_passphrase() -> None:
    issuer = make_issuer()
    [imported] = drive(issuer.import_keys([record(created=NOW)], actor="ops"))
    assert imported.passphrase == BLINDED


def test_a_secret_is_read_as_its_dialect_says() -> None:
    text = base64.b64encode(SECRET)
    assert read_secret(find_kind("kraken"), text) == SECRET
    assert read_secret(find_kind("okx"), text) == text
    for wrong in (b"!" * 20, "é".encode() * 20, b"A" * 21):
        with pytest.raises(ConfigError, match="a secret of dialect kraken is written in base64, and this is none"):
            read_secret(find_kind("kraken"), wrong)
