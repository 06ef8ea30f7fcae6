"""Keys that are sent along: issued, imported and rotated; no secret is kept, none that can be guessed taken."""

import base64
import io
import json
import re
import secrets
import uuid
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from support import NOW, PRIVATE, StillClock

from tradeguard.backends.memory import MemoryJournal
from tradeguard.backends.sqlite import SQLiteKeys
from tradeguard.core.drive import drive
from tradeguard.core.errors import ConfigError
from tradeguard.core.key import KeyRecord
from tradeguard.core.secret import Secret
from tradeguard.keys.bulk import Report, import_lines
from tradeguard.keys.format import SECRET_PATTERN, Env, check_secret, plausible
from tradeguard.keys.issuer import Issued, Issuer
from tradeguard.keys.lines import Reading, read_lines
from tradeguard.keys.sealed import SealedKeys
from tradeguard.secrets.master import MasterKey, MasterKeys
from tradeguard.secrets.sealer import LocalSealer
from tradeguard.signing.bearer import BEARER, BEARER_SHA256, BearerDigest, bearer_id
from tradeguard.signing.material import Hmac

TOKEN = "tZ9-pq_0bYv7Kd3mWc5uRf1x"
DIGEST = sha256(TOKEN.encode())
WEAK = [
    "hunter2", "passwordpasswordpassword", "0123456789" * 4, "0123456789" * 3 + "012345678", "deadbeef" * 4, "a" * 64,
    "abcdefghijklmnopqrstuvwxyz", "0123456789abcdef" * 2, "00000000-0000-0000-0000-000000000001", "ab" * 32,
    "acgtgatctagcctgaatcgttacaggcca", TOKEN[:21], TOKEN[:8] * 4, TOKEN + " ", TOKEN + "\n", TOKEN + "\u00e4",
]  # fmt: skip


class Store:
    """A sealed key store in a file, and who issues into it."""

    def __init__(self, folder: Path) -> None:
        self.file, self.journal = folder / "keys.db", MemoryJournal()
        table = SQLiteKeys(self.file)
        self.keys = SealedKeys(table, LocalSealer(MasterKeys([MasterKey(Secret(b"m" * 32))])))
        self.issuer = self.of("live")

    def of(self, env: Env) -> Issuer:
        return Issuer(self.keys, self.journal, runtime=StillClock(), env=env)

    def issue(self, env: Env = "live", **given: Any) -> Issued:
        fields = {"dialect": BEARER, "algorithm": BEARER_SHA256, "scopes": ["orders:read"], **given}
        return drive(self.of(env).issue(actor="olga", owner="acme", **fields))

    def take(self, *rows: Mapping[str, Any], **reading: Any) -> Report:
        """Import lines of JSON."""
        text = "".join(json.dumps({"scopes": "orders:read", "owner": "acme", **row}) + "\n" for row in rows)
        lines = read_lines(io.StringIO(text), "jsonl", Reading(at=NOW, **reading))
        return drive(import_lines(self.issuer, lines, actor="olga"))

    def refusal(self, row: Mapping[str, Any], **reading: Any) -> str:
        """Why a line is not imported."""
        report = self.take({"dialect": BEARER, "id": "k", **row}, **reading)
        assert (report.imported, report.bad) == (0, 1)
        return report.faults[0].reason

    def find(self, id: str) -> KeyRecord:
        record = drive(self.keys.find(id))
        assert record is not None
        return record

    def bytes(self) -> bytes:
        """All that is kept, the journal too."""
        files = b"".join(path.read_bytes() for path in self.file.parent.iterdir())
        return files + repr(list(self.journal.events)).encode()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = Store(tmp_path)
    yield found
    found.keys.close()


# --- issued --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env", ["live", "test"])
def test_id_and_secret_are_those_of_the_house_and_scanners_find_the_secret(store: Store, env: Env) -> None:
    issued = store.issue(env)
    assert issued.secret is not None
    secret = issued.secret.reveal().decode()
    assert re.fullmatch(f"tg_{env}_bearer_[0-9A-Za-z]{{30}}", issued.record.id)
    assert plausible(issued.record.id)
    assert check_secret(secret)
    assert re.search(SECRET_PATTERN, f"curl -H 'Authorization: Bearer {issued.record.id}.{secret}'")
    assert not check_secret(secret[:-1] + ("0" if secret[-1] != "0" else "1"))


def test_the_digest_is_kept_sealed_and_the_secret_nowhere(store: Store) -> None:
    issued = store.issue()
    assert issued.secret is not None
    secret, record = issued.secret.reveal(), store.find(issued.record.id)
    assert (record.dialect, record.algorithm) == (BEARER, BEARER_SHA256)
    assert drive(record.material.verify(b"", secret))
    digest = sha256(secret).digest()
    for trace in (secret, digest, digest.hex().encode(), base64.b64encode(digest)):
        assert trace not in store.bytes()
    assert secret.decode() not in repr((issued, record, record.material))


def test_no_secret_is_given_twice(store: Store) -> None:
    made = [store.issue() for _ in range(20)]
    assert len({issued.secret.reveal() for issued in made if issued.secret is not None}) == 20


@pytest.mark.parametrize(
    ("dialect", "algorithm"),
    [(BEARER, "hmac-sha256"), (BEARER, "ed25519"), ("tg1", BEARER_SHA256), ("binance", BEARER_SHA256)],
)
def test_a_bearer_key_signs_nothing_and_a_signing_key_is_not_sent_along(
    store: Store, dialect: str, algorithm: str
) -> None:
    with pytest.raises(ConfigError, match=f"dialect {dialect} has no {algorithm}; it has "):
        store.issue(dialect=dialect, algorithm=algorithm)
    assert drive(store.keys.list()) == []
    assert list(store.journal.events) == []


def test_a_public_key_is_not_sent_along(store: Store) -> None:
    with pytest.raises(ConfigError, match="a public key is for ed25519"):
        store.issue(public_key=PRIVATE.public_key().public_bytes_raw(), proof=b"x")


def test_it_is_rotated_like_any_other(store: Store) -> None:
    old = store.issue()
    new = drive(store.issuer.rotate(old.record.id, actor="olga"))
    assert new.secret is not None
    assert old.secret is not None
    assert (new.record.dialect, new.record.algorithm, new.record.scopes) == (BEARER, BEARER_SHA256, old.record.scopes)
    assert drive(store.find(new.record.id).material.verify(b"", new.secret.reveal()))
    assert not drive(store.find(new.record.id).material.verify(b"", old.secret.reveal()))
    assert store.find(old.record.id).state == "retiring"


# --- imported ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "columns",
    [
        {"secret": TOKEN},
        {"secret": TOKEN.encode().hex(), "encoding": "hex"},
        {"secret_sha256": DIGEST.hexdigest()},
        {"secret_sha256": DIGEST.hexdigest().upper()},
        {"secret_sha256": base64.b64encode(DIGEST.digest()).decode(), "encoding": "base64"},
        {"secret_sha256": DIGEST.hexdigest(), "algorithm": BEARER_SHA256},
    ],
)
def test_a_venues_secret_is_taken_over_in_clear_or_as_its_digest(store: Store, columns: Mapping[str, str]) -> None:
    row = {"id": "k-1", "dialect": BEARER, **columns}
    assert store.take(row).imported == 1
    record = store.find("k-1")
    assert (record.dialect, record.algorithm, record.state) == (BEARER, BEARER_SHA256, "active")
    assert drive(record.material.verify(b"", TOKEN.encode()))
    assert TOKEN.encode() not in store.bytes()
    assert store.take(row).present == 1  # again: what is there is left alone


@pytest.mark.parametrize("columns", [{"secret": TOKEN}, {"secret_sha256": DIGEST.hexdigest()}])
def test_without_an_id_it_is_found_by_its_secret_alone(store: Store, columns: Mapping[str, str]) -> None:
    assert store.take({"dialect": BEARER, **columns}).imported == 1
    assert drive(store.find(bearer_id(TOKEN.encode())).material.verify(b"", TOKEN.encode()))


def test_in_csv_the_id_may_be_empty(store: Store) -> None:
    text = f"id,secret_sha256,dialect,owner,scopes\n,{DIGEST.hexdigest()},bearer,acme,orders:read\n"
    [line] = read_lines(io.StringIO(text, newline=""), "csv", Reading(at=NOW))
    assert line.record is not None
    assert line.record.id == bearer_id(TOKEN.encode())


def test_what_the_venue_keeps_encrypted_its_own_function_opens(store: Store) -> None:
    row = {"id": "k-1", "dialect": BEARER, "secret": TOKEN[::-1]}
    assert store.take(row, decrypt=lambda secret, _row: secret[::-1]).imported == 1
    assert drive(store.find("k-1").material.verify(b"", TOKEN.encode()))


@pytest.mark.parametrize("weak", WEAK)
def test_a_secret_that_can_be_guessed_is_refused_with_the_cure_and_not_shown(store: Store, weak: str) -> None:
    said = store.refusal({"secret": weak})
    assert "128 random bits" in said
    assert "tradeguard keys new --dialect bearer" in said
    assert weak.strip() not in said


DRAWN: dict[str, Callable[[], str]] = {
    "base64": lambda: secrets.token_urlsafe(16),
    "hex": lambda: secrets.token_hex(16),
    "long": lambda: secrets.token_urlsafe(96),
    "uuid": lambda: str(uuid.uuid4()),
    "digits": lambda: f"{secrets.randbelow(10**39):039}",
}


@pytest.mark.parametrize("kind", DRAWN)
def test_a_secret_that_was_drawn_is_never_taken_for_one_that_can_be_guessed(kind: str) -> None:
    for _ in range(3_000):
        BearerDigest.of(DRAWN[kind]())


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "a bearer key has a secret or its secret_sha256, one of the two"),
    ({"secret": TOKEN, "secret_sha256": DIGEST.hexdigest()}, "one of the two"),
    ({"public_key": "x"}, "one of the two"),
    ({"secret": TOKEN, "proof": "x"}, "one of the two"),
    ({"secret_sha256": DIGEST.hexdigest()[:-2]}, "64 hex digits"),
    ({"secret_sha256": "x" * 64}, "not in its encoding, hex"),
    ({"secret_sha256": DIGEST.hexdigest(), "encoding": "text"}, "64 hex digits"),
    ({"secret": TOKEN, "algorithm": "hmac-sha256"}, "the algorithm of the dialect bearer is bearer-sha256"),
    ({"secret": TOKEN, "state": "pending"}, "only a public key waits"),
    ({"secret": TOKEN + ".x", "id": ""}, "a secret with a dot does not find its key alone"),
    ({"secret_sha256": DIGEST.hexdigest(), "dialect": "tg1"}, "secret_sha256 is for the dialect bearer"),
    ({"secret": "x" * 32, "dialect": "tg1", "algorithm": BEARER_SHA256}, "dialect tg1 has no bearer-sha256"),
    ({"secret": TOKEN, "id": "tg_live_bearer_" + "0" * 30}, "begins as our own ids do"),
]


@pytest.mark.parametrize(("row", "says"), REFUSED)
def test_a_line_that_cannot_be_meant_is_refused_with_a_reason_and_without_its_secret(
    store: Store, row: dict[str, Any], says: str
) -> None:
    said = store.refusal(row)
    assert says in said
    assert TOKEN not in said
    assert DIGEST.hexdigest()[:16] not in said


def test_one_secret_is_not_imported_under_two_keys_whether_in_clear_or_as_its_digest(store: Store) -> None:
    report = store.take(
        {"id": "a", "dialect": BEARER, "secret": TOKEN},
        {"id": "b", "dialect": BEARER, "secret_sha256": DIGEST.hexdigest()},
    )
    assert (report.imported, report.bad) == (1, 1)
    assert store.refusal({"id": "c", "secret": TOKEN}) == "key c has the secret of key a"


def test_a_digest_that_was_stolen_is_neither_a_secret_to_send_nor_one_to_sign_with(store: Store) -> None:
    store.take({"id": "a", "dialect": BEARER, "secret": TOKEN})
    material = store.find("a").material
    assert not drive(material.verify(b"", DIGEST.digest()))
    assert not drive(material.verify(b"", DIGEST.hexdigest().encode()))
    assert material.fingerprint(b"s") != Hmac(DIGEST.digest()).fingerprint(b"s")
